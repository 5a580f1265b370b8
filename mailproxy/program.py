"""The programs under files/ and what is sent to them: a command line and the text on standard input."""

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from mailproxy.check import local_targets
from mailproxy.model import DesiredState
from mailproxy.plan import BRIDGE, Plan, listing_digest
from mailproxy.render import TEMPLATE_PARAMETERS, rendered_without_host, transport_table

PROGRAMS = Path(__file__).parent.parent / "files"


def command(program: str, *arguments: str) -> str:
    """Return the text for "sh -c" that runs files/PROGRAM.sh with arguments, leaving standard input to it."""
    return f"set -- {shlex.join(arguments)}\n{_text(program)}"


@cache
def _text(program: str) -> str:
    """Return a program behind what they all begin with, less the comments, which no host needs."""
    text = (PROGRAMS / "common.sh").read_text() + (PROGRAMS / f"{program}.sh").read_text()
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


def change(plan: Plan, record: Mapping[str, str]) -> str:
    """Return the input of stage.sh, whose manual page describes it; record is what the host keeps of this run."""
    return _lines(_records(plan, record))


def _records(plan: Plan, record: Mapping[str, str]) -> Iterator[str]:
    for name, digest in plan.base.items():
        yield f"base {name} {digest or 'absent'}"
    for file in plan.files:
        yield from _file(file.desired.name, file.desired.text)
    if plan.bridge is not None:
        yield from _file(BRIDGE, transport_table(plan.bridge).text)
    for index in plan.indexes:
        yield f"table {index.table} {index.type} {len(index.entries)} {listing_digest(index.entries)}"
        if plan.bridge is not None and index.table == "transport":
            yield f"table {BRIDGE} {index.type} {len(plan.bridge)} {listing_digest(plan.bridge)}"
    if plan.checks_main_cf:
        yield "check main.cf"
    for repair in plan.repairs:
        yield f"note {repair}"
    yield from (f"loaded {name} {value}" for name, value in plan.loaded.items())
    yield from (f"record {name} {value}" for name, value in record.items())
    yield from (f"gone {domain}" for domain in plan.gone)
    yield from (f"swap {staged} {live}" for staged, live in plan.swaps)
    yield f"service {plan.service.action}"
    yield from (f"swap {staged} {live}" for staged, live in plan.late_swaps)
    yield from (f"drop {name}" for name in plan.drops)
    for query in plan.queries:
        answer = "miss" if query.value is None else f"hit {query.value}"
        yield f"query {query.type} {query.table} {query.key} {answer}"
    yield "end"


def _file(name: str, text: str) -> Iterator[str]:
    yield f"file {name} {text.count(chr(10))}"
    yield text.removesuffix("\n")


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
