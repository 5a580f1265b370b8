"""What the runs of lab/bench cost, as tables."""

from __future__ import annotations

import statistics
from dataclasses import astuple, dataclass, field

from lab.tables import table

FLOOR = ("connect, run true", "floor")
TASKS = ("nothing to do", "dry run, one domain added", "one domain added")
TOOLS = ("textbook", "ours")
COLUMNS = ("wall s", "CPU s", "peak MiB", "round trips/host", "sent KiB/host")
DECIMALS = (2, 2, 0, 1, 1)

NOTES = """\
Wall: from the start of pyinfra to its end; the hosts' own work is in it, as they run on the same cores.
CPU: user and system time of the pyinfra process and its children. Peak: its largest resident set.
Round trips: requests that the controller waits for. A command with its input and output counts as one, the start
of SFTP as two, an SFTP request as one; setting up the connection and the pipelined writes of uploads do not count.
Sent: all bytes on the hosts' cables towards them, Ethernet to SSH, setting up the connection included."""


@dataclass(frozen=True)
class Cost:
    """What one run took: seconds, seconds, MiB; round trips and KiB sent for each host. The order is COLUMNS'."""

    wall: float
    cpu: float
    memory: float
    round_trips: float
    sent: float


@dataclass
class Costs:
    """Every run by task and tool."""

    runs: dict[tuple[str, str], list[Cost]] = field(default_factory=dict)

    def add(self, task: str, tool: str, cost: Cost) -> None:
        """Keep what a run has cost."""
        self.runs.setdefault((task, tool), []).append(cost)

    def median(self, task: str, tool: str) -> Cost:
        """Return the medians of the runs, each column by itself."""
        return Cost(*(statistics.median(column) for column in zip(*map(astuple, self.runs[task, tool]), strict=True)))


def tables(costs: Costs) -> str:
    """Return the medians, and the ratios of their medians, as Markdown; every task must have runs of every tool."""
    return f"{_absolute(costs)}\n\n{_ratios(costs)}\n\n{NOTES}"


def _absolute(costs: Costs) -> str:
    rows = []
    for task, tool in (FLOOR, *((task, tool) for task in TASKS for tool in TOOLS)):
        median = zip(astuple(costs.median(task, tool)), DECIMALS, strict=True)
        walls = [cost.wall for cost in costs.runs[task, tool]]
        figures = [f"{value:.{decimals}f}" for value, decimals in median]
        rows.append((task, tool, *figures, f"{min(walls):.2f} to {max(walls):.2f}"))
    return table(("task", "tool", *COLUMNS, "wall s, all runs"), rows, names=2)


def _ratios(costs: Costs) -> str:
    floor = costs.median(*FLOOR)
    rows = []
    for task in TASKS:
        textbook, ours = (costs.median(task, tool) for tool in TOOLS)
        rows.append((task, "textbook ÷ floor", *_quotients(textbook, floor)))
        rows.append((task, "ours ÷ floor", *_quotients(ours, floor)))
        rows.append((task, "ours ÷ textbook", *_quotients(ours, textbook)))
    return table(("task", "ratio", *COLUMNS), rows, names=2)


def _quotients(cost: Cost, reference: Cost) -> list[str]:
    return [f"{value / unit:.2f}" for value, unit in zip(astuple(cost), astuple(reference), strict=True)]
