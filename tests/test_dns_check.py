"""What the DNS says of a fleet, and what of that is wrong; what nobody answers is never wrong."""

from collections.abc import Iterable, Mapping

import pytest

from mailproxy.dns_check import (
    Ask,
    Finding,
    Site,
    exchanges,
    grouped,
    listed,
    of_host,
    of_mta_sts,
    of_mx,
    of_tlsa,
    unled,
)
from mailproxy.entries import Entries
from mailproxy.fleet_check import Kind, Member
from mailproxy.resolving import Answer

Zone = Mapping[tuple[str, str], list[str]]
RELAYED = Entries({"example.com": "smtp:[10.1.0.2]"})
MX1_IS = {("mx1.example.net", "A"): ["192.0.2.1"], ("1.2.0.192.in-addr.arpa", "PTR"): ["mx1.example.net"]}
# Public addresses, that nobody of the tests asks: of the name servers of .com and .net.
PUBLIC, ANOTHER = "192.5.6.30", "192.33.14.30"


def site(number: int, *addresses: str, relay_domains: Entries = RELAYED) -> Site:
    name = f"mx{number}.example.net"
    return Site(
        name, name, frozenset(addresses or [f"192.0.2.{number}"]), Member(frozenset(), Kind(relay_domains, False))
    )


MX1, MX2 = site(1), site(2)


def asking(zone: Zone, *unanswered: str) -> Ask:
    """Answer from a zone, and not for some names."""
    names = {name for name, _ in zone}

    def ask(name: str, kind: str) -> Answer:
        if name in unanswered:
            return Answer(None, why="no answer in time")
        return Answer(tuple(zone.get((name, kind), ())), is_name=name in names)

    return ask


def said(findings: Iterable[Finding]) -> set[tuple[str, str]]:
    return {(one.level, one.text) for one in findings}


def mx(zone: Zone, *unanswered: str, sites: tuple[Site, ...] = (MX1, MX2)) -> set[tuple[str, str]]:
    return said(of_mx("example.com", sites, asking({**MX1_IS, **zone}, *unanswered)))


def test_a_domain_whose_mx_leads_to_the_fleet() -> None:
    zone = {("example.com", "MX"): ["20 mx.example.net", "10 mx1.example.net"], ("mx.example.net", "A"): ["192.0.2.2"]}
    assert mx(zone) == {("well", "its MX leads to mx1.example.net, mx2.example.net")}


def test_a_domain_whose_mx_leads_elsewhere() -> None:
    provider = {("mail.provider.example", "A"): ["198.51.100.7"]}
    to_provider = "10 mail.provider.example"
    elsewhere = ("wrong", "its MX leads elsewhere, and not here: mail.provider.example (198.51.100.7)")
    assert mx({("example.com", "MX"): [to_provider], **provider}) == {elsewhere}
    here = ("well", "its MX leads to mx1.example.net")
    for own, order in ((5, "too"), (20, "first")):
        both = {("example.com", "MX"): [to_provider, f"{own} mx1.example.net"], **provider}
        also = ("warning", f"its MX leads elsewhere {order}: mail.provider.example (198.51.100.7)")
        assert mx(both) == {here, also}


@pytest.mark.parametrize(
    ("zone", "found"),
    [
        ({}, {("wrong", "does not exist in the DNS")}),
        ({("example.com", "MX"): ["0 ."]}, {("wrong", "says by a null MX that it takes no mail (RFC 7505)")}),
        (
            {("example.com", "TXT"): ["x"]},
            {("wrong", "has neither an MX nor an address: mail for it has nowhere to go")},
        ),
        ({("example.com", "MX"): ["5 gone.example"]}, {("wrong", "its MX gone.example does not exist")}),
        (
            {("example.com", "MX"): ["5 text.example"], ("text.example", "TXT"): ["x"]},
            {("wrong", "its MX text.example has no address")},
        ),
        (
            {("example.com", "A"): ["192.0.2.1"]},
            {
                ("warning", "has no MX: mail goes to its own address (RFC 5321 5.1)"),
                ("well", "its MX leads to mx1.example.net"),
            },
        ),
        (
            {("example.com", "A"): ["198.51.100.7"]},
            {
                ("warning", "has no MX: mail goes to its own address (RFC 5321 5.1)"),
                ("wrong", "its MX leads elsewhere, and not here: 198.51.100.7"),
            },
        ),
    ],
)
def test_a_domain_of_which_no_mail_comes_or_by_chance(zone: Zone, found: set[tuple[str, str]]) -> None:
    assert mx(zone) == found


