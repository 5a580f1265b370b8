"""What is right on each host may be wrong between them: loops, addresses, names."""

from mailproxy.entries import Entries
from mailproxy.fleet_check import Fleet, Kind, Member, loops, nearly_a_group, same_addresses, same_names, unbracketed

HOP = "smtp:[10.1.0.2]"
Told = list[tuple[str, tuple[str, ...], bool]]


def member(number: int, domains: dict[str, str], subdomains: bool = False) -> Member:
    names = {f"mx{number}.example.net", f"192.0.2.{number}", f"2001:db8::{number}"}
    return Member(frozenset(names), Kind(Entries(domains), subdomains))


def told(*members: Member, **mail_hosts: list[str]) -> Told:
    fleet = Fleet(
        {f"mx{number}.example.net": one for number, one in enumerate(members, start=1)},
        {name.replace("_", "."): hosts for name, hosts in mail_hosts.items()},
    )
    return [(str(found.problem), found.hosts, found.is_warning) for found in loops(fleet)]


def told_of_two(domains: dict[str, str], subdomains: bool = False, **mail_hosts: list[str]) -> str:
    """Return the one thing that is told of two hosts that relay the same."""
    ((text, hosts, is_warning),) = told(*(member(number, domains, subdomains) for number in (1, 2)), **mail_hosts)
    assert hosts == ("mx1.example.net", "mx2.example.net")
    assert not is_warning
    return text


def test_a_next_hop_that_is_a_host_of_the_fleet_is_a_loop_by_whatever_it_is_known() -> None:
    for hop in (
        "[mx2.example.net]",
        "mx2.example.net",
        "[192.0.2.2]",
        "[ipv6:2001:DB8::0:2]:25",
        "[mx2.example.net]:smtp",
    ):
        text = told_of_two({"a.example": f"smtp:{hop}"})
        assert "is mx2.example.net, a host of this fleet: a loop; expected the internal server, in brackets" in text
    assert "is this host itself: a loop" in told_of_two({"a.example": "smtp:[127.0.0.1]"})


def test_another_port_is_another_service() -> None:
    assert told(member(1, {"a.example": "smtp:[127.0.0.1]:10025", "b.example": "smtp:[mx1.example.net]:2525"})) == []


def test_a_next_hop_without_brackets_leads_back_where_the_fleet_relays_for_it() -> None:
    text = told_of_two({"a.example": "smtp:a.example"})
    assert "leads back to a.example by its MX, which is this fleet: a loop" in text
    text = told_of_two({"a.example": "smtp:b.example", "b.example": HOP})
    assert "relay_domains['a.example'] = 'smtp:b.example': leads back to b.example by its MX" in text
    below = {"a.example": "smtp:mail.b.example", "b.example": HOP}
    assert told(member(1, below)) == []
    assert "leads back to mail.b.example by its MX" in told_of_two(below, subdomains=True)


def test_many_domains_to_one_host_are_told_once() -> None:
    text = told_of_two({f"d{number}.example": "smtp:[mx1.example.net]" for number in range(5)})
    assert text.startswith("relay_domains['d0.example']")
    assert "(so do 4 more domains)" in text


def test_loops_are_followed_from_host_to_host() -> None:
    found = told(
        member(1, {"a.example": "smtp:[mx2.example.net]", "b.example": "smtp:[mx2.example.net]"}),
        member(2, {"a.example": "smtp:[mx3.example.net]", "b.example": HOP}),
        member(3, {"a.example": "smtp:[mx1.example.net]"}),
    )
    assert [(text[:26], hosts, is_warning) for text, hosts, is_warning in found] == [
        ("relay_domains['a.example']", ("mx1.example.net",), False),
        ("relay_domains['b.example']", ("mx1.example.net",), True),
        ("relay_domains['a.example']", ("mx2.example.net",), False),
        ("relay_domains['a.example']", ("mx3.example.net",), False),
    ]
    assert "hands it on; is that meant?" in found[1][0]


