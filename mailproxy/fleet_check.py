"""What is wrong between the hosts of a fleet: what each is and declares -> problems, with the hosts they are of."""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from mailproxy.entries import Entries
from mailproxy.names import folded, parents
from mailproxy.next_hops import Destination, destination, destinations, spelled_host
from mailproxy.problem import Problem

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EXPECTED = "expected the internal server, in brackets"


# Stand for recipients: mail that goes by default, and mail whose next hop does not answer.
_BY_DEFAULT, _BY_FALLBACK = "routes['default']", "routes['fallback']"
_NOTHING = Entries({})


@dataclass(frozen=True)
class Kind:
    """What a host relays, and where it leads mail; default and fallback are next hops as in the transport table."""

    relay_domains: Entries
    relay_subdomains: bool
    exceptions: Entries = _NOTHING
    default: str = ""
    fallback: tuple[str, ...] = ()

    def is_relayed(self, recipient: str) -> bool:
        """Whether mail for an address or a domain is accepted from everybody."""
        domain = recipient.rpartition("@")[2]
        above = parents(domain) if self.relay_subdomains else []
        return any(name in self.relay_domains for name in (domain, *above))

    def next_hops(self, recipient: str) -> tuple[str, ...]:
        """Return where mail for an address or a domain goes from here; none where it goes to its own MX."""
        if recipient.startswith(_BY_FALLBACK):
            return self.fallback
        domain = recipient.rpartition("@")[2]
        above = parents(domain) if self.relay_subdomains else []
        hops = (self.exceptions.get(name) or self.relay_domains.get(name) for name in (recipient, domain, *above))
        hop = next(filter(None, hops), self.default)
        return (hop,) if hop else ()


@dataclass(frozen=True)
class Member:
    """A host of the fleet: the names and addresses it is known by, and what it does with mail."""

    names: frozenset[str]
    kind: Kind


@dataclass(frozen=True)
class Found:
    """A problem of hosts, by their names, and the place where it is, '' for where its key is declared."""

    problem: Problem
    hosts: tuple[str, ...]
    is_warning: bool = False
    place: str = ""


@dataclass
class Fleet:
    """The hosts by name; mail_hosts tells by name the hosts and addresses that a look-up found a name's mail to go to.

    Hosts of one kind are one as far as loops go: work is done once for them all.
    """

    members: Mapping[str, Member]
    mail_hosts: Mapping[str, Iterable[str]] = field(default_factory=dict)

    @cached_property
    def alike(self) -> dict[Kind, list[str]]:
        """The names of the hosts of each kind."""
        found: dict[Kind, list[str]] = {}
        for name, member in self.members.items():
            found.setdefault(member.kind, []).append(name)
        return found

    @cached_property
    def by_name(self) -> dict[str, str]:
        """The host that a name or an address is of."""
        return {known: name for name, member in reversed(tuple(self.members.items())) for known in member.names}

    def is_relayed(self, domain: str) -> list[str]:
        """Return one host of each kind that relays a domain."""
        return [names[0] for kind, names in self.alike.items() if kind.is_relayed(domain)]

    def led_to(self, where: Destination, sender: str) -> tuple[list[str], str]:
        """Return the hosts of the fleet that a destination is, as a sender sees it, and why; empty for others."""
        if not where.is_smtp:
            return [], ""
        if where.host in _LOOPBACK:
            return [sender], "is this host itself"
        if where.host in self.by_name:
            name = self.by_name[where.host]
            return [name], "is this host itself" if len(self.members) == 1 else f"is {name}, a host of this fleet"
        if not where.by_mx:
            return [], ""
        relaying = self.is_relayed(where.host)
        if relaying:
            who = "this proxy" if len(self.members) == 1 else "this fleet"
            return relaying, f"leads back to {where.host} by its MX, which is {who}"
        for host in self.mail_hosts.get(where.host, ()):
            if spelled_host(host) in self.by_name:
                name = self.by_name[spelled_host(host)]
                return [name], f"leads by the MX of {where.host} to {host}, which is {name}, a host of this fleet"
        return [], ""

    def end_of(self, sender: str, recipient: str, is_relayed: bool, seen: frozenset[Kind] = frozenset()) -> str:
        """Return what becomes of mail for a recipient in the end: "loop", "refused" by a host on its way, or "out".

        What is not relayed comes from trusted networks, as which the hosts of a fleet may take each other.
        """
        kind = self.members[sender].kind
        if kind in seen:
            return "loop"
        if is_relayed and not kind.is_relayed(recipient):
            return "refused"
        places = (destination(hop) for hop in kind.next_hops(recipient))
        following = [name for where in places if where for name in self.led_to(where, sender)[0]]
        ends = {self.end_of(name, recipient, is_relayed, seen | {kind}) for name in following}
        return next((end for end in ("loop", "refused") if end in ends), "out")


