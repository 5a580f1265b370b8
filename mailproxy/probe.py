"""What a changed host is asked to prove that it serves as declared; judging.py has what its answers prove."""

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from mailproxy.access import RECIPIENTS, is_kept_out
from mailproxy.certificates import Certificate
from mailproxy.changes import Difference
from mailproxy.feature import Needed
from mailproxy.instances import interfaces
from mailproxy.meaning import ROUTED, Meaning, hop_of, is_accepted
from mailproxy.model import Entries, differing
from mailproxy.next_hops import SMTP_CLIENTS
from mailproxy.relay_recipients import LISTED, VERIFIED
from mailproxy.syntax import words

# A domain that nobody can have (RFC 6761): a proxy that takes mail for it relays for everybody.
FOREIGN = "mailproxy-probe.invalid"
# Every domain has this recipient (RFC 5321, 4.5.1).
RECIPIENT = "postmaster"
# Nobody is called that.
MADE_UP = "mailproxy-probe-nobody"
# How many domains are asked for that do not change.
SAMPLE = 5
# Parameters that hold next hops of all mail that has no other.
_FURTHER_HOPS = ("relayhost", "smtp_fallback_relay")
# How many of those that change: for all of them the tables themselves are asked (files/activate.sh, check_tables).
# A hundred hosts that are each asked for 10,000 by SMTP take longer than they wait for their confirmation.
MOST = 100
# postconf(5), message_size_limit.
_SIZE_BY_DEFAULT = "10240000"
_TLS_ON = {"may", "encrypt"}


@dataclass(frozen=True)
class Probes:
    """What a host is asked: relay domains that it must accept, domains that it must refuse, whether it offers STARTTLS.

    known are recipients to ask for in place of postmaster, by domain, unknown the domains where somebody made up must
    be refused; of those verified the next hop decides who that is.
    certificate is the one that it has to show by STARTTLS, None where any will do.
    networks are those it trusts, hops the next hops that it must reach, needed what else must answer it; largest is how
    many bytes a message may have, 0 where there is no limit, None where that cannot be told. interface is the first
    address, or name, that its inet_interfaces gives besides the loopback, '' where that gives none; serves says whether
    anybody is to answer, and is_drained whether with 421 alone.
    """

    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    known: Entries = field(default_factory=lambda: Entries({}))
    unknown: tuple[str, ...] = ()
    verified: frozenset[str] = frozenset()
    starttls: bool = False
    certificate: Certificate | None = None
    networks: Entries = field(default_factory=lambda: Entries({}))
    hops: tuple[str, ...] = ()
    largest: int | None = None
    needed: tuple[Needed, ...] = ()
    interface: str = ""
    serves: bool = True
    is_drained: bool = False


def probes(found: Difference, parameters: Mapping[str, str], is_unproven: bool) -> Probes:
    """Return what proves a change; parameters are those of the main.cf to come.

    Where an earlier change was never proven, nobody knows any more what it changed: every domain counts as changed.
    """
    with_parents = found.wanted.subdomains == ROUTED
    kept_out = found.wanted.of("entry", RECIPIENTS)
    domains = _of_domains(found.live.domains, found.wanted.domains, is_unproven, with_parents, kept_out)
    most = _most_of_each(parameters)
    largest = _largest(parameters)
    # Who did not get larger messages so far may not take them.
    others = _hops_of_all(found.wanted.domains) if _grows(_largest(found.live.parameters), largest) else ()
    before, after = found.live.parameters, found.wanted.parameters
    further = {name: after[name] for name in _FURTHER_HOPS if name in after}
    unproven = [value for name, value in further.items() if is_unproven or before.get(name) != value]
    return replace(
        _with_recipients(replace(domains, accepted=domains.accepted[:most]), found.wanted),
        refused=(*domains.refused[:-1][:most], FOREIGN),
        hops=tuple(dict.fromkeys([*domains.hops, *others, *_destinations(unproven)])),
        largest=largest,
        starttls=_offers_starttls(parameters),
        networks=found.wanted.networks,
        interface=next(iter(interfaces(parameters)), ""),
    )


@lru_cache(maxsize=256)
def _of_domains(live: Entries, wanted: Entries, is_unproven: bool, with_parents: bool, kept_out: Entries) -> Probes:
    """Return what a change of domains asks for: once for all hosts that have it."""
    changed = list(dict.fromkeys([*(wanted if is_unproven else ()), *differing(live, wanted)]))
    relayed = {domain for domain, hop in wanted.items() if is_accepted(hop)}
    accepted = [domain for domain in changed if domain in relayed]
    others = sorted(relayed.difference(accepted))
    removed = [domain for domain in changed if domain in live and is_accepted(live[domain])]
    gone = [domain for domain in removed if not _is_covered(domain, wanted, with_parents)]
    return Probes(
        accepted=(*_spread(_open(accepted, kept_out), MOST), *_spread(_open(others, kept_out), SAMPLE)),
        refused=(*_spread(gone, MOST), FOREIGN),
        hops=next_hops(hop_of(wanted[key]) for key in changed if key in wanted),
    )


