"""The desired state as the text of the managed files, for the Postfix a host has."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mailproxy import drained
from mailproxy.by_version import bare_newline, compatibility_level, parameters_on
from mailproxy.feature import Feature, Place
from mailproxy.host_postfix import HostPostfix
from mailproxy.managed import TABLES
from mailproxy.master_cf import edited, is_marked, merged
from mailproxy.model import DesiredState, Entries
from mailproxy.names import parents
from mailproxy.relaying import OWN_RULE
from mailproxy.restrictions import RECIPIENT, RELAY

TEMPLATES = Path(__file__).parent.parent / "templates"
# From so many relay domains on they are an indexed table. Each smtpd and trivial-rewrite reads a plain list when it
# starts and compares a recipient's domain with all of it: up to 1,000 domains that cannot be measured, with 3,000 it
# can, and with 10,000 it doubles the memory of an smtpd (lab/bench-domains, docs/tables.md).
INDEXED_FROM = 2000
# What every rendered file begins with.
MARK = "# Managed by mailproxy"

# Parameters that the main.cf template sets, each with the key of group_data that decides it.
OWN_PARAMETERS = {
    "myhostname": "myhostname",
    "mydomain": "mydomain",
    "mynetworks": "mynetworks",
    "alias_maps": "aliases",
    "alias_database": "aliases",
    "relay_domains": "relay_domains",
    "transport_maps": "relay_domains",
    "message_size_limit": "message_size_limit",
    "parent_domain_matches_subdomains": "relay_subdomains",
}

# Parameters that the main.cf template sets by itself and that main_cf may declare otherwise.
TEMPLATE_PARAMETERS = (
    "compatibility_level",
    "mailbox_size_limit",
    "message_size_limit",
    "smtpd_forbid_bare_newline",
    "smtpd_recipient_restrictions",
    "smtpd_relay_restrictions",
)


@dataclass(frozen=True)
class Content:
    """The text of one managed file; of a secret that stays on its host the digest alone."""

    name: str
    text: str = field(repr=False)
    unseen: str = ""

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the text in UTF-8, in hexadecimal."""
        return self.unseen or hashlib.sha256(self.text.encode()).hexdigest()

    def __hash__(self) -> int:
        return hash(self.digest)


def rendered(desired: DesiredState, postfix: HostPostfix) -> dict[str, Content]:
    """Return the managed files by name."""
    return {
        "main.cf": _main_cf(desired, postfix),
        "mynetworks": _mynetworks(desired.mynetworks),
        "aliases": _aliases(desired.aliases),
        "relaydomains": relaydomains(desired.relay_domains),
        "transport": transport_table(routes(desired)),
        **{content.name: content for content in _tables_of_features(desired)},
        **{content.name: content for content in _lists_of_features(desired)},
        **_texts_of_features(desired, postfix),
        **_master_cf(desired, postfix),
    }


def rendered_without_host(desired: DesiredState) -> dict[str, Content]:
    """Return the managed files that are the same on every Postfix."""
    basic = (
        _mynetworks(desired.mynetworks),
        _aliases(desired.aliases),
        relaydomains(desired.relay_domains),
        transport_table(routes(desired)),
    )
    of_features = (*_tables_of_features(desired), *_lists_of_features(desired))
    return {content.name: content for content in (*basic, *of_features)}


def _tables_of_features(desired: DesiredState) -> Iterator[Content]:
    for feature in desired.features.values():
        yield from (feature_table(name, entries) for name, entries in feature.tables(desired).items())


def _lists_of_features(desired: DesiredState) -> Iterator[Content]:
    for feature in desired.features.values():
        yield from (_feature_list(name, tuple(entries)) for name, entries in feature.lists(desired).items())


def _texts_of_features(desired: DesiredState, postfix: HostPostfix) -> dict[str, Content]:
    place = Place(postfix, database_type(desired, postfix))
    found = (feature.texts(desired, place) for feature in desired.features.values())
    return {name: Content(name, text) for texts in found for name, text in texts.items()}


