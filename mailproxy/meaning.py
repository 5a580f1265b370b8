"""What configuration files say in the language of domains, however they are spelled: texts -> Meaning."""

import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import Literal

from mailproxy.drained import parameters_told
from mailproxy.managed import FEATURE_FILES, FEATURE_TABLES, FILES, MANAGED, SECRETS, TABLES
from mailproxy.master_cf import our_services
from mailproxy.model import Entries
from mailproxy.names import parents
from mailproxy.networks import network
from mailproxy.observed import Foreign
from mailproxy.relay_recipients import GO_ON
from mailproxy.render import MARK
from mailproxy.restrictions import REFUSING, RELAY_RULES
from mailproxy.syntax import (
    alias_entries,
    expanded,
    list_items,
    logical_lines,
    main_cf_parameters,
    table_entries,
    table_keys,
    words,
)
from mailproxy.tls_policy import MODERN, MODERN_BY_NAME

Subject = Literal["domain", "network", "alias", "parameter", "entry"]
# Of the basic files; what stands in a file of a feature is an entry of that file.
SUBJECTS: tuple[Subject, ...] = ("domain", "network", "alias", "parameter")

NOTHING = Entries({})
# Stands for a host's own name, so that what many hosts have in common reads the same.
OWN_NAME = "$myhostname"
# What a parent_domain_matches_subdomains that leaves Postfix's default alone does to subdomains of relay domains.
UNROUTED = "accepted, without the routes"
ROUTED = "routed as their parent"

_OTHER_FILES = tuple(name for name in FEATURE_FILES if name not in FEATURE_TABLES)
# Parameters of main.cf that only say where the rest stands: what they lead to is what they mean.
_PLUMBING = ("mynetworks", "alias_maps", "alias_database", "relay_domains", "transport_maps")
_SUBDOMAINS = "parent_domain_matches_subdomains"
# What is followed to what it leads to, references to other parameters included.
_FOLLOWED = (*_PLUMBING, "mydestination", "relay_transport", "relayhost")
# Table types whose source, or whose listing, reads like a postmap(1) source.
_READABLE = ("texthash", "hash", "btree", "lmdb", "cdb", "dbm")
# Parameters that are lists of words: commas and blanks are the same there (postconf(5)).
_WORD_LISTS = re.compile(r".*_restrictions|mydestination")
_NAMED = 3
_OF_ADDRESS = "this address alone routed to "
_OF_SUBDOMAIN = "accepted as a subdomain, routed to "
NOT_ACCEPTED = "not accepted, routed to "
_PREFIXES = re.compile("|".join((_OF_ADDRESS, _OF_SUBDOMAIN, NOT_ACCEPTED)))
_REFERENCE = re.compile(r"\$[{(]myhostname[)}]")


@dataclass(frozen=True)
class Meaning:
    """What a host does for whom: relay domain -> next hop, trusted network -> "", alias -> targets, parameters.

    subdomains says what becomes of mail for subdomains of relay domains; unread names what files do not tell. entries
    are those of the files of features, by file: of a table key -> value, of another line -> ""; orders has the keys of
    those tables that are tried in their order.
    """

    domains: Entries
    networks: Entries
    aliases: Entries
    parameters: Entries
    subdomains: str
    unread: tuple[str, ...] = ()
    entries: Mapping[str, Entries] = field(default_factory=dict)
    orders: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def of(self, subject: Subject, file: str = "") -> Entries:
        """Return the entries of one subject, or of a file of a feature."""
        if subject == "entry":
            return self.entries.get(file, NOTHING)
        by_subject = {"domain": self.domains, "network": self.networks, "alias": self.aliases}
        return by_subject.get(subject, self.parameters)


def is_accepted(next_hop: str) -> bool:
    """Whether a value of Meaning.domains belongs to a relay domain, not to a route without acceptance."""
    return hop_of(next_hop) == next_hop


def hop_of(next_hop: str) -> str:
    """Return a value of Meaning.domains as the transport table has it."""
    return _PREFIXES.sub("", next_hop)


