"""What the DNS says of a fleet and the domains it relays, and what is wrong with that: answers -> findings.

Nothing follows from a question that nobody answered: that is a finding of its own.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mailproxy.fleet_check import Member
from mailproxy.resolving import Answer

Ask = Callable[[str, str], Answer]
Level = Literal["wrong", "warning", "unknown", "well"]
LEVELS: Sequence[Level] = ("wrong", "warning", "unknown", "well")
Kind = Literal["domain", "host", "MX host"]

# How many hosts, or addresses of a server of others, are always named.
_NAMED = 3
_STS_ID = re.compile(r"v=STSv1\s*;\s*(?:.*;\s*)?id=[A-Za-z0-9]{1,32}\s*(?:;.*)?")


@dataclass(frozen=True)
class Finding:
    """What was found of one domain, host or MX host; its text says the same of all of which it is true."""

    level: Level
    kind: Kind
    name: str
    text: str


@dataclass(frozen=True)
class Group:
    """What was found of several, said once."""

    level: Level
    kind: Kind
    text: str
    names: tuple[str, ...]


@dataclass(frozen=True)
class Site:
    """A host as it is seen from outside: the addresses that the inventory and its main.cf say it is reached at.

    sends says whether others may send through it, to anywhere.
    """

    name: str
    myhostname: str
    addresses: frozenset[str]
    member: Member
    sends: bool = False

    def knows(self, address: str) -> bool:
        """Whether an address would be among its addresses if it were its own: of this kind it has one there."""
        return any(_kind(own) == _kind(address) for own in self.addresses)


@dataclass(frozen=True)
class Exchange:
    """A host that an MX names: the hosts of the fleet that it is, and the addresses that are others' or anybody's.

    trouble says why mail for it has nowhere to go, why what is not known of it.
    """

    name: str
    preference: int
    here: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    anybodys: tuple[str, ...] = ()
    trouble: str = ""
    why: str = ""

    @property
    def is_elsewhere(self) -> bool:
        """Whether no address of it is one of the fleet."""
        return bool(self.others) and not self.here

    def __str__(self) -> str:
        more = f" and {len(self.others) - _NAMED} more" if len(self.others) > _NAMED else ""
        return f"{self.name} ({', '.join(self.others[:_NAMED])}{more})"


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """Return findings, each text once, the worst first, and what is of most names first among them."""
    names: dict[tuple[Level, Kind, str], set[str]] = {}
    for one in findings:
        names.setdefault((one.level, one.kind, one.text), set()).add(one.name)
    groups = [Group(*key, tuple(sorted(found))) for key, found in names.items()]
    return sorted(groups, key=lambda one: (LEVELS.index(one.level), one.kind, -len(one.names), one.text))


def listed(names: Sequence[str], everybody: Sequence[str]) -> str:
    """Return some of all hosts in words."""
    missing = [name for name in everybody if name not in names]
    if len(names) <= _NAMED or len(missing) >= len(names):
        return ", ".join(names)
    return f"all {len(everybody)} hosts" + (f" but {', '.join(missing)}" if missing else "")


def addresses_of(name: str, ask: Ask) -> tuple[tuple[str, ...], str, bool]:
    """Return the addresses of a name, why there may be more, and whether there is such a name."""
    answers = [ask(name, kind) for kind in ("A", "AAAA")]
    found = tuple(sorted(address for answer in answers for address in answer.records or ()))
    why = next((answer.why for answer in answers if answer.records is None), "")
    return found, why, all(answer.is_name for answer in answers)


def exchanges(domain: str, sites: Sequence[Site], ask: Ask) -> tuple[Exchange, ...]:
    """Return where mail for a domain goes by its MX, or else by its address (RFC 5321 5.1), the first to try first."""
    records = ask(domain, "MX").records
    if records is None:
        return ()
    named = sorted((int(preference), name) for preference, name in (text.split() for text in records))
    return tuple(_exchange(name, preference, sites, ask) for preference, name in named or [(0, domain)])


def _exchange(name: str, preference: int, sites: Sequence[Site], ask: Ask) -> Exchange:
    addresses, why, is_name = addresses_of(name, ask)
    if not addresses:
        trouble = "" if why else "has no address" if is_name else "does not exist"
        return Exchange(name, preference, trouble=trouble, why=why)
    strange = [address for address in addresses if not any(address in site.addresses for site in sites)]
    anybodys = tuple(address for address in strange if not all(site.knows(address) for site in sites))
    here = tuple(
        site.name for site in sites if site.addresses.intersection(addresses) or _is_by_name(site, name, anybodys)
    )
    others = tuple(address for address in strange if address not in anybodys)
    return Exchange(name, preference, here, others, anybodys if not others or here else ())


def _is_by_name(site: Site, name: str, anybodys: Sequence[str]) -> bool:
    """Whether a name is that of a host of which no address of that kind is known: then its name has to do."""
    return name == site.myhostname and any(not site.knows(address) for address in anybodys)


def of_mx(domain: str, sites: Sequence[Site], ask: Ask) -> Iterator[Finding]:
    """Yield whether mail for a domain comes to this fleet."""
    answer = ask(domain, "MX")

    def finding(level: Level, text: str) -> Finding:
        return Finding(level, "domain", domain, text)

    if answer.records is None:
        yield finding("unknown", f"its MX is not known, and SPF and MTA-STS were not asked for: {answer.why}")
        return
    if not answer.is_name:
        yield finding("wrong", "does not exist in the DNS")
        return
    if any(text.split()[1] == "." for text in answer.records):
        yield finding("wrong", "says by a null MX that it takes no mail (RFC 7505)")
        return
    found = exchanges(domain, sites, ask)
    if not answer.records:
        if found[0].trouble:
            yield finding("wrong", "has neither an MX nor an address: mail for it has nowhere to go")
            return
        yield finding("warning", "has no MX: mail goes to its own address (RFC 5321 5.1)")
    yield from _where(domain, found, {site.name: site for site in sites}, is_implicit=not answer.records)


def _where(domain: str, found: Sequence[Exchange], sites: Mapping[str, Site], is_implicit: bool) -> Iterator[Finding]:
    def finding(level: Level, text: str) -> Finding:
        return Finding(level, "domain", domain, text)

    def named(one: Exchange) -> str:
        return "its address" if is_implicit else f"its MX {one.name}"

    for one in found:
        if one.trouble:
            yield finding("wrong", f"{named(one)} {one.trouble}")
        if one.why:
            yield finding("unknown", f"where {named(one)} leads is not known: {one.why}")
        if one.here and one.others:
            yield finding("warning", f"{named(one)} leads to {', '.join(one.others)} too, no address of this fleet")
        if one.anybodys:
            whose = "of this fleet is not known (proxy_interfaces of its hosts would say)"
            yield finding("unknown", f"{named(one)} leads to {', '.join(one.anybodys)}: whether that is {whose}")
    here = [name for name in sites if any(name in one.here for one in found)]
    refusing = [name for name in here if not sites[name].member.kind.is_relayed(domain)]
    if refusing:
        yield finding("wrong", f"its MX leads to {listed(refusing, list(sites))}, which does not relay it")
    relaying = [name for name in here if name not in refusing]
    if relaying:
        yield finding("well", f"its MX leads to {listed(relaying, list(sites))}")
    away = [one for one in found if one.is_elsewhere]
    if not away:
        return
    named_away = ", ".join(map(str, away)) if not is_implicit else ", ".join(away[0].others)
    if not here and not any(one.why or one.anybodys for one in found):
        yield finding("wrong", f"its MX leads elsewhere, and not here: {named_away}")
    else:
        is_first = here and away[0].preference < min(one.preference for one in found if one.here)
        yield finding("warning", f"its MX leads elsewhere {'first' if is_first else 'too'}: {named_away}")


def of_host(site: Site, ask: Ask) -> Iterator[Finding]:
    """Yield whether a host's name leads to its address, and that back to its name, as many receivers insist on."""

    def finding(level: Level, text: str) -> Finding:
        return Finding(level, "host", site.name, text)

    own = "its name" if site.myhostname == site.name else f"its name {site.myhostname}"
    addresses, why, _ = addresses_of(site.myhostname, ask)
    if why:
        yield finding("unknown", f"where {own} leads is not known: {why}")
    elif not addresses:
        yield finding("wrong", f"{own} has no address in the DNS")
    is_well = bool(addresses) and not why
    for address in addresses:
        if address not in site.addresses and site.knows(address):
            yield finding("wrong", f"{own} leads to {address}, which is no address of it")
            is_well = False
        elif address not in site.addresses:
            said = "its inventory and main.cf do not say (proxy_interfaces would)"
            yield finding("unknown", f"{own} leads to {address}: whether that is an address of it, {said}")
            is_well = False
        reverse = ask(ipaddress.ip_address(address).reverse_pointer, "PTR")
        if reverse.records is None:
            yield finding("unknown", f"what {address} is called is not known: {reverse.why}")
        elif not reverse.records:
            yield Finding("wrong", "host", f"{site.name} ({address})", "its address has no reverse name (PTR)")
        elif site.myhostname not in reverse.records:
            yield finding("wrong", f"the reverse name of {address} is {', '.join(sorted(reverse.records))}")
        is_well = is_well and site.myhostname in (reverse.records or ())
    if is_well:
        yield finding("well", "its name leads to its address, and that back to its name")


