"""lab/fuzz: declarations at random are refused with a reason, or Postfix reads them back as they were meant."""

import argparse
import os
import random
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import Any

from lab.hostile import declaration
from lab.meant import SUBDOMAINS, meant_aliases, meant_parameters, meant_routes
from lab.read_back import TABLES, Read, read_back
from lab.root import DEBIAN12, cached_root
from mailproxy.check import validated
from mailproxy.host_postfix import HostPostfix
from mailproxy.inputs import change, expectation
from mailproxy.model import DesiredState, Entries
from mailproxy.observed import ObservedState
from mailproxy.parameters import asked_parameters
from mailproxy.plan import Plan, planned
from mailproxy.render import rendered

BATCH = 2000
# Of so many states that are rendered one is read alone as well, under its own names and with nothing around it.
ALONE = 25
# What Postfix says of names that it does not know, and does no more about.
_IGNORED = re.compile("(unused|undefined) parameter")
# The lines that go to a host, by their first word (observe.sh, stage.sh).
_ASKED = {"want", "user", "ask", "types", "queue"}
_CHANGED = {
    *("base", "file", "table", "check", "note", "loaded", "record", "swap", "service", "gone", "drop", "query"),
    *("hop", "end"),
}


@dataclass
class Fuzzed:
    """What became of states: how often what, and what should not have been, with the state it was found in."""

    count: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def expect(self, holds: bool, what: str, declared: object) -> None:
        """Note what does not hold."""
        if not holds:
            self.wrong.append(f"{what}: {_ascii(declared)}")


def _ascii(declared: object) -> str:
    try:
        return ascii(declared)
    except ValueError:
        return "(holds a number too long to be shown)"


@dataclass(frozen=True)
class Postfix:
    """The Postfix of a root: what it is, the names of its parameters, its master.cf."""

    root: Path
    known: frozenset[str] = field(repr=False)
    matches_subdomains: str = field(repr=False)
    master_cf: str = field(repr=False)

    @property
    def host(self) -> HostPostfix:
        """What rendering needs to know."""
        names = {"inet_interfaces": "all", "inet_protocols": "all", "compatibility_level": "0", "maillog_file": ""}
        names |= {"daemon_directory": "/usr/lib/postfix/sbin", "queue_directory": "/var/spool/postfix"}
        names |= {"smtpd_relay_restrictions": "", "smtpd_forbid_bare_newline": "normalize"}
        defaults = Entries({**names, "parent_domain_matches_subdomains": self.matches_subdomains})
        return HostPostfix((3, 7), "/etc/postfix", "hash", defaults, Entries({}))


def fuzzed(seed: int, numbers: range, postfix: Postfix) -> Fuzzed:
    """Return what becomes of the states of these numbers."""
    found = Fuzzed()
    states: dict[int, tuple[dict[str, Any], DesiredState, dict[str, str]]] = {}
    for number in numbers:
        declared = declaration(random.Random(f"{seed} {number}"))
        found.count["states"] += 1
        try:
            desired = _desired(declared, found)
            if desired is not None:
                texts = {name: content.text for name, content in rendered(desired, postfix.host).items()}
                states[number] = (declared, desired, texts)
                _check_lists(declared, desired, texts, found)
                _check_messages(declared, desired, postfix, found)
        except Exception as error:
            found.wrong.append(f"{number}: {error!r}: {_ascii(declared)}")
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        alone = [number for number in list(states)[::ALONE] if _is_for(states[number][1], postfix)]
        _write(scratch, states, alone, postfix)
        _compare(states, alone, read_back(postfix.root, scratch), found)
    finally:
        shutil.rmtree(scratch)
    return found


def postfix_of(root: Path) -> Postfix:
    """Ask the Postfix of a root what it is."""
    scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        known = read_back(root, scratch)["defaults"].parameters
    finally:
        shutil.rmtree(scratch)
    # Transports that parameters of the states are for.
    slow = "".join(f"slow{number} unix - - n - - smtp\n" for number in range(9))
    master_cf = (root / "etc/postfix/master.cf").read_text() + slow
    return Postfix(root, frozenset(known), known["parent_domain_matches_subdomains"], master_cf)


