"""Where the DNS says that mail for a name goes: asked for in a run, never while a declaration is checked alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from mailproxy.resolving import Lookups

if TYPE_CHECKING:
    from dns.resolver import Resolver

LIFETIME_SECONDS = 2.0
ALL_SECONDS = 10.0


def mail_hosts(names: Iterable[str], resolver: Resolver | None = None) -> Mapping[str, tuple[str, ...]]:
    """Return the hosts and addresses that mail for each name goes to by its MX, or else by its address (RFC 5321 5.1).

    Each name is asked for once. What the DNS does not answer in time is left out: nothing follows from that.
    """
    lookups = Lookups(resolver, lifetime=LIFETIME_SECONDS, limit=ALL_SECONDS)
    found: dict[str, tuple[str, ...]] = {}

    def look_up(name: str) -> None:
        exchangers = lookups.ask(name, "MX").records
        if exchangers is None:
            return
        hosts = [text.split()[1] for text in exchangers]
        answers = (lookups.ask(host, kind) for host in hosts or [name] for kind in ("A", "AAAA"))
        found[name] = (*hosts, *(address for answer in answers for address in answer.records or ()))

    lookups.each(look_up, sorted(set(names)))
    return {name: hosts for name, hosts in found.items() if hosts}