def test_what_nobody_answers_is_not_known_and_nothing_else() -> None:
    zone = {("example.com", "MX"): ["5 mx1.example.net", "6 slow.example"]}
    not_asked = "its MX is not known, and SPF and MTA-STS were not asked for: no answer in time"
    assert mx(zone, "example.com") == {("unknown", not_asked)}
    unknown = ("unknown", "where its MX slow.example leads is not known: no answer in time")
    assert mx(zone, "slow.example") == {("well", "its MX leads to mx1.example.net"), unknown}
    elsewhere = {("example.com", "MX"): ["5 other.example", "6 slow.example"], ("other.example", "A"): ["198.51.100.7"]}
    also = ("warning", "its MX leads elsewhere too: other.example (198.51.100.7)")
    assert mx(elsewhere, "slow.example") == {unknown, also}


def test_an_mx_that_leads_to_a_host_that_does_not_relay_the_domain() -> None:
    zone = {("example.com", "MX"): ["5 mx1.example.net"]}
    refusing = site(1, relay_domains=Entries({"another.example": "smtp:[10.1.0.2]"}))
    assert mx(zone, sites=(refusing, MX2)) == {
        ("wrong", "its MX leads to mx1.example.net, which does not relay it"),
    }


def test_an_address_that_could_be_a_hosts_own_is_not_called_anothers() -> None:
    zone = {("example.com", "MX"): ["5 mail.example.com"], ("mail.example.com", "A"): [PUBLIC]}
    whose = "of this fleet is not known (proxy_interfaces of its hosts would say)"
    unknown = ("unknown", f"its MX mail.example.com leads to {PUBLIC}: whether that is {whose}")
    assert mx(zone, sites=(site(1, "10.0.0.1"), site(2, ANOTHER))) == {unknown}
    behind_nat = site(1, "10.0.0.1", PUBLIC)
    assert mx(zone, sites=(behind_nat, site(2, ANOTHER))) == {("well", "its MX leads to mx1.example.net")}
    # Of the other version of IP nothing is known, but the first address is one of the fleet.
    both = {**zone, ("mail.example.com", "AAAA"): ["2001:500:1::1"]}
    v6 = ("unknown", f"its MX mail.example.com leads to 2001:500:1::1: whether that is {whose}")
    assert mx(both, sites=(behind_nat, site(2, ANOTHER))) == {("well", "its MX leads to mx1.example.net"), v6}


def test_an_mx_that_is_the_name_of_a_host_leads_to_it_where_its_address_is_not_known() -> None:
    zone = {("example.com", "MX"): ["5 mx1.example.net"], ("mx1.example.net", "A"): [PUBLIC]}
    assert ("well", "its MX leads to mx1.example.net") in mx(zone, sites=(site(1, "10.0.0.1"),))


def host(zone: Zone, *unanswered: str, of: Site = MX1) -> set[tuple[str, str]]:
    return said(of_host(of, asking(zone, *unanswered)))


def test_a_hosts_name_and_address_lead_to_each_other() -> None:
    assert host(MX1_IS) == {("well", "its name leads to its address, and that back to its name")}
    reverse = "1.2.0.192.in-addr.arpa"
    assert host({("mx1.example.net", "A"): ["192.0.2.1"]}) == {("wrong", "its address has no reverse name (PTR)")}
    another = {**MX1_IS, (reverse, "PTR"): ["old.example.net"]}
    assert host(another) == {("wrong", "the reverse name of 192.0.2.1 is old.example.net")}
    assert host({}) == {("wrong", "its name has no address in the DNS")}
    unknown = ("unknown", "what 192.0.2.1 is called is not known: no answer in time")
    assert host(MX1_IS, reverse) == {unknown}
    unknown = ("unknown", "where its name leads is not known: no answer in time")
    assert host(MX1_IS, "mx1.example.net") == {unknown}


