"""What is staged waits for another run: that one goes on only where every host has staged what there is to do."""

import dataclasses
from typing import Any

import pytest

from mailproxy.answer import parsed
from mailproxy.digest import Fingerprint
from mailproxy.lock import Held, Lock
from mailproxy.observed import Manifest, ObservedState, Unread
from mailproxy.options import Options
from mailproxy.phases import Staged, of_review, staged, waves_of
from mailproxy.plan import Plan, Refusal
from mailproxy.review import Outcome
from mailproxy.rollout import Rollout, Wave, waves, within
from tests.states import desired, observed

DONE, CHANGE = Plan("/etc/postfix"), Plan("/etc/postfix", repairs=("something",))
NOW = Fingerprint("found", "declared")
WAVES = (Wave(1, "canary", ("a",)), Wave(2, "2 more", ("b", "c")), Wave(3, "the rest", ("d",)))


STAGED = Held("v1-r", str(NOW))


def host(held: Held | None = STAGED, **changes: Any) -> ObservedState:
    """Return a host where the phase stage has been."""
    lock = dataclasses.replace(Lock("t1", "alice@ci for phase=activate", 60, False, held=held), **changes)
    return observed(desired(), lock=lock)


def has_live(review: str) -> ObservedState:
    """Return a host where that review was activated and confirmed."""
    return observed(desired(), manifest=Manifest({}, {}, {"review": review}))


def found(outcome: Outcome, state: ObservedState | Unread, reviewed: str = "", **others: ObservedState) -> Staged:
    outcomes = {"a": outcome, **dict.fromkeys(others, DONE)}
    return staged(outcomes, {"a": state, **others}, dict.fromkeys(outcomes, NOW), reviewed)


def test_what_is_staged_on_a_host_goes_on_under_its_token() -> None:
    one = found(CHANGE, host(), "v1-r")
    assert one == Staged({"a": "t1"})
    assert one.refusal == ""


def test_a_host_with_nothing_to_do_keeps_nobody() -> None:
    assert found(DONE, observed(desired())) == Staged()


@pytest.mark.parametrize("reviewed", ["v1-r", ""])
def test_a_host_that_has_the_review_live_already_is_done_whatever_is_left_to_do(reviewed: str) -> None:
    # Of a removed domain the route may stay for a while: that is for the next rollout.
    one = found(CHANGE, has_live("v1-r"), reviewed, b=host())
    assert one == Staged({"b": "t1"}, frozenset({"a"}))


@pytest.mark.parametrize(
    ("outcome", "state", "reason"),
    [
        (CHANGE, observed(desired()), "nothing is staged there"),
        (CHANGE, host(held=None), "nothing is staged there; it is locked by alice@ci for phase=activate"),
        (CHANGE, host(busy=True), "a program is at work on it"),
        (CHANGE, host(Held("v1-s", str(NOW))), "what is staged there is of review v1-s"),
        (CHANGE, host(Held("v1-r", "else")), "it, or what is declared for it, is not as it was when that was staged"),
        (DONE, host(Held("v1-r", "else")), "it, or what is declared for it, is not as it was when that was staged"),
        (CHANGE, has_live("v1-s"), "nothing is staged there"),
        (Unread("it could not be connected to"), Unread("it could not be connected to"), "it could not be connected"),
        (Refusal("no such type"), observed(desired()), "no such type"),
    ],
)
def test_one_host_that_has_not_staged_that_keeps_all(
    outcome: Outcome, state: ObservedState | Unread, reason: str
) -> None:
    one = found(outcome, state, "v1-r", b=host())
    assert list(one.reasons) == ["a"]
    assert one.refusal.startswith(f"\n    a: {reason}")


def test_a_refusal_lists_no_thousand_hosts() -> None:
    lines = Staged(reasons={f"mx{number}": "why" for number in range(1000)}).refusal.splitlines()
    assert (len(lines), lines[-1]) == (12, "    and 990 more")


def test_the_same_review_may_be_staged_anew_and_no_other() -> None:
    fleet = {"a": host(), "b": host(Held("v1-s", "x")), "c": host(busy=True), "d": observed(desired())}
    assert of_review(fleet, "v1-r") == {"a": "t1"}


def test_a_host_tells_what_is_staged() -> None:
    lines = """default mail_version = 3.7.11
default config_directory = /etc/postfix
default default_database_type = hash
running yes
lock token t1
lock holder alice@ci for phase=activate
lock since 1699999990
lock_busy no
held v1-r found-declared
now 1700000000
end""".splitlines()
    state = parsed(lines)
    assert isinstance(state, ObservedState)
    assert state.lock is not None
    assert state.lock.held == Held("v1-r", "found-declared")


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        (Options(), [1, 2, 3]),
        (Options(phase="stage"), []),
        (Options(phase="activate"), [1, 2, 3]),
        (Options(phase="activate", waves=1), [1]),
        (Options(phase="activate", waves=9), [1, 2, 3]),
    ],
)
def test_a_phase_takes_its_waves(asked: Options, numbers: list[int]) -> None:
    assert [wave.number for wave in waves_of(WAVES, asked)] == numbers


def test_a_shard_without_a_canary_has_no_first_wave() -> None:
    # Else the phase that is for the canaries would activate all of it.
    order = waves(Rollout(), ["a", "b", "c", "d"], {"canary": ["a"]})
    assert [(wave.number, wave.hosts) for wave in within(order, {"a", "c"})] == [(1, ("a",)), (2, ("c",))]
    assert [(wave.number, wave.hosts) for wave in within(order, {"b", "d"})] == [(2, ("b", "d"))]
