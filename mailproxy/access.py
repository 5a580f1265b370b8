"""The key access of group_data: whose mail is refused, and with which words, by client, HELO, sender and recipient.

Everything stands in smtpd_client_restrictions, in a fixed order. smtpd asks that list at each recipient, as it does all
others (smtpd_delay_reject), and an OK ends that list alone (SMTPD_ACCESS_README): what access allows never gets past
the rule that refuses strangers, which is in another list on every version of Postfix.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetPydanticSchema, WrapValidator

from mailproxy.domains import own_names
from mailproxy.entries import Entries
from mailproxy.feature import Feature, Place
from mailproxy.mappings import once_per_content
from mailproxy.names import domain_name, parents, single_line
from mailproxy.networks import is_within, parsed_network, strict_network
from mailproxy.problem import Problem, refuse_unless
from mailproxy.references import references
from mailproxy.syntax import expanded

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

LIST = "smtpd_client_restrictions"
DELAY = "smtpd_delay_reject"
# The lists in the order in which smtpd comes to them: the field, the file, the restriction that asks it.
LISTS = (
    ("clients", "clientaccess", "check_client_access"),
    ("helo", "heloaccess", "check_helo_access"),
    ("senders", "senderaccess", "check_sender_access"),
    ("recipients", "recipientaccess", "check_recipient_access"),
)
RECIPIENTS = "recipientaccess"
# Nothing else can be the result of a look-up, such as the name of a restriction (access(5)).
ALLOWED = "OK"
_ACTIONS = {"allow": ALLOWED, "reject": "REJECT", "defer": "DEFER"}
_EXPECTED = 'expected "allow", "reject", "reject TEXT", "defer" or "defer TEXT"'
# An enhanced status code, with which the text may begin (RFC 3463), and its class for each action.
_STATUS = re.compile(r"([0-9])\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")
_CLASSES = {"REJECT": "5", "DEFER": "4"}
# A line of a reply has 512 octets (RFC 5321, 4.5.3.1.5), and what is refused stands before the text: an address of 256.
_LONGEST_TEXT = 200
_LOCAL = re.compile(r"[a-z0-9!$%&'*+/=?^_`{|}~-][a-z0-9!#$%&'*+/=?^_`{|}~-]*(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LITERAL = re.compile(r"\[(ipv6:)?([0-9a-f:.]+)\]")
# The sender of bounces, as smtpd looks it up (smtpd_null_access_lookup_key).
BOUNCES = "<>"
# Every domain has these, and they are for those who have trouble with it (RFC 5321, 4.5.1; RFC 2142).
_FOR_TROUBLE = ("postmaster", "abuse")
_VIRTUAL = ("virtual_alias_domains", "virtual_alias_maps", "virtual_mailbox_domains")


def action(value: str) -> str:
    """Return what access(5) calls an action of group_data, or refuse it."""
    word, _, text = single_line(value).partition(" ")
    refuse_unless(word in _ACTIONS, _EXPECTED)
    found, text = _ACTIONS[word], " ".join(text.split())
    refuse_unless(found != ALLOWED or not text, "expected no text behind allow: nobody would see it")
    refuse_unless(text.isascii(), "expected a text in ASCII, as the replies of SMTP are")
    refuse_unless(len(text) <= _LONGEST_TEXT, f"expected a text of {_LONGEST_TEXT} characters at most")
    is_code = re.match(r"[2-5][0-9][0-9](?![0-9.])", text)
    refuse_unless(not is_code, "expected no code before the text: Postfix puts its own there (access_map_reject_code)")
    status = _STATUS.match(text)
    if status and status[1] != _CLASSES[found]:
        raise ValueError(f"expected a status {_CLASSES[found]}.x.x for {word}, found {status[0]}")
    return f"{found} {text}".strip()


def client_network(value: str) -> str:
    """Return a network as cidr_table(5) has it, or refuse it."""
    return str(strict_network(single_line(value), "so Postfix would skip it")[0])


def helo_name(value: str) -> str:
    """Return a name, or an address in brackets, that a client calls itself, or refuse it."""
    text = single_line(value).lower()
    literal = _LITERAL.fullmatch(text)
    if literal:
        address = strict_network(literal[2], "")[0]
        refuse_unless((address.version == 6) == bool(literal[1]), "expected IPv6:, and only before such an address")
        return text
    return domain_name(text)


def mail_address(value: str) -> str:
    """Return user@domain, domain or user@ as access(5) looks them up, or refuse it."""
    text = single_line(value).lower()
    local, at, domain = text.rpartition("@")
    if not at:
        refuse_unless(not text.startswith("."), "expected the domain without a dot: its subdomains are meant as well")
        return domain_name(text)
    refuse_unless(bool(local), "expected the domain without @")
    refuse_unless(bool(_LOCAL.fullmatch(local)), "expected user@example.com, user@ or example.com, the user in ASCII")
    return f"{local}@{domain_name(domain)}" if domain else text


def sender(value: str) -> str:
    """Return what mail_address does, or <>."""
    return BOUNCES if value == BOUNCES else mail_address(value)


def _distinct(spelled: Callable[[str], str]) -> Callable[[Any], Any]:
    """Make a validator that refuses names which are one and the same to Postfix."""

    def validate(raw: Any) -> Any:
        first: dict[str, str] = {}
        for given in raw if isinstance(raw, dict) else ():
            try:
                name = spelled(given)
            except (ValueError, TypeError, AttributeError):
                continue  # is told by itself
            if first.setdefault(name, given) != given:
                raise ValueError(f"names {name} twice, as {first[name]!r} and as {given!r}; expected it once")
        return raw

    return validate


def _actions(spelled: Callable[[str], str]) -> GetPydanticSchema:
    """Make Entries of names and actions a field of pydantic; each distinct content is checked once."""
    name, value = Annotated[str, AfterValidator(spelled)], Annotated[str, AfterValidator(action)]
    shape = Annotated[dict[name, value], BeforeValidator(_distinct(spelled)), AfterValidator(Entries)]  # type: ignore[valid-type]
    whole = Annotated[shape, WrapValidator(once_per_content())]
    return GetPydanticSchema(lambda _source, handler: handler(whole))


class Access(Feature):
    """What becomes of mail by who sends it to whom; docs/access.md describes it."""

    clients: Annotated[Entries, _actions(client_network)] = Entries({})
    helo: Annotated[Entries, _actions(helo_name)] = Entries({})
    senders: Annotated[Entries, _actions(sender)] = Entries({})
    recipients: Annotated[Entries, _actions(mail_address)] = Entries({})

    def problems(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield what would let access be asked too early, or by others, and bounces that are kept out."""
        delay = expanded(desired.main_cf.get(DELAY, "yes"), desired.main_cf)
        if delay.lower() != "yes":
            reason = "lets smtpd ask before it knows sender and recipient; access needs yes, which is the default"
            yield Problem(f"main_cf[{DELAY!r}]", repr(desired.main_cf[DELAY]), reason)
        for name, value in desired.main_cf.items():
            if LIST in references(value):
                reason = f"refers to what access sets, whose OK is for {LIST} alone; expected no reference to it"
                yield Problem(f"main_cf[{name!r}]", repr(value), reason)
        if self.senders.get(BOUNCES, ALLOWED) != ALLOWED:
            reason = (
                "keeps out every bounce and receipt, which all hosts have to take (RFC 5321, 4.5.5); expected allow"
            )
            yield _problem("senders", BOUNCES, self.senders, reason)

    def warnings(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield entries without effect, and what keeps out those who have to get through."""
        yield from _warnings_of_clients(self.clients, desired.mynetworks)
        # Of the names of each host only those that matter, so that hosts share what is found.
        asked = _domains_of(self.recipients)
        own = (name for name in own_names(desired) if not asked.isdisjoint((name, *parents(name))))
        mine = None if any(name in desired.main_cf for name in _VIRTUAL) else frozenset(own)
        yield from _warnings_of_recipients(self.recipients, desired.relay_domains, desired.relay_subdomains, mine)

    def own_parameters(self) -> Sequence[str]:
        """Return the list that everything stands in."""
        return (LIST,)

    def restrictions(self, desired: DesiredState, place: Place) -> Mapping[str, Sequence[str]]:
        """Return that list: who is in mynetworks is not asked for."""
        checks = [
            f"{check} {f'cidr:{place.file(file)}' if name == 'clients' else place.table(file)}"
            for name, file, check in LISTS
            if getattr(self, name)
        ]
        return {LIST: ["permit_mynetworks", *checks]}

    def tables(self, desired: DesiredState) -> Mapping[str, Entries]:
        """Return those of names and addresses."""
        return {file: entries for name, file, _ in LISTS if name != "clients" and (entries := getattr(self, name))}

    def lists(self, desired: DesiredState) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Return the networks."""
        return {"clientaccess": _narrowest_first(self.clients)} if self.clients else {}


@lru_cache(maxsize=64)
def _warnings_of_clients(clients: Entries, mynetworks: tuple[str, ...]) -> tuple[Problem, ...]:
    return tuple(_found_of_clients(clients, mynetworks))


def _found_of_clients(clients: Entries, mynetworks: Sequence[str]) -> Iterator[Problem]:
    trusted = [parsed_network(item) for item in mynetworks if not item.startswith("!")]
    excluded = [parsed_network(item) for item in mynetworks if item.startswith("!")]
    for item, found in clients.items():
        network = parsed_network(item)
        if not network.prefixlen and found == ALLOWED:
            reason = "is every client: nobody is asked for HELO, sender and recipient"
            yield _problem("clients", item, clients, reason)
        elif not network.prefixlen and ALLOWED not in clients.values():
            yield _problem("clients", item, clients, "is every client: mail of mynetworks alone is taken")
        elif any(is_within(network, one) for one in trusted) and not any(map(network.overlaps, excluded)):
            yield _problem("clients", item, clients, "is in mynetworks, which access does not ask for")


@lru_cache(maxsize=64)
def _domains_of(recipients: Entries) -> frozenset[str]:
    return frozenset(address.rpartition("@")[2] for address in recipients)


@lru_cache(maxsize=64)
def _warnings_of_recipients(
    recipients: Entries, relay_domains: Entries, with_subdomains: bool, mine: frozenset[str] | None
) -> tuple[Problem, ...]:
    """Return recipients of no domain, and such as have to get through; mine are names of the host itself, None where
    that has others that are not known here."""
    domains = frozenset((*relay_domains, *(mine or ())))
    above_all = {parent for name in domains for parent in parents(name)}
    found = []
    for address, action in recipients.items():
        local, _, domain = address.rpartition("@")
        above = parents(domain) if with_subdomains else ()
        is_taken = mine is None or domain in above_all or not domains.isdisjoint((domain, *above))
        if domain and not is_taken:
            reason = "is in no relay domain: mail for it is refused in any case"
            found.append(_problem("recipients", address, recipients, reason))
        elif local in _FOR_TROUBLE and action != ALLOWED:
            reason = f"keeps out mail for {local}, whom every domain has to have (RFC 5321, 4.5.1; RFC 2142)"
            found.append(_problem("recipients", address, recipients, reason))
    return tuple(found)


@lru_cache(maxsize=64)
def _narrowest_first(clients: Entries) -> tuple[tuple[str, str], ...]:
    """Return the entries of a cidr_table(5), where the first that holds a client decides."""
    return tuple(sorted(clients.items(), key=lambda entry: -parsed_network(entry[0]).prefixlen))


def is_kept_out(address: str, entries: Entries) -> bool:
    """Whether a recipient is refused, or put off, by the entries of recipientaccess."""
    if not entries:
        return False
    local, _, domain = address.lower().rpartition("@")
    found = (entries[name] for name in (address, domain, *parents(domain), f"{local}@") if name in entries)
    return next(found, ALLOWED) != ALLOWED


def _problem(name: str, key: str, entries: Entries, reason: str) -> Problem:
    return Problem(f"access[{name!r}][{key!r}]", repr(entries[key]), reason)
