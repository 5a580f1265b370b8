"""Names come out in one spelling, or are refused with why."""

import pytest

from mailproxy.names import domain_name, is_public_suffix, named_twice, qualified_name, relay_domain


@pytest.mark.parametrize(
    ("given", "spelled"),
    [
        ("Example.COM.", "example.com"),
        ("  example.com ", "example.com"),
        ("Bücher.Example", "xn--bcher-kva.example"),
        ("STRASSE.example", "strasse.example"),
        ("straße.example", "xn--strae-oqa.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("lan", "lan"),
    ],
)
def test_a_name_has_one_spelling(given: str, spelled: str) -> None:
    assert domain_name(given) == spelled


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("a" * 64 + ".example", "each label of 63 characters at most, found 64 in aaa"),
        (".".join(["a" * 60] * 5), "of 253 characters at most, found 304"),
        ("exa mple.com", "expected a domain name such as example.com"),
        ("example..com", "expected a domain name"),
        ("-a.example", "expected a domain name"),
        ("", "expected a domain name"),
        ("ex\u2060-.example", "holds the character"),
        ("💩.example", "no form in ASCII (IDNA 2008)"),
        ("a\nb", "holds the control character '\\n'"),
        ("*.example.com", "expected example.com: subdomains are relayed by relay_subdomains = True"),
        (".example.com", "expected example.com: subdomains are relayed by relay_subdomains = True"),
        ("10.1.0.2", "is an address; expected a domain name"),
    ],
)
def test_what_is_no_relay_domain_is_refused_with_why(given: str, reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the reason is what is looked at
        relay_domain(given)
    assert reason in str(raised.value)


def test_a_host_has_a_full_name() -> None:
    for name in ("mx1", "10.1.0.2"):
        with pytest.raises(ValueError, match="expected a fully qualified name"):
            qualified_name(name)


def test_names_are_the_same_however_they_are_spelled() -> None:
    assert named_twice(["bücher.example", "a.example", "XN--BCHER-KVA.example."]) == {
        "XN--BCHER-KVA.example.": "bücher.example"
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("co.uk", True),
        ("com", True),
        ("xn--p1ai", True),
        ("example.co.uk", False),
        ("lan", False),
        ("github.io", False),
        ("city.kawasaki.jp", False),
        ("any.kawasaki.jp", True),
    ],
)
def test_public_suffixes_are_those_of_the_registries(name: str, expected: bool) -> None:
    assert is_public_suffix(name) is expected