def _desired(declared: dict[str, Any], found: Fuzzed) -> DesiredState | None:
    """Return what is declared, None where it is refused; every problem has to be a line that can be shown."""
    desired, problems = validated(declared)
    found.expect((desired is None) == bool(problems), "refused without a problem", declared)
    for problem in problems:
        text = str(problem)
        found.expect(text.isprintable() and bool(problem.reason), f"cannot be shown: {text!r}", declared)
    found.count["refused" if desired is None else "rendered"] += 1
    found.count["problems"] += len(problems)
    return desired


def _check_lists(declared: dict[str, Any], desired: DesiredState, texts: Mapping[str, str], found: Fuzzed) -> None:
    """Each line of a list file is one item, of characters that mean nothing else there (postconf(5), mynetworks)."""
    for name, items, shape in (
        ("relaydomains", set(desired.relay_domains), r"[a-z0-9._-]+"),
        ("mynetworks", set(desired.mynetworks), r"!?([0-9.]+(/[0-9]+)?|\[[0-9a-f:.]+\]/[0-9]+)"),
    ):
        head, *lines, last = texts[name].split("\n")
        is_right = set(lines) == items and all(re.fullmatch(shape, line) for line in lines)
        found.expect(head.startswith("# Managed") and not last and is_right, f"{name} reads {lines}", declared)


def _check_messages(declared: dict[str, Any], desired: DesiredState, postfix: Postfix, found: Fuzzed) -> None:
    """What is sent to a host is made of the records that it knows, and of the files' own lines."""
    for line in expectation(desired).removesuffix("\n").split("\n"):
        word, *rest = line.split(" ")
        found.expect(word in _ASKED and len(rest) <= 2 and line.isprintable(), f"asks {line!r}", declared)
    plan = planned(desired, _bare(postfix, desired))
    if not isinstance(plan, Plan):
        found.count["refused by the host's version"] += 1
        return
    lines = iter(change(plan, {}).removesuffix("\n").split("\n"))
    for line in lines:
        word, *rest = line.split(" ")
        found.expect(word in _CHANGED, f"sends {line!r}", declared)
        if word == "file":
            content = "".join(f"{next(lines)}\n" for _ in range(int(rest[1])))
            wanted = next(file.desired.text for file in plan.files if file.desired.name == rest[0])
            found.expect(content == wanted, f"sends another {rest[0]}", declared)


def _bare(postfix: Postfix, desired: DesiredState) -> ObservedState:
    """Return a host that was just installed."""
    return ObservedState(
        postfix=replace(postfix.host, lacking=_lacking(postfix, desired)),
        table_types=frozenset({"hash", "btree", "lmdb", "cdb", "dbm"}),
        running=True,
        live={},
        texts={},
    )


def _lacking(postfix: Postfix, desired: DesiredState) -> frozenset[str]:
    return frozenset(asked_parameters(desired.main_cf)) - postfix.known


def _is_for(desired: DesiredState, postfix: Postfix) -> bool:
    return isinstance(planned(desired, _bare(postfix, desired)), Plan)


def _write(
    scratch: Path,
    states: Mapping[int, tuple[dict[str, Any], DesiredState, dict[str, str]]],
    alone: list[int],
    postfix: Postfix,
) -> None:
    """Write what is to be read: all states together, what each of them says under names of its own, and some alone."""
    together: dict[str, list[str]] = {"main.cf": [], **{table: [] for table in TABLES}}
    names: list[str] = []
    for number, (declared, desired, texts) in states.items():
        for name, parts in together.items():
            parts.append(_tagged(texts[name], f"s{number}_" if name == "main.cf" else f"s{number}-"))
        names += [f"s{number}_{name}" for name in meant_parameters(declared, desired, "")]
    # Postfix reads names that are none of its own where something refers to them.
    together["main.cf"].append(f"smtpd_restriction_classes = {' '.join(names)}\n")
    write_directory(scratch / "parameters", {"main.cf": "".join(together.pop("main.cf"))}, postfix)
    write_directory(scratch / "tables", {"main.cf": "", **{n: "".join(t) for n, t in together.items()}}, postfix)
    for number in alone:
        write_directory(scratch / f"alone{number}", states[number][2], postfix)


