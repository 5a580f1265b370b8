"""Next hops are those of transport(5), in one spelling, or refused with what to write instead."""

import pytest

from mailproxy.entries import Entries
from mailproxy.next_hops import Destination, destination, destinations, next_hop


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("smtp:[10.1.0.2]:smtp", "smtp:[10.1.0.2]:smtp"),
        ("smtp:[IPv6:2001:db8::1]:25", "smtp:[IPv6:2001:db8::1]:25"),
        ("smtp:[Mail.Bücher.Example.]:25", "smtp:[mail.xn--bcher-kva.example]:25"),
        ("smtp:Bücher.Example", "smtp:xn--bcher-kva.example"),
        ("lmtp:inet:[10.1.0.2]:24", "lmtp:inet:[10.1.0.2]:24"),
        ("lmtp:unix:/var/run/lmtp", "lmtp:unix:/var/run/lmtp"),
        ("slow:anything goes", "slow:anything goes"),
    ],
)
def test_next_hops_are_spelled_as_they_are_looked_up(given: str, spelled: str) -> None:
    assert next_hop(given) == spelled


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("smtp:", "without one, mail goes to the domain's own MX, which is this proxy"),
        ("10.1.0.2", 'expected "transport:next-hop" such as "smtp:[10.1.0.2]"'),
        ("smtp:10.1.0.2", "expected brackets around an address, as in smtp:[10.1.0.2]"),
        ("smtp:10.1.0.2:25", "expected brackets around an address"),
        ("smtp:2001:db8::1", "expected brackets around an address"),
        ("smtp:ipv6:2001:db8::1", "expected brackets around an address"),
        ("smtp:[2001:db8::1]", 'expected "[ipv6:2001:db8::1]": an IPv6 address needs the prefix'),
        ("smtp:[ipv6:10.1.0.2]", "expected an IPv6 address behind [ipv6:"),
        ("smtp:[10.1.0.2:25]", "a port stands behind the brackets"),
        ("smtp:[10.1.0.256]", "expected four numbers below 256"),
        ("smtp:[10.1.0.2]:0", "expected a port from 1 to 65535, found 0"),
        ("smtp:[10.1.0.2]:65536", "expected a port from 1 to 65535, found 65536"),
        ("smtp:[10.1.0.2]:", "'' is no port"),
        ("smtp:[10.1.0.2]:2 5", "'2 5' is no port"),
        ("smtp:mail.example.com:70000", "expected a port from 1 to 65535, found 70000"),
        ("smtp:[10.1.0.2], [10.1.0.3]", "one of them: Postfix knows lists of them from 3.5 on alone"),
        ("smtp:[exa mple.com]", "expected a next hop"),
        ("smtp:[a_.example/x]", "expected a domain name"),
    ],
)
def test_a_next_hop_that_is_none_is_refused_with_what_to_write(given: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the reason is what is looked at
        next_hop(given)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("hop", "where"),
    [
        ("smtp:[IPv6:2001:DB8::0:1]", Destination("2001:db8::1", by_mx=False)),
        ("smtp:[ipv6:::ffff:10.1.0.2]:26", Destination("10.1.0.2", by_mx=False, port="26")),
        ("relay:mail.example.com:smtp", Destination("mail.example.com", by_mx=True, port="smtp")),
        ("lmtp:unix:/run/lmtp", None),
        ("error:5.1.1 moved", None),
    ],
)
def test_where_a_next_hop_leads_has_one_spelling(hop: str, where: Destination | None) -> None:
    assert destination(hop) == where


def test_destinations_are_found_once_for_all_domains_that_share_them() -> None:
    found = destinations(Entries({"a.example": "smtp:[h.example]", "b.example": "smtp:[h.example]", "c.example": "x:"}))
    assert found == {Destination("h.example", by_mx=False): ("a.example", "b.example")}
