"""The desired state of one host: what group_data declares, validated and frozen."""

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    WrapValidator,
)

from mailproxy.rollout import Rollout

DatabaseType = Literal["hash", "btree", "lmdb", "cdb", "dbm"]

_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")
_PARAMETER = re.compile(r"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*")
_PORT = re.compile(r"[0-9]+|[a-z][a-z0-9-]*")
# What stands between the commas of an alias, where a comma in quotes is none (aliases(5)).
_TARGET = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Mail transports whose next hop is an SMTP or LMTP destination; the empty name is the default transport.
SMTP_CLIENTS = {"", "smtp", "relay", "lmtp"}


class Entries(Mapping[str, str]):
    """An immutable, sorted mapping that is hashed once, so that work on it is done once however many hosts share it."""

    def __init__(self, entries: Mapping[str, str]):
        self._entries = dict(sorted(entries.items()))
        listing = "".join(f"{len(key)}:{key}={len(value)}:{value};" for key, value in self._entries.items())
        self.digest = hashlib.sha256(listing.encode()).hexdigest()

    def __getitem__(self, key: str) -> str:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entries) and self.digest == other.digest

    def __repr__(self) -> str:
        return f"Entries({self._entries!r})"


@lru_cache(maxsize=1024)
def differing(before: Entries, after: Entries) -> tuple[str, ...]:
    """Return the keys that come, go or have another value, sorted; found once however many hosts share both."""
    if before == after:
        return ()
    return tuple(sorted(key for key in {**before, **after} if before.get(key) != after.get(key)))


def single_line(value: str) -> str:
    """Return value stripped, or refuse what would not stay one line of a configuration file."""
    found = _CONTROL.search(value)
    if found:
        raise ValueError(f"holds the control character {found.group()!r}; expected one line of text")
    return value.strip()


def domain_name(value: str) -> str:
    """Return a DNS name in lower case and without a trailing dot, or refuse it."""
    name = single_line(value).lower().removesuffix(".")
    if not _DOMAIN.fullmatch(name):
        raise ValueError("expected a domain name such as example.com")
    return name


def qualified_name(value: str) -> str:
    """Return a DNS name of at least two labels, or refuse it."""
    name = domain_name(value)
    if "." not in name or name.replace(".", "").isdigit():
        raise ValueError("expected a fully qualified name such as mx1.example.com")
    return name


def network(value: str) -> str:
    """Return a network as Postfix spells it (IPv6 in brackets; see postconf(5), mynetworks), or refuse it."""
    text = single_line(value)
    excluded, text = text.startswith("!"), text.removeprefix("!")
    bracketed = re.fullmatch(r"\[([^]]*)\](/\d+)?", text)
    address = bracketed[1] + (bracketed[2] or "") if bracketed else text
    try:
        parsed = ipaddress.ip_network(address)
    except ValueError as error:
        raise ValueError(f"expected a network such as 10.1.0.0/16: {error}") from None
    length = address.partition("/")[2]
    _refuse_unless(length.isdigit() or "/" not in address, f"expected a number of bits behind the /, found {length!r}")
    widest = 8 if parsed.version == 4 else 19
    reason = f"would relay for a large part of the internet; expected networks you trust, of /{widest} at the widest"
    _refuse_unless(excluded or parsed.prefixlen >= widest, reason)
    spelled = address
    if parsed.version == 6:
        spelled = f"[{parsed.network_address}]/{parsed.prefixlen}"
    return ("!" if excluded else "") + spelled


def next_hop(value: str) -> str:
    """Return a transport(5) result "transport:next-hop", or refuse it with what to write instead."""
    text = single_line(value)
    transport, colon, destination = text.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9_-]*", transport):
        raise ValueError('expected "transport:next-hop" such as "smtp:[10.1.0.2]"')
    if transport in SMTP_CLIENTS and not (transport == "lmtp" and destination.startswith("unix:/")):
        _smtp_destination(destination.removeprefix("inet:") if transport == "lmtp" else destination)
    return text


def _smtp_destination(destination: str) -> None:
    """Refuse a destination that the SMTP client would look up as something else than what was meant."""
    bracketed = re.fullmatch(r"\[([^]\s]+)\](:([0-9]+|[a-z][a-z0-9-]*))?", destination)
    if bracketed:
        host, port = bracketed[1], bracketed[3]
        if host.lower().startswith("ipv6:"):
            _refuse_unless(_is_address(host[5:], 6), "expected an IPv6 address behind [ipv6:")
        elif ":" in host:
            raise ValueError(f'expected "[ipv6:{host}]": an IPv6 address needs the prefix')
        elif not _is_address(host, 4):
            _refuse_unless(not re.fullmatch(r"[0-9.]+", host), "expected four numbers below 256 in an IPv4 address")
            domain_name(host)
    else:
        host, _, port = destination.partition(":")
        if _is_address(host, 4) or _is_address(destination, 6):
            raise ValueError("expected brackets around an address, as in smtp:[10.1.0.2]: without them it is a name")
        try:
            domain_name(host)
            _refuse_unless(not re.fullmatch(r"[0-9.]+", host) and bool(_PORT.fullmatch(port or "smtp")), "")
        except ValueError:
            raise ValueError('expected a next hop such as "[10.1.0.2]" or "[mail.example.com]:25"') from None
    if port and port.isdigit():
        _refuse_unless(0 < int(port) < 65536, f"expected a port from 1 to 65535, found {port}")


