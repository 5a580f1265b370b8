"""The lock of a host: who is changing it, and what waits there for whom."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Held:
    """What of a staged change that waits for another run: of which review, and a host's fingerprint at that time."""

    review: str
    state: str


@dataclass(frozen=True)
class Lock:
    """Who is changing this host: token and holder of the run, its age in seconds, whether a program runs now.

    held is there where a change was staged and checked for another run to activate.
    """

    token: str
    holder: str
    age: int
    busy: bool
    stale: bool = False
    held: Held | None = None
