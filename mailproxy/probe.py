"""What a changed host is asked to prove that it serves as declared, and what its answers prove.

Three outcomes: pass; fail, where the answer cannot be right; inconclusive, where it says nothing about the change, as
of a host that defers whoever it does not know yet (greylisting), or that cannot be reached from here.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal

from mailproxy.changes import Difference
from mailproxy.feature import Needed
from mailproxy.gates import trusted
from mailproxy.instances import interfaces
from mailproxy.meaning import ROUTED, is_accepted
from mailproxy.model import Entries, differing
from mailproxy.next_hops import SMTP_CLIENTS

Verdict = Literal["pass", "fail", "inconclusive"]
Kind = Literal["greeting", "silence", "starttls", "sender", "accepted", "refused", "end"]

# A domain that nobody can have (RFC 6761): a proxy that takes mail for it relays for everybody.
FOREIGN = "mailproxy-probe.invalid"
# Every domain has this recipient (RFC 5321, 4.5.1).
RECIPIENT = "postmaster"
# How many domains are asked for that do not change.
SAMPLE = 5
# How many of those that change: for all of them the tables themselves are asked (files/activate.sh, check_tables).
# A hundred hosts that are each asked for 10,000 by SMTP take longer than they wait for their confirmation.
MOST = 100
_NAMED = 3
_TLS_ON = {"may", "encrypt"}


@dataclass(frozen=True)
class Probes:
    """What a host is asked: relay domains that it must accept, domains that it must refuse, whether it offers STARTTLS.

    networks are those it trusts, hops the next hops that it must reach, needed what else must answer it.
    interface is the first address, or name, that its inet_interfaces gives besides the loopback, ''
    where that gives none; serves says whether anybody is to answer.
    """

    accepted: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    starttls: bool = False
    networks: Entries = field(default_factory=lambda: Entries({}))
    hops: tuple[str, ...] = ()
    needed: tuple[Needed, ...] = ()
    interface: str = ""
    serves: bool = True


@dataclass(frozen=True)
class Reply:
    """What a host answered to one step of an SMTP dialogue; code 0 is none at all, and text then says why.

    domain is the recipient's where the step was a recipient; the end is one that came too early, and silence a
    connection that is taken and not greeted.
    """

    kind: Kind
    code: int
    text: str
    domain: str = ""


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
    domains = _of_domains(found.live.domains, found.wanted.domains, is_unproven, with_parents)
    return replace(
        domains,
        starttls=_offers_starttls(parameters),
        networks=found.wanted.networks,
        interface=next(iter(interfaces(parameters)), ""),
    )


@lru_cache(maxsize=256)
def _of_domains(live: Entries, wanted: Entries, is_unproven: bool, with_parents: bool) -> Probes:
    """Return what a change of domains asks for: once for all hosts that have it."""
    changed = list(dict.fromkeys([*(wanted if is_unproven else ()), *differing(live, wanted)]))
    accepted = [domain for domain in changed if is_accepted(wanted.get(domain, "")) and domain in wanted]
    others = sorted({domain for domain, hop in wanted.items() if is_accepted(hop)}.difference(accepted))
    removed = [domain for domain in changed if domain in live and is_accepted(live[domain])]
    gone = [domain for domain in removed if not _is_covered(domain, wanted, with_parents)]
    return Probes(
        accepted=(*_spread(accepted, MOST), *_spread(others, SAMPLE)),
        refused=(*_spread(gone, MOST), FOREIGN),
        hops=next_hops(wanted[domain] for domain in accepted),
    )


def all_probes(found: Difference, parameters: Mapping[str, str], most: int | None) -> Probes:
    """Return what proves a host as it is: the same for so many domains, or all where that is None."""
    domains = [domain for domain, hop in found.wanted.domains.items() if is_accepted(hop)]
    asked = domains if most is None else _spread(domains, most)
    hops = next_hops(found.wanted.domains[domain] for domain in domains)
    return Probes(
        accepted=tuple(asked),
        refused=(FOREIGN,),
        starttls=_offers_starttls(parameters),
        networks=found.wanted.networks,
        hops=hops,
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


def hop_outcomes(lines: Iterable[str], fails: bool) -> Iterator[Outcome]:
    """Yield what the "hop ..." lines of a host prove (files/probing.sh), those that answer left out.

    Where a silent next hop does not fail its host it is a warning: a pass with something to say.
    """
    for line in lines:
        _, hop, state, *rest = line.split(" ", 3)
        reason = f": {rest[0]}" if rest else ""
        if state == "silent":
            yield Outcome("fail" if fails else "pass", f"next hop {hop} does not answer the host{reason}")
        elif state != "answers":
            yield Outcome("pass", f"next hop {hop} was not asked{reason}")


def _by_verdict(
    asked: Probes, replies: Sequence[Reply], is_trusted: bool, was_reachable: bool
) -> dict[Verdict, list[str]]:
    found: dict[Verdict, list[str]] = {}
    for reply in replies:
        judged, text = _judged(reply, is_trusted, was_reachable)
        # Several sessions may say the same.
        if text and text not in found.setdefault(judged, []):
            found[judged].append(text)
    return found


def _judged(reply: Reply, is_trusted: bool, was_reachable: bool) -> tuple[Verdict, str]:
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
        if _is_unknown_recipient(reply):
            return "pass", f"{RECIPIENT}@{reply.domain} is not known there, and has to be (RFC 5321): {said}"
        return _of_refusal(reply), f"{RECIPIENT}@{reply.domain} is refused: {said}; expected 250"
    return _judged_foreign(reply, said, is_trusted)


def _judged_greeting(reply: Reply, said: str, was_reachable: bool) -> tuple[Verdict, str]:
    if reply.code in (220, 250):
        return "pass", ""
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


def _offers_starttls(parameters: Mapping[str, str]) -> bool:
    level = parameters.get("smtpd_tls_security_level", "")
    return level in _TLS_ON or (not level and parameters.get("smtpd_use_tls") == "yes")


def _spread(names: Sequence[str], most: int) -> list[str]:
    """Return at most so many names, evenly spread over all."""
    count = min(most, len(names))
    return [names[index * len(names) // count] for index in range(count)]
