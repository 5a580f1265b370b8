"""What a changed host is asked to prove that it serves as declared, and what its answers prove.

Three outcomes: pass; fail, where the answer cannot be right; inconclusive, where it says nothing about the change, as
of a host that defers whoever it does not know yet (greylisting), or that cannot be reached from here.
"""

import ipaddress
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from mailproxy.access import RECIPIENTS, is_kept_out
from mailproxy.certificates import Certificate
from mailproxy.changes import Difference
from mailproxy.drained import CODE, is_of_drained
from mailproxy.feature import Needed
from mailproxy.gates import trusted
from mailproxy.instances import interfaces
from mailproxy.meaning import ROUTED, Meaning, hop_of, is_accepted
from mailproxy.model import Entries, differing
from mailproxy.next_hops import SMTP_CLIENTS
from mailproxy.relay_recipients import LISTED, VERIFIED
from mailproxy.syntax import words

Verdict = Literal["pass", "fail", "inconclusive"]
Kind = Literal["greeting", "silence", "starttls", "sender", "accepted", "unknown", "refused", "end"]

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
_NAMED = 3
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


@dataclass(frozen=True)
class Reply:
    """What a host answered to one step of an SMTP dialogue; code 0 is none at all, and text then says why.

    domain and local are the recipient's where the step was a recipient; the end is one that came too early, and
    silence a connection that is taken and not greeted. certificate is what STARTTLS has shown, where it can be read.
    """

    kind: Kind
    code: int
    text: str
    domain: str = ""
    local: str = RECIPIENT
    certificate: Certificate | None = None


@dataclass(frozen=True)
class Outcome:
    """What one answer proves, in a sentence of what was found and what was expected."""

    verdict: Verdict
    text: str


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
    known = {domain: local for domain, local in one_of_each.items() if domain in accepted}
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


def outcomes(asked: Probes, replies: Sequence[Reply], client: str, was_reachable: bool) -> Iterator[Outcome]:
    """Yield what the replies of one dialogue prove; of what passes only what is worth a warning.

    client is the address that the host saw, '' where there was no connection; was_reachable tells whether the host
    answered here before the change.
    """
    is_trusted = _is_trusted(client, asked.networks)
    for judged, together in _by_verdict(asked, replies, is_trusted, was_reachable).items():
        shown, more = together[:_NAMED], len(together) - _NAMED
        yield Outcome(judged, "; ".join(shown) + (f"; and {more} more" if more > 0 else ""))


def verdict(found: Iterable[Outcome]) -> Verdict:
    """Return what all outcomes come to: one failure is one, and of the rest one that proves nothing."""
    verdicts = {outcome.verdict for outcome in found}
    return "fail" if "fail" in verdicts else "inconclusive" if "inconclusive" in verdicts else "pass"


def _by_verdict(
    asked: Probes, replies: Sequence[Reply], is_trusted: bool, was_reachable: bool
) -> dict[Verdict, list[str]]:
    found: dict[Verdict, list[str]] = {}
    for reply in replies:
        if asked.is_drained and reply.kind == "greeting" and reply.code:
            judged, text = _judged_drained(reply)
        else:
            found_of_tls = _judged_certificate(reply, asked.certificate)
            judged, text = found_of_tls or _judged(asked, reply, is_trusted, was_reachable)
        # Several sessions may say the same.
        if text and text not in found.setdefault(judged, []):
            found[judged].append(text)
    return found


def _judged_certificate(reply: Reply, expected: Certificate | None) -> tuple[Verdict, str] | None:
    """Return what a certificate proves that is not as expected."""
    if reply.kind != "starttls" or reply.code != 220 or expected in (None, reply.certificate):
        return None
    return "fail", f"STARTTLS shows the certificate of {reply.certificate or 'nobody'}; expected that of {expected}"


def _judged(asked: Probes, reply: Reply, is_trusted: bool, was_reachable: bool) -> tuple[Verdict, str]:
    said = f"{reply.code} {reply.text}" if reply.code else reply.text
    if reply.kind == "greeting":
        return _judged_greeting(reply, said, was_reachable)
    if reply.kind == "end":
        return "fail", said
    if reply.kind == "silence":
        return "fail", f"port 25 takes connections and does not greet: {said}"
    if reply.kind == "starttls":
        return ("pass", "") if reply.code == 220 else ("fail", f"STARTTLS is to be offered, and is not: {said}")
    if reply.kind == "sender":
        return ("pass", "") if reply.code == 250 else (_of_refusal(reply), f"the sender <> is refused: {said}")
    if reply.kind == "accepted":
        if reply.code // 100 == 2:
            return "pass", ""
        if _is_unknown_recipient(reply) and reply.domain not in asked.known:
            return "pass", f"{RECIPIENT}@{reply.domain} is not known there, and has to be (RFC 5321): {said}"
        if _is_unverified(reply):
            return "pass", f"{reply.local}@{reply.domain} is put off, as its next hop does not answer: {said}"
        return _of_refusal(reply), f"{reply.local}@{reply.domain} is refused: {said}; expected 250"
    if reply.kind == "unknown":
        return _judged_unknown(reply, said, reply.domain in asked.verified)
    return _judged_foreign(reply, said, is_trusted)


