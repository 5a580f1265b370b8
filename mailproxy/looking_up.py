"""Does the DNS lead to the fleet: pyinfra INVENTORY mailproxy.dns."""

import ipaddress
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import click
from pyinfra import context
from pyinfra.api import Host, State

from mailproxy.as_text import visible
from mailproxy.check import member
from mailproxy.declaration import config_directory, declared, known_by
from mailproxy.dns_check import (
    LEVELS,
    Ask,
    Exchange,
    Finding,
    Group,
    Level,
    Site,
    addresses_of,
    exchanges,
    grouped,
    of_host,
    of_mta_sts,
    of_mx,
    of_tlsa,
    unled,
)
from mailproxy.model import DesiredState
from mailproxy.networks import parsed_network
from mailproxy.once import Once
from mailproxy.resolving import Lookups
from mailproxy.sender_policy import of_sender_policy
from mailproxy.stop import StopError

LIFETIME_SECONDS = 5.0
ALL_SECONDS = 600.0
# How many of those of which the same was found are named.
_NAMED = 3
_TITLES = {"wrong": "WRONG", "warning": "to look at", "unknown": "not known", "well": "well"}


class _Examination:
    """What is found of the hosts of a run and of their domains; waiting are those that pyinfra has yet to call."""

    def __init__(self, state: State):
        self.waiting = {host.name for host in state.inventory.get_active_hosts()}
        everybody = tuple(state.inventory)
        desired = declared(state.inventory, everybody).desired
        lookups = Lookups(lifetime=LIFETIME_SECONDS, limit=ALL_SECONDS)
        sites: dict[str, Site] = {}
        lookups.each(lambda host: sites.update({host.name: _site(host, desired[host.name], lookups.ask)}), everybody)
        # MX lead to hosts beyond those of --limit, too.
        fleet = [sites[host.name] for host in everybody]
        self.sites = [sites[host.name] for host in everybody if state.is_host_in_limit(host)]
        self.domains = sorted({domain for site in self.sites for domain in site.member.kind.relay_domains})
        self.groups = grouped(_examined(self.domains, self.sites, fleet, lookups))


def _site(host: Host, desired: DesiredState, ask: Ask) -> Site:
    """Return a host as it is seen from outside."""
    found = member(desired, *known_by(host))
    reached_at = str(host.data.get("ssh_hostname") or host.name)
    addresses = {name for name in found.names if _is_address(name)}
    if config_directory(host) and addresses - {reached_at}:
        # An instance of its own listens at addresses of its own.
        addresses.discard(reached_at)
    if not addresses:
        # Where the name that it was reached by leads is an address of it: it proved by its key who it is.
        addresses.update(addresses_of(reached_at, ask)[0])
    sends = any(not parsed_network(text).is_loopback for text in desired.mynetworks if not text.startswith("!"))
    return Site(host.name, desired.myhostname, frozenset(addresses), found, sends)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _examined(domains: Sequence[str], sites: Sequence[Site], fleet: Sequence[Site], lookups: Lookups) -> list[Finding]:
    found: list[Finding] = []
    led: dict[str, Exchange] = {}

    def of_domain(domain: str) -> None:
        found.extend(of_mx(domain, fleet, lookups.ask))
        if lookups.ask(domain, "MX").records is None:
            # Each further question would wait as long.
            return
        led.update((one.name, one) for one in exchanges(domain, fleet, lookups.ask))
        senders = {
            address: (site.name, site.myhostname)
            for site in sites
            if site.sends and domain in site.member.kind.relay_domains
            for address in addresses_of(site.myhostname, lookups.ask)[0]
        }
        found.extend(of_sender_policy(domain, senders, lookups.ask))
        found.extend(of_mta_sts(domain, lookups.ask))

    lookups.each(of_domain, domains)
    lookups.each(lambda site: found.extend(of_host(site, lookups.ask)), sites)
    here = [name for name, one in led.items() if one.here]
    lookups.each(lambda name: found.extend(of_tlsa(name, lookups.ask)), here)
    found.extend(unled(sites, led.values()))
    return found


_examinations: Once[_Examination] = Once()


def dns(**unknown: object) -> None:
    """Ask the DNS about the fleet and its domains, and print what it says; pyinfra calls this for each host.

    The last one prints, and ends the run: with 1 where something is wrong, else 0, also where something is not known.
    --json prints a list.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; it takes none; nothing was asked")
    state = context.state
    examination = _examinations.get(state, lambda: _Examination(state))
    examination.waiting.discard(context.host.name)
    if examination.waiting:
        return
    if "--json" in sys.argv[1:]:
        click.echo(json.dumps([asdict(group) for group in examination.groups], indent=1))
    else:
        click.echo(f"\n{report(examination.groups, len(examination.domains), len(examination.sites))}")
    raise StopError("", int(any(group.level == "wrong" for group in examination.groups)))


def report(groups: Sequence[Group], domains: int, hosts: int) -> str:
    """Return what was found, the worst first, each thing once with those it was found of."""
    lines = [f"{_count(domains, 'domain')}, {_count(hosts, 'host')}"]
    for level in LEVELS:
        lines += _section(level, [group for group in groups if group.level == level])
    return "".join(f"{visible(line)}\n" for line in lines)


def _section(level: Level, groups: Sequence[Group]) -> Iterator[str]:
    if groups:
        yield ""
        yield _TITLES[level]
    for group in groups:
        more = f" and {len(group.names) - _NAMED} more" if len(group.names) > _NAMED else ""
        yield f"    {group.text}"
        yield f"        {_count(len(group.names), group.kind)}: {', '.join(group.names[:_NAMED])}{more}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
