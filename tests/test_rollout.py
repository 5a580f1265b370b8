"""Waves: each host once, in the order of the inventory."""

import pytest

from mailproxy.rollout import Rollout, waves

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
