"""lab/bench: what a run over a fleet costs, for pyinfra itself (the floor), a textbook deploy, ours, and Ansible."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from lab import playbook
from lab.contenders import Ansible, Contender, Pyinfra, pyinfra
from lab.costs import FLOOR, OURS, TASKS, TEXTBOOK, Costs, absolute, notes, tables
from lab.fleet import Fleet
from lab.goals import MORE_DOMAINS, MORE_HOSTS, goals, goals_table
from lab.hosts import MAX_HOSTS
from lab.outcome import comparison, configuration
from lab.trial import NEXT_HOP, alone, ended, fresh_lab, up_to

NAME = "bench"
MAX_DOMAINS = 90_000
MAX_REPEAT = 100
# Hosts, domains and repetitions, unless told otherwise.
USUAL = (20, 1000, 3)
FOR_GOALS = (100, 10_000, 5)
# How many hosts Ansible works on at once; its own default, 5, is for small machines and few hosts.
FORKS = (20, 50)

DESCRIPTION = """\
Compare, in a lab of its own that is gone afterwards: connecting and running "true" through pyinfra (the floor);
a deploy of the same five files as pyinfra's documentation would have it (lab/textbook); ours; and Ansible, if asked
for. Each with nothing to do, as a dry run of one domain added, and with that change applied. Prints Markdown tables:
the medians, and their ratios. Needs Linux and root, as the lab does."""


@dataclass
class Size:
    """How many hosts and domains are measured, how often; what that has cost, and led to."""

    hosts: int
    domains: int
    repeat: int
    costs: Costs = field(default_factory=Costs)
    found: dict[str, set[str]] = field(default_factory=dict)
    postfix: str = ""

    def __str__(self) -> str:
        return f"{self.hosts:,} hosts, {self.domains:,} domains"

    def measure(self, tool: Contender) -> None:
        """Measure all tasks of a tool on a fresh fleet, which is gone afterwards, whatever happens."""
        with tempfile.TemporaryDirectory(prefix="bench-") as data, fresh_lab(NAME, [tool.kind] * self.hosts) as lab:
            added = self._tasks(tool, lab, Path(data))
            self.found[tool.name] = configuration(lab, tool.name, added)
            self.postfix = lab.hosts[0].run(["postconf", "-d", "-h", "mail_version"]).stdout.strip()

    def _tasks(self, tool: Contender, lab: Fleet, data: Path) -> str:
        """Measure all tasks of a tool, and return the last domain that was added.

        What brings the fleet to its base state is not measured. The floor is, once more for each tool: what else the
        machine does changes with time, so that what is compared has to be near.
        """

        def declare(domains: int) -> str:
            names = [f"customer-{number:05}.example" for number in range(1, domains + 1)]
            tool.declare(lab, data, dict.fromkeys(names, NEXT_HOP))
            return names[-1]

        declare(self.domains)
        self._say(tool, "fresh hosts, not measured")
        tool.deploy(lab, data)
        for number in range(1, self.repeat + 1):
            self._say(tool, f"the floor and nothing to do, {number} of {self.repeat}")
            self.costs.add(*FLOOR, pyinfra(lab, data, "exec", "-y", "--", "true"))
            self.costs.add(TASKS[0], tool.name, tool.deploy(lab, data))
        added = ""
        for number in range(1, self.repeat + 1):
            self._say(tool, f"one domain added, reviewed and applied, {number} of {self.repeat}")
            added = declare(self.domains + number)
            self.costs.add(TASKS[1], tool.name, tool.review(lab, data))
            self.costs.add(TASKS[2], tool.name, tool.deploy(lab, data))
        return added

    def _say(self, tool: Contender, what: str) -> None:
        print(f"bench: {self}: {tool.name}: {what}", file=sys.stderr, flush=True)


def _comparison_report(size: Size, forks: Sequence[int]) -> str:
    """Measure all tools, with Ansible for each of these forks, and return the tables."""
    tools: list[Contender] = [Pyinfra(TEXTBOOK), Pyinfra(OURS)]
    if forks:
        playbook.installed()
        # More than there are hosts make no difference.
        at_once = sorted({min(number, size.hosts) for number in forks})
        tools += [Ansible(number, mitogen) for mitogen in (False, True) for number in at_once]
    for tool in tools:
        size.measure(tool)
    head = f"{size}; {_circumstances(size)}" + (f", {playbook.versions()}" if forks else "")
    return f"{head}\n\n{tables(size.costs)}\n\n{notes(size.costs.tools)}\n\n{comparison(size.found)}\n"


def _goals_report(full: Size) -> str:
    """Measure what the goals are about and return their table, and the figures that it is made of."""
    fewer_domains = Size(full.hosts, full.domains // MORE_DOMAINS, full.repeat)
    fewer_hosts = Size(full.hosts // MORE_HOSTS, full.domains, full.repeat)
    full.measure(Pyinfra(TEXTBOOK))
    for size in (full, fewer_domains, fewer_hosts):
        size.measure(Pyinfra(OURS))
    reached = goals_table(goals(full.costs, fewer_domains.costs, fewer_hosts.costs))
    figures = "\n\n".join(f"{size}:\n\n{absolute(size.costs)}" for size in (full, fewer_domains, fewer_hosts))
    ends = f"{notes(full.costs.tools)}\n\n{comparison(full.found)}"
    return f"{full}; {_circumstances(full)}\n\n{reached}\n\n{figures}\n\n{ends}\n"


def _circumstances(size: Size) -> str:
    """Say when and on what this was measured."""
    processors = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in processors if line.startswith("model name")]
    cores = f"{os.cpu_count()} cores" + (f" ({models[0]})" if models else "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = f"Python {platform.python_version()}, pyinfra {metadata.version('pyinfra')}, Postfix {size.postfix}"
    return (
        f"medians of {size.repeat} runs; {time.strftime('%Y-%m-%d')}; {cores}, which the hosts share, "
        f"{memory:.0f} GiB, Linux {platform.release()}; {versions}"
    )


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit status."""
    options = options_of(arguments)
    return ended("bench", lambda: _bench(options))


