"""What TLS a next hop has to have: entries of smtp_tls_policy_maps, by next hop or domain (TLS_README)."""

import difflib
import re
from collections.abc import Collection, Mapping
from functools import lru_cache

from mailproxy.entries import Entries
from mailproxy.names import domain_name, single_line
from mailproxy.next_hops import next_hop, spelled_host
from mailproxy.problem import refuse_unless

LEVELS = ("none", "may", "encrypt", "dane", "dane-only", "fingerprint", "verify", "secure")
# Those that look for TLSA records in a DNS that is signed, and those that look at who signed a certificate.
BY_DNS = ("dane", "dane-only")
BY_AUTHORITY = ("verify", "secure")
# The protocols that are not deprecated (RFC 8996), as Postfix writes them from 3.6 on, and before.
MODERN, MODERN_BY_NAME = ">=TLSv1.2", "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"
_MATCHING = (*BY_AUTHORITY, "fingerprint")
_FINGERPRINT = re.compile(r"([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}")
_NAMES = ("nexthop", "dot-nexthop", "hostname")
_CIPHERS = ("null", "export", "low", "medium", "high")
_PROTOCOLS = re.compile(r"!?(SSLv2|SSLv3|TLSv1(\.[123])?)(:!?(SSLv2|SSLv3|TLSv1(\.[123])?))*")
_SMTP = ("", "smtp", "relay")


def policy(value: str) -> str:
    """Return a level of TLS with its attributes, or refuse what the SMTP client would put mail off for."""
    level, *attributes = single_line(value).split()[:20] or [""]
    refuse_unless(level in LEVELS, f"expected {', '.join(LEVELS[:-1])} or {LEVELS[-1]}, as in 'encrypt'")
    named = [attribute.partition("=")[0] for attribute in attributes]
    for attribute in attributes:
        name, _, setting = attribute.partition("=")
        refuse_unless(name in ("match", "protocols", "ciphers"), f"found {name!r}; {_EXPECTED}")
        refuse_unless(named.count(name) == 1, f"names {name} twice; expected it once")
        if name == "match":
            refuse_unless(level in _MATCHING, f"match is for {', '.join(_MATCHING)}, and not for {level}")
            _check_match(level, setting)
        elif name == "ciphers":
            refuse_unless(setting in _CIPHERS, f"expected ciphers={'|'.join(_CIPHERS)}")
        else:
            refuse_unless(
                bool(_PROTOCOLS.fullmatch(setting)), "expected protocols as in protocols=!SSLv2:!SSLv3:!TLSv1"
            )
    if level == "fingerprint" and "match" not in named:
        raise ValueError("expected the fingerprint of the certificate, as in 'fingerprint match=AB:CD:...'")
    return " ".join((level, *attributes))


_EXPECTED = "expected a level, and behind it match=..., protocols=... or ciphers=..."


def _check_match(level: str, setting: str) -> None:
    if level == "fingerprint":
        matches = all(_FINGERPRINT.fullmatch(one) for one in setting.split("|"))
        expected = "expected a SHA-256 as 32 pairs of hexadecimal digits with colons, several with | between them"
        refuse_unless(matches, expected)
        return
    for name in setting.split(":"):
        if name not in _NAMES:
            domain_name(name.removeprefix("."))


def level_of(value: str) -> str:
    """Return the level of a policy."""
    return value.partition(" ")[0]


def policy_key(value: str) -> str:
    """Return a next hop as transport spells it, a domain, or one with a dot before it for all below; or refuse it."""
    text = single_line(value)
    if "[" in text or ":" in text:
        refuse_unless(not text.startswith(("smtp:", "relay:", "lmtp:")), "expected the next hop without its transport")
        return next_hop(f"smtp:{text}").removeprefix("smtp:")
    name = domain_name(text.removeprefix("."))
    return f".{name}" if text.startswith(".") else name


def is_address(key: str) -> bool:
    """Whether a next hop is an address."""
    return bool(re.fullmatch(r"[0-9.]+|.*:.*", spelled_host(key.rpartition("]")[0] or key.partition(":")[0])))


@lru_cache(maxsize=256)
def smtp_hops(relay_domains: Entries) -> Mapping[str, str]:
    """Return what smtp(8) looks policies up by for relay domains, each with the first of its domains."""
    found: dict[str, str] = {}
    for domain, hop in relay_domains.items():
        transport, _, destination = hop.partition(":")
        if transport in _SMTP:
            found.setdefault(destination or domain, domain)
    return found


def problem_of_key(key: str, hops: Collection[str], relay_domains: Mapping[str, str]) -> str:
    """Return why nothing is ever looked up by a key, '' where something may be."""
    if key in hops:
        return ""
    if key in relay_domains:
        return f"mail for it goes to {relay_domains[key]}; expected that next hop as the key, without its transport"
    if "[" not in key and ":" not in key and "." in key.lstrip("."):
        return ""
    near = difflib.get_close_matches(key, hops, n=1)
    meant = f"did you mean {near[0]}?" if near else f"there is {', '.join(sorted(hops)[:3]) or 'none'}"
    return f"is no next hop of relay_domains, as it is spelled there, and no domain; {meant}"


def problem_of_address(key: str, value: str) -> str:
    """Return why a policy can never be met by a next hop, '' where it can."""
    level = level_of(value)
    if not is_address(key):
        return ""
    if level in BY_AUTHORITY and " match=" not in value:
        return f"certificates are for names, and {key} is an address; expected the name, as in '{level} match=NAME'"
    if level in BY_DNS:
        return f"{key} is an address, for which the DNS has no TLSA records; expected a name, or another level"
    return ""
