"""What a run of ours may cost at most, in lab/bench --goals: each goal with what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.costs import FLOOR, OURS, TASKS, TEXTBOOK, Cost, Costs
from lab.tables import table

# The factors between the sizes that are compared.
MORE_DOMAINS = 10
MORE_HOSTS = 2
NOTHING, DRY, APPLIED = TASKS


@dataclass(frozen=True)
class Goal:
    """A limit, and what was measured, in the same unit; under tells a limit that must not be met itself."""

    work: str
    limit: float
    unit: str
    measured: float
    under: bool = False

    @property
    def is_reached(self) -> bool:
        """Whether what was measured is within the limit."""
        return self.measured < self.limit if self.under else self.measured <= self.limit

    def row(self) -> tuple[str, str, str, str]:
        """Return the line of the table, with by how much a goal is missed."""
        most = f"{'under ' if self.under else ''}{self.limit:.3g} {self.unit}"
        reached = "yes" if self.is_reached else f"no: {self.measured / self.limit:.2f} times the limit"
        return self.work, most, f"{self.measured:.2f} {self.unit}", reached


def goals(full: Costs, fewer_domains: Costs, fewer_hosts: Costs) -> list[Goal]:
    """Return all goals; full has the textbook's runs as well, the others ours with a tenth of the domains and half of
    the hosts."""
    floor = full.median(*FLOOR)
    ours = {task: full.median(task, OURS) for task in TASKS}
    book = {task: full.median(task, TEXTBOOK) for task in TASKS}
    return [
        Goal(NOTHING, 1.4, "x floor", ours[NOTHING].wall / floor.wall),
        Goal(DRY, 1.5, "x floor", ours[DRY].wall / floor.wall),
        Goal(f"{DRY}: peak on the controller", 150, "MB", ours[DRY].memory * 2**20 / 1e6),
        Goal(f"{APPLIED}, applied", 0.4, "x textbook", ours[APPLIED].wall / book[APPLIED].wall),
        *(Goal(f"{task}: controller CPU", 1 / 3, "x textbook", ours[task].cpu / book[task].cpu) for task in TASKS),
        *_sent(full, "sent to a host for one added domain"),
        *_sent(fewer_domains, f"the same with {MORE_DOMAINS} times fewer domains"),
        *_growth(full, fewer_domains, f"{MORE_DOMAINS} x the domains", {NOTHING: 1.2, DRY: 1.5}),
        *_growth(full, fewer_hosts, f"{MORE_HOSTS} x the hosts", dict.fromkeys(TASKS, 2.1)),
    ]


def _sent(costs: Costs, work: str) -> list[Goal]:
    """Return the goal for all that a run sends, and for the two parts of it that could be meant."""
    applied, nothing, floor = (costs.median(*key).sent for key in ((APPLIED, OURS), (NOTHING, OURS), FLOOR))
    parts = {
        "all of the run": applied,
        "less connecting": applied - floor,
        "more than with nothing to do": applied - nothing,
    }
    return [Goal(f"{work}: {part}", 4, "KB", kib * 1.024) for part, kib in parts.items()]


def _growth(full: Costs, smaller: Costs, how: str, limits: dict[str, float]) -> list[Goal]:
    def wall(costs: Costs, task: str) -> float:
        cost: Cost = costs.median(task, OURS)
        return cost.wall

    return [
        Goal(f"{task}, {how}", limit, "x", wall(full, task) / wall(smaller, task), under=True)
        for task, limit in limits.items()
    ]


def goals_table(reached: Sequence[Goal]) -> str:
    """Return the goals as a Markdown table."""
    return table(("work", "at most", "measured", "reached"), [goal.row() for goal in reached], names=4)