def unled(sites: Iterable[Site], found: Iterable[Exchange]) -> Iterator[Finding]:
    """Yield the hosts that no MX leads to."""
    led = {name for one in found for name in one.here}
    for site in sites:
        if site.name not in led:
            yield Finding("warning", "host", site.name, "no MX that could be found leads to it")


def of_tlsa(name: str, ask: Ask) -> Iterator[Finding]:
    """Yield whether senders can use what an MX host declares for DANE; nothing where it declares nothing."""
    answer = ask(f"_25._tcp.{name}", "TLSA")
    if answer.records is None:
        yield Finding("unknown", "MX host", name, f"whether it declares DANE (TLSA) is not known: {answer.why}")
    elif answer.records:
        usable = [text for text in answer.records if _is_usable(text)]
        kinds = ", ".join(sorted({" ".join(text.split()[:3]) for text in usable or answer.records}))
        if usable:
            yield Finding("well", "MX host", name, f"declares DANE: TLSA {kinds} (its certificate was not compared)")
        else:
            text = f"declares DANE by nothing that mail servers use: TLSA {kinds}; expected 3 1 1 (RFC 7672 3.1)"
            yield Finding("wrong", "MX host", name, text)


def _is_usable(text: str) -> bool:
    usage, selector, matching, *data = text.split()
    lengths = {"1": 64, "2": 128}
    length = len("".join(data))
    return usage in "23" and selector in "01" and matching in "012" and lengths.get(matching, length) == length > 0


