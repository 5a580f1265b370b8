"""What a rollout does not do unless it was approved by name: observed x desired -> gates."""

from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from mailproxy.changes import Difference
from mailproxy.meaning import NOT_ACCEPTED, is_accepted
from mailproxy.model import Entries, differing
from mailproxy.observed import ObservedState
from mailproxy.problem import some
from mailproxy.syntax import main_cf_parameters

Network = IPv4Network | IPv6Network
GateName = Literal["removals", "queued", "networks", "restart", "unreachable", "takeover", "delete", "drain"]

# What each gate stops; the names are those of --data approve=.
GATES: dict[GateName, str] = {
    "removals": "relay domains are removed or rerouted, more than 30 % of a host's or more than 10 at once",
    "queued": "a domain is removed, or moved, for which the queue holds mail",
    "networks": "more addresses are trusted than before",
    "restart": "Postfix stops answering for a moment",
    "unreachable": "hosts are left behind that could not be reached or read",
    "takeover": "a host that was made by hand relays mail already",
}
# The same of what is no rollout.
FURTHER_GATES: dict[GateName, str] = {
    "delete": "messages are deleted from a queue (mailproxy.queue)",
    "drain": "no host of the inventory is left that takes mail (mailproxy.drain)",
}
MOST_REMOVALS = 10
MOST_REMOVALS_PERCENT = 30
_RELAYING = ("relay_domains", "transport_maps", "mynetworks")
_VIRTUAL = ("virtual_alias_domains", "virtual_mailbox_domains", "virtual_alias_maps")


@dataclass(frozen=True)
class Gate:
    """Something that needs approval on a host, and why."""

    name: GateName
    reason: str


def gates(difference: Difference, action: str, observed: ObservedState) -> tuple[Gate, ...]:
    """Return the gates of one host whose change ends in an action such as "reload".

    A host that was never managed and relays nothing yet meets none: nothing can be lost there.
    """
    if not observed.is_managed and not relays(difference, observed):
        return ()
    return tuple(_gates(difference, action, observed))


def relays(difference: Difference, observed: ObservedState) -> bool:
    """Whether a host relays mail as it is: for a domain, by a table, or for networks besides its own loopback."""
    live, parameters = difference.live, main_cf_parameters(observed.texts.get("main.cf", ""))
    if live.domains or any(unread.startswith(_RELAYING) for unread in live.unread):
        return True
    if any(parameters.get(name) for name in _VIRTUAL):
        return True
    if "mynetworks" not in parameters and "mynetworks_style" not in parameters:
        return False  # by Postfix's own default, which nobody chose
    return not all(_is_loopback(network) for network in trusted(live.networks))


def trusted(items: Iterable[str]) -> list[Network]:
    """Return the networks that a list such as mynetworks trusts, its exclusions taken out.

    The first item that matches decides (postconf(5), mynetworks); tables and names, which cannot be told, are left out.
    """
    found: list[Network] = []
    for item in reversed(list(items)):
        network = _parsed(item.removeprefix("!"))
        if network is not None:
            found = _without(found, network) if item.startswith("!") else [*found, network]
    return found


def _gates(difference: Difference, action: str, observed: ObservedState) -> Iterator[Gate]:
    live, wanted = difference.live.domains, difference.wanted.domains
    total = _accepted(live)
    if not observed.is_managed:
        kinds = f"{total} {'domain' if total == 1 else 'domains'}" if total else "trusted networks"
        yield Gate("takeover", f"a host made by hand relays mail for {kinds} already")
    affected = [domain for domain in differing(live, wanted) if domain in live and is_accepted(live[domain])]
    removed = [domain for domain in affected if not is_accepted(wanted.get(domain, NOT_ACCEPTED))]
    rerouted = len(affected) - len(removed)
    if len(affected) > MOST_REMOVALS or len(affected) * 100 > MOST_REMOVALS_PERCENT * total:
        parts = [f"{len(removed)} removed"] * bool(removed) + [f"{rerouted} rerouted"] * bool(rerouted)
        limits = f"{MOST_REMOVALS_PERCENT} % or above {MOST_REMOVALS}"
        yield Gate("removals", f"{' and '.join(parts)} of {total} relay domains; approval is needed above {limits}")
    waiting = [domain for domain in removed if (observed.queued or {}).get(domain)]
    if waiting:
        yield Gate("queued", f"mail is queued for {some(waiting)}, which {_is_are(waiting)} removed")
    elif removed and observed.queued is None:
        yield Gate("queued", f"the queue cannot be read, and {some(removed)} {_is_are(removed)} removed")
    moved = [domain for domain in affected if domain not in removed and (observed.queued or {}).get(domain)]
    if moved:
        yield Gate("queued", f"mail is queued for {some(moved)}, which {_is_are(moved)} moved to another next hop")
    elif rerouted and observed.queued is None:
        yield Gate("queued", "the queue cannot be read, and domains are moved to another next hop")
    wider = _wider(difference.live.networks, difference.wanted.networks)
    if wider:
        yield Gate("networks", f"{some([str(network) for network in wider])} {_is_are(wider)} trusted from now on")
    if action == "stop":
        yield Gate("restart", "this instance of Postfix is stopped, and answers nobody from then on")
    if action == "restart" and observed.has_usable_main_cf:
        yield Gate("restart", "Postfix is stopped and started, and answers nobody for that moment")


@lru_cache(maxsize=1024)
def _wider(live: Entries, wanted: Entries) -> tuple[Network, ...]:
    """Return what is trusted that was not before."""
    before = trusted(live)
    known = set(before)
    wider = [network for network in trusted(wanted) if network not in known]
    for network in before if wider else ():
        wider = _without(wider, network)
    return tuple(dict.fromkeys(wider))


@lru_cache(maxsize=1024)
def _accepted(domains: Entries) -> int:
    return sum(is_accepted(hop) for hop in domains.values())


def _is_are(things: Sized) -> str:
    return "is" if len(things) == 1 else "are"


def _parsed(item: str) -> Network | None:
    try:
        return ip_network(item.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return None


def _without(networks: list[Network], taken: Network) -> list[Network]:
    """Return what is left of networks when another is taken out of them."""
    left: list[Network] = []
    for network in networks:
        if network.version != taken.version or not network.overlaps(taken):
            left.append(network)
        elif not network.subnet_of(taken):  # type: ignore[arg-type]
            left += network.address_exclude(taken)  # type: ignore[arg-type]
    return left


def _is_loopback(network: Network) -> bool:
    address = network.network_address
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
