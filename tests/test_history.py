"""The generations of a host, a line each."""

import dataclasses

from mailproxy.history import Generation, generations_of
from mailproxy.observed import Saved, Unread
from tests.states import desired, observed

RECORD = {
    "generation": "2",
    "activated": "1700000000",
    "by": "ann@ops process 7 of x",
    "commit": "abc",
    "review": "v1-y",
}


def test_what_is_kept_and_what_is_live_in_order() -> None:
    host = observed(desired(), saved=Saved((0, 1), records={0: {}, 1: {**RECORD, "generation": "1"}}))
    assert host.manifest is not None
    host = dataclasses.replace(host, manifest=dataclasses.replace(host.manifest, record=RECORD))
    first, second, live = generations_of("mx1", host)
    assert first == Generation("mx1", "0, made by hand")
    assert second == Generation("mx1", "1", "2023-11-14 22:13", "ann@ops", "abc", "v1-y")
    assert live == dataclasses.replace(second, generation="2 (live)")


def test_a_generation_that_is_one_from_before_says_so() -> None:
    host = observed(desired(), saved=Saved((0,), records={0: {}}))
    assert host.manifest is not None
    record = {**RECORD, "returned": "0"}
    *_, live = generations_of(
        "mx1", dataclasses.replace(host, manifest=dataclasses.replace(host.manifest, record=record))
    )
    assert live.generation == "2 (live), as of 0"


def test_a_host_that_is_not_managed_any_more_keeps_its_generations() -> None:
    host = observed(desired(), manifest=None, saved=Saved((0,), records={0: {}}))
    assert [one.generation for one in generations_of("mx1", host)] == ["0, made by hand", "made by hand (live)"]


def test_an_unread_host_is_named_with_its_reason() -> None:
    assert list(generations_of("mx1", Unread("away"))) == [Generation("mx1", "NOT READ: away")]