def test_a_host_whose_name_leads_to_an_address_of_another() -> None:
    assert ("wrong", "its name leads to 192.0.2.1, which is no address of it") in host(MX1_IS, of=site(1, "192.0.2.9"))
    of_nat = host({("mx1.example.net", "A"): [PUBLIC]}, of=site(1, "10.0.0.1"))
    assert {level for level, text in of_nat if "proxy_interfaces" in text} == {"unknown"}


def test_a_host_that_no_mx_leads_to_is_named() -> None:
    zone = {**MX1_IS, ("example.com", "MX"): ["10 mx1.example.net"]}
    found = unled([MX1, MX2], exchanges("example.com", [MX1, MX2], asking(zone)))
    assert [one.name for one in found] == ["mx2.example.net"]


@pytest.mark.parametrize(
    ("records", "level"),
    [
        ([], None),
        ([f"3 1 1 {'ab' * 32}"], "well"),
        ([f"1 1 1 {'ab' * 32}", f"2 0 2 {'ab' * 64}"], "well"),
        ([f"1 1 1 {'ab' * 32}"], "wrong"),
        (["3 1 1 abab"], "wrong"),
    ],
)
def test_dane_is_looked_at_where_it_is_declared(records: list[str], level: str | None) -> None:
    found = list(of_tlsa("mx1.example.net", asking({("_25._tcp.mx1.example.net", "TLSA"): records})))
    assert [one.level for one in found] == ([level] if level else [])
    assert [one.level for one in of_tlsa("a.example", asking({}, "_25._tcp.a.example"))] == ["unknown"]


@pytest.mark.parametrize(
    ("records", "level"),
    [
        ([], None),
        (["google-site-verification=x"], None),
        (["v=STSv1; id=20261125T1;"], "well"),
        (["v=STSv1;id=1", "unrelated"], "well"),
        (["v=STSv1;"], "wrong"),
        (["v=STSv1; id=2026-11-25"], "wrong"),
        (["v=STSv1; id=1", "v=STSv1; id=2"], "wrong"),
    ],
)
def test_mta_sts_is_looked_at_where_it_is_declared(records: list[str], level: str | None) -> None:
    zone = {("_mta-sts.example.com", "TXT"): records, ("mta-sts.example.com", "A"): ["192.0.2.80"]}
    found = list(of_mta_sts("example.com", asking(zone)))
    assert [one.level for one in found] == ([level] if level else [])


def test_mta_sts_needs_a_place_for_its_policy() -> None:
    zone = {("_mta-sts.example.com", "TXT"): ["v=STSv1; id=1"]}
    assert [one.level for one in of_mta_sts("example.com", asking(zone))] == ["wrong"]
    assert [one.level for one in of_mta_sts("example.com", asking(zone, "mta-sts.example.com"))] == ["unknown"]
    assert [one.level for one in of_mta_sts("example.com", asking(zone, "_mta-sts.example.com"))] == ["unknown"]


def test_of_a_large_fleet_those_are_named_that_differ() -> None:
    fleet = [f"mx{number}" for number in range(1, 7)]
    assert listed(fleet, fleet) == "all 6 hosts"
    assert listed(fleet[1:], fleet) == "all 6 hosts but mx1"
    assert listed(fleet[4:], fleet) == "mx5, mx6"


def test_what_is_found_of_many_is_said_once_and_the_worst_first() -> None:
    found = [Finding("well", "host", "mx1", "is well"), Finding("unknown", "domain", "c", "is not known")]
    found += [Finding("wrong", "domain", name, "is wrong") for name in ("b", "a", "b")]
    assert [(one.text, one.names) for one in grouped(found)] == [
        ("is wrong", ("a", "b")), ("is not known", ("c",)), ("is well", ("mx1",))
    ]  # fmt: skip
