"""The rollouts of a soak: which domains are added, moved and removed, and what else happens, as a seed decides."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from lab.trial import NEXT_HOP

Kind = Literal["added", "moved", "removed"]

# Declared from the first to the last rollout and never touched; senders get their bounces at the first one.
STEADY = tuple(f"steady-{number:02}.example" for number in range(1, 13))
# What comes, moves and goes. Few enough that a session in which all of them are asked for stays below the number of
# errors at which smtpd slows down (smtpd_soft_error_limit).
CUSTOMERS = tuple(f"customer-{number}.example" for number in range(1, 9))
# Two ways to the same internal mail server: a moved domain's mail arrives there too.
NEXT_HOPS = (NEXT_HOP, f"{NEXT_HOP}:2525")
MOST_AT_ONCE = 3
LONGEST_PAUSE = 3.0  # seconds
# Of the rollouts that remove something, the first finds the internal server away, and then every so manieth one.
AWAY_EVERY = 3


@dataclass(frozen=True)
class Rollout:
    """One rollout: what it changes, by domain, and all relay domains with their next hops afterwards."""

    number: int
    changes: Mapping[str, Kind]
    declared: Mapping[str, str]
    # At which share of its usual time on the hosts pyinfra is killed, None for not at all.
    killed_at: float | None
    # Whether the internal mail server is away meanwhile, so that mail for what is removed waits in the queues.
    server_away: bool
    # Seconds of rest before it.
    pause: float

    def __str__(self) -> str:
        return ", ".join(f"{domain} {kind}" for domain, kind in self.changes.items())


def first_declared() -> dict[str, str]:
    """Return the relay domains before the first rollout: the steady ones, and every other one of those that change."""
    return dict.fromkeys((*STEADY, *CUSTOMERS[::2]), NEXT_HOP)


def rollouts(seed: int, count: int, killed_every: int | None) -> list[Rollout]:
    """Return the rollouts that follow first_declared(), pyinfra being killed in every so manieth one.

    The same seed and count give the same changes, pauses and absences of the server, however many are killed.
    """
    chooser = random.Random(seed)
    declared, found, removing = first_declared(), list[Rollout](), 0
    for number in range(1, count + 1):
        changes: dict[str, Kind] = {}
        for domain in sorted(chooser.sample(CUSTOMERS, chooser.randint(1, MOST_AT_ONCE))):
            changes[domain] = chooser.choice(("moved", "removed")) if domain in declared else "added"
            declared = _changed(declared, domain, changes[domain])
        share = chooser.random()
        removes = "removed" in changes.values()
        away = removes and removing % AWAY_EVERY == 0
        removing += removes
        killed = killed_every is not None and number % killed_every == 0
        pause = chooser.uniform(0, LONGEST_PAUSE)
        found.append(Rollout(number, changes, declared, share if killed else None, away, pause))
    return found


def _changed(declared: Mapping[str, str], domain: str, kind: Kind) -> dict[str, str]:
    others = {name: hop for name, hop in declared.items() if name != domain}
    if kind == "removed":
        return others
    hop = NEXT_HOPS[1 - NEXT_HOPS.index(declared[domain])] if kind == "moved" else NEXT_HOP
    return {**others, domain: hop}