def test_a_host_of_the_fleet_that_would_refuse_the_mail_is_told() -> None:
    ((text, _, is_warning),) = told(member(1, {"a.example": "smtp:[mx2.example.net]"}), member(2, {"b.example": HOP}))
    assert "and a host on that way does not relay the domain" in text
    assert not is_warning


def test_what_the_dns_says_counts_for_next_hops_without_brackets() -> None:
    domains = {"a.example": "smtp:inside.example.org", "b.example": "smtp:[inside.example.org]", "c.example": HOP}
    assert unbracketed([member(1, domains)]) == {"inside.example.org"}
    by_name = told_of_two(domains, inside_example_org=["mx2.example.net", "192.0.2.77"])
    assert "leads by the MX of inside.example.org to mx2.example.net, which is mx2.example.net, a host" in by_name
    assert "to 192.0.2.2, which is mx2.example.net" in told_of_two(
        domains, inside_example_org=["other.example", "192.0.2.2"]
    )
    assert told(member(1, domains), inside_example_org=["elsewhere.example"]) == []


def test_one_host_by_two_spellings_is_told() -> None:
    (found,) = same_names(["mx1.example.net", "mx2.example.net", "MX1.example.net."])
    assert "inventory = 'MX1.example.net.': is 'mx1.example.net' in another spelling" in str(found.problem)


def test_one_address_twice_is_told_but_for_two_instances() -> None:
    (found,) = same_addresses({"a": ("192.0.2.1", None, None), "b": ("192.0.2.1", None, None)})
    assert "ssh_hostname = '192.0.2.1': is the address of a too" in str(found.problem)
    assert found.hosts == ("b",)
    assert list(same_addresses({"a": ("192.0.2.1", "/etc/postfix"), "b": ("192.0.2.1", "/etc/postfix-out")})) == []


def test_a_misspelled_file_of_group_data_is_told() -> None:
    (found,) = nearly_a_group({"proxie": ["mynetworks"], "staging": ["mynetworks"]}, ["proxies", "mx1.example.net"])
    assert found.is_warning
    assert "no host is in a group proxie; did you mean proxies?" in str(found.problem)


def test_routes_of_mail_that_is_not_relayed_may_lead_through_the_fleet_and_not_in_a_circle() -> None:
    def leading(number: int, default: str = "", fallback: str = "", **exceptions: str) -> Member:
        routes = Entries({name.replace("_", "."): hop for name, hop in exceptions.items()})
        kind = Kind(Entries({"a.example": HOP}), False, routes, default, (fallback,) if fallback else ())
        return Member(frozenset({f"mx{number}.example.net"}), kind)

    (found,) = told(leading(1, "smtp:[mx2.example.net]"), leading(2))
    assert found[0].startswith(
        "routes['default'] = '[mx2.example.net]': is mx2.example.net, a host of this fleet, which"
    )
    assert found[2]
    circle = told(leading(1, "smtp:[mx2.example.net]"), leading(2, "smtp:[mx1.example.net]"))
    assert [(": a loop" in text, is_warning) for text, _, is_warning in circle] == [(True, False)] * 2
    (found,) = told(leading(1, partner_example="smtp:[mx2.example.net]"), leading(2, "smtp:[10.1.0.7]"))
    assert found[0].startswith("routes['exceptions']['partner.example'] = 'smtp:[mx2.example.net]': is mx2.example.net")
    assert found[2]
    both = told(leading(1, fallback="smtp:[mx2.example.net]"), leading(2, fallback="smtp:[mx1.example.net]"))
    assert all(text.startswith("routes['fallback'][0] = ") and not is_warning for text, _, is_warning in both)


def test_an_exception_of_a_relayed_domain_is_followed_as_the_domain_is() -> None:
    def with_boss(hop: str) -> Member:
        kind = Kind(Entries({"a.example": HOP}), False, Entries({"boss@a.example": hop}))
        return Member(frozenset({"mx1.example.net"}), kind)

    (found,) = told(with_boss("smtp:[mx2.example.net]"), member(2, {"b.example": HOP}))
    assert "a host on that way does not relay the domain" in found[0]
    assert told(with_boss("smtp:[mx2.example.net]"), member(2, {"a.example": HOP}))[0][2]
