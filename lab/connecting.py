"""lab/bench-connecting: what connecting to a fleet costs pyinfra, by what an inventory or its user can say of it."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from paramiko.hostkeys import HostKeys

from lab.contenders import pyinfra
from lab.fleet import Fleet
from lab.hosts import MAX_HOSTS
from lab.trial import alone, ended, fresh_lab, up_to

NAME = "bench-connecting"
PARALLEL = (5, 10, 20, 50)
# How many lines of a known_hosts are about other hosts.
OTHERS = 10_000

DESCRIPTION = """\
Connect to all hosts of a lab of its own and run "true", through pyinfra: as the lab's inventory says, then with one
thing changed at a time. Prints a Markdown table of the medians. Needs Linux and root, as the lab does."""


def settings(lab: Fleet, place: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield what is measured: a name, and what pyinfra is told besides."""
    yield "as the lab's inventory has it", []
    for number in PARALLEL:
        if number < len(lab.hosts):
            yield f"`--parallel {number}`", ["--parallel", str(number)]
    yield "`compress`", ["--data", f"ssh_paramiko_connect_kwargs={json.dumps({'compress': True})}"]
    own = (lab.directory / "known_hosts").read_text()
    for kind in ("plain", "hashed"):
        known = place / kind
        known.write_text("".join(_of_others(own, is_hashed=kind == "hashed")) + own)
        yield f"`known_hosts` with {OTHERS:,} other hosts, {kind}", ["--data", f"ssh_known_hosts_file={known}"]


def _of_others(own: str, *, is_hashed: bool) -> Iterator[str]:
    """Yield lines of a known_hosts for other hosts, with a key that is somebody's (sshd(8), SSH_KNOWN_HOSTS)."""
    _, *key = own.splitlines()[0].split()
    for number in range(OTHERS):
        name = f"other-{number}.example"
        if is_hashed:
            name = HostKeys.hash_host(name)
        yield f"{' '.join([name, *key])}\n"


def measured(lab: Fleet, place: Path, repeat: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| | wall s | CPU s of the controller |"
    yield "|---|--:|--:|"
    for name, arguments in settings(lab, place):
        print(f"lab/bench-connecting: {name}", file=sys.stderr)
        costs = [pyinfra(lab, place, *arguments, "exec", "-y", "--", "true") for _ in range(repeat)]
        wall, cpu = (median(getattr(cost, what) for cost in costs) for what in ("wall", "cpu"))
        yield f"| {name} | {wall:.2f} | {cpu:.2f} |"


def main(arguments: Sequence[str]) -> int:
    """Run the command; the exit status is 1 where it cannot be done."""
    parser = argparse.ArgumentParser(prog="lab/bench-connecting", description=DESCRIPTION)
    parser.add_argument("--hosts", type=up_to(MAX_HOSTS), default=100, metavar="N", help="size of the fleet (100)")
    parser.add_argument("--repeat", type=up_to(100), default=5, metavar="R", help="runs of each kind (5)")
    options = parser.parse_args(arguments)

    def work() -> int:
        with alone(NAME), fresh_lab(NAME, options.hosts) as lab, tempfile.TemporaryDirectory() as place:
            for line in measured(lab, Path(place), options.repeat):
                print(line)
        return 0

    return ended("lab/bench-connecting", work)
