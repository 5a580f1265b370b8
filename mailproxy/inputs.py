"""What the programs of files/ read on their standard input, a line for each record; their manual pages have them."""

import itertools
from collections.abc import Iterable, Iterator, Mapping

from mailproxy.check import local_targets
from mailproxy.edit import edit
from mailproxy.feature import Example, Needed
from mailproxy.indexed import TABLE_TYPE, Query, listing_digest
from mailproxy.lock import Held
from mailproxy.model import DesiredState
from mailproxy.order import BRIDGE
from mailproxy.parameters import asked_parameters
from mailproxy.plan import Plan
from mailproxy.program import kept_files, kept_name
from mailproxy.render import TEMPLATE_PARAMETERS, Content, needed_types, rendered_without_host, transport_table

# Put before an expectation: of tables that are the ones that were loaded the digests are enough.
BRIEFLY = "brief\n"


def expectation(desired: DesiredState, with_queue: bool = False, with_queues: bool = False) -> str:
    """Return the input of observe.sh: the digests of what need not be sent back, the accounts aliases lead to, the
    parameters that are declared, and whether the table types matter: the one that a Postfix prefers is one it has.

    with_queue asks how many messages wait in all, with_queues how many in each queue."""
    wanted = [f"want {name} {content.digest}" for name, content in rendered_without_host(desired).items()]
    # What it is to be follows from what it is: in any case its content is needed.
    wanted += ["want master.cf -"] * any(feature.edits_master_cf for feature in desired.features.values())
    accounts = [f"user {name}" for name in sorted(local_targets(desired) - {"root"})]
    of_features = (name for feature in desired.features.values() for name in feature.own_parameters())
    parameters = {*TEMPLATE_PARAMETERS, *desired.main_cf, *asked_parameters(desired.main_cf), *of_features}
    asked = [f"ask {name}" for name in sorted(parameters)]
    declares_type = desired.database_type or "default_database_type" in desired.main_cf or needed_types(desired)
    further = [line for feature in desired.features.values() for line in feature.asks(desired)]
    extra = ["types"] * bool(declares_type) + ["queue"] * with_queue + ["queues"] * with_queues
    return _lines([*wanted, *accounts, *asked, *further, *extra])


def expectation_of_generation(number: int | None) -> str:
    """Return the input of observe.sh that tells all that is live, and a generation: None is the last one."""
    return _lines([f"generation {'last' if number is None else number}", "queue"])


def expectation_of_return(number: int | None) -> str:
    """Return the same for who goes back there: into what master.cf is now."""
    return f"want master.cf -\n{expectation_of_generation(number)}"


def change(
    plan: Plan,
    record: Mapping[str, str],
    held: Held | None = None,
    *,
    whole: bool = False,
    with_programs: bool = False,
) -> str:
    """Return the input of stage.sh, whose manual page describes it; record is what the host keeps of this run.

    held says for what the change is to wait, where another run activates it. Of a file that the host has in another
    form it holds the edit, unless it is to hold whole files. with_programs is for a host that does not keep these.
    """
    waiting = [f"held {held.review} {held.state}"] if held else []
    programs = _programs() if with_programs else ()
    return _lines([*waiting, *programs, *_records(plan, record, whole)])


def _programs() -> Iterator[str]:
    yield f"programs {kept_name()}"
    for name, text in kept_files().items():
        yield from _file(f"program.{name}", Content(f"program.{name}", text), None)


def _records(plan: Plan, record: Mapping[str, str], whole: bool) -> Iterator[str]:
    for name, digest in plan.base.items():
        yield f"base {name} {digest or 'absent'}"
    live = {file.desired.name: file.observed for file in plan.files if file.observed and not whole}
    for file in plan.files:
        if file.desired.name not in plan.copies:
            yield from _file(file.desired.name, file.desired, live.get(file.desired.name))
    yield from (f"copy {name} {plan.generation}" for name in plan.copies)
    if plan.bridge is not None:
        yield from _file(BRIDGE, transport_table(plan.bridge), live.get("transport"))
    for index in plan.indexes:
        yield f"table {index.table} {index.type} {len(index.entries)} {listing_digest(index.entries)}"
    if plan.bridge is not None:
        yield f"table {BRIDGE} {plan.loaded[TABLE_TYPE]} {len(plan.bridge)} {listing_digest(plan.bridge)}"
    if plan.checks_main_cf:
        yield "check main.cf"
    for repair in plan.repairs:
        yield f"note {repair}"
    yield from (f"loaded {name} {value}" for name, value in plan.loaded.items())
    yield from ["by-hand"] * plan.is_by_hand
    yield from (f"record {name} {value}" for name, value in record.items())
    if plan.crossing is not None:
        yield f"cross {' '.join(plan.crossing)}"
    yield from map(_example, plan.examples)
    yield from (f"gone {domain}" for domain in plan.gone)
    yield from (f"moved {domain}" for domain in plan.moved)
    yield from (f"swap {staged} {live}" for staged, live in plan.swaps)
    yield f"service {plan.service.action}"
    yield from (f"swap {staged} {live}" for staged, live in plan.late_swaps)
    yield from (f"drop {name}" for name in plan.drops)
    yield from (f"release {name}" for name in plan.releases)
    yield from _questions(itertools.chain.from_iterable(plan.queries), plan.probes.hops, plan.probes.needed)
    yield "end"


def questions(queries: Iterable[Query], hops: Iterable[str], needed: Iterable[Needed]) -> str:
    """Return the input of probe.sh."""
    return _lines(_questions(queries, hops, needed))


def _questions(queries: Iterable[Query], hops: Iterable[str], needed: Iterable[Needed]) -> Iterator[str]:
    for query in queries:
        answer = "miss" if query.value is None else f"hit {query.value}"
        yield f"query {query.type} {query.table} {query.key} {answer}"
    yield from (f"hop {hop}" for hop in hops)
    yield from (f"needed {one.name}" for one in needed)


def _example(example: Example) -> str:
    entry = f"{'' if example.is_match else '!'}{example.entry}"
    return f"example {example.type} {example.file} {entry} {example.text}"


def _file(name: str, content: Content, live: Content | None) -> Iterator[str]:
    """Yield a content, or what makes it of the live one where that is shorter."""
    hunks = edit(live.text, content.text) if live else None
    if live and hunks is not None:
        yield f"edit {name} {live.name} {len(hunks)} {content.digest}"
        yield from hunks
    else:
        yield f"file {name} {content.text.count(chr(10))} {content.digest}"
        yield content.text.removesuffix("\n")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