def meaning(texts: Mapping[str, str], directory: str, foreign: Foreign | None = None) -> Meaning:
    """Return what files mean: texts by managed name, or by path where main.cf names another file.

    foreign, where it is there, says what main.cf leaves to Postfix's defaults and what it expands to.
    """
    parameters = main_cf_parameters(texts.get("main.cf", ""))
    holding = {**parameters, **(foreign.effective if foreign else {})}
    holding = {**holding, **{name: expanded(holding[name], holding) for name in _FOLLOWED if name in holding}}
    sources = _Sources({**texts, **{f"{directory}/{name}": texts[name] for name in FILES if name in texts}})
    relay_transport = holding.get("relay_transport") or "relay"
    if ":" not in relay_transport:
        relay_transport = f"{relay_transport}:{holding.get('relayhost', '')}"
    domains, subdomains = _domains(
        sources.items("relay_domains", holding.get("relay_domains", "")),
        sources.entries("transport_maps", holding.get("transport_maps", ""), table_entries),
        relay_transport,
        frozenset(name.lower() for name in sources.items("mydestination", holding.get("mydestination", ""))),
        "relay_domains" in words(holding.get(_SUBDOMAINS, "relay_domains")),
    )
    return Meaning(
        domains=domains,
        networks=_networks(sources.items("mynetworks", holding.get("mynetworks", ""))),
        aliases=sources.entries("alias_maps", holding.get("alias_maps", ""), alias_entries),
        parameters=_parameters(
            parameters_told(texts.get("main.cf", ""), parameters), holding.get("myhostname", ""), directory
        ),
        subdomains=subdomains,
        unread=tuple(unread for unread in sources.unread if not unread.startswith("mydestination")),
        entries={name: _entries(name, texts[name]) for name in FEATURE_FILES if name in texts},
        orders={name: tuple(_listed(texts[name])) for name in FEATURE_FILES if name in texts and MANAGED[name].is_list},
    )


def _entries(name: str, text: str) -> Entries:
    """Return what stands in a file of a feature; of a secret nothing is known."""
    if name in SECRETS:
        return NOTHING
    if MANAGED[name].is_bare:
        return _lines("\n".join(key for key, value in table_entries(text).items() if value != GO_ON))
    if MANAGED[name].is_list:
        return _entries_listed(text)
    if name == "master.cf":
        return our_services(text)
    return table_entries(text) if name in TABLES else _lines(text)


@lru_cache(maxsize=1024)
def _entries_listed(text: str) -> Entries:
    return Entries(_listed(text))


@lru_cache(maxsize=1024)
def _listed(text: str) -> dict[str, str]:
    """Return the entries of a table that is tried in its order; what was written into it by hand may have no value."""
    entries: dict[str, str] = {}
    for line in text.split("\n"):
        key, _, value = line.partition("\t")
        if key.strip() and not key.startswith("#"):
            entries.setdefault(key, value)
    return entries


@lru_cache(maxsize=1024)
def _lines(text: str) -> Entries:
    return Entries(dict.fromkeys(logical_lines(text), ""))


class _Sources:
    """The files that parameters refer to; unread collects what cannot be followed."""

    def __init__(self, texts: Mapping[str, str]):
        self.texts = texts
        self.unread: list[str] = []

    def items(self, parameter: str, value: str) -> tuple[str, ...]:
        """Return the items of a list such as mynetworks, with those of the files it names (postconf(5))."""
        # As we write it: one file or table, whose items hosts share.
        if value in self.texts:
            return list_items(self.texts[value])
        type_, _, path = value.partition(":")
        if type_ in _READABLE and self.texts.get(path, "").startswith(MARK):
            # A change that was interrupted may have left it in the form of a list.
            return table_keys(self.texts[path])
        return tuple(self._items(parameter, value))

    def _items(self, parameter: str, value: str) -> Iterator[str]:
        for word in words(value):
            if word.startswith("/") and word in self.texts:
                yield from list_items(self.texts[word])
            elif word.startswith("/"):
                self.unread.append(f"{parameter} = {word}")
            elif ":/" in word:
                yield from self.entries(parameter, word, table_entries)
            else:
                yield word

    def entries(self, parameter: str, value: str, parse: Callable[[str], Entries]) -> Entries:
        """Return what a list of tables such as transport_maps finds: the first table that knows a key wins."""
        known: list[Entries] = []
        for word in words(value):
            type_, _, path = word.removeprefix("proxy:").partition(":")
            if type_ in _READABLE and path in self.texts:
                known.append(parse(self.texts[path]))
            else:
                self.unread.append(f"{parameter} = {word}")
        return known[0] if len(known) == 1 else Entries({key: e[key] for e in reversed(known) for key in e})


