"""What the answers of a host to its probes prove.

Three outcomes: pass; fail, where the answer cannot be right; inconclusive, where it says nothing about the change, as
of a host that defers whoever it does not know yet (greylisting), or that cannot be reached from here.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mailproxy.certificates import Certificate
from mailproxy.drained import CODE, is_of_drained
from mailproxy.gates import trusted
from mailproxy.model import Entries
from mailproxy.probe import FOREIGN, RECIPIENT, Probes

Verdict = Literal["pass", "fail", "inconclusive"]
Kind = Literal["greeting", "silence", "starttls", "sender", "accepted", "unknown", "refused", "end"]

_NAMED = 3


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
