"""SPF (RFC 7208): may the hosts that send for a domain do so, in the eyes of those who receive its mail?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mailproxy.dns_check import Ask, Finding, Level, listed
from mailproxy.resolving import TEXT_ENCODING

_LIMIT_SECONDS = 60


def of_sender_policy(domain: str, senders: Mapping[str, tuple[str, str]], ask: Ask) -> Iterator[Finding]:
    """Yield what the SPF of a domain says of hosts: senders are, by address, their name in the inventory and their own.

    Where nobody sends, an SPF is looked at for mistakes alone.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for address, (host, myhostname) in senders.items() or [("192.0.2.1", ("", "host.invalid"))]:
        found.setdefault(_result(domain, address, myhostname, ask), []).append(host)
    everybody = list(dict.fromkeys(host for host, _ in senders.values()))
    for (result, text), names in found.items():
        hosts = listed(tuple(dict.fromkeys(names)), everybody)
        level: Level = "warning"
        if result == "permerror":
            level, said = "wrong", f"its SPF counts as broken: {text}"
        elif result == "temperror":
            level, said = "unknown", f"its SPF is not known: {text}"
        elif not senders:
            continue
        elif result == "none":
            said = "has no SPF, and hosts of this fleet may send for it"
        elif result == "pass":
            level, said = "well", f"its SPF passes for {hosts}"
        else:
            said = f"its SPF says {result} of {hosts}, where others may send through it"
        yield Finding(level, "domain", domain, said)


def _result(domain: str, address: str, myhostname: str, ask: Ask) -> tuple[str, str]:
    """Return the result of SPF for mail of a domain that comes from an address, and why it is that."""
    import spf  # type: ignore[import-untyped]

    def look_up(name: str, kind: str, *_: object) -> list[tuple[tuple[str, str], Any]]:
        answer = ask(name, kind)
        if answer.records is None:
            raise spf.TempError(answer.why)
        return [((name, kind), _value(text, kind)) for text in answer.records]

    # How it is told whom to ask.
    spf.DNSLookup = look_up
    query = spf.query(i=address, s=f"postmaster@{domain}", h=myhostname, timeout=_LIMIT_SECONDS)
    result, _, text = query.check()
    return result, text.partition("Error: ")[2] if result.endswith("error") else ""


def _value(text: str, kind: str) -> object:
    if kind in ("TXT", "SPF"):
        return [text.encode(TEXT_ENCODING)]
    if kind == "MX":
        preference, name = text.split()
        return int(preference), name
    return text
