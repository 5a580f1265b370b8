"""Several instances of Postfix on one host: each is an entry of the inventory, told by its configuration directory."""

import ipaddress
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailproxy.check import Problem

# The key of host data, or of group_data, that tells an instance from the one a host's Postfix has compiled in.
DIRECTORY = "config_directory"
# Words of inet_interfaces that name no address (postconf(5)).
_ALL = {"all", "loopback-only"}


@dataclass(frozen=True)
class Entry:
    """One entry of the inventory: where SSH goes, its directory ("" where none is declared), what main_cf is to say."""

    name: str
    reached_at: tuple[str, str]
    directory: str
    main_cf: Mapping[str, str]


def plain_directory(value: object) -> str:
    """Return a configuration directory as it is declared, or refuse it."""
    if not isinstance(value, str) or not re.fullmatch(r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+", value):
        raise ValueError("expected the absolute path of a directory in plain letters, such as /etc/postfix-out")
    return value


def interfaces(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the addresses and names that inet_interfaces gives, less the loopback and what it refers to besides
    $myhostname."""
    named = [word.strip("[]") for word in _words(parameters) if word not in _ALL and "$" not in word]
    return tuple(name for name in named if not _is_loopback(name))


def collisions(entries: Sequence[Entry]) -> Iterator[tuple[str, Problem]]:
    """Yield what instances of one host would take from each other, by the name of the entry where it stands.

    Entries that are reached at the same address are instances of one host as soon as one says which it is.
    """
    hosts: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        hosts.setdefault(entry.reached_at, []).append(entry)
    for together in hosts.values():
        if any(entry.directory for entry in together):
            yield from _listening(together)
            for one, other in itertools.combinations(together, 2):
                yield from _shared(one, other)


def _listening(together: Sequence[Entry]) -> Iterator[tuple[str, Problem]]:
    """Yield those of several that would listen on all addresses of their host."""
    for entry in together if len(together) > 1 else ():
        words = set(_words(entry.main_cf))
        if _listens(entry) and (_ALL & words or not words):
            others = ", ".join(other.name for other in together if other is not entry)
            reason = f"shares its host with {others}; expected the addresses that are its own, such as 192.0.2.12"
            found = repr(entry.main_cf["inet_interfaces"]) if "inet_interfaces" in entry.main_cf else "nothing"
            yield entry.name, Problem("main_cf['inet_interfaces']", found, reason)


def _shared(one: Entry, other: Entry) -> Iterator[tuple[str, Problem]]:
    if one.directory == other.directory:
        reason = f"is that of {one.name} too, which is reached at the same address; expected another instance"
        yield other.name, Problem(DIRECTORY, repr(other.directory), reason)
    both = {word for word in set(_words(one.main_cf)) & set(_words(other.main_cf)) - _ALL if "$" not in word}
    if both and _listens(one) and _listens(other):
        reason = f"{one.name}, on the same host, listens on {', '.join(sorted(both))} too; expected other addresses"
        yield other.name, Problem("main_cf['inet_interfaces']", repr(other.main_cf["inet_interfaces"]), reason)


def _words(parameters: Mapping[str, str]) -> list[str]:
    text = re.sub(
        r"\$(myhostname\b|\{myhostname\}|\(myhostname\))",
        parameters.get("myhostname", "$"),
        parameters.get("inet_interfaces", ""),
    )
    return text.replace(",", " ").lower().split()


def _listens(entry: Entry) -> bool:
    """Whether it listens at all: a new instance does not until master_service_disable goes."""
    return "inet" not in entry.main_cf.get("master_service_disable", "").replace(",", " ").split()


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name.lower() == "localhost"
