"""What the runs of lab/bench cost, as tables."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field

from lab.tables import table

FLOOR = ("connect, run true", "floor")
TASKS = ("nothing to do", "dry run, one domain added", "one domain added")
OURS, TEXTBOOK = "ours", "textbook"
COLUMNS = ("wall s", "CPU s", "peak MiB", "round trips/host", "sent KiB/host")
DECIMALS = (2, 2, 0, 1, 1)
NOT_COUNTED = "-"

NOTES = """\
Wall: from the start of pyinfra to its end; the hosts' own work is in it, as they run on the same cores.
CPU: user and system time of the pyinfra process and its children. Peak: its largest resident set.
Round trips: requests that the controller waits for. A command with its input and output counts as one, the start
of SFTP as two, an SFTP request as one; setting up the connection and the pipelined writes of uploads do not count.
Sent: all bytes on the hosts' cables towards them, Ethernet to SSH, setting up the connection included."""

ANSIBLE_NOTES = """\
Ansible: the playbook of lab/ansible/. It needs Python on every host: its hosts are the same Debian with python3 added.
No facts are gathered and Python is not searched for, which would cost more. Forks: how many hosts it works on at once.
Its wall ends with ansible-playbook; each run begins without a connection. CPU: all of its processes, those of ssh and
the masters that ssh leaves for the next run included. Peak: the sum over all of these at one time, with what they
share counted once, looked at every 0.1 s or more rarely. ssh does not tell its round trips."""


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds, seconds, MiB; round trips and KiB sent for each host. The order is COLUMNS'.

    Round trips are None where nobody can count them.
    """

    wall: float
    cpu: float
    memory: float
    round_trips: float | None
    sent: float


@dataclass
class Costs:
    """Every run by task and tool."""

    runs: dict[tuple[str, str], list[Cost]] = field(default_factory=dict)

    def add(self, task: str, tool: str, cost: Cost) -> None:
        """Keep what a run has cost."""
        self.runs.setdefault((task, tool), []).append(cost)

    @property
    def tools(self) -> list[str]:
        """The tools that did the tasks, in the order in which they were measured."""
        return list(dict.fromkeys(tool for task, tool in self.runs if task in TASKS))

    def median(self, task: str, tool: str) -> Cost:
        """Return the medians of the runs, each column by itself."""
        wall, cpu, memory, round_trips, sent = zip(*map(astuple, self.runs[task, tool]), strict=True)
        return Cost(
            wall=statistics.median(wall),
            cpu=statistics.median(cpu),
            memory=statistics.median(memory),
            round_trips=None if None in round_trips else statistics.median(round_trips),
            sent=statistics.median(sent),
        )


def tables(costs: Costs) -> str:
    """Return the medians, and the ratios of their medians, as Markdown; every tool must have runs of every task."""
    return f"{absolute(costs)}\n\n{_ratios(costs)}"


def notes(tools: Sequence[str]) -> str:
    """Return what the columns mean with these tools."""
    return f"{NOTES}\n\n{ANSIBLE_NOTES}" if any(tool.startswith("Ansible") for tool in tools) else NOTES


def absolute(costs: Costs) -> str:
    """Return the medians as a Markdown table; every tool must have runs of every task."""
    rows = []
    for task, tool in (FLOOR, *((task, tool) for task in TASKS for tool in costs.tools)):
        median = zip(astuple(costs.median(task, tool)), DECIMALS, strict=True)
        walls = [cost.wall for cost in costs.runs[task, tool]]
        figures = [NOT_COUNTED if value is None else f"{value:.{decimals}f}" for value, decimals in median]
        rows.append((task, tool, *figures, f"{min(walls):.2f} to {max(walls):.2f}"))
    return table(("task", "tool", *COLUMNS, "wall s, all runs"), rows, names=2)


def _ratios(costs: Costs) -> str:
    floor = costs.median(*FLOOR)
    rows = []
    for task in TASKS:
        medians = {tool: costs.median(task, tool) for tool in costs.tools}
        rows += [(task, f"{tool} ÷ floor", *_quotients(median, floor)) for tool, median in medians.items()]
        ours = medians.pop(OURS)
        rows += [(task, f"{OURS} ÷ {tool}", *_quotients(ours, median)) for tool, median in medians.items()]
    return table(("task", "ratio", *COLUMNS), rows, names=2)


def _quotients(cost: Cost, reference: Cost) -> list[str]:
    pairs = zip(astuple(cost), astuple(reference), strict=True)
    return [NOT_COUNTED if None in (value, unit) else f"{value / unit:.2f}" for value, unit in pairs]
