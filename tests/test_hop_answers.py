"""What a host says of its next hops: who does not answer, and who takes smaller messages than the host does."""

import pytest

from mailproxy.changes import difference
from mailproxy.hop_answers import hop_outcomes
from mailproxy.judging import Outcome, Verdict
from mailproxy.probe import probes
from mailproxy.render import rendered
from mailproxy.syntax import main_cf_parameters
from tests.states import GUIDE, desired, observed, postfix


@pytest.mark.parametrize(
    ("line", "fails", "expected"),
    [
        ("hop [10.1.0.2] answers", True, None),
        (
            "hop [10.1.0.9] silent Connection refused",
            True,
            Outcome("fail", "next hop [10.1.0.9] does not answer the host: Connection refused"),
        ),
        (
            "hop [10.1.0.9] silent Connection refused",
            False,
            Outcome("pass", "next hop [10.1.0.9] does not answer the host: Connection refused"),
        ),
        ("hop [10.1.0.2] answers 20480000", True, None),
        ("hop [10.1.0.2] answers 0", True, None),
        ("hop [10.1.0.2] answers 9,000", True, None),
        (
            "hop mail.example.com unasked this host has neither posttls-finger nor nc",
            True,
            Outcome("pass", "next hop mail.example.com was not asked: this host has neither posttls-finger nor nc"),
        ),
    ],
)
def test_a_silent_next_hop_fails_its_host_only_where_that_is_declared(
    line: str, fails: bool, expected: Outcome | None
) -> None:
    assert list(hop_outcomes([line], fails, 20480000)) == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("largest", "fails", "verdict", "here"),
    [
        (20480000, False, "pass", "the host up to 20480000: larger ones would bounce there"),
        (20480000, True, "fail", "the host up to 20480000"),
        (0, False, "pass", "the host of any size"),
    ],
)
def test_a_next_hop_that_takes_less_than_its_host_is_told_as_one_that_is_silent(
    largest: int, fails: bool, verdict: Verdict, here: str
) -> None:
    (found,) = hop_outcomes(["hop [10.1.0.2] answers 10240000"], fails, largest)
    assert found.verdict == verdict
    assert found.text.startswith(f"next hop [10.1.0.2] takes messages of up to 10240000 bytes (SIZE), {here}")
    assert found.text.endswith("; expected message_size_limit = 10240000 or less, or more behind it")


@pytest.mark.parametrize("largest", [None, 10240000, 5000])
def test_a_next_hop_that_takes_as_much_as_its_host_or_more_is_none_to_tell_of(largest: int | None) -> None:
    assert list(hop_outcomes(["hop [10.1.0.2] answers 10240000"], True, largest)) == []


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [(1000, 2000, True), (1000, 0, True), (2000, 1000, False), (0, 1000, False), (1000, 1000, False)],
)
def test_when_larger_messages_are_taken_every_next_hop_is_asked(before: int, after: int, asked: bool) -> None:
    wanted = rendered(desired(message_size_limit=after), postfix())
    found = difference(wanted, observed(desired(message_size_limit=before)))
    asked_for = probes(found, main_cf_parameters(wanted["main.cf"].text), is_unproven=False)
    assert asked_for.hops == (
        tuple(dict.fromkeys(hop.removeprefix("smtp:") for hop in GUIDE.values())) if asked else ()
    )
    assert asked_for.largest == after
