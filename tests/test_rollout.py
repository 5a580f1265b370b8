"""Waves: each host once, in the order of the inventory; and what keeps a host of a later wave from going live."""

import dataclasses
from typing import Any

import pytest
from pydantic import ValidationError

from mailproxy.rollout import Progress, Rollout, Wave, reason_to_refuse, waves

HOSTS = [f"mx{number}" for number in range(1, 11)]
GROUPS = {"canary": ["mx3"], "east": ["mx2", "mx1", "mx3"]}


def order(*declared: str | int) -> list[tuple[str, ...]]:
    return [wave.hosts for wave in waves(Rollout(waves=declared), HOSTS, GROUPS)]


def test_the_canary_goes_first_by_default() -> None:
    first, rest = waves(Rollout(max_failures=1), HOSTS, GROUPS)
    assert first.hosts == ("mx3",)
    assert len(rest.hosts) == 9


def test_without_a_canary_all_go_at_once_by_default() -> None:
    assert [wave.hosts for wave in waves(Rollout(), HOSTS, {})] == [tuple(HOSTS)]


def test_a_percentage_is_the_share_that_is_done_after_the_wave() -> None:
    assert [len(hosts) for hosts in order("canary", "20%", "55%", "100%")] == [1, 1, 4, 4]


def test_a_number_is_that_many_more_hosts_and_a_group_those_of_it_that_are_left() -> None:
    assert order(2, "east", "100%") == [("mx1", "mx2"), ("mx3",), ("mx4", "mx5", "mx6", "mx7", "mx8", "mx9", "mx10")]


def test_hosts_that_no_wave_names_follow_in_a_last_one() -> None:
    assert order("canary", 1)[-1] == ("mx2", "mx4", "mx5", "mx6", "mx7", "mx8", "mx9", "mx10")


def test_a_wave_without_hosts_is_none() -> None:
    assert order("10%", "10%", "100%") == [("mx1",), tuple(HOSTS[1:])]


def test_a_misspelled_wave_is_refused() -> None:
    with pytest.raises(ValueError, match="wave 'canery': expected a group of the inventory, a number"):
        order("canery")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"confirm_seconds": 60, "bake_seconds": 60}, "hosts would go back while they bake: expected longer"),
        ({"confirm_seconds": 10, "bake_seconds": 60}, "found 10, with bake_seconds of 60"),
        # The default of confirm_seconds counts, too.
        ({"bake_seconds": 600}, "found 300, with bake_seconds of 600"),
        ({"confirm_second": 10}, "confirm_second\n  Extra inputs are not permitted"),
        ({"next_hops": "ignore"}, "Input should be 'warn' or 'fail'"),
        ({"next_hops": True}, "Input should be 'warn' or 'fail'"),
        ({"max_deferred": -1}, "greater than or equal to 0"),
        ({"bake_seconds": "60"}, "Input should be a valid integer"),
        ({"waves": [0]}, "expected a group, a number of hosts, or a percentage"),
        ({"waves": ["101%"]}, "expected a group, a number of hosts, or a percentage"),
        ({"waves": [True]}, "expected a group, a number of hosts, or a percentage"),
    ],
)
def test_what_cannot_be_an_order_of_activation_is_refused(keys: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError) as error:
        Rollout(**keys)
    assert reason in str(error.value)


def test_hosts_may_bake_for_any_time_where_they_never_go_back_by_themselves() -> None:
    assert Rollout(bake_seconds=3600, confirm_seconds=0).bake_seconds == 3600
    assert Rollout(bake_seconds=59, confirm_seconds=60).confirm_seconds == 60


CANARY, SECOND, THIRD = ORDER = (Wave(1, "canary", ("a",)), Wave(2, "2 more", ("b", "c")), Wave(3, "the rest", ("d",)))


def progress(**changes: Any) -> Progress:
    """Return a rollout to four hosts, all of which have staged."""
    return dataclasses.replace(Progress(("a", "b", "c", "d"), staged={"a", "b", "c", "d"}), **changes)


def test_when_all_have_staged_the_canary_goes_and_when_it_is_confirmed_the_next() -> None:
    assert reason_to_refuse(progress(), CANARY, ORDER) == ""
    assert reason_to_refuse(progress(confirmed={"a"}), SECOND, ORDER) == ""
    assert reason_to_refuse(progress(confirmed={"a", "b", "c"}), THIRD, ORDER) == ""


def test_hosts_that_have_nothing_to_change_are_not_waited_for() -> None:
    found = Progress(("b", "d"), staged={"b", "d"})
    assert reason_to_refuse(found, SECOND, ORDER) == ""
    found.confirmed.add("b")
    assert reason_to_refuse(found, THIRD, ORDER) == ""


def test_one_host_that_could_not_be_staged_stops_the_first_wave_already() -> None:
    found = progress(staged={"a", "b", "c"}, failed={"d": "no space"}, max_failures=5)
    assert reason_to_refuse(found, CANARY, ORDER) == "d could not be staged (no space)"


def test_a_host_that_was_left_behind_with_approval_stops_nobody() -> None:
    found = Progress(("a", "b", "c"), staged={"a", "b", "c"}, failed={"d": "away"}, left_behind={"d"})
    assert reason_to_refuse(found, CANARY, ORDER) == ""
    behind = progress(staged={"b", "c", "d"}, failed={"a": "away"}, left_behind={"a"}, changing=("b", "c", "d"))
    assert reason_to_refuse(behind, SECOND, ORDER) == ""


def test_a_failed_canary_stops_the_next_wave_and_those_behind_it() -> None:
    found = progress(failed={"a": "probe failed"})
    assert reason_to_refuse(found, SECOND, ORDER) == "a failed in an earlier wave (probe failed)"
    assert reason_to_refuse(found, THIRD, ORDER) == "a failed in an earlier wave (probe failed)"


def test_a_failure_in_a_wave_does_not_stop_the_others_of_it() -> None:
    assert reason_to_refuse(progress(confirmed={"a"}, failed={"b": "x"}), SECOND, ORDER) == ""


def test_so_many_failures_as_are_allowed_let_the_next_wave_go_and_one_more_does_not() -> None:
    one = progress(max_failures=1, failed={"b": "x"}, confirmed={"a", "c"})
    assert reason_to_refuse(one, THIRD, ORDER) == ""
    two = progress(max_failures=1, failed={"b": "x", "c": "y"}, confirmed={"a"})
    assert reason_to_refuse(two, THIRD, ORDER) == "b failed in an earlier wave (x)"


def test_a_host_that_proved_nothing_stops_the_next_wave_however_many_failures_are_allowed() -> None:
    found = progress(max_failures=5, unproven={"a": "greylisted"})
    assert reason_to_refuse(found, SECOND, ORDER) == "a of an earlier wave proved nothing (greylisted)"
    assert reason_to_refuse(found, CANARY, ORDER) == ""


def test_no_host_goes_before_all_have_staged_nor_before_earlier_ones_are_confirmed() -> None:
    told = "; run without --serial and --no-wait"
    assert reason_to_refuse(progress(staged={"a"}), CANARY, ORDER) == f"b has not staged its change yet{told}"
    reason = reason_to_refuse(progress(confirmed={"a", "c"}), THIRD, ORDER)
    assert reason == f"b of an earlier wave is not confirmed yet{told}"


def test_a_wave_bakes_from_its_last_activation_on() -> None:
    found = progress(activated={"a": 5.0, "b": 30.0, "c": 20.0})
    assert found.last_activation_of(SECOND) == 30.0
    assert found.last_activation_of(THIRD) == 0
