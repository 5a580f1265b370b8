"""The phases of a rollout that can run apart: what is staged waits on its host, which says for what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mailproxy.digest import Fingerprint
from mailproxy.lock import Lock
from mailproxy.observed import ObservedState, Unread
from mailproxy.options import STAGE, Options
from mailproxy.plan import Plan
from mailproxy.review import Outcome
from mailproxy.rollout import Wave

# How many hosts a refusal lists.
_NAMED = 10


def waves_of(order: Sequence[Wave], asked: Options) -> tuple[Wave, ...]:
    """Return the waves that a run activates."""
    if asked.phase == STAGE:
        return ()
    return tuple(wave for wave in order if not asked.waves or wave.number <= asked.waves)


@dataclass(frozen=True)
class Staged:
    """What the phase activate finds on its hosts: the tokens of what is staged, by host, and who has it live already.

    reasons say, for each host that has neither and something to do, why nothing may be activated anywhere.
    """

    tokens: Mapping[str, str] = field(default_factory=dict)
    done: frozenset[str] = frozenset()
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def refusal(self) -> str:
        """Why nothing may be activated, a line a host, '' where it may."""
        listed = [f"\n    {name}: {why}" for name, why in self.reasons.items()]
        more = [f"\n    and {len(listed) - _NAMED} more"] * (len(listed) > _NAMED)
        return "".join([*listed[:_NAMED], *more])


def staged(
    outcomes: Mapping[str, Outcome],
    observed: Mapping[str, ObservedState | Unread],
    fingerprints: Mapping[str, Fingerprint],
    reviewed: str,
) -> Staged:
    """Return what is staged on hosts, by their names; reviewed is the review that it has to be of, '' for any."""
    read = {name: state for name, state in observed.items() if isinstance(state, ObservedState)}
    locks = _held(observed)
    reviews = {reviewed} if reviewed else {lock.held.review for lock in locks.values() if lock.held}
    # Of these, an earlier run of this phase. They may have a rest to do, such as a route that mail still waits for.
    done = frozenset(
        name
        for name, state in read.items()
        if state.manifest and state.manifest.record.get("review") in reviews and not (state.lock or state.journal)
    )
    reasons: dict[str, str] = {}
    for name, outcome in outcomes.items():
        if not isinstance(outcome, Plan):
            reasons[name] = outcome.reason
        elif name in locks:
            reasons[name] = _why_not(locks[name], fingerprints[name], reviewed)
        elif name not in done and not outcome.is_empty:
            lock = read[name].lock
            reasons[name] = "nothing is staged there" + (f"; it is locked by {lock.holder}" if lock else "")
    tokens = {name: lock.token for name, lock in locks.items()}
    return Staged(tokens, done, {name: why for name, why in reasons.items() if why})


def of_review(observed: Mapping[str, ObservedState | Unread], review: str) -> dict[str, str]:
    """Return the tokens of what an earlier phase stage of the same review has left, by host: it may be staged anew."""
    locks = _held(observed).items()
    return {name: lock.token for name, lock in locks if lock.held and lock.held.review == review and not lock.busy}


def _held(observed: Mapping[str, ObservedState | Unread]) -> dict[str, Lock]:
    """Return the locks of what waits for another run, by host."""
    locks = {name: state.lock for name, state in observed.items() if isinstance(state, ObservedState)}
    return {name: lock for name, lock in locks.items() if lock is not None and lock.held is not None}


def _why_not(lock: Lock, fingerprint: Fingerprint, reviewed: str) -> str:
    """Return why what a host has staged may not be activated, '' where it may."""
    if lock.busy:
        return "a program is at work on it"
    if lock.held and reviewed and lock.held.review != reviewed:
        return f"what is staged there is of review {lock.held.review}"
    if lock.held and lock.held.state != str(fingerprint):
        return "it, or what is declared for it, is not as it was when that was staged"
    return ""