def _judged_unknown(reply: Reply, said: str, is_verified: bool) -> tuple[Verdict, str]:
    name = f"{reply.local}@{reply.domain}"
    if reply.code // 100 == 5 or _is_unverified(reply):
        return "pass", ""
    if reply.code // 100 == 2 and is_verified:
        return "pass", f"{name}, whom nobody is, is accepted: the next hop of {reply.domain} takes any recipient"
    if reply.code // 100 == 2:
        return "fail", f"{name}, who is on no list, is accepted: {said}; expected 550"
    return _of_refusal(reply), f"{name}, who is on no list, is deferred: {said}; expected 550"


def _judged_drained(reply: Reply) -> tuple[Verdict, str]:
    if reply.code == CODE:
        return "pass", ""
    return "fail", f"it is drained, and greets all the same: {reply.code} {reply.text}; expected {CODE}"


def _judged_greeting(reply: Reply, said: str, was_reachable: bool) -> tuple[Verdict, str]:
    if reply.code in (220, 250):
        return "pass", ""
    if is_of_drained(reply.code, reply.text):
        return "fail", f"it still answers as a drained host: {said}; expected 220"
    if reply.code:
        return _of_refusal(reply), f"it does not greet: {said}; expected 220"
    if was_reachable:
        return "fail", f"port 25 does not answer any more: {said}"
    return "inconclusive", f"port 25 cannot be reached from here: {said}"


def _judged_foreign(reply: Reply, said: str, is_trusted: bool) -> tuple[Verdict, str]:
    name = f"{RECIPIENT}@{reply.domain}"
    if reply.code // 100 == 2:
        if is_trusted:
            return (
                "inconclusive",
                f"{name} is accepted from here, as this machine is in mynetworks: that proves nothing",
            )
        what = "foreign" if reply.domain == FOREIGN else "removed"
        return "fail", f"{name}, a {what} domain, is accepted: {said}; expected a refusal"
    if reply.code // 100 == 5 or _is_relay_denied(reply):
        return "pass", ""
    return _of_refusal(reply), f"{name} is deferred before relaying is looked at: {said}; expected 554"


def _of_refusal(reply: Reply) -> Verdict:
    """Return what a refusal is that should not be: whether it is about the domain, or about who asks.

    Postfix says 4.3.0 and 4.3.5 where it cannot use its own tables or restrictions (smtpd_check.c, "Temporary lookup
    failure" and "Server configuration error"); other 4xx come from greylisting, rate limits and reputation.
    """
    if not reply.code or _is_relay_denied(reply):
        return "fail"
    if reply.code // 100 == 4:
        return "fail" if re.match(r"4\.3\.[05]\b", reply.text) else "inconclusive"
    # What stands in brackets is who asks or who is written to, by any name.
    said = re.sub(r"<[^>]*>", "", reply.text)
    is_about_client = re.search(r"Client host|Helo command|Sender address|blocked|blacklist", said, re.IGNORECASE)
    return "inconclusive" if reply.code // 100 == 5 and is_about_client else "fail"


def _is_unknown_recipient(reply: Reply) -> bool:
    """Whether a domain is relayed and this recipient of it is not known, by a list or by asking the next hop."""
    return reply.code // 100 == 5 and bool(re.search(r"relay recipient table|undeliverable address", reply.text))


def _is_unverified(reply: Reply) -> bool:
    """Whether the next hop was asked for a recipient, and has not answered (relay_recipients.py)."""
    return reply.code // 100 == 4 and "unverified address" in reply.text


def is_put_off(reply: Reply) -> bool:
    """Whether a client that has just passed the last tests of postscreen(8) is asked to come again."""
    return reply.code == 450 and reply.text.startswith("4.3.2 ")


def _is_relay_denied(reply: Reply) -> bool:
    return "Relay access denied" in reply.text


def _is_trusted(client: str, networks: Entries) -> bool:
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return False
    return any(address in network for network in trusted(networks) if network.version == address.version)


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
