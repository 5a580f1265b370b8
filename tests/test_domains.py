"""A host's own names are not relayed, and nobody relays for a public suffix."""

from typing import Any

from mailproxy.domains import own_names, problems_of_domains
from tests.states import desired

HOP = "smtp:[10.1.0.2]"


def problems(*domains: str, **keys: Any) -> list[str]:
    return [str(problem) for problem in problems_of_domains(desired(relay_domains=dict.fromkeys(domains, HOP), **keys))]


def test_the_names_of_a_host_are_those_of_mydestination() -> None:
    assert own_names(desired()) == {"mx1.example.com", "localhost.example.com", "localhost"}
    declared = {"mydestination": "$myhostname, ${mydomain} hash:/etc/x, /etc/y, Mail.Example.COM"}
    assert own_names(desired(main_cf=declared)) == {"mx1.example.com", "example.com", "mail.example.com"}


def test_a_name_of_the_host_is_not_relayed() -> None:
    assert problems("mx1.example.com", "localhost.example.com") == [
        f"relay_domains['localhost.example.com'] = {HOP!r}: is a name of this host, which is delivered here "
        "(mydestination) and not relayed",
        f"relay_domains['mx1.example.com'] = {HOP!r}: is this host's own name, which is delivered here "
        "(mydestination) and not relayed",
    ]
    assert problems("example.com") == []
    (found,) = problems("example.com", main_cf={"mydestination": "$myhostname, $mydomain"})
    assert "relay_domains['example.com']" in found


def test_a_public_suffix_is_not_relayed() -> None:
    assert problems("co.uk", "example.co.uk") == [
        f"relay_domains['co.uk'] = {HOP!r}: is a public suffix, below which anybody registers domains; "
        "expected yours, such as example.co.uk"
    ]
