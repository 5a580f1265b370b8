"""Where the DNS says that mail for a name goes: asked for in a run, never while a declaration is checked alone."""

from collections.abc import Iterable, Mapping

import dns.exception
import dns.rdatatype
import dns.resolver
import gevent.pool

LIFETIME_SECONDS = 2.0
ALL_SECONDS = 10.0
_AT_ONCE = 50


def mail_hosts(names: Iterable[str], resolver: dns.resolver.Resolver | None = None) -> Mapping[str, tuple[str, ...]]:
    """Return the hosts and addresses that mail for each name goes to by its MX, or else by its address (RFC 5321 5.1).

    Each name is asked for once. What the DNS does not answer in time is left out: nothing follows from that.
    """
    wanted = sorted(set(names))
    if not wanted:
        return {}
    try:
        asked = resolver or dns.resolver.Resolver()
    except (dns.exception.DNSException, OSError):
        return {}
    found: dict[str, tuple[str, ...]] = {}

    def look_up(name: str) -> None:
        hosts = _exchangers(asked, name)
        addresses = [address for host in hosts or [name] for address in _addresses(asked, host)]
        found[name] = (*hosts, *addresses)

    pool = gevent.pool.Pool(_AT_ONCE)
    for name in wanted:
        pool.spawn(look_up, name)
    pool.join(timeout=ALL_SECONDS)
    pool.kill(block=False)
    return {name: hosts for name, hosts in found.items() if hosts}


def _exchangers(resolver: dns.resolver.Resolver, name: str) -> list[str]:
    records = _records(resolver, name, dns.rdatatype.MX)
    return sorted(str(record.exchange).removesuffix(".").lower() for record in records)


def _addresses(resolver: dns.resolver.Resolver, host: str) -> list[str]:
    kinds = (dns.rdatatype.A, dns.rdatatype.AAAA)
    return sorted(str(record.address) for kind in kinds for record in _records(resolver, host, kind))


def _records(resolver: dns.resolver.Resolver, name: str, kind: dns.rdatatype.RdataType) -> list[dns.resolver.Answer]:
    try:
        # A full stop at its end keeps a resolver from trying search domains.
        return list(resolver.resolve(f"{name.removesuffix('.')}.", kind, lifetime=LIFETIME_SECONDS))
    except (dns.exception.DNSException, OSError, ValueError):
        return []