def _master_cf(desired: DesiredState, postfix: HostPostfix) -> dict[str, Content]:
    """Return master.cf as it is on the host with the services of features: where there are such, or were."""
    features = [feature for feature in desired.features.values() if feature.edits_master_cf]
    if not features and not is_marked(postfix.master_cf):
        return {}
    place = Place(postfix, database_type(desired, postfix))
    present = wanted = postfix.services
    for feature in features:
        wanted = merged(wanted, feature.services(desired, place, wanted))
    ours = [service for service in wanted if service not in present]
    return {"master.cf": Content("master.cf", edited(postfix.master_cf, ours))}


def database_type(desired: DesiredState, postfix: HostPostfix) -> str:
    """Return the type of the indexed tables: the declared one, or what the host's own Postfix prefers."""
    return desired.database_type or desired.main_cf.get("default_database_type", postfix.default_database_type)


def tables(desired: DesiredState) -> dict[str, Entries]:
    """Return the entries of the indexed tables by the name of their source, in the order of TABLES."""
    accepted = {"relaydomains": _accepted(desired.relay_domains)} if is_indexed(desired.relay_domains) else {}
    of_features = (feature.tables(desired) for feature in desired.features.values())
    found = {"aliases": desired.aliases, **accepted, "transport": routes(desired)}
    for entries in of_features:
        found.update(entries)
    return {name: found[name] for name in TABLES if name in found}


def needed_types(desired: DesiredState) -> frozenset[str]:
    """Return the types of tables that a Postfix has to have, and that not every one has."""
    return frozenset(type for feature in desired.features.values() for type in feature.types())


def is_indexed(relay_domains: Entries) -> bool:
    """Whether relay domains are an indexed table, and not a plain list: a matter of their number alone."""
    return len(relay_domains) >= INDEXED_FROM


@lru_cache(maxsize=64)
def _accepted(relay_domains: Entries) -> Entries:
    return Entries(dict.fromkeys(relay_domains, "OK"))


def routes(desired: DesiredState) -> Entries:
    """Return the entries of the transport table.

    A subdomain is accepted wherever its parent is unless relay_domains is taken out of
    parent_domain_matches_subdomains, but routed only by an entry ".parent" (transport(5)): the two agree here. Where
    that would catch the host's own names, which are delivered here (mydestination), they have a route of their own.
    Exceptions that are domains are routed with their subdomains as relay domains are.
    """
    of_domains = _with_exceptions(desired.relay_domains, desired.routes.exceptions)
    if not desired.relay_subdomains:
        return of_domains
    names = (desired.myhostname, f"localhost.{desired.mydomain}")
    own = tuple(name for name in names if not of_domains.keys().isdisjoint(parents(name)))
    return _routes_with_subdomains(of_domains, own)


@lru_cache(maxsize=1024)
def _with_exceptions(relay_domains: Entries, exceptions: Entries) -> Entries:
    return Entries({**relay_domains, **exceptions}) if exceptions else relay_domains


@lru_cache(maxsize=1024)
def _routes_with_subdomains(of_domains: Entries, own: tuple[str, ...]) -> Entries:
    below = {f".{domain}": hop for domain, hop in of_domains.items() if "@" not in domain}
    return Entries({**dict.fromkeys(own, "local:"), **of_domains, **below})


@cache
def _environment() -> Environment:
    # No autoescape: these are configuration files, and every value was refused if it was more than one line.
    return Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )


def _content(name: str, template: str = "", **values: object) -> Content:
    return Content(name, _environment().get_template(f"{template or name}.j2").render(**values))


@lru_cache(maxsize=1024)
def _mynetworks(networks: tuple[str, ...]) -> Content:
    # Exclusions are matched in order, so they have to come before what they exclude (postconf(5), mynetworks).
    return _content("mynetworks", networks=sorted(networks, key=lambda network: not network.startswith("!")))


