"""The programs under files/ and what is sent to them: a command line and the text on standard input."""

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from mailproxy.check import local_targets
from mailproxy.model import DesiredState
from mailproxy.order import BRIDGE
from mailproxy.plan import TABLE_TYPE, Plan, Query, listing_digest
from mailproxy.render import TEMPLATE_PARAMETERS, Content, rendered_without_host, transport_table

PROGRAMS = Path(__file__).parent.parent / "files"
# What runs on hosts, and what stands before each besides common.sh.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "observe": (),
    "stage": (),
    "activate": ("service", "transaction", "probing"),
    "settle": ("service", "transaction", "probing"),
    "install": ("service",),
    "release": (),
    "probe": ("probing",),
}


def command(program: str, *arguments: str) -> str:
    """Return the text for "sh -c" that runs files/PROGRAM.sh with arguments, leaving standard input to it."""
    return f"set -- {shlex.join(arguments)}\n{_text(program)}"


def parts() -> dict[str, tuple[Path, ...]]:
    """Return the files that each program is put together from, in their order; tests/run has them checked so."""
    return {
        program: tuple(PROGRAMS / f"{part}.sh" for part in ("common", *before, program))
        for program, before in _PARTS.items()
    }


@cache
def _text(program: str) -> str:
    """Return a program behind what they all begin with, less the comments, which no host needs."""
    text = "".join(path.read_text() for path in parts()[program])
    return "".join(f"{line}\n" for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#"))


@cache
def programs_digest() -> str:
    """Return the SHA-256 over what runs on the hosts."""
    texts = [path.read_bytes() for path in sorted(PROGRAMS.glob("*.sh"))]
    return hashlib.sha256(b"\0".join(texts)).hexdigest()


def expectation(desired: DesiredState, with_queue: bool = False) -> str:
    """Return the input of observe.sh: the digests of what need not be sent back, the accounts aliases lead to, the
    parameters that are declared, and whether the table types matter: the one that a Postfix prefers is one it has."""
    wanted = [f"want {name} {content.digest}" for name, content in rendered_without_host(desired).items()]
    accounts = [f"user {name}" for name in sorted(local_targets(desired) - {"root"})]
    asked = [f"ask {name}" for name in sorted({*TEMPLATE_PARAMETERS, *desired.main_cf})]
    declares_type = desired.database_type or "default_database_type" in desired.main_cf
    extra = ["types"] * bool(declares_type) + ["queue"] * with_queue
    return _lines([*wanted, *accounts, *asked, *extra])


def expectation_of_generation(number: int | None) -> str:
    """Return the input of observe.sh that tells all that is live, and a generation: None is the last one."""
    return _lines([f"generation {'last' if number is None else number}", "queue"])


def change(plan: Plan, record: Mapping[str, str]) -> str:
    """Return the input of stage.sh, whose manual page describes it; record is what the host keeps of this run."""
    return _lines(_records(plan, record))


def _records(plan: Plan, record: Mapping[str, str]) -> Iterator[str]:
    for name, digest in plan.base.items():
        yield f"base {name} {digest or 'absent'}"
    for file in plan.files:
        yield from _file(file.desired.name, file.desired)
    yield from (f"copy {name} {plan.generation}" for name in plan.copies)
    if plan.bridge is not None:
        yield from _file(BRIDGE, transport_table(plan.bridge))
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
    yield from (f"gone {domain}" for domain in plan.gone)
    yield from (f"swap {staged} {live}" for staged, live in plan.swaps)
    yield f"service {plan.service.action}"
    yield from (f"swap {staged} {live}" for staged, live in plan.late_swaps)
    yield from (f"drop {name}" for name in plan.drops)
    yield from _questions(plan.queries, plan.probes.hops)
    yield "end"


def questions(queries: Iterable[Query], hops: Iterable[str]) -> str:
    """Return the input of probe.sh."""
    return _lines(_questions(queries, hops))


def _questions(queries: Iterable[Query], hops: Iterable[str]) -> Iterator[str]:
    for query in queries:
        answer = "miss" if query.value is None else f"hit {query.value}"
        yield f"query {query.type} {query.table} {query.key} {answer}"
    yield from (f"hop {hop}" for hop in hops)


def _file(name: str, content: Content) -> Iterator[str]:
    yield f"file {name} {content.text.count(chr(10))} {content.digest}"
    yield content.text.removesuffix("\n")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
