"""Next hops: results of transport(5) -> one spelling, where they lead, or what to write instead."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mailproxy.entries import Entries
from mailproxy.names import domain_name, folded, single_line
from mailproxy.problem import refuse_unless

# Mail transports whose next hop is an SMTP or LMTP destination; the empty name is the default transport.
SMTP_CLIENTS = {"", "smtp", "relay", "lmtp"}
SMTP_PORTS = {"", "25", "smtp"}
_TRANSPORT = re.compile(r"[A-Za-z0-9_-]*")
_BRACKETED = re.compile(r"\[([^]\s]+)\](?::(.*))?")
_SERVICE = re.compile(r"[0-9]+|[a-z][a-z0-9-]*")
_IPV6 = "ipv6:"
_BRACKETS = "expected brackets around an address, as in smtp:[10.1.0.2]: without them it is a name"
_EXAMPLES = 'expected a next hop such as "[10.1.0.2]" or "[mail.example.com]:25"'


@dataclass(frozen=True)
class Destination:
    """Where an SMTP client goes: a name or an address in one spelling; by_mx says that the name's MX is looked up."""

    host: str
    by_mx: bool
    port: str = ""

    @property
    def is_smtp(self) -> bool:
        """Whether it is the port at which mail proxies listen."""
        return self.port in SMTP_PORTS


def next_hop(value: str) -> str:
    """Return a transport(5) result "transport:next-hop", or refuse it with what to write instead."""
    return _next_hop(single_line(value))


# Thousands of domains have the same.
@lru_cache(maxsize=4096)
def _next_hop(text: str) -> str:
    transport, colon, rest = text.partition(":")
    if not colon or not _TRANSPORT.fullmatch(transport):
        raise ValueError('expected "transport:next-hop" such as "smtp:[10.1.0.2]"')
    # A transport by a name that differs from these in case is a service of its own (master(5)).
    if transport not in SMTP_CLIENTS or (transport == "lmtp" and rest.startswith("unix:/")):
        return text
    kind = "inet:" if transport == "lmtp" and rest.startswith("inet:") else ""
    return f"{transport}:{kind}{smtp_destination(rest.removeprefix(kind))}"


def destination(hop: str) -> Destination | None:
    """Return where a next hop leads that next_hop has let pass, None where that is no host."""
    transport, _, rest = hop.partition(":")
    if transport not in SMTP_CLIENTS or rest.startswith("unix:"):
        return None
    rest = rest.removeprefix("inet:") if transport == "lmtp" else rest
    bracketed = _BRACKETED.fullmatch(rest)
    if bracketed:
        return Destination(spelled_host(bracketed[1]), False, bracketed[2] or "")
    host, _, port = rest.partition(":")
    return Destination(spelled_host(host), True, port) if host else None


@lru_cache(maxsize=256)
def destinations(relay_domains: Entries) -> Mapping[Destination, tuple[str, ...]]:
    """Return where relay domains are led, each destination with its domains; found once however many hosts share it."""
    by_hop: dict[str, list[str]] = {}
    for domain, hop in relay_domains.items():
        by_hop.setdefault(hop, []).append(domain)
    found: dict[Destination, list[str]] = {}
    for hop, domains in by_hop.items():
        where = destination(hop)
        if where is not None:
            found.setdefault(where, []).extend(domains)
    return {where: tuple(domains) for where, domains in found.items()}


def spelled_host(text: str) -> str:
    """Return a name or an address, also one in a form of transport(5), in the one spelling it is compared by."""
    host = text.strip().strip("[]").lower().removeprefix(_IPV6)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return folded(host)
    return str(getattr(address, "ipv4_mapped", None) or address)


@lru_cache(maxsize=4096)
def smtp_destination(text: str) -> str:
    """Return a destination, or refuse what the SMTP client would look up as something else than what was meant."""
    if not text:
        raise ValueError(f"{_EXAMPLES}: without one, mail goes to the domain's own MX, which is this proxy")
    if re.search(r"\][^:]*[\s,]+[^#\s]", text):
        raise ValueError(f"{_EXAMPLES}, one of them: Postfix knows lists of them from 3.5 on alone")
    bracketed = _BRACKETED.fullmatch(text)
    if bracketed:
        _check_port(bracketed[2])
        return f"[{_bracketed_host(bracketed[1])}]" + (f":{bracketed[2]}" if bracketed[2] else "")
    host, colon, port = text.partition(":")
    if _is_address(host, 4) or _is_address(text, 6) or host.lower() == "ipv6":
        raise ValueError(_BRACKETS)
    try:
        name = domain_name(host)
        refuse_unless(not re.fullmatch(r"[0-9.]+", host) and (not colon or bool(_SERVICE.fullmatch(port))), _EXAMPLES)
    except ValueError:
        raise ValueError(_EXAMPLES) from None
    _check_port(port if colon else None)
    return f"{name}{colon}{port}"


def _bracketed_host(host: str) -> str:
    if host.lower().startswith(_IPV6):
        refuse_unless(_is_address(host[len(_IPV6) :], 6), "expected an IPv6 address behind [ipv6:")
        return host
    if _is_address(host, 6):
        raise ValueError(f'expected "[ipv6:{host}]": an IPv6 address needs the prefix')
    if ":" in host:
        raise ValueError(f"{_EXAMPLES}: a port stands behind the brackets")
    if _is_address(host, 4):
        return host
    refuse_unless(not re.fullmatch(r"[0-9.]+", host), "expected four numbers below 256 in an IPv4 address")
    return domain_name(host)


def _check_port(port: str | None) -> None:
    if port is None:
        return
    refuse_unless(bool(_SERVICE.fullmatch(port)), f"{_EXAMPLES}: {port!r} is no port")
    if port.isdigit():
        refuse_unless(0 < int(port) < 65536, f"expected a port from 1 to 65535, found {port}")


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False