def write_directory(directory: Path, texts: Mapping[str, str], postfix: Postfix) -> None:
    """Make a configuration directory that can be read."""
    directory.mkdir()
    for name, text in {**texts, "master.cf": postfix.master_cf}.items():
        path = directory / name
        path.write_bytes(text.encode())
        # Postfix waits until a file of this very second looks finished.
        os.utime(path, (time.time() - 10,) * 2)


def _tagged(text: str, tag: str) -> str:
    """Put a tag before each line that begins an entry: also one that nobody meant would be told apart."""
    lines = text.removesuffix("\n").split("\n")
    begin = (line and line[0] not in "# \t\r\v\f" for line in lines)
    return "".join(f"{tag if begins else ''}{line}\n" for line, begins in zip(lines, begin, strict=True))


def _compare(
    states: Mapping[int, tuple[dict[str, Any], DesiredState, Any]],
    alone: list[int],
    read: Mapping[str, Read],
    found: Fuzzed,
) -> None:
    """Compare what was read with what was meant: neither more, nor less, nor otherwise."""
    meant: dict[str, dict[str, str]] = {"parameters": {}, "aliases": {}, "transport": {}}
    for number, (declared, desired, _) in states.items():
        parts = {
            "parameters": meant_parameters(declared, desired, read["defaults"].parameters.get(SUBDOMAINS, "")),
            "aliases": meant_aliases(declared),
            "transport": meant_routes(declared, desired),
        }
        for name, entries in parts.items():
            tag = f"s{number}_" if name == "parameters" else f"s{number}-"
            meant[name] |= {f"{tag}{key}": value for key, value in entries.items()}
            found.count[name] += len(entries)
        if number in alone:
            one = read[f"alone{number}"]
            if one.said and not _IGNORED.search(one.said):
                # What only its own Postfix can tell, such as how long a text has to be: it is not staged.
                found.count["alone, refused by Postfix"] += 1
                continue
            found.count["alone"] += 1
            found.expect(not one.said, f"{number}: {one.said}", declared)
            for name, entries in parts.items():
                found.expect(getattr(one, name) == entries, f"{number}: {name} read {getattr(one, name)}", declared)
    got = {name: dict(getattr(read["parameters" if name == "parameters" else "tables"], name)) for name in meant}
    got["parameters"].pop("smtpd_restriction_classes", None)
    for name, entries in meant.items():
        for key in sorted(entries.keys() | got[name].keys()):
            is_same = entries.get(key) == got[name].get(key)
            of_state = states.get(int(re.sub(r"\D.*", "", key[1:]) or -1), ({},))[0]
            found.expect(is_same, f"{key} meant {entries.get(key)!a}, read {got[name].get(key)!a}", of_state)
    found.expect(not read["tables"].said, read["tables"].said[:300], "tables")
    # In one file with all others nothing says what a reference is to, nor that in some it may be to anything.
    lines = read["parameters"].said.splitlines()
    others = [line for line in lines if not re.search("undefined parameter|empty macro name", line)]
    found.expect(not others, "".join(others[:3])[:300], "parameters")


def main(arguments: list[str]) -> int:
    """Run lab/fuzz and return its exit status: 0 where nothing was wrong."""
    parser = argparse.ArgumentParser(prog="lab/fuzz", description=__doc__)
    parser.add_argument("--states", type=int, default=100_000, help="how many (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default: %(default)s)")
    given = parser.parse_args(arguments)
    postfix = postfix_of(cached_root(DEBIAN12))
    begun, total = time.monotonic(), Fuzzed()
    parts = [range(first, min(first + BATCH, given.states)) for first in range(0, given.states, BATCH)]
    with ProcessPoolExecutor() as workers:
        results = list(workers.map(fuzzed, repeat(given.seed), parts, repeat(postfix)))
    for found in results:
        total.count += found.count
        total.wrong += found.wrong
        for wrong in found.wrong[:20]:
            print(wrong, flush=True)
    for name, number in total.count.items():
        print(f"{number:>9,} {name}")
    print(f"{len(total.wrong):>9,} wrong; {time.monotonic() - begun:.0f} s")
    return bool(total.wrong)