def _bench(options: argparse.Namespace) -> int:
    if options.output:
        # An output that cannot be written is to be known now, and not when all is measured.
        options.output.touch()
    size = Size(options.hosts, options.domains, options.repeat)
    with alone(NAME):
        report = _goals_report(size) if options.goals else _comparison_report(size, options.forks or ())
    print(report, end="", flush=True)
    if options.output:
        options.output.write_text(report)
    return 0


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what the command line asks for, with the defaults that go with it."""
    parser = argparse.ArgumentParser(prog="lab/bench", description=DESCRIPTION)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--goals",
        action="store_true",
        help="print what each of our runs may cost at most, and what it does; ours is measured at a tenth of the "
        "domains and at half of the hosts as well (then the defaults are {} hosts, {} domains, {} runs)".format(
            *FOR_GOALS
        ),
    )
    what.add_argument(
        "--with-ansible",
        dest="forks",
        type=up_to(MAX_HOSTS),
        nargs="*",
        metavar="FORKS",
        help="measure Ansible with pipelining, and with Mitogen, as well, working on so many hosts at once "
        f"({' and '.join(map(str, FORKS))}); it is installed in lab/cache, and its hosts have Python",
    )
    hosts, domains, repeat = USUAL
    parser.add_argument("--hosts", type=up_to(MAX_HOSTS), metavar="N", help=f"size of the fleet ({hosts})")
    parser.add_argument("--domains", type=up_to(MAX_DOMAINS), metavar="D", help=f"relay domains ({domains})")
    parser.add_argument("--repeat", type=up_to(MAX_REPEAT), metavar="R", help=f"runs of each kind ({repeat})")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="write the tables to this file as well")
    options = parser.parse_args(arguments)
    for name, usual in zip(("hosts", "domains", "repeat"), FOR_GOALS if options.goals else USUAL, strict=True):
        if getattr(options, name) is None:
            setattr(options, name, usual)
    if options.goals and (options.hosts < MORE_HOSTS or options.domains < MORE_DOMAINS):
        parser.error(f"--goals needs {MORE_HOSTS} hosts and {MORE_DOMAINS} domains at least")
    if options.forks == []:
        options.forks = list(FORKS)
    return options
