"""Networks that are trusted: text of group_data -> Postfix's spelling, and what is wrong among several of them."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network

from mailproxy.names import single_line
from mailproxy.problem import Problem, refuse_unless, shown

Network = IPv4Network | IPv6Network

# Whoever is trusted may send to anywhere: wider than this, or more public addresses in all, is an open relay.
WIDEST = {4: 8, 6: 19}
# Neither private nor announced: behind the NAT of a provider (RFC 6598).
_SHARED = IPv4Network("100.64.0.0/10")
_OPEN = "would relay for a large part of the internet; expected networks you trust"


def network(value: str) -> str:
    """Return a network as Postfix spells it (IPv6 in brackets; see postconf(5), mynetworks), or refuse it."""
    text = single_line(value)
    excluded, text = text.startswith("!"), text.removeprefix("!").strip()
    parsed, spelled = strict_network(text, "so Postfix answers 451 to everybody")
    widest = WIDEST[parsed.version]
    refuse_unless(excluded or parsed.prefixlen >= widest, f"{_OPEN}, of /{widest} at the widest")
    if parsed.version == 6:
        spelled = f"[{parsed.network_address}]/{parsed.prefixlen}"
    return ("!" if excluded else "") + spelled


def strict_network(text: str, effect: str) -> tuple[Network, str]:
    """Return the network of a text, and the text without brackets, or refuse it; effect is what host bits lead to."""
    bracketed = re.fullmatch(r"\[([^]]*)\](/[0-9]+)?", text)
    address = bracketed[1] + (bracketed[2] or "") if bracketed else text
    try:
        parsed = ipaddress.ip_network(address)
    except ValueError as error:
        raise ValueError(f"expected a network such as 10.1.0.0/16: {_why_none(address, error, effect)}") from None
    length = address.partition("/")[2]
    is_number = bool(re.fullmatch("[0-9]+", length))
    refuse_unless(is_number or "/" not in address, f"expected a number of bits behind the /, found {length!r}")
    refuse_unless("%" not in address, "expected no interface behind an address")
    return parsed, address


def address_and_port(text: str, expected: str) -> int:
    """Return the port of "ADDRESS:PORT", an IPv6 address in brackets, or refuse the text: expected says with what."""
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[0-9.]+):([0-9]{1,5})", text)
    refuse_unless(found is not None, expected)
    assert found is not None
    try:
        ipaddress.ip_address(found[1].strip("[]"))
    except ValueError as error:
        raise ValueError(f"{expected}: {error}") from None
    refuse_unless(0 < int(found[2]) < 65536, expected)
    return int(found[2])


@lru_cache(maxsize=1024)
def problems_of_networks(networks: tuple[str, ...]) -> tuple[Problem, ...]:
    """Return what is wrong between networks that are right by themselves."""
    return (*_open_together(networks), *_excluded(networks))


@lru_cache(maxsize=1024)
def warnings_of_networks(networks: tuple[str, ...]) -> tuple[Problem, ...]:
    """Return what somebody may not have meant."""
    return (*_public(networks), *_without_effect(networks))


def is_public(found: Network) -> bool:
    """Whether addresses of the internet at large are in a network."""
    if isinstance(found, IPv4Network) and found.subnet_of(_SHARED):
        return False
    return not (found.is_private or found.is_loopback or found.is_link_local)


def parsed_network(item: str) -> Network:
    """Return a network as network() spells it, an exclusion without its sign."""
    return ipaddress.ip_network(item.removeprefix("!").replace("[", "").replace("]", ""))


def _why_none(address: str, error: ValueError, effect: str) -> str:
    if "has host bits set" in str(error):
        return f"{error}, {effect}; did you mean {ipaddress.ip_network(address, False)}?"
    return str(error)


def _open_together(networks: Sequence[str]) -> Iterator[Problem]:
    """Yield for each version of IP that in all more public addresses are trusted than one network may have."""
    trusted = [parsed_network(item) for item in networks if not item.startswith("!")]
    four = [one for one in trusted if isinstance(one, IPv4Network) and is_public(one)]
    six = [one for one in trusted if isinstance(one, IPv6Network) and is_public(one)]
    for public in (list(ipaddress.collapse_addresses(four)), list(ipaddress.collapse_addresses(six))):
        widest = WIDEST[public[0].version] if public else 0
        most = 2 ** (public[0].max_prefixlen - widest) if public else 0
        if sum(one.num_addresses for one in public) > most:
            found = ", ".join(map(str, public))
            yield Problem("mynetworks", shown(found), f"together {_OPEN}, no more in all than a /{widest} has")


def _excluded(networks: Sequence[str]) -> Iterator[Problem]:
    excluded = [(item, parsed_network(item)) for item in networks if item.startswith("!")]
    for key, item in _keyed(networks):
        for exclusion, taken in excluded if not item.startswith("!") else ():
            if is_within(parsed_network(item), taken):
                reason = f"is not trusted, as {exclusion} excludes all of it: exclusions come first"
                yield Problem(key, repr(item), f"{reason}; expected a narrower exclusion")
                break


def _public(networks: Sequence[str]) -> Iterator[Problem]:
    for key, item in _keyed(networks):
        found = parsed_network(item)
        if not item.startswith("!") and found.num_addresses > 1 and is_public(found):
            yield Problem(key, repr(item), "is a public range: each host in it may send mail to anywhere")


def _without_effect(networks: Sequence[str]) -> Iterator[Problem]:
    trusted = [(item, parsed_network(item)) for item in networks if not item.startswith("!")]
    seen: set[str] = set()
    for key, item in _keyed(networks):
        found = parsed_network(item)
        if item in seen:
            yield Problem(key, repr(item), "stands there twice")
        elif item.startswith("!"):
            if not any(found.version == one.version and found.overlaps(one) for _, one in trusted):
                yield Problem(key, repr(item), "excludes nothing: no network that is trusted holds it")
        else:
            wider = next((other for other, one in trusted if one != found and is_within(found, one)), None)
            if wider:
                yield Problem(key, repr(item), f"is in {wider} already")
        seen.add(item)


def _keyed(networks: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((f"mynetworks[{index}]", item) for index, item in enumerate(networks))


def is_within(inner: Network, outer: Network) -> bool:
    """Whether all of a network is in another one."""
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]
