"""Where the DNS says that mail for a name goes: asked for in a run, never while a declaration is checked alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import gevent.pool

if TYPE_CHECKING:
    from dns.resolver import Resolver

LIFETIME_SECONDS = 2.0
ALL_SECONDS = 10.0
_AT_ONCE = 50


def mail_hosts(names: Iterable[str], resolver: Resolver | None = None) -> Mapping[str, tuple[str, ...]]:
    """Return the hosts and addresses that mail for each name goes to by its MX, or else by its address (RFC 5321 5.1).

    Each name is asked for once. What the DNS does not answer in time is left out: nothing follows from that.
    """
    wanted = sorted(set(names))
    asked = (resolver or _resolver()) if wanted else None
    if asked is None:
        return {}
    found: dict[str, tuple[str, ...]] = {}

    def look_up(name: str) -> None:
        exchangers = _records(asked, name, "MX", "exchange")
        if exchangers is None:
            return
        hosts = [host.removesuffix(".").lower() for host in exchangers]
        addresses = (_records(asked, host, kind, "address") for host in hosts or [name] for kind in ("A", "AAAA"))
        found[name] = (*hosts, *(address for some in addresses for address in some or ()))

    pool = gevent.pool.Pool(_AT_ONCE)
    waiting = [gevent.Greenlet(look_up, name) for name in wanted]
    with gevent.Timeout(ALL_SECONDS, exception=False):
        for greenlet in waiting:
            pool.start(greenlet)
        pool.join()
    pool.kill()
    return {name: hosts for name, hosts in found.items() if hosts}


def _resolver() -> Resolver | None:
    """Return the resolver of this machine, None where it has none."""
    # Imported where it is needed: that takes longer than all else, and most fleets have no next hop without brackets.
    from dns.exception import DNSException
    from dns.resolver import Resolver

    try:
        return Resolver()
    except (DNSException, OSError):
        return None


def _records(resolver: Resolver, name: str, kind: str, field: str) -> list[str] | None:
    """Return a field of all records of a name, None where nobody answered."""
    from dns.exception import DNSException
    from dns.resolver import NXDOMAIN, NoAnswer

    try:
        # A full stop at its end keeps a resolver from trying search domains.
        answer = resolver.resolve(f"{name.removesuffix('.')}.", kind, lifetime=LIFETIME_SECONDS)
    except (NXDOMAIN, NoAnswer):
        return []
    except (DNSException, OSError, ValueError):
        return None
    return [str(getattr(record, field)) for record in answer]