def _is_address(text: str, version: int) -> bool:
    try:
        return ipaddress.ip_address(text).version == version
    except ValueError:
        return False


def _refuse_unless(holds: bool, reason: str) -> None:
    if not holds:
        raise ValueError(reason)


def alias_name(value: str) -> str:
    """Return the local part that an alias redirects, in lower case as postalias folds it, or refuse it."""
    name = single_line(value).lower()
    if not re.fullmatch(r"[a-z0-9._+=/-]+", name):
        raise ValueError("expected a local name without @, blanks or quotes, such as postmaster")
    return name


def alias_targets(value: str) -> str:
    """Return the targets of an alias as postalias stores them, joined by ", ", or refuse them."""
    text = single_line(value)
    _refuse_unless(text.count('"') % 2 == 0, "expected each quote to be closed")
    _refuse_unless("#" not in text, "expected no #: aliases(5) knows no comment behind a value")
    targets = [target.strip() for target in _TARGET.findall(text) if target.strip()]
    _refuse_unless(bool(targets), "expected at least one target")
    _refuse_unless(all("\\" not in target or '"' in target for target in targets), "expected no \\ outside of quotes")
    return ", ".join(targets)


def _joined(value: Any) -> Any:
    """Turn a list of alias targets into the text of aliases(5)."""
    if isinstance(value, (list, tuple)) and all(isinstance(target, str) for target in value):
        return ", ".join(target.strip() for target in value)
    return value


def parameter_name(value: str) -> str:
    """Return the name of a main.cf parameter, or refuse what Postfix would not read as one."""
    name = single_line(value)
    if not _PARAMETER.fullmatch(name):
        raise ValueError("expected the name of a main.cf parameter, such as smtpd_banner")
    return name


def _parameter_text(value: Any) -> Any:
    """Spell a literal of group_data as main.cf does: yes and no, numbers, lists with commas."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return ", ".join(item.strip() for item in value)
    return value


def _once_per_content() -> Callable[[Any, Callable[[Any], Entries]], Entries]:
    """Make a validator that works on each distinct content once and then returns the same object for it."""
    known: list[tuple[Any, Entries]] = []

    def validate(raw: Any, handler: Callable[[Any], Entries]) -> Entries:
        if isinstance(raw, Entries):
            return raw
        for seen, entries in known:
            if seen is raw or seen == raw:
                return entries
        entries = handler(raw)
        known.append((raw, entries))
        return entries

    return validate


def _as_is(raw: Any, handler: Callable[[Any], Entries]) -> Entries:
    return raw if isinstance(raw, Entries) else handler(raw)


def _distinct(raw: Any) -> Any:
    """Refuse names that are one and the same to Postfix: which of their values should hold?"""
    if isinstance(raw, dict) and all(isinstance(key, str) for key in raw):
        spelled: dict[str, str] = {}
        for key in raw:
            name = key.strip().lower().removesuffix(".")
            if name in spelled:
                raise ValueError(f"names {name} twice, as {spelled[name]!r} and as {key!r}; expected it once")
            spelled[name] = key
    return raw


Domain = Annotated[str, AfterValidator(domain_name)]
FullName = Annotated[str, AfterValidator(qualified_name)]
Network = Annotated[str, AfterValidator(network)]


def _mapping(name: Any, value: Any, validator: Any = None) -> GetPydanticSchema:
    """Make Entries a field of pydantic: a dict of annotated names and values, checked entry by entry."""
    shape = Annotated[dict[name, value], BeforeValidator(_distinct), AfterValidator(Entries)]
    whole = Annotated[shape, validator or WrapValidator(_as_is)]
    return GetPydanticSchema(lambda _source, handler: handler(whole))


# The one mapping that is large: it is worth the memory of what was seen.
RelayDomains = Annotated[
    Entries, _mapping(Domain, Annotated[str, AfterValidator(next_hop)], WrapValidator(_once_per_content()))
]
Aliases = Annotated[
    Entries,
    _mapping(
        Annotated[str, AfterValidator(alias_name)],
        Annotated[str, BeforeValidator(_joined), AfterValidator(alias_targets)],
    ),
]
Parameters = Annotated[
    Entries,
    _mapping(
        Annotated[str, AfterValidator(parameter_name)],
        Annotated[str, BeforeValidator(_parameter_text), AfterValidator(single_line)],
    ),
]


class DesiredState(BaseModel):
    """What one host is to be. The fields are the keys of group_data; docs/group_data.md describes them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    relay_domains: RelayDomains
    mynetworks: tuple[Network, ...] = ("127.0.0.0/8",)
    aliases: Aliases = Entries({"postmaster": "root"})
    myhostname: FullName
    mydomain: Domain
    message_size_limit: Annotated[int, Field(ge=0, strict=True)] = 20480000
    main_cf: Parameters = Entries({})
    database_type: DatabaseType | None = None
    relay_subdomains: Annotated[bool, Field(strict=True)] = False
    rollout: Rollout | None = None

    @cached_property
    def digest(self) -> str:
        """The SHA-256 over what is declared, in hexadecimal: the same for the same declaration on any machine."""
        fields = ((name, getattr(self, name)) for name in type(self).model_fields)
        parts = [f"{name}={value.digest if isinstance(value, Entries) else repr(value)}" for name, value in fields]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()