def _with_recipients(asked: Probes, wanted: Meaning) -> Probes:
    """Return what is asked with recipients that are known there, and with somebody made up, in some of the domains."""
    verified = wanted.of("entry", VERIFIED)
    # smtpd waits for the next hop with each answer.
    waiting = [domain for domain in asked.accepted if domain in verified][:SAMPLE]
    accepted = [domain for domain in asked.accepted if domain not in verified or domain in waiting]
    one_of_each = _one_of_each(wanted.of("entry", LISTED), wanted.of("entry", RECIPIENTS))
    asked_for = set(accepted)
    known = {domain: local for domain, local in one_of_each.items() if domain in asked_for}
    strict = [domain for domain in accepted if domain in known or domain in verified]
    return replace(
        asked,
        accepted=tuple(accepted),
        known=Entries(known),
        unknown=tuple(_spread(strict, SAMPLE)),
        verified=frozenset(waiting),
    )


@lru_cache(maxsize=64)
def _one_of_each(addresses: Entries, kept_out: Entries) -> dict[str, str]:
    """Return a local part of each domain that is not refused on purpose."""
    found: dict[str, str] = {}
    for address in addresses:
        local, _, domain = address.rpartition("@")
        if local and not is_kept_out(address, kept_out):
            found.setdefault(domain, local)
    return found


@lru_cache(maxsize=256)
def _hops_of_all(wanted: Entries) -> tuple[str, ...]:
    """Return the next hops of all relay domains, at most so many as are asked for of the domains that change."""
    return tuple(_spread(next_hops(hop for hop in wanted.values() if is_accepted(hop)), MOST))


def all_probes(found: Difference, parameters: Mapping[str, str], most: int | None) -> Probes:
    """Return what proves a host as it is: the same for so many domains, or all where that is None."""
    domains = [domain for domain, hop in found.wanted.domains.items() if is_accepted(hop)]
    open_domains = _open(domains, found.wanted.of("entry", RECIPIENTS))
    asked = _spread(open_domains, min(len(domains) if most is None else most, _most_of_each(parameters)))
    hops = next_hops(map(hop_of, found.wanted.domains.values()))
    further = _destinations(found.wanted.parameters.get(name, "") for name in _FURTHER_HOPS)
    return replace(
        _with_recipients(Probes(tuple(asked), (FOREIGN,)), found.wanted),
        starttls=_offers_starttls(parameters),
        networks=found.wanted.networks,
        hops=tuple(dict.fromkeys((*hops, *further))),
        largest=_largest(parameters),
        interface=next(iter(interfaces(parameters)), ""),
    )


def next_hops(values: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct destinations of transport(5) results that a mail client connects to, as posttls-finger(1)
    takes them; those of LMTP begin with "lmtp:"."""
    found: dict[str, None] = {}
    for value in values:
        transport, _, destination = value.partition(":")
        if transport in SMTP_CLIENTS and destination:
            found[f"lmtp:{destination}" if transport == "lmtp" else destination] = None
    return tuple(found)


def _destinations(values: Iterable[str]) -> Iterator[str]:
    """Yield the destinations that parameters hold, but those that refer to others."""
    yield from (word for value in values for word in words(value) if "$" not in word)


def _is_covered(domain: str, wanted: Entries, with_parents: bool) -> bool:
    parents = [domain.split(".", count)[count] for count in range(1, domain.count(".") + 1)] if with_parents else []
    return any(name in wanted and is_accepted(wanted[name]) for name in (domain, *parents))


def _most_of_each(parameters: Mapping[str, str]) -> int:
    """Return how many domains of each kind may be asked for: a stranger may have so many recipients a minute."""
    rate = parameters.get("smtpd_client_recipient_rate_limit", "0")
    # Asked again, and after the bake time.
    return max(1, int(rate) // 8) if rate.isascii() and rate.isdigit() and int(rate) else sys.maxsize


def _largest(parameters: Mapping[str, str]) -> int | None:
    """Return how many bytes a message may have: 0 is no limit, None stands for a value that is no number."""
    value = parameters.get("message_size_limit", _SIZE_BY_DEFAULT)
    return int(value) if value.isascii() and value.isdigit() else None


def _grows(before: int | None, after: int | None) -> bool:
    """Whether messages are taken that were not before, as far as can be told."""
    if not before or after is None:
        return False
    return after == 0 or after > before


def _offers_starttls(parameters: Mapping[str, str]) -> bool:
    level = parameters.get("smtpd_tls_security_level", "")
    return level in _TLS_ON or (not level and parameters.get("smtpd_use_tls") == "yes")


def _open(domains: Sequence[str], kept_out: Entries) -> list[str]:
    """Return the domains whose RECIPIENT is not refused on purpose."""
    return [domain for domain in domains if not is_kept_out(f"{RECIPIENT}@{domain}", kept_out)]


def _spread(names: Sequence[str], most: int) -> list[str]:
    """Return at most so many names, evenly spread over all."""
    count = min(most, len(names))
    return [names[index * len(names) // count] for index in range(count)]
