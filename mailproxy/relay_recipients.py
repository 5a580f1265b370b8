"""The key relay_recipients: who has mail in a relay domain, so that nobody else's is taken and then returned."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, WrapValidator, model_validator

from mailproxy.entries import Entries
from mailproxy.feature import VALUE, Feature, Place
from mailproxy.mappings import mapping, once_per_content
from mailproxy.names import nearest_name, parents, relay_domain, single_line
from mailproxy.problem import Problem, shown, some
from mailproxy.restrictions import RECIPIENT

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

KEY = "relay_recipients"
ANY, VERIFY = "any", "verify"
# Stands for every relay domain that is not named.
OTHERS = "*"
# What every domain has (RFC 5321, 4.5.1).
POSTMASTER = "postmaster"
LISTED, VERIFIED = "relayrecipients", "verifydomains"
# What to do for them, as an access table says it.
_ASK, GO_ON = "reject_unverified_recipient", "DUNNO"
_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
# But what postmap(1) would take for a comment.
_LOCAL = re.compile(rf"(?!#){_ATOM}(\.{_ATOM})*")
_LONGEST = 64
# Asking a next hop (ADDRESS_VERIFICATION_README): an unknown recipient is refused for good, and without what the next
# hop says of itself. While that is away others are put off, and those that it knew are taken for a week. Whom it did
# not know it is asked for again soon: a new mailbox is not to wait for days. smtpd waits for up to 5 s for an answer.
_VERIFYING: Mapping[str, str] = {
    "unverified_recipient_reject_code": "550",
    "unverified_recipient_reject_reason": "its mail server does not confirm it",
    "unverified_recipient_defer_code": "450",
    "address_verify_positive_expire_time": "7d",
    "address_verify_positive_refresh_time": "1d",
    "address_verify_negative_expire_time": "3h",
    "address_verify_negative_refresh_time": "10m",
    "address_verify_poll_delay": "1s",
    "address_verify_poll_count": "${stress?1}${stress:5}",
}
# Where its answers are kept: Postfix's default type is one that a host of lmdb need not have.
_CACHE = "address_verify_map"


def local_part(value: str, domain: str) -> str:
    """Return the local part of a recipient of a domain, given alone or as an address, in lower case as Postfix asks.

    Raises ValueError for what is none of that domain, and for what has no form in ASCII.
    """
    text = single_line(value).lower()
    local, at, of = text.rpartition("@") if "@" in text else (text, "", "")
    if at and relay_domain(of) != domain:
        raise ValueError(f"is of another domain; expected it under {relay_domain(of)}")
    if not _LOCAL.fullmatch(local) or len(local) > _LONGEST:
        most = f"a dot-atom of {_LONGEST} ASCII characters at most"
        raise ValueError(f"expected an address such as alice@{domain}, before the @ {most}")
    return local


def _listed(value: Any) -> Any:
    """Turn what is declared for a domain into text: a word, or a list as lines."""
    if value in (ANY, VERIFY):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        if not value:
            raise ValueError("is empty, so nobody has mail there; to relay none of it, take the domain out")
        # Told apart from the words by its last character.
        return "".join(f"{single_line(item)}\n" for item in value)
    raise ValueError(f'expected "{ANY}", "{VERIFY}", a list of addresses or the path of a file of them')


def _domain(value: str) -> str:
    return value if value == OTHERS else relay_domain(value)


_ByDomain = Annotated[
    Entries,
    mapping(
        Annotated[str, AfterValidator(_domain)],
        Annotated[str, BeforeValidator(_listed)],
        WrapValidator(once_per_content()),
    ),
]


class RelayRecipients(Feature):
    """Who has mail in each relay domain: "any", "verify" or a list; docs/relay_recipients.md describes it."""

    comment: ClassVar[str] = (
        "Mail for whom nobody knows is refused, and not returned later to a sender who may be forged."
    )

    by_domain: _ByDomain = Field(default=Entries({}), alias=VALUE)

    @model_validator(mode="before")
    @classmethod
    def _wrapped(cls, raw: Any) -> Any:
        return {VALUE: {OTHERS: raw} if raw in (ANY, VERIFY) else raw}

    def of(self, domain: str) -> str:
        """Return what is declared for a relay domain: a word, or addresses as lines."""
        return self.by_domain.get(domain, self.by_domain.get(OTHERS, ANY))

    def problems(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield unknown domains, what is no address, and lists beside subdomains, whose recipients nobody can list."""
        yield from _problems(self.by_domain, desired.relay_domains)
        if desired.relay_subdomains:
            for domain in _lists(self.by_domain):
                reason = "is a list, which says nothing of subdomains, and relay_subdomains takes mail for them"
                found = _count(self.by_domain[domain])
                yield Problem(f"{KEY}[{domain!r}]", found, f'{reason}; expected "{VERIFY}" or "{ANY}"')

    def warnings(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield the domains whose postmaster is refused."""
        lacking = [name for name in _lists(self.by_domain) if POSTMASTER not in _locals(self.by_domain[name])]
        if lacking:
            where = f"{KEY}[{lacking[0]!r}]" if len(lacking) == 1 else KEY
            reason = f"without {POSTMASTER}, which has to be taken (RFC 5321, 4.5.1)"
            yield Problem(where, f"the list{'s' if len(lacking) > 1 else ''} of {some(lacking)}", reason)

    def own_parameters(self) -> Sequence[str]:
        """Return what lists and questions need."""
        listed = ["relay_recipient_maps"] if any(_lists(self.by_domain)) else []
        return [*listed, *([*_VERIFYING, _CACHE] if VERIFY in self.by_domain.values() else [])]

    def parameters(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return what lists and questions need."""
        found = self.tables(desired)
        maps = {"relay_recipient_maps": place.table(LISTED)} if LISTED in found else {}
        cache = {_CACHE: "lmdb:$data_directory/verify_cache"} if place.type == "lmdb" else {}
        return {**maps, **({**_VERIFYING, **cache} if VERIFIED in found else {})}

    def restrictions(self, desired: DesiredState, place: Place) -> Mapping[str, Sequence[str]]:
        """Return the question to the next hop, which refuses or goes on."""
        asks = VERIFIED in self.tables(desired)
        return {RECIPIENT: [f"check_recipient_access {place.table(VERIFIED)}"]} if asks else {}

    def tables(self, desired: DesiredState) -> Mapping[str, Entries]:
        """Return the recipients that are known, with every domain whose are not listed, and the domains to ask for."""
        return _tables(self.by_domain, desired.relay_domains)


@lru_cache(maxsize=64)
def warning_of_any(recipients: RelayRecipients, relay_domains: Entries) -> str:
    """Return which relay domains take mail for anybody, as all do where nothing is declared; '' where none does."""
    domains = [domain for domain in relay_domains if recipients.of(domain) == ANY]
    reason = f'what their next hop refuses is returned, to forged senders too; declare addresses or "{VERIFY}"'
    takes = "takes" if len(domains) == 1 else "take"
    return f"{some(domains)} {takes} mail for anybody ({KEY}): {reason}" if domains else ""


@lru_cache(maxsize=64)
def _tables(by_domain: Entries, relay_domains: Entries) -> dict[str, Entries]:
    of = {domain: by_domain.get(domain, by_domain.get(OTHERS, ANY)) for domain in relay_domains}
    lists = {domain: value for domain, value in of.items() if _is_list(value)}
    verified = {domain: _ASK for domain, value in of.items() if value == VERIFY}
    # An entry holds for subdomains as well (parent_domain_matches_subdomains), but where they have one of their own.
    others = (domain for domain in of if domain not in verified and not verified.keys().isdisjoint(parents(domain)))
    verified |= dict.fromkeys(others, GO_ON)
    # Where there is a list at all, who is on none has to be let through by the domain.
    known = {f"@{domain}": "OK" for domain in of if domain not in lists} if lists else {}
    for domain, value in lists.items():
        known.update(dict.fromkeys((f"{local}@{domain}" for local in _locals(value)), "OK"))
    found = {LISTED: known, VERIFIED: verified}
    return {name: Entries(entries) for name, entries in found.items() if entries}


@lru_cache(maxsize=64)
def _problems(by_domain: Entries, relay_domains: Entries) -> tuple[Problem, ...]:
    return (*_unknown(by_domain, relay_domains), *_wrong(by_domain))


def _unknown(by_domain: Entries, relay_domains: Entries) -> Iterator[Problem]:
    for domain, value in by_domain.items():
        if domain not in relay_domains and domain != OTHERS:
            near = nearest_name(domain, relay_domains)
            hint = f"; did you mean {near}?" if near else ""
            yield Problem(f"{KEY}[{domain!r}]", _count(value), f"is no relay domain{hint}")
        elif domain == OTHERS and _is_list(value):
            reason = f'stands for many domains; expected "{ANY}" or "{VERIFY}"'
            yield Problem(f"{KEY}[{domain!r}]", _count(value), reason)


def _wrong(by_domain: Entries) -> Iterator[Problem]:
    for domain in _lists(by_domain):
        first: dict[str, int] = {}
        for number, item in enumerate(by_domain[domain].splitlines()):
            where = f"{KEY}[{domain!r}][{number}]"
            try:
                local = local_part(item, domain)
            except ValueError as error:
                yield Problem(where, shown(item), str(error))
                continue
            if first.setdefault(local, number) != number:
                yield Problem(where, shown(item), f"is {local}@{domain} a second time; expected it once")


def _is_list(value: str) -> bool:
    return value.endswith("\n")


@lru_cache(maxsize=64)
def _lists(by_domain: Entries) -> tuple[str, ...]:
    return tuple(domain for domain, value in by_domain.items() if _is_list(value) and domain != OTHERS)


@lru_cache(maxsize=4096)
def _locals(lines: str) -> frozenset[str]:
    return frozenset(item.lower().rpartition("@")[0] or item.lower() for item in lines.splitlines())


def _count(value: str) -> str:
    count = value.count("\n")
    return f"{count} address{'' if count == 1 else 'es'}" if count else f'"{value}"'
