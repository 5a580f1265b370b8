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


@dataclass(frozen=True)
class Member:
    """A host of the fleet: the names and addresses it is known by, and what it relays."""

    names: frozenset[str]
    relay_domains: Entries
    relay_subdomains: bool

    def next_hop(self, domain: str) -> str | None:
        """Return where mail for a domain goes from here, None where it is not relayed."""
        if domain in self.relay_domains or not self.relay_subdomains:
            return self.relay_domains.get(domain)
        return next((self.relay_domains[name] for name in parents(domain) if name in self.relay_domains), None)


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

    Hosts that relay the same are one as far as loops go: work is done once for them all.
    """

    members: Mapping[str, Member]
    mail_hosts: Mapping[str, Iterable[str]] = field(default_factory=dict)

    @cached_property
    def alike(self) -> dict[tuple[Entries, bool], list[str]]:
        """The names of the hosts that relay the same."""
        found: dict[tuple[Entries, bool], list[str]] = {}
        for name, member in self.members.items():
            found.setdefault((member.relay_domains, member.relay_subdomains), []).append(name)
        return found

    @cached_property
    def by_name(self) -> dict[str, str]:
        """The host that a name or an address is of."""
        return {known: name for name, member in reversed(tuple(self.members.items())) for known in member.names}

    def is_relayed(self, domain: str) -> list[str]:
        """Return one host of each kind that relays a domain."""
        return [names[0] for names in self.alike.values() if self.members[names[0]].next_hop(domain)]

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

    def end_of(self, sender: str, domain: str, seen: frozenset[tuple[Entries, bool]] = frozenset()) -> str:
        """Return what becomes of mail for a domain in the end: "loop", "refused" by a host on its way, or "out"."""
        member = self.members[sender]
        kind = (member.relay_domains, member.relay_subdomains)
        if kind in seen:
            return "loop"
        hop = member.next_hop(domain)
        if hop is None:
            return "refused"
        where = destination(hop)
        following, _ = self.led_to(where, sender) if where else ([], "")
        ends = {self.end_of(name, domain, seen | {kind}) for name in following}
        return next((end for end in ("loop", "refused") if end in ends), "out")


def unbracketed(members: Iterable[Member]) -> frozenset[str]:
    """Return the names whose MX decides where mail goes."""
    tables = {member.relay_domains for member in members}
    return frozenset(where.host for table in tables for where in destinations(table) if where.by_mx and where.is_smtp)


def loops(fleet: Fleet) -> Iterator[Found]:
    """Yield the next hops that lead to a host of the fleet: a warning where that one hands the mail on to others."""
    for (relay_domains, _), names in fleet.alike.items():
        for where, domains in destinations(relay_domains).items():
            following, why = fleet.led_to(where, names[0])
            by_end: dict[str, list[str]] = {}
            for domain in domains if following else ():
                by_end.setdefault(fleet.end_of(names[0], domain), []).append(domain)
            for end, found in by_end.items():
                problem = _leads_to_fleet(found, relay_domains[found[0]], f"{why}{_SO[end]}")
                yield Found(problem, tuple(names), is_warning=end == "out")


_SO = {
    "loop": f": a loop; {_EXPECTED}",
    "refused": f", and a host on that way does not relay the domain; {_EXPECTED}",
    "out": ", which hands it on; is that meant?",
}


def _leads_to_fleet(domains: Sequence[str], hop: str, why: str) -> Problem:
    others = f" (so do {len(domains) - 1} more domains)" if len(domains) > 1 else ""
    return Problem(f"relay_domains[{domains[0]!r}]", repr(hop), f"{why}{others}")


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
