"""Only what is wrong for as long as Postfix may take to notice a change is wrong, and nobody waits longer than that."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mailproxy import proving, smtp
from mailproxy.judging import Reply
from mailproxy.probe import Probes

DENIED = Reply("accepted", 554, "5.7.1 Relay access denied", "a.example")
ACCEPTED = Reply("accepted", 250, "2.1.5 Ok", "a.example")
GREYLISTED = Reply("accepted", 450, "4.2.0 Greylisted", "a.example")
SILENT = Reply("greeting", 0, "no answer within 20 s")
HOST = cast(Any, SimpleNamespace(name="mx1.example.com", data={}))


class Clock:
    """A clock that only sleeping and asking move on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: Iterator[Reply], seconds: float = 0):
        self.now = 0.0
        self.asked = 0
        self.answers = answers
        self.seconds = seconds
        monkeypatch.setattr("mailproxy.proving.time.monotonic", lambda: self.now)
        monkeypatch.setattr("mailproxy.proving.time.sleep", self.wait)
        monkeypatch.setattr(smtp, "dialogue", self.dialogue)

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def dialogue(self, address: str, asked: Probes) -> tuple[list[Reply], str]:
        self.asked += 1
        self.wait(self.seconds)
        return [next(self.answers)], "192.0.2.1"


def test_what_is_right_at_last_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, iter([DENIED, DENIED, ACCEPTED]))
    assert proving.proven(HOST, Probes(), was_reachable=True) == []
    assert clock.asked == 3


def test_what_stays_wrong_for_longer_than_postfix_takes_to_notice_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, iter([DENIED] * 100))
    (found,) = proving.proven(HOST, Probes(), was_reachable=True)
    assert found.verdict == "fail"
    # trivial-rewrite(8) looks at its tables every 10 seconds.
    assert 10 < clock.now < 20


@pytest.mark.parametrize("answer", [ACCEPTED, GREYLISTED])
def test_what_is_no_failure_is_asked_once(monkeypatch: pytest.MonkeyPatch, answer: Reply) -> None:
    clock = Clock(monkeypatch, iter([answer]))
    proving.proven(HOST, Probes(), was_reachable=True)
    assert clock.asked == 1


def test_who_has_just_passed_the_tests_of_postscreen_comes_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    put_off = Reply("accepted", 450, "4.3.2 Service currently unavailable", "a.example")
    clock = Clock(monkeypatch, iter([put_off, ACCEPTED]))
    assert proving.proven(HOST, Probes(), was_reachable=True) == []
    assert (clock.asked, clock.now) == (2, 0)
    Clock(monkeypatch, iter([put_off] * 2))
    (found,) = proving.proven(HOST, Probes(), was_reachable=True)
    assert found.verdict == "inconclusive"


def test_a_host_that_does_not_answer_is_not_left_without_service_for_longer_than_one_time_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch, iter([SILENT] * 100), seconds=smtp.TIMEOUT)
    (found,) = proving.proven(HOST, Probes(), was_reachable=True)
    assert found.verdict == "fail"
    assert clock.now == smtp.TIMEOUT


def test_a_host_that_served_nobody_before_has_as_long_as_postfix_waits_until_it_starts_a_daemon_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = Reply("silence", 0, "no answer within 20 s")
    Clock(monkeypatch, iter([silent, silent, ACCEPTED]), seconds=smtp.TIMEOUT)
    assert proving.proven(HOST, Probes(), was_reachable=False) == []
    clock = Clock(monkeypatch, iter([silent] * 100), seconds=smtp.TIMEOUT)
    (found,) = proving.proven(HOST, Probes(), was_reachable=False)
    assert found.verdict == "fail"
    assert 60 < clock.now < 120


def test_a_host_that_cannot_be_reached_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch, iter([SILENT] * 100), seconds=smtp.TIMEOUT)
    (found,) = proving.proven(HOST, Probes(), was_reachable=False)
    assert found.verdict == "inconclusive"
    assert clock.asked == 1


def test_a_host_is_asked_where_its_mail_is_taken_and_else_where_ssh_goes() -> None:
    def address(**data: str) -> str:
        return proving.smtp_address(cast(Any, SimpleNamespace(name="mx1.example.com", data=data)), Probes())

    assert address(smtp_hostname="192.0.2.7", ssh_hostname="10.1.0.7") == "192.0.2.7"
    assert address(ssh_hostname="10.1.0.7") == "10.1.0.7"
    assert address() == "mx1.example.com"