def of_mta_sts(domain: str, ask: Ask) -> Iterator[Finding]:
    """Yield whether senders find the policy that a domain declares by MTA-STS; nothing where it declares none.

    RFC 8461 3.1: what begins otherwise is passed over, and of several records none counts.
    """
    answer = ask(f"_mta-sts.{domain}", "TXT")

    def finding(level: Level, text: str) -> Finding:
        return Finding(level, "domain", domain, text)

    if answer.records is None:
        yield finding("unknown", f"whether it declares MTA-STS is not known: {answer.why}")
        return
    records = [text for text in answer.records if re.match(r"v=STSv1\s*;", text)]
    if not records:
        return
    if len(records) > 1:
        yield finding("wrong", f"declares MTA-STS {len(records)} times: senders take none of them")
        return
    if not _STS_ID.fullmatch(records[0].strip()):
        yield finding("wrong", "declares MTA-STS without an id that counts; expected v=STSv1; id=20261125")
        return
    addresses, why, _ = addresses_of(f"mta-sts.{domain}", ask)
    if addresses:
        yield finding("well", "declares MTA-STS (its policy was not fetched)")
    elif why:
        yield finding("unknown", f"declares MTA-STS, and where its policy lies is not known: {why}")
    else:
        yield finding("wrong", "declares MTA-STS, and there is no mta-sts below it that would have the policy")


def _kind(address: str) -> tuple[int, bool]:
    parsed = ipaddress.ip_address(address)
    return parsed.version, parsed.is_global