def lacks_relay_rule(holding: Mapping[str, str]) -> bool:
    """Whether smtpd does not even start with these parameters, as nothing in them refuses strangers.

    So it is at compatibility_level 0 from Postfix 3.0 on unless main.cf says otherwise.
    """
    rules = {word for name in RELAY_RULES for word in words(holding.get(name, ""))}
    is_known = any(name in holding for name in RELAY_RULES)
    return is_known and rules.isdisjoint({*REFUSING, *words(holding.get("smtpd_restriction_classes", ""))})


@lru_cache(maxsize=1024)
def _domains(
    accepted: tuple[str, ...], routes: Entries, relay_transport: str, own: frozenset[str], with_subdomains: bool
) -> tuple[Entries, str]:
    """Return each relay domain with its next hop, and what becomes of mail for subdomains, accepted or not.

    A domain without a route goes by relay_transport to relayhost, or else to its own MX; names of the host itself are
    delivered there (ADDRESS_CLASS_README).
    """
    domains = {domain.lower().removesuffix("."): "" for domain in accepted if domain.lower() not in own}
    for domain in domains:
        hop = routes.get(domain) or relay_transport
        domains[domain] = f"{hop}{domain}" if hop.endswith(":") else hop
    ways = {**routes, **domains} if with_subdomains else {}
    followed = {key for key, hop in routes.items() if key.startswith(".") and ways.get(key[1:]) == hop}
    missing = [domain for domain in domains if f".{domain}" not in followed]
    exceptions = [key for key in routes if key not in domains and routes[key] != "local:" and key not in followed]
    by_key = {key: _way_of_exception(key, domains.keys(), with_subdomains) for key in exceptions}
    domains.update((key, f"{way}{routes[key]}") for key, way in by_key.items())
    if not with_subdomains:
        return Entries(domains), "refused"
    more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
    but = f", but for {', '.join(missing[:_NAMED])}{more}" if missing else ""
    return Entries(domains), f"{ROUTED}{but}" if followed else UNROUTED


def _way_of_exception(key: str, accepted: Set[str], with_subdomains: bool) -> str:
    """Return how mail comes to a route that is no relay domain's."""
    domain = key.rpartition("@")[2]
    is_subdomain = with_subdomains and not accepted.isdisjoint(parents(domain))
    if domain == key:
        return _OF_SUBDOMAIN if is_subdomain else NOT_ACCEPTED
    return _OF_ADDRESS if is_subdomain or domain in accepted else NOT_ACCEPTED


@lru_cache(maxsize=1024)
def _networks(items: tuple[str, ...]) -> Entries:
    return Entries({spelled_network(item): "" for item in items})


def spelled_network(item: str) -> str:
    """Return a network as group_data would spell it; what is none of ours as it is."""
    try:
        spelled = network(item)
    except ValueError:
        return item
    return spelled.removesuffix("/128") if "[" in spelled else spelled.removesuffix("/32")


@lru_cache(maxsize=4096)
def _parameters(parameters: Entries, name: str, directory: str) -> Entries:
    """Return the parameters that say something by themselves, a host's own name by its reference.

    Files of features are named as they are, whatever the type of an indexed table, and alone say nothing.
    """
    ours = _of_features(directory)
    said = {key: value for key, value in parameters.items() if key not in _PLUMBING and not ours.fullmatch(value)}
    return Entries({key: spelled(key, ours.sub(r"\1\2", value), name) for key, value in said.items()})


@cache
def _of_features(directory: str) -> re.Pattern[str]:
    tables, others = ("|".join(sorted(map(re.escape, names))) for names in (FEATURE_TABLES, _OTHER_FILES))
    place = re.escape(directory)
    return re.compile(rf"(?:(?:(?:proxy:)?[a-z]+:)?{place}/({tables})|{place}/({others}))(?![\w./-])")


def spelled(key: str, value: str, name: str) -> str:
    """Return the value of a parameter in one spelling for all hosts, whatever the name of the host is."""
    if key in ("myhostname", "mydomain"):
        return value.lower()
    if key == _SUBDOMAINS:
        return ", ".join(sorted(word for word in words(value) if word != "relay_domains"))
    if key.endswith("_protocols") and value == MODERN_BY_NAME:
        return MODERN
    plain = ", ".join(words(value)) if _WORD_LISTS.fullmatch(key) else value
    return _REFERENCE.sub(OWN_NAME, by_own_name(plain, name))


def by_own_name(value: str, name: str) -> str:
    """Return the value of a parameter with the host's own name as a reference."""
    return _own_name(name).sub(OWN_NAME, value) if name else value


@lru_cache(maxsize=4096)
def _own_name(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.$-]){re.escape(name)}(?![\w.-])", re.IGNORECASE)
