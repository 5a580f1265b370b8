"""What mailproxy.verify makes of hosts' answers, and how it tells them."""

from typing import Any

import pytest

from mailproxy.judging import Outcome, Verdict, verdict
from mailproxy.observed import ObservedState
from mailproxy.probe import Probes
from mailproxy.stop import StopError
from mailproxy.verifying import Verified, _of_host, report, verify
from tests.states import desired, observed

HOP = "hop [10.1.0.9] silent Connection refused"


def told(*lines: str, host: ObservedState | None = None, hops_fail: bool = False, serves: bool = True) -> list[Outcome]:
    return list(_of_host(lines, host or observed(desired()), hops_fail, Probes(largest=5000, serves=serves)))


def test_a_host_that_is_as_it_should_be_tells_nothing() -> None:
    assert told("running yes", "hop [10.1.0.2] answers", "deferred 7", "end") == []


@pytest.mark.parametrize(
    ("lines", "expected", "text"),
    [
        (("running no", "end"), "fail", "Postfix is not running"),
        (
            ("running yes", "wrong transport: a.example finds nothing, expected smtp:[10.1.0.2]", "end"),
            "fail",
            "transport: a.example finds nothing, expected smtp:[10.1.0.2]",
        ),
        (("running yes", HOP, "end"), "pass", "next hop [10.1.0.9] does not answer the host: Connection refused"),
        (
            ("running yes", "hop [10.1.0.2] answers 1000", "end"),
            "pass",
            "next hop [10.1.0.2] takes messages of up to 1000 bytes (SIZE), the host up to 5000: larger ones would "
            "bounce there; expected message_size_limit = 1000 or less, or more behind it",
        ),
        ((), "inconclusive", "the host did not answer what it was asked about its tables and next hops"),
    ],
)
def test_what_a_host_says_of_itself_is_judged(lines: tuple[str, ...], expected: Verdict, text: str) -> None:
    assert told(*lines) == [Outcome(expected, text)]


def test_a_silent_next_hop_fails_where_the_rollout_says_so() -> None:
    assert verdict(told("running yes", HOP, "end", hops_fail=True)) == "fail"


def test_a_change_that_nobody_confirmed_leaves_the_host_unproven() -> None:
    host = observed(desired(), journal={"generation": "3", "applied": "yes"})
    (found,) = told("running yes", "end", host=host)
    assert found == Outcome("inconclusive", "a change on it was never confirmed: roll out again to settle it")


def test_each_host_has_a_line_and_below_it_what_was_found() -> None:
    text = report(
        [
            Verified("mx1.example.com", "pass", "20 of 500 domains", (Outcome("pass", "next hop a does not answer"),)),
            Verified("mx10.example.com", "fail", "20 of 500 domains", (Outcome("fail", "Postfix is not running"),)),
            Verified("mx3.example.com", "inconclusive", "3 of 3 domains", (Outcome("inconclusive", "greylisted"),)),
            Verified("mx4.example.com", None, "", (Outcome("fail", "it could not be connected to"),)),
        ]
    )
    assert text.splitlines() == [
        "mx1.example.com   pass          20 of 500 domains",
        "    warning: next hop a does not answer",
        "mx10.example.com  FAIL          20 of 500 domains",
        "    against it: Postfix is not running",
        "mx3.example.com   inconclusive  3 of 3 domains",
        "    left open: greylisted",
        "mx4.example.com   NOT READ",
        "    against it: it could not be connected to",
    ]


def test_what_a_host_answers_cannot_draw_on_a_terminal() -> None:
    text = report([Verified("mx1.example.com", "fail", "", (Outcome("fail", "554 \x1b[2Jall is well\r"),))])
    assert "\x1b" not in text
    assert "\r" not in text


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"domains": 0}, "domains=0: expected how many domains to ask for, or all; nothing was asked"),
        ({"domains": True}, "domains=True: expected how many domains to ask for, or all"),
        ({"domains": "some"}, "domains=some: expected how many domains to ask for, or all"),
        ({"inconclusive": "fail"}, "inconclusive=fail: expected pass; nothing was asked"),
        ({"domain": "example.com"}, "domain: no such argument; expected domains=20, domains=all, inconclusive=pass"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_asked(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(StopError) as error:
        verify(**arguments)
    assert error.value.message.startswith(reason)
    assert error.value.exit_code == 1
