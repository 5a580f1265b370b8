"""The DNS as it is asked by all, of a real name server on loopback."""

import pytest

from mailproxy import resolving
from mailproxy.resolving import Lookups
from tests.name_server import name_server

ZONE = {
    ("a.example", "MX"): ["10 MX.Example.net."],
    ("null.example", "MX"): ["0 ."],
    ("a.example", "TXT"): ['"v=spf1 " "-all"', '"\\255"'],
}


def test_records_are_text_in_one_spelling() -> None:
    with name_server(ZONE) as (resolver, asked):
        lookups = Lookups(resolver, lifetime=2, limit=10)
        assert lookups.ask("A.example.", "MX").records == ("10 mx.example.net",)
        assert lookups.ask("null.example", "MX").records == ("0 .",)
        assert set(lookups.ask("a.example", "TXT").records or ()) == {"v=spf1 -all", "\xff"}
        lookups.each(lambda name: lookups.ask(name, "MX"), ["a.example"] * 3)
    assert asked.count(("a.example", "MX")) == 1


def test_a_name_that_is_not_there_is_told_from_one_without_such_records() -> None:
    with name_server(ZONE) as (resolver, _):
        lookups = Lookups(resolver, lifetime=2, limit=10)
        for name, is_name in (("a.example", True), ("gone.example", False)):
            found = lookups.ask(name, "AAAA")
            assert (found.records, found.is_name) == ((), is_name)


def test_where_nobody_answers_questions_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_SILENCE", 2)
    with name_server(ZONE, silent=True) as (resolver, asked):
        lookups = Lookups(resolver, lifetime=0.1, limit=10)
        why = [lookups.ask(f"n{number}.example", "A").why for number in range(4)]
    assert why == [*["no answer in time"] * 2, *["no name server answers this machine"] * 2]
    assert {name for name, _ in asked} == {"n0.example", "n1.example"}


def test_one_who_answers_at_times_is_asked_until_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_SILENCE", 2)
    slow = [f"n{number}.example" for number in range(4)]
    with name_server(ZONE, unanswered=slow) as (resolver, asked):
        lookups = Lookups(resolver, lifetime=0.1, limit=10)
        assert lookups.ask("a.example", "MX").records
        assert [lookups.ask(name, "A").why for name in slow] == ["no answer in time"] * 4
        late = Lookups(resolver, lifetime=0.1, limit=0)
        assert late.ask("a.example", "MX").records is None
    assert {name for name, _ in asked} == {"a.example", *slow}
