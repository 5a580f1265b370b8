"""lab/bench: what a run over a fleet costs, for pyinfra itself (the floor), a textbook deploy and ours."""

from __future__ import annotations

import argparse
import os
import platform
import smtplib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from lab.costs import FLOOR, TASKS, TOOLS, Cost, Costs, tables
from lab.fleet import Fleet
from lab.hosts import MAX_HOSTS, Host, controller_pid
from lab.machine import LabError
from lab.trial import DEPLOYS, NEXT_HOP, ROOT, alone, ended, ended_with_us, fresh_lab, group_data, up_to

NAME = "bench"
MAX_DOMAINS = 90_000
MAX_REPEAT = 100
ARRIVAL_TIMEOUT = 20  # seconds

# What each tool's user types to see the change.
REVIEWS = {"textbook": ("--dry", "--diff"), "ours": ("--dry",)}

DESCRIPTION = """\
Compare, in a lab of its own that is gone afterwards: connecting and running "true" through pyinfra (the floor);
a deploy of the same five files as pyinfra's documentation would have it (lab/textbook); ours. Each with nothing
to do, as a dry run of one domain added, and with that change applied. Prints Markdown tables: the medians, and
their ratios. Needs Linux and root, as the lab does."""


class Bench:
    """A fleet that is up, and a folder of group_data for it."""

    def __init__(self, lab: Fleet, data: Path):
        self.lab, self.data = lab, data

    def declare(self, domains: int) -> str:
        """Declare that many relay domains and return the last one."""
        names = [f"customer-{number:05}.example" for number in range(1, domains + 1)]
        (self.data / "all.py").write_text(group_data(dict.fromkeys(names, NEXT_HOP)))
        return names[-1]

    def floor(self) -> Cost:
        """Connect and run "true"."""
        return self._pyinfra("exec", "-y", "--", "true")

    def deploy(self, tool: str) -> Cost:
        """Bring the fleet to what is declared."""
        return self._pyinfra(DEPLOYS[tool], "--group-data", str(self.data), "-y")

    def review(self, tool: str) -> Cost:
        """Show what a deploy would do."""
        return self._pyinfra(DEPLOYS[tool], "--group-data", str(self.data), *REVIEWS[tool])

    def _pyinfra(self, *arguments: str) -> Cost:
        """Run pyinfra as the controller; LabError with the end of what it said when it fails."""
        count = self.data / "round-trips"
        command = [sys.executable, "-m", "lab.counted", str(count), "inventories/lab.py", *arguments]
        hosts, sent = len(self.lab.hosts), _bytes_sent(self.lab)
        with tempfile.TemporaryFile("w+", errors="replace") as said:
            started = time.perf_counter()
            process = subprocess.Popen(
                self.lab.controller_command(command),
                cwd=ROOT,
                env={**os.environ, "LAB": NAME},
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
            )
            with ended_with_us(process):
                _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode != 0:
                said.seek(0)
                tail = "".join(f"  {line}" for line in said.readlines()[-20:])
                raise LabError(f"pyinfra {' '.join(arguments)} ended with status {process.returncode}:\n{tail}")
        return Cost(
            wall=wall,
            cpu=usage.ru_utime + usage.ru_stime,
            memory=usage.ru_maxrss / 1024,
            round_trips=int(count.read_text()) / hosts,
            sent=(_bytes_sent(self.lab) - sent) / 1024 / hosts,
        )


def _bytes_sent(lab: Fleet) -> int:
    """Return how many bytes the controller's network has sent to the hosts so far.

    A line of net/dev is the controller's end of a host's cable: NAME: eight numbers received, eight sent (proc(5)).
    """
    devices = Path(f"/proc/{controller_pid(lab.directory)}/net/dev").read_text().splitlines()[2:]
    sent = {name.strip(): int(numbers.split()[8]) for name, _, numbers in (line.partition(":") for line in devices)}
    return sum(sent[host.short_name] for host in lab.hosts)


def _measure(bench: Bench, tool: str, domains: int, repeat: int, costs: Costs) -> str:
    """Measure all tasks of a tool on a fresh fleet, and return the last domain that was added.

    What brings the fleet to its base state is not measured. The floor is, once more for each tool: what else the
    machine does changes with time, so that what is compared has to be near.
    """
    bench.declare(domains)
    _say(tool, f"{domains} domains on {len(bench.lab.hosts)} fresh hosts, not measured")
    bench.deploy(tool)
    for number in range(1, repeat + 1):
        _say(tool, f"the floor and nothing to do, {number} of {repeat}")
        costs.add(*FLOOR, bench.floor())
        costs.add(TASKS[0], tool, bench.deploy(tool))
    added = ""
    for number in range(1, repeat + 1):
        _say(tool, f"one domain added, reviewed and applied, {number} of {repeat}")
        added = bench.declare(domains + number)
        costs.add(TASKS[1], tool, bench.review(tool))
        costs.add(TASKS[2], tool, bench.deploy(tool))
    return added


