"""Networks are spelled as Postfix wants them; together they trust no large part of the internet."""

import pytest

from mailproxy.networks import network, problems_of_networks, warnings_of_networks


def spelled(items: list[str]) -> tuple[str, ...]:
    return tuple(map(network, items))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("2001:db8::/32", "[2001:db8::]/32"),
        ("2001:db8::1", "[2001:db8::1]/128"),
        ("[2001:DB8:0::]/32", "[2001:db8::]/32"),
        ("! 10.1.0.9", "!10.1.0.9"),
        ("10.1.0.2", "10.1.0.2"),
    ],
)
def test_networks_are_spelled_as_postfix_wants_them(given: str, expected: str) -> None:
    assert network(given) == expected


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("10.1.2.3/8", "host bits set, so Postfix answers 451 to everybody; did you mean 10.0.0.0/8?"),
        ("2001:db8::1/32", "did you mean 2001:db8::/32?"),
        ("0.0.0.0/0", "would relay for a large part of the internet; expected networks you trust, of /8 at the widest"),
        ("::/0", "of /19 at the widest"),
        ("2000::/18", "of /19 at the widest"),
        ("10.0.0.0/7", "of /8 at the widest"),
        ("10.0.0.0/255.0.0.0", "expected a number of bits behind the /, found '255.0.0.0'"),
        ("10.0.0", "expected a network such as 10.1.0.0/16"),
        ("example.com", "expected a network such as 10.1.0.0/16"),
        ("fe80::1%eth0", "expected no interface"),
        ("", "expected a network such as 10.1.0.0/16"),
    ],
)
def test_what_is_no_network_is_refused_with_why(given: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the reason is what is looked at
        network(given)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["11.0.0.0/8", "12.0.0.0/8"], "no more in all than a /8 has"),
        (["8.0.0.0/9", "20.0.0.0/9", "30.0.0.0/32"], "no more in all than a /8 has"),
        (["2400::/19", "2600::/32"], "no more in all than a /19 has"),
        (["10.1.2.0/24", "!10.1.0.0/16"], "mynetworks[0] = '10.1.2.0/24': is not trusted, as !10.1.0.0/16 excludes"),
    ],
)
def test_networks_that_are_right_alone_may_be_wrong_together(items: list[str], expected: str) -> None:
    (found,) = problems_of_networks(spelled(items))
    assert expected in str(found)


def test_private_networks_are_no_open_relay_however_many() -> None:
    items = ["10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/19", "fe80::/64"]
    assert problems_of_networks(spelled(items)) == ()
    assert warnings_of_networks(spelled([*items, "[::1]/128", "8.8.8.8"])) == ()


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        (["8.8.8.0/24"], "mynetworks[0] = '8.8.8.0/24': is a public range: each host in it may send mail to anywhere"),
        (["2a00::/32"], "is a public range"),
        (["10.0.0.0/8", "!11.0.0.1"], "mynetworks[1] = '!11.0.0.1': excludes nothing"),
        (["10.0.0.0/8", "10.1.0.0/16"], "mynetworks[1] = '10.1.0.0/16': is in 10.0.0.0/8 already"),
        (["10.0.0.0/8", "10.0.0.0/8"], "mynetworks[1] = '10.0.0.0/8': stands there twice"),
    ],
)
def test_what_may_not_be_meant_is_warned_of(items: list[str], expected: str) -> None:
    (found,) = warnings_of_networks(spelled(items))
    assert expected in str(found)


def test_an_exclusion_may_stand_behind_what_it_excludes_from() -> None:
    items = spelled(["10.0.0.0/8", "!10.1.0.9"])
    assert (problems_of_networks(items), warnings_of_networks(items)) == ((), ())
