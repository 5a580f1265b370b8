"""The review: each change once, with the hosts it applies to."""

import dataclasses
from pathlib import Path

import pytest

from mailproxy.observed import ObservedState, Unread
from mailproxy.plan import Plan, Refusal, planned
from mailproxy.render import Content
from mailproxy.review import Outcome, review
from tests.states import GUIDE, desired, empty_host, observed

GOLDEN = Path(__file__).parent / "golden"
ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}


def fleet_of(count: int) -> dict[str, Outcome]:
    """Return the plans of many hosts to which one domain is added."""
    return {f"mx{number}.example.com": one_added(f"mx{number}.example.com") for number in range(1, count + 1)}


def one_added(name: str) -> Plan | Refusal:
    return planned(desired(relay_domains=ADDED, myhostname=name), observed(desired(myhostname=name)))


def drifted(name: str) -> Plan | Refusal:
    host = observed(desired(myhostname=name))
    live = {**host.live, "mynetworks": dataclasses.replace(host.live["mynetworks"], digest="1" * 64)}
    edited = dataclasses.replace(host, live=live, texts={**host.texts, "mynetworks": "10.0.0.0/8\n"})
    return planned(desired(relay_domains=ADDED, myhostname=name), edited)


@pytest.mark.parametrize(
    ("golden", "outcomes"),
    [
        (
            "one-domain-added-on-200-hosts-two-drifted",
            {
                **fleet_of(200),
                "mx7.example.com": drifted("mx7.example.com"),
                "mx90.example.com": drifted("mx90.example.com"),
            },
        ),
        ("first-run", {"mx1.example.com": planned(desired(), empty_host())}),
        ("nothing-to-do", {"mx1.example.com": planned(desired(), observed(desired()))}),
        ("unreachable-host", {**fleet_of(2), "mx3.example.com": Unread("it could not be connected to")}),
    ],
)
def test_a_review_reads_as_its_golden_file(golden: str, outcomes: dict[str, Outcome]) -> None:
    assert review(outcomes) == (GOLDEN / f"{golden}.txt").read_text()


def test_the_length_of_a_review_does_not_grow_with_the_hosts() -> None:
    assert len(review(fleet_of(200)).splitlines()) == len(review(fleet_of(3)).splitlines())


def test_a_change_of_many_hosts_own_names_is_one_change() -> None:
    first_runs = {
        name: planned(desired(myhostname=name), with_name(empty_host(), name))
        for name in ("mx1.example.com", "mx2.example.com")
    }
    assert review(first_runs).count("myhostname = <the host's name>") == 1


def with_name(host: ObservedState, name: str) -> ObservedState:
    return dataclasses.replace(host, texts={"main.cf": host.texts["main.cf"].replace("mx1.example.com", name)})


def test_a_secret_is_changed_but_not_shown() -> None:
    before = observed(desired(main_cf={"smtp_sasl_password": "old-one"}))
    plan = planned(desired(main_cf={"smtp_sasl_password": "new-one"}), before)
    text = review({"mx1.example.com": plan})
    assert "changed, not shown" in text
    assert "old-one" not in text
    assert "new-one" not in text


def test_contents_are_compared_by_what_they_say() -> None:
    assert hash(Content("a", "x")) == hash(Content("a", "x"))
    assert Content("a", "x") != Content("a", "y")
