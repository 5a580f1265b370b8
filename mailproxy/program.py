"""The programs under files/ and what is sent to them: a command line and the text on standard input."""

import hashlib
import shlex
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from mailproxy.check import local_targets
from mailproxy.edit import edit
from mailproxy.indexed import TABLE_TYPE
from mailproxy.lock import Held
from mailproxy.model import DesiredState
from mailproxy.order import BRIDGE
from mailproxy.parameters import asked_parameters
from mailproxy.plan import Plan, Query, listing_digest
from mailproxy.render import TEMPLATE_PARAMETERS, Content, rendered_without_host, transport_table

PROGRAMS = Path(__file__).parent.parent / "files"
# What runs on hosts, and what stands before each.
_PARTS: Mapping[str, tuple[str, ...]] = {
    "enter": (),
    "observe": ("common", "foreign"),
    "stage": ("common", "checking"),
    "activate": ("common", "service", "transaction", "probing", "lingering"),
    "settle": ("common", "service", "transaction", "probing"),
    "install": ("common", "service"),
    "release": ("common",),
    "probe": ("common", "probing"),
}


# Every command line on a host is "sh -c" and this, whoever runs it and whatever for: the program comes on standard
# input. So sudoers and doas.conf can name it, logs stay short, and every login shell can read it, as it is one line.
# What comes before the mark is nobody's: a password that sudo did not ask for. By its beginning processes are
# recognised as ours (common.sh, is_at_work).
_MARK = "mailproxy-begins"
LOADER = f'PRIVATE=.mailproxy; while read -r line; do case $line in {_MARK}) read -r line; eval "$line"; esac; done'
# What the loader reads first: it takes so many bytes of a program and none of what follows. A program is ASCII, so that
# every shell counts it alike.
_READER = (
    "left={size} text=; "
    'while [ "$left" != 0 ]; do part=$(dd bs="$left" count=1 2>/dev/null; echo .) part=${{part%.}}; '
    '[ -n "$part" ] || exit 64; text=$text$part left=$((left-${{#part}})); done; eval "$text"; exit'
)


def command(program: str, *arguments: str) -> str:
    """Return the text that runs files/PROGRAM.sh with arguments, leaving standard input to it; sent() sends it."""
    return f"set -- {' '.join(map(_word, arguments))}\n{_text(program)}"


def _word(argument: str) -> str:
    """Return an argument for a shell, in ASCII."""
    if argument.isascii():
        return shlex.quote(argument)
    octal = "".join(f"\\0{byte:03o}" for byte in argument.encode())
    return f"\"$(printf %b '{octal}')\""


def sent(text: str, stdin: str = "", password: str | None = None, *, as_record: bool = False) -> str:
    """Return the input of LOADER that runs a program (command()) as root with an input of its own.

    password is what sudo may ask for; as_record says that observe.sh is sent, whose reader expects records.
    """
    enter = command("enter", LOADER, "no" if password is None else "yes", "record" if as_record else "error")
    whole = enter + text
    secret = "" if password is None else f"{password}\n"
    return f"{_MARK}\n{_READER.format(size=len(whole))}\n{whole}{secret}{stdin}"


def parts() -> dict[str, tuple[Path, ...]]:
    """Return the files that each program is put together from, in their order; tests/run has them checked so."""
    return {
        program: tuple(PROGRAMS / f"{part}.sh" for part in (*before, program)) for program, before in _PARTS.items()
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


# Put before an expectation: where relaydomains and transport are the ones that were loaded, their digests are enough.
BRIEFLY = "brief\n"


def expectation(desired: DesiredState, with_queue: bool = False) -> str:
    """Return the input of observe.sh: the digests of what need not be sent back, the accounts aliases lead to, the
    parameters that are declared, and whether the table types matter: the one that a Postfix prefers is one it has."""
    wanted = [f"want {name} {content.digest}" for name, content in rendered_without_host(desired).items()]
    accounts = [f"user {name}" for name in sorted(local_targets(desired) - {"root"})]
    parameters = {*TEMPLATE_PARAMETERS, *desired.main_cf, *asked_parameters(desired.main_cf)}
    asked = [f"ask {name}" for name in sorted(parameters)]
    declares_type = desired.database_type or "default_database_type" in desired.main_cf
    extra = ["types"] * bool(declares_type) + ["queue"] * with_queue
    return _lines([*wanted, *accounts, *asked, *extra])


def expectation_of_generation(number: int | None) -> str:
    """Return the input of observe.sh that tells all that is live, and a generation: None is the last one."""
    return _lines([f"generation {'last' if number is None else number}", "queue"])


def change(plan: Plan, record: Mapping[str, str], held: Held | None = None, *, whole: bool = False) -> str:
    """Return the input of stage.sh, whose manual page describes it; record is what the host keeps of this run.

    held says for what the change is to wait, where another run activates it. Of a file that the host has in another
    form it holds the edit, unless it is to hold whole files.
    """
    waiting = [f"held {held.review} {held.state}"] if held else []
    return _lines([*waiting, *_records(plan, record, whole)])


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