def _say(tool: str, what: str) -> None:
    print(f"bench: {tool}: {what}", file=sys.stderr, flush=True)


def _checked_configuration(lab: Fleet, tool: str, domain: str) -> set[str]:
    """Return the settings of the first host; LabError unless every host routes the domain and the first relays to it.

    Only a change that has happened may be compared.
    """
    for host in lab.hosts:
        route = host.run(["postmap", "-q", domain, "hash:/etc/postfix/transport"], check=False).stdout.strip()
        if route != NEXT_HOP:
            raise LabError(f"after {tool}, {host.name} routes {domain} to {route!r}, expected {NEXT_HOP}")
    _relay(lab, lab.hosts[0], f"{tool}@{domain}")
    settings = lab.hosts[0].run(["postconf", "-n"]).stdout.splitlines()
    return {" ".join(line.replace(",", " ").split()) for line in settings}


def _relay(lab: Fleet, host: Host, recipient: str) -> None:
    """Send a message through a host; LabError when it does not arrive at the internal mail server."""
    try:
        with lab.network(), smtplib.SMTP(host.address, timeout=ARRIVAL_TIMEOUT) as client:
            client.sendmail("sender@outside.example", [recipient], "Subject: bench\n\n.\n")
    except smtplib.SMTPException as error:
        raise LabError(f"{host.name} does not relay to {recipient}: {error}") from None
    deadline = time.monotonic() + ARRIVAL_TIMEOUT
    while recipient not in [message["X-Original-To"] for message in lab.messages()]:
        if time.monotonic() > deadline:
            raise LabError(f"a message to {recipient} did not arrive within {ARRIVAL_TIMEOUT} s")
        time.sleep(0.1)


def _report(hosts: int, domains: int, repeat: int) -> str:
    """Measure everything and return the tables; the lab is gone afterwards, whatever happens."""
    costs, settings, postfix = Costs(), dict[str, set[str]](), ""
    with alone(NAME), tempfile.TemporaryDirectory(prefix="bench-") as data:
        for tool in TOOLS:
            with fresh_lab(NAME, hosts) as lab:
                added = _measure(Bench(lab, Path(data)), tool, domains, repeat, costs)
                settings[tool] = _checked_configuration(lab, tool, added)
                postfix = lab.hosts[0].run(["postconf", "-d", "-h", "mail_version"]).stdout.strip()
    versions = f"Python {platform.python_version()}, pyinfra {metadata.version('pyinfra')}, Postfix {postfix}"
    head = f"{hosts:,} hosts, {domains:,} domains, {os.cpu_count()} cores; medians of {repeat} runs; {versions}"
    return f"{head}\n\n{tables(costs)}\n\n{_comparison(*settings.values())}\n"


def _comparison(settings: set[str], others: set[str]) -> str:
    """Say whether both deploys have led to the same configuration."""
    if settings == others:
        return "Afterwards postconf -n is the same with both deploys, and mail for an added domain is relayed."
    return f"NOT COMPARABLE: after the two deploys postconf -n differs in {'; '.join(sorted(settings ^ others))}"


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit status."""
    options = _options(arguments)
    return ended("bench", lambda: _bench(options))


def _bench(options: argparse.Namespace) -> int:
    if options.output:
        # An output that cannot be written is to be known now, and not when all is measured.
        options.output.touch()
    report = _report(options.hosts, options.domains, options.repeat)
    print(report, end="", flush=True)
    if options.output:
        options.output.write_text(report)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab/bench", description=DESCRIPTION)
    parser.add_argument("--hosts", type=up_to(MAX_HOSTS), default=20, metavar="N", help="size of the fleet (20)")
    parser.add_argument("--domains", type=up_to(MAX_DOMAINS), default=1000, metavar="D", help="relay domains (1000)")
    parser.add_argument("--repeat", type=up_to(MAX_REPEAT), default=3, metavar="R", help="runs of each kind (3)")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="write the tables to this file as well")
    return parser.parse_args(arguments)
