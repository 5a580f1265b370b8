"""The key routes of group_data: where mail goes besides the next hops of relay domains, and who we are there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, GetPydanticSchema

from mailproxy.domains import own_names
from mailproxy.entries import Entries, HiddenEntries
from mailproxy.feature import Feature, Place
from mailproxy.names import folded, parents, relay_domain, single_line
from mailproxy.next_hops import next_hop, smtp_destination
from mailproxy.problem import Problem, refuse_unless, shown
from mailproxy.relay_recipients import VERIFY, local_part

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

# By the MX of the domain itself: for mail that is not for us, past the default.
_DIRECT = ("smtp:", "relay:")
# A password goes by TLS alone: without it only mechanisms that do not show it (SASL_README).
_SASL = {
    "smtp_sasl_auth_enable": "yes",
    "smtp_sasl_password_maps": "",
    "smtp_sasl_security_options": "noanonymous, noplaintext",
    "smtp_sasl_tls_security_options": "noanonymous",
}
# By which of these main_cf decides whether smtp(8) encrypts (postconf(5)).
_TLS = ("smtp_tls_security_level", "smtp_tls_policy_maps", "smtp_tls_per_site", "smtp_use_tls", "smtp_enforce_tls")
# Other ways to a next hop, which may be those of credentials.
_OTHER_WAYS = (
    *("default_transport", "relay_transport", "sender_dependent_relayhost_maps"),
    "sender_dependent_default_transport_maps",
)


def exception_key(value: str) -> str:
    """Return an address or a domain as the transport table has it, in lower case and in ASCII, or refuse it."""
    local, at, domain = single_line(value).rpartition("@")
    if not at:
        refuse_unless(domain != "*", "expected an address or a domain; all other mail goes by default")
        return relay_domain(domain)
    domain = relay_domain(domain)
    return f"{local_part(local, domain)}@{domain}"


def exception_hop(value: str) -> str:
    """Return a transport(5) result, or refuse it."""
    return value if value in _DIRECT else next_hop(value)


def credentials(value: str) -> str:
    """Return "user:password", or refuse it without saying what it is."""
    refuse_unless(value.isprintable(), "expected one line of text")
    user, colon, password = value.partition(":")
    refuse_unless(bool(user and colon and password), 'expected "user:password"')
    refuse_unless(value == value.strip(), "expected no blank at its ends, which Postfix would leave out")
    return value


def _once_each(spelled: Callable[[str], str], told: Callable[[str, str], str] = lambda *_names: "") -> BeforeValidator:
    """Make a validator that refuses keys which are one to Postfix; told says which."""

    def validate(raw: Any) -> Any:
        first: dict[str, str] = {}
        for given in raw if isinstance(raw, dict) else ():
            same = first.setdefault(spelled(given), given) if isinstance(given, str) else given
            if same != given:
                raise ValueError(f"names one twice{told(same, given)}; expected it once")
        return raw

    return BeforeValidator(validate)


def _folded_address(given: str) -> str:
    local, at, domain = given.strip().rpartition("@")
    return f"{local.lower()}{at}{folded(domain)}"


Destination = Annotated[str, AfterValidator(single_line), AfterValidator(smtp_destination)]
_Exceptions = Annotated[
    dict[Annotated[str, AfterValidator(exception_key)], Annotated[str, AfterValidator(exception_hop)]],
    _once_each(_folded_address, ", as {!r} and as {!r}".format),
    AfterValidator(Entries),
]
_Credentials = Annotated[
    dict[Destination, Annotated[str, AfterValidator(credentials)]],
    _once_each(lambda given: given.strip().lower()),
    AfterValidator(HiddenEntries),
]


class Routes(Feature):
    """Where mail goes besides the next hops of relay domains. docs/routes.md describes the keys.

    exceptions are entries of the transport table, default is relayhost, fallback smtp_fallback_relay; credentials are
    "user:password" by the destination they are for.
    """

    comment: ClassVar[str] = "Mail that has no route of its own, and mail whose next hop does not answer."

    exceptions: Annotated[Entries, GetPydanticSchema(lambda _source, handler: handler(_Exceptions))] = Entries({})
    default: Destination = ""
    credentials: Annotated[Entries, GetPydanticSchema(lambda _source, handler: handler(_Credentials))] = HiddenEntries(
        {}
    )
    fallback: tuple[Destination, ...] = ()

    def problems(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield exceptions that are none, credentials that nobody asks for, and those that nothing encrypts."""
        own = own_names(desired)
        for key, hop in self.exceptions.items():
            if reason := _why_no_exception(key, hop, desired, own):
                yield Problem(f"routes['exceptions'][{key!r}]", shown(hop), reason)
        if not self.credentials:
            return
        used = self.destinations(desired)
        for key in self.credentials:
            if key not in used and desired.main_cf.keys().isdisjoint(_OTHER_WAYS):
                reason = "no mail is led there; expected a destination as a route spells it, such as"
                yield Problem(f"routes['credentials'][{key!r}]", "", f"{reason} {_some(used)}")
        if not _tells_of_tls(desired):
            reason = "a password is sent by TLS alone, and nothing declares that TLS is used"
            remedy = 'expected main_cf = {"smtp_tls_security_level": "encrypt"}, or whatever is meant'
            yield Problem("routes['credentials']", "", f"{reason}; {remedy}")

    def warnings(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield a fallback that answers for next hops which are asked for their recipients."""
        asked = [name for name in desired.relay_domains if desired.relay_recipients.of(name) == VERIFY]
        if self.fallback and asked:
            reason = f'is asked for recipients, too, where {asked[0]} is to "{VERIFY}" them and its next hop is away'
            yield Problem("routes['fallback']", shown(list(self.fallback)), f"{reason}: it has to know who has mail")

    def own_parameters(self) -> Sequence[str]:
        """Return the names of what is set for those of its keys that are declared."""
        return (
            *["relayhost"] * bool(self.default),
            *["smtp_fallback_relay"] * bool(self.fallback),
            *(_SASL if self.credentials else ()),
        )

    def parameters(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return what it sets in main.cf."""
        return {
            **({"relayhost": self.default} if self.default else {}),
            **({"smtp_fallback_relay": ", ".join(self.fallback)} if self.fallback else {}),
            **({**_SASL, "smtp_sasl_password_maps": place.table("passwords")} if self.credentials else {}),
        }

    def tables(self, desired: DesiredState) -> Mapping[str, Entries]:
        """Return the credentials; exceptions are in the transport table (render.py)."""
        return {"passwords": self.credentials} if self.credentials else {}

    def destinations(self, desired: DesiredState) -> set[str]:
        """Return the destinations that mail is led to, as smtp(8) looks up credentials and TLS policies for them."""
        hops = {*self.exceptions.values(), *desired.relay_domains.values()}
        by_smtp = (hop.partition(":")[2] for hop in hops if not hop.startswith("lmtp:"))
        return {*by_smtp, *self.fallback, self.default} - {""}


def _why_no_exception(key: str, hop: str, desired: DesiredState, own: frozenset[str]) -> str:
    """Return why a route cannot be one, '' where it can."""
    domain = key.rpartition("@")[2]
    if domain in own:
        return "is of this host itself, where mail is delivered by aliases"
    if key in desired.relay_domains:
        return "is a relay domain; expected its next hop in relay_domains"
    relayed = domain in desired.relay_domains or (
        desired.relay_subdomains and any(parent in desired.relay_domains for parent in parents(domain))
    )
    if relayed and hop in _DIRECT:
        return "leads to the domain's own MX, which is this proxy; expected a next hop such as smtp:[10.1.0.2]"
    return ""


def _tells_of_tls(desired: DesiredState) -> bool:
    declared = {*desired.main_cf, *(name for one in desired.features.values() for name in one.own_parameters())}
    return not declared.isdisjoint(_TLS)


def _some(destinations: set[str]) -> str:
    return ", ".join(sorted(destinations)[:3]) or "that of default"