@lru_cache(maxsize=1024)
def _aliases(aliases: Entries) -> Content:
    return _content("aliases", aliases=aliases)


@lru_cache(maxsize=1024)
def relaydomains(relay_domains: Entries) -> Content:
    """Return the list of relay domains, or the source of a table of them, whose values nobody reads."""
    return _content("relaydomains", domains=list(relay_domains), value=" OK" if is_indexed(relay_domains) else "")


@lru_cache(maxsize=1024)
def transport_table(entries: Entries) -> Content:
    """Return the source of a transport table with these entries."""
    return _content("transport", routes=entries)


@lru_cache(maxsize=1024)
def feature_table(name: str, entries: Entries) -> Content:
    """Return the source of a feature's table with these entries."""
    return _content(name, template="table", entries=entries)


@lru_cache(maxsize=1024)
def _feature_list(name: str, entries: tuple[tuple[str, str], ...]) -> Content:
    return _content(name, template="list", entries=dict(entries))


@lru_cache(maxsize=4096)
def _main_cf(desired: DesiredState, postfix: HostPostfix) -> Content:
    type, further = database_type(desired, postfix), parameters_on(postfix, desired.main_cf)
    if postfix.drained:
        further = Entries({name: value for name, value in further.items() if name not in drained.PARAMETERS})
    # Before 2.10 there is no smtpd_relay_restrictions: a rule written there would be ignored.
    rule = RELAY if postfix.knows(RELAY) else RECIPIENT
    own_rule = {} if rule in further else {rule: OWN_RULE}
    place = Place(postfix, type)
    before = _restrictions(desired, place)
    if postfix.drained:
        before = {name: words for name, words in before.items() if name not in drained.PARAMETERS}
    lists = {
        name: ", ".join(filter(None, (words, {**own_rule, **further}.get(name)))) for name, words in before.items()
    }
    return _content(
        "main.cf",
        desired=desired,
        postfix=postfix,
        type=type,
        relay_domains_type=f"{type}:" if is_indexed(desired.relay_domains) else "",
        compatibility_level=None if "compatibility_level" in further else compatibility_level(postfix),
        matches_subdomains=_matches_subdomains(desired, postfix),
        relay_rule=f"{rule} = {OWN_RULE}" if own_rule and rule not in lists else None,
        bare_newline=None if "smtpd_forbid_bare_newline" in further else bare_newline(postfix),
        features=[found for feature in desired.features.values() if (found := _block(feature, desired, place))],
        restrictions=lists,
        further={name: value for name, value in further.items() if name not in lists},
        drained=drained.lines_of(postfix.drained),
        kept={name: value for name, value in postfix.kept.items() if name not in further},
    )


def _restrictions(desired: DesiredState, place: Place) -> dict[str, str]:
    """Return what features put before everything else in restriction lists, by their parameters."""
    found: dict[str, list[str]] = {}
    for feature in desired.features.values():
        for name, words in feature.restrictions(desired, place).items():
            found.setdefault(name, []).extend(words)
    return {name: ", ".join(words) for name, words in found.items()}


def _block(feature: Feature, desired: DesiredState, place: Place) -> tuple[str, Mapping[str, str]] | None:
    """Return what main.cf says of a feature: the comment and the parameters, None where it has none."""
    parameters = feature.parameters(desired, place)
    return (feature.comment, parameters) if parameters else None


def _matches_subdomains(desired: DesiredState, postfix: HostPostfix) -> str:
    """Return parent_domain_matches_subdomains: the host's own default, with relay_domains as declared."""
    names = postfix.defaults["parent_domain_matches_subdomains"].replace(",", " ").split()
    kept = [name for name in names if name != "relay_domains"]
    if desired.relay_subdomains:
        kept.append("relay_domains")
    return ", ".join(kept)
