"""What lab/bench compares: pyinfra's deploys and Ansible's playbook, each told of a lab and run as its users would."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lab import playbook
from lab.costs import Cost
from lab.fleet import Fleet
from lab.hosts import controller_pid
from lab.machine import LabError
from lab.root import DEBIAN12, PYTHON, Kind
from lab.trial import DEPLOYS, ROOT, ended_with_us, group_data

# What each tool's user types to see the change.
REVIEWS = {"textbook": ("--dry", "--diff"), "ours": ("--dry",)}


class Contender(ABC):
    """A tool that brings a fleet to what is declared, and shows before what it would do.

    It keeps in the folder data what it is told, and whatever else it needs to.
    """

    name: str
    kind: Kind

    @abstractmethod
    def declare(self, lab: Fleet, data: Path, relay_domains: Mapping[str, str]) -> None:
        """Declare these relay domains for all hosts of the lab."""

    @abstractmethod
    def deploy(self, lab: Fleet, data: Path) -> Cost:
        """Bring the fleet to what is declared."""

    @abstractmethod
    def review(self, lab: Fleet, data: Path) -> Cost:
        """Show what a deploy would do."""


@dataclass(frozen=True)
class Pyinfra(Contender):
    """One of pyinfra's two deploys."""

    name: str
    kind: Kind = DEBIAN12

    def declare(self, lab: Fleet, data: Path, relay_domains: Mapping[str, str]) -> None:
        """Write group_data."""
        (data / "all.py").write_text(group_data(relay_domains))

    def deploy(self, lab: Fleet, data: Path) -> Cost:
        """Run the deploy, as from cron."""
        return pyinfra(lab, data, DEPLOYS[self.name], "--group-data", str(data), "-y")

    def review(self, lab: Fleet, data: Path) -> Cost:
        """Run it dry."""
        return pyinfra(lab, data, DEPLOYS[self.name], "--group-data", str(data), *REVIEWS[self.name])


@dataclass(frozen=True)
class Ansible(Contender):
    """Ansible's playbook, on hosts that have Python, with so many hosts at once."""

    forks: int
    mitogen: bool
    name: str = field(init=False)
    kind: Kind = PYTHON

    def __post_init__(self) -> None:
        how = "Mitogen" if self.mitogen else "pipelining"
        object.__setattr__(self, "name", f"Ansible, {how}, {self.forks} forks")

    def declare(self, lab: Fleet, data: Path, relay_domains: Mapping[str, str]) -> None:
        """Write the inventory with its group_vars."""
        playbook.write_inventory(data, lab, relay_domains)

    def deploy(self, lab: Fleet, data: Path) -> Cost:
        """Run the playbook."""
        return self._ansible_playbook(lab, data)

    def review(self, lab: Fleet, data: Path) -> Cost:
        """Run it in check mode."""
        return self._ansible_playbook(lab, data, "--check", "--diff")

    def _ansible_playbook(self, lab: Fleet, data: Path, *arguments: str) -> Cost:
        spent = data / "spent"
        command = [str(playbook.VENV / "bin/ansible-playbook"), "-i", str(data / playbook.INVENTORY), *arguments]
        # ssh's masters outlive it on purpose: whatever becomes of the run, they end with it.
        tree = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", "lab.process_tree"]
        environment = playbook.environment(data / "ansible", self.forks, self.mitogen)
        run = _run(lab, [*tree, str(spent), *command, str(playbook.PLAYBOOK / "deploy.yml")], environment)
        whole = json.loads(spent.read_text())
        return Cost(whole["wall"], whole["cpu"], whole["memory"] / 1024, None, run.sent / 1024 / len(lab.hosts))


def pyinfra(lab: Fleet, data: Path, *arguments: str) -> Cost:
    """Run pyinfra over the lab."""
    count = data / "round-trips"
    command = [sys.executable, "-m", "lab.counted", str(count), "inventories/lab.py", *arguments]
    run = _run(lab, command, {**os.environ, "LAB": lab.directory.name})
    return Cost(
        wall=run.wall,
        cpu=run.usage.ru_utime + run.usage.ru_stime,
        memory=run.usage.ru_maxrss / 1024,
        round_trips=int(count.read_text()) / len(lab.hosts),
        sent=run.sent / 1024 / len(lab.hosts),
    )


@dataclass(frozen=True)
class _Run:
    """A run that ended well: seconds, what the kernel says of it, and the bytes sent to all hosts."""

    wall: float
    usage: resource.struct_rusage
    sent: int


def _run(lab: Fleet, command: Sequence[str], environment: Mapping[str, str]) -> _Run:
    """Run a command as the controller; LabError with the end of what it said when it fails."""
    sent = sum(bytes_sent_to(lab).values())
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        started = time.perf_counter()
        process = subprocess.Popen(
            lab.controller_command(command),
            cwd=ROOT,
            # Of an administrator who never told Python to compile everything each time.
            env={name: value for name, value in environment.items() if name != "PYTHONDONTWRITEBYTECODE"},
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
            raise LabError(f"{' '.join(command)} ended with status {process.returncode}:\n{tail}")
    return _Run(wall, usage, sum(bytes_sent_to(lab).values()) - sent)


def bytes_sent_to(lab: Fleet) -> dict[str, int]:
    """Return how many bytes the controller's network has sent to each host so far, by its short name.

    A line of net/dev is the controller's end of a host's cable: NAME: eight numbers received, eight sent (proc(5)).
    """
    devices = Path(f"/proc/{controller_pid(lab.directory)}/net/dev").read_text().splitlines()[2:]
    sent = {name.strip(): int(numbers.split()[8]) for name, _, numbers in (line.partition(":") for line in devices)}
    return {host.short_name: sent[host.short_name] for host in lab.hosts}
