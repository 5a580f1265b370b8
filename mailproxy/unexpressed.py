"""What a host that was made by hand says, and group_data cannot: its files -> remarks, each with its line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from mailproxy.gates import trusted
from mailproxy.handmade import Found, HandMade, Place
from mailproxy.meaning import ROUTED, UNROUTED, Meaning, is_accepted, spelled_network
from mailproxy.observed import ObservedState
from mailproxy.render import OWN_PARAMETERS
from mailproxy.secret import is_secret
from mailproxy.syntax import words

_SUBDOMAINS = "parent_domain_matches_subdomains"


@dataclass(frozen=True)
class Remark:
    """Something of a host that its declaration does not say, why, and what to do; a void one had no effect anyway."""

    place: Place
    reason: str
    remedy: str = ""
    is_void: bool = False


def remarks(live: Meaning, files: HandMade, observed: ObservedState) -> tuple[Remark, ...]:
    """Return what of a host has no form in group_data, in the order of its files."""
    return (
        *_of_main_cf(files),
        *_of_subdomains(live, files, observed),
        *_of_networks(files),
        *_of_relay_domains(files),
        *_of_routes(live, files),
        *_of_aliases(files),
        *_of_tables(live, files),
    )


def _of_main_cf(files: HandMade) -> Iterator[Remark]:
    for found in files.parameters:
        if not found.key:
            yield Remark(found.place, "sets nothing: there is no = in it", is_void=True)
        elif found.winner:
            yield _beaten(found)
        elif found.key in files.unused:
            meant = found.key.replace("-", "_")
            hint = f"declare {meant} if that was meant" if meant != found.key and files.builtin(meant) else ""
            yield Remark(found.place, "is no parameter that anything in Postfix reads", hint, is_void=True)
        elif found.key not in OWN_PARAMETERS and is_secret(found.key, found.value):
            reason = "may hold a secret, and group_data holds none"
            yield Remark(found.place, reason, "let it name a table of the host, and adopt again; else it goes")
    if files.lacks_relay_rule:
        reason = "nothing in it or in smtpd_recipient_restrictions refuses strangers, so smtpd does not start"
        place = files.place_of("smtpd_relay_restrictions")
        yield Remark(place, reason, "mailproxy's own rule comes: permit_mynetworks, reject_unauth_destination")


def _of_subdomains(live: Meaning, files: HandMade, observed: ObservedState) -> Iterator[Remark]:
    if live.subdomains == UNROUTED and any(map(is_accepted, live.domains.values())):
        reason = "accepts mail for subdomains of relay domains, which goes to their own MX for want of routes"
        remedy = "it is refused from then on; relay_subdomains = True routes it as the parents'"
        yield Remark(files.place_of(_SUBDOMAINS), reason, remedy)
    kept = set(files.words(_SUBDOMAINS)) - {"relay_domains"}
    usual = set(words(observed.postfix.defaults.get(_SUBDOMAINS, ""))) - {"relay_domains"}
    if _SUBDOMAINS in files.counting and kept != usual:
        named = ", ".join(sorted(kept ^ usual))
        reason = f"differs from Postfix's default in {named}, and only relay_domains can be chosen (relay_subdomains)"
        yield Remark(files.place_of(_SUBDOMAINS), reason, "Postfix's default comes for the others")


def _of_networks(files: HandMade) -> Iterator[Remark]:
    items = list(files.items("mynetworks"))
    kept = networks([item.key for item in items])
    for item in items:
        if item.key.startswith("!") and spelled_network(item.key) not in kept:
            reason = (
                f"Postfix takes the first item that matches; first, as exclusions stand here, {item.key} would say more"
            )
            yield Remark(item.place, f"{reason}: what the list comes to is declared instead", is_void=True)


def networks(items: Sequence[str]) -> list[str]:
    """Return the items of mynetworks as group_data spells them.

    A rollout puts exclusions first: where that makes a difference, they are taken out of what they exclude.
    """
    spelled = list(dict.fromkeys(map(spelled_network, items)))
    covered = _covered(spelled)
    included = [item for item in spelled if not item.startswith("!")]
    for same in (sorted(spelled, key=lambda item: not item.startswith("!")), included):
        if _covered(same) == covered:
            return spelled if len(same) == len(spelled) else included
    unknown = [item for item in included if not trusted([item])]
    return [*unknown, *sorted(spelled_network(str(network)) for network in covered)]


def _covered(items: Sequence[str]) -> set[IPv4Network | IPv6Network]:
    found = trusted(items)
    four = collapse_addresses(network for network in found if isinstance(network, IPv4Network))
    return {*four, *collapse_addresses(network for network in found if isinstance(network, IPv6Network))}


def _of_relay_domains(files: HandMade) -> Iterator[Remark]:
    own = _own_domains(files)
    known: set[str] = set()
    for item in files.items("relay_domains") if "relay_domains" in files.counting else ():
        if item.key.lower() in own:
            reason = "is in mydestination too, which wins: its mail is delivered on the host"
            yield Remark(item.place, f"{item.key} {reason}", is_void=True)
        elif item.key.lower() in known:
            yield Remark(item.place, f"names {item.key} a second time", is_void=True)
        known.add(item.key.lower())


def _of_routes(live: Meaning, files: HandMade) -> Iterator[Remark]:
    accepted = {domain for domain, hop in live.domains.items() if is_accepted(hop)}
    own = _own_domains(files)
    for entry in files.entries("transport_maps"):
        is_followed = entry.key.startswith(".") and entry.key[1:] in accepted and live.subdomains == ROUTED
        if entry.winner:
            yield _beaten(entry)
        elif not entry.value:
            yield _empty(entry)
        elif entry.key not in accepted and not is_followed and not (entry.key in own and entry.value == "local:"):
            yield _of_route(entry, own)


def _of_route(entry: Found, own: frozenset[str]) -> Remark:
    if "@" in entry.key:
        return Remark(entry.place, "routes one address", 'declare it in routes["exceptions"]; else the route goes')
    if entry.key == "*":
        remedy = 'routes["default"] or main_cf["default_transport"] can say so; else the route goes'
        return Remark(entry.place, "routes all other mail", remedy)
    if entry.key.startswith("."):
        reason = "routes subdomains; here all relay domains have their subdomains routed with them, or none"
        return Remark(entry.place, reason, "relay_subdomains = True routes those of all; else the route goes")
    if entry.key in own:
        reason = "routes a domain of mydestination, which is none to relay"
        return Remark(entry.place, reason, "take it out of mydestination and adopt again; else the route goes")
    reason = "routes a domain that is not in relay_domains: accepted from trusted clients only"
    remedy = 'declare it in routes["exceptions"], or in relay_domains to relay it for all; else the route goes'
    return Remark(entry.place, reason, remedy)


def _of_aliases(files: HandMade) -> Iterator[Remark]:
    for entry in files.entries("alias_maps"):
        if entry.winner:
            yield _beaten(entry)
        elif not entry.value:
            yield _empty(entry)


def _of_tables(live: Meaning, files: HandMade) -> Iterator[Remark]:
    for unread in live.unread:
        parameter, _, table = unread.partition(" = ")
        reason = f"{table} is of a kind that is not read here, so what it says is not known"
        yield Remark(
            files.place_of(parameter),
            reason,
            f"it is read no more; declare what it says in {OWN_PARAMETERS[parameter]}",
        )
    for path in sorted(files.unindexed):
        place = Place(path, 0, "edited after it was indexed")
        reason = "the declaration follows the file, and Postfix still the table"
        yield Remark(place, reason, "index it and adopt again, if the table is what is meant")


def _own_domains(files: HandMade) -> frozenset[str]:
    return frozenset(word.lower() for word in files.words("mydestination"))


def _beaten(found: Found) -> Remark:
    winner = found.winner or found.place
    file = "" if winner.file == found.place.file else f"{winner.file} "
    return Remark(found.place, f"Postfix takes {file}line {winner.number} for it", is_void=True)


def _empty(found: Found) -> Remark:
    return Remark(found.place, "says nothing: Postfix ignores an entry without a value", is_void=True)
