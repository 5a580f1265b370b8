"""SPF of relay domains, for the addresses that the fleet sends from."""

import pytest

from mailproxy.dns_check import Ask
from mailproxy.resolving import Answer
from mailproxy.sender_policy import of_sender_policy

SENDERS = {"192.0.2.1": ("mx1", "mx1.example.net"), "2001:db8::2": ("mx2", "mx2.example.net")}
INCLUDED = {("spf.example.net", "TXT"): ("v=spf1 a:mx1.example.net ip6:2001:db8::/64 -all",)}
MX1 = {("mx1.example.net", "A"): ("192.0.2.1",)}


def asking(*records: str, unanswered: str = "") -> Ask:
    zone = {("example.com", "TXT"): records, ("example.com", "MX"): ("10 mx1.example.net",), **INCLUDED, **MX1}

    def ask(name: str, kind: str) -> Answer:
        if name == unanswered:
            return Answer(None, why="no answer in time")
        return Answer(tuple(zone.get((name, kind), ())))

    return ask


@pytest.mark.parametrize(
    ("records", "found"),
    [
        (["v=spf1 include:spf.example.net -all"], {("well", "its SPF passes for mx1, mx2")}),
        (
            ["unrelated", "v=spf1 mx ?all"],
            {
                ("well", "its SPF passes for mx1"),
                ("warning", "its SPF says neutral of mx2, where others may send through it"),
            },
        ),
        (
            ["v=spf1 ip4:198.51.100.7 -all"],
            {("warning", "its SPF says fail of mx1, mx2, where others may send through it")},
        ),
        ([], {("warning", "has no SPF, and hosts of this fleet may send for it")}),
    ],
)
def test_whether_hosts_may_send_for_a_domain(records: list[str], found: set[tuple[str, str]]) -> None:
    findings = of_sender_policy("example.com", SENDERS, asking(*records))
    assert {(one.level, one.text) for one in findings} == found


@pytest.mark.parametrize("senders", [SENDERS, {}])
def test_what_receivers_take_for_no_spf_is_wrong_whoever_sends(senders: dict[str, tuple[str, str]]) -> None:
    for records in (["v=spf1 -all", "v=spf1 mx -all"], ["v=spf1 ip4:300.1.1.1 -all"], ["v=spf1 inclde:a.example -all"]):
        (found,) = of_sender_policy("example.com", senders, asking(*records))
        assert found.level == "wrong", found
        assert found.text.startswith("its SPF counts as broken: ")


def test_where_nobody_sends_an_spf_that_can_be_read_is_not_spoken_of() -> None:
    assert not list(of_sender_policy("example.com", {}, asking()))
    assert not list(of_sender_policy("example.com", {}, asking("v=spf1 -all")))


def test_an_spf_that_nobody_answers_for_is_not_known() -> None:
    ask = asking("v=spf1 include:slow.example -all", unanswered="slow.example")
    (found,) = of_sender_policy("example.com", SENDERS, ask)
    assert (found.level, found.text) == ("unknown", "its SPF is not known: no answer in time")
