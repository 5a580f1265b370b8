"""Where the DNS says that mail goes, asked of a real name server on loopback."""

import pytest

from mailproxy import mail_exchangers
from mailproxy.mail_exchangers import mail_hosts
from tests.name_server import name_server

ZONE = {
    ("inside.example.org", "MX"): ["10 MX2.example.net.", "20 other.example."],
    ("mx2.example.net", "A"): ["192.0.2.2"],
    ("other.example", "AAAA"): ["2001:db8::2"],
    ("address.example", "A"): ["192.0.2.9"],
}


def test_mail_goes_to_the_mx_or_else_to_the_address_of_a_name() -> None:
    with name_server(ZONE) as (resolver, asked):
        found = mail_hosts(["inside.example.org", "address.example", "nowhere.example", "address.example"], resolver)
    # Name servers put records into any order.
    assert {name: set(hosts) for name, hosts in found.items()} == {
        "inside.example.org": {"mx2.example.net", "other.example", "192.0.2.2", "2001:db8::2"},
        "address.example": {"192.0.2.9"},
    }
    assert asked.count(("address.example", "MX")) == 1


def test_no_name_asks_nobody() -> None:
    with name_server(ZONE) as (resolver, asked):
        assert mail_hosts([], resolver) == {}
    assert asked == []


def test_a_name_server_that_does_not_answer_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_exchangers, "LIFETIME_SECONDS", 0.3)
    with name_server(ZONE, silent=True) as (resolver, asked):
        assert mail_hosts([f"n{number}.example" for number in range(3)], resolver) == {}
    assert {kind for _, kind in asked} == {"MX"}