def unbracketed(members: Iterable[Member]) -> frozenset[str]:
    """Return the names whose MX decides where mail goes."""
    tables = {table for kind in {member.kind for member in members} for table in _tables(kind).values()}
    return frozenset(where.host for table in tables for where in destinations(table) if where.by_mx and where.is_smtp)


def _tables(kind: Kind) -> dict[str, Entries]:
    """Return all recipients with their next hops, by the key of group_data that declares them."""
    fallback = {f"{_BY_FALLBACK}[{index}]": hop for index, hop in enumerate(kind.fallback)}
    further = {**({_BY_DEFAULT: kind.default} if kind.default else {}), **fallback}
    return {"relay_domains": kind.relay_domains, "routes['exceptions']": kind.exceptions, "": Entries(further)}


def loops(fleet: Fleet) -> Iterator[Found]:
    """Yield the next hops that lead to a host of the fleet: a warning where that one hands the mail on to others."""
    for kind, names in fleet.alike.items():
        for key, table in _tables(kind).items():
            for where, recipients in destinations(table).items():
                following, why = fleet.led_to(where, names[0])
                by_end: dict[str, list[str]] = {}
                for recipient in recipients if following else ():
                    end = fleet.end_of(names[0], recipient, kind.is_relayed(recipient))
                    by_end.setdefault(end, []).append(recipient)
                for end, found in by_end.items():
                    problem = _leads_to_fleet(key, found, table[found[0]], f"{why}{_SO[end]}")
                    yield Found(problem, tuple(names), is_warning=end == "out")


_SO = {
    "loop": f": a loop; {_EXPECTED}",
    "refused": f", and a host on that way does not relay the domain; {_EXPECTED}",
    "out": ", which hands it on; is that meant?",
}


def _leads_to_fleet(key: str, recipients: Sequence[str], hop: str, why: str) -> Problem:
    first, *others = recipients
    more = f" (so do {len(others)} more {'domains' if key == 'relay_domains' else 'entries'})" if others else ""
    return Problem(
        f"{key}[{first!r}]" if key else first, repr(hop if key else hop.removeprefix("smtp:")), f"{why}{more}"
    )


def same_names(names: Iterable[str]) -> Iterator[Found]:
    """Yield the hosts of an inventory that are one host by different spellings of its name."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(folded(name), name)
        if other != name:
            yield Found(
                Problem("inventory", repr(name), f"is {other!r} in another spelling; expected it once"), (name,)
            )


def same_addresses(addresses: Mapping[str, tuple[object, ...]]) -> Iterator[Found]:
    """Yield the hosts that are reached at the address of another: address, port and what else tells hosts apart."""
    first: dict[tuple[object, ...], str] = {}
    for name, address in addresses.items():
        other = first.setdefault(address, name)
        if other != name:
            reason = f"is the address of {other} too; two Postfix instances of one host differ in config_directory"
            yield Found(Problem("ssh_hostname", repr(address[0]), reason), (name,))


def nearly_a_group(declaring: Mapping[str, Iterable[str]], known: Sequence[str]) -> Iterator[Found]:
    """Yield the groups without a host that declare keys, and whose name is nearly that of a group or host."""
    for group, keys in declaring.items():
        for meant in difflib.get_close_matches(group, known, n=1, cutoff=0.8):
            key, *_ = keys
            reason = f"does not count, as no host is in a group {group}; did you mean {meant}?"
            yield Found(Problem(key, "...", reason), (), is_warning=True, place=group)
