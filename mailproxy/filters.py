"""The key filters of group_data: what looks at mail, and what becomes of mail while that is away."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from mailproxy.feature import Feature, Needed, Place
from mailproxy.host_postfix import HostPostfix
from mailproxy.master_cf import Service, taken
from mailproxy.names import domain_name, single_line
from mailproxy.networks import address_and_port
from mailproxy.next_hops import Destination, destination, next_hop
from mailproxy.problem import Problem, refuse_unless, shown
from mailproxy.restrictions import RELAY

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

# The service that takes mail to an after-queue filter, as FILTER_README has it.
TRANSPORT = "filter"
# How that goes on where limits keeps next hops short.
_UNBRIDLED = {"filter_destination_rate_delay": "0s", "filter_destination_concurrency_limit": "10"}
_INET = re.compile(r"inet:(\[[0-9A-Fa-f:.]+\]|[^\s:\[\],{}]+):([0-9]{1,5})")
_UNIX = re.compile(r"unix:[^\s,{}]+")
_MILTER_EXAMPLES = 'expected "inet:127.0.0.1:8891", "inet:[::1]:8891" or "unix:opendkim/opendkim.sock"'
_CHOICE = (
    'when_away is missing; expected "tempfail", so that mail is deferred while the milter does not answer, or '
    '"accept", so that it passes unseen'
)


def _is_port(text: str) -> bool:
    return 0 < int(text) < 65536


def _milter(value: str) -> str:
    """Return where a milter listens, as smtpd_milters names it, or refuse it."""
    text = single_line(value)
    found = _INET.fullmatch(text)
    if found is None:
        refuse_unless(bool(_UNIX.fullmatch(text)), _MILTER_EXAMPLES)
        return text
    refuse_unless(_is_port(found[2]), _MILTER_EXAMPLES)
    try:
        ipaddress.ip_address(found[1].strip("[]"))
    except ValueError:
        refuse_unless(not re.fullmatch(r"[0-9.]+|\[.*", found[1]), _MILTER_EXAMPLES)
        domain_name(found[1])
    return text


def _filter(value: str) -> str:
    """Return where a content filter takes mail, as a next hop, or refuse it."""
    hop = next_hop(value)
    where = destination(hop)
    is_one = where is not None and not where.by_mx and where.port.isdigit() and hop.startswith(("smtp:", "lmtp:["))
    refuse_unless(is_one, 'expected "smtp:[127.0.0.1]:10024", or "lmtp:" in place of "smtp:"')
    return hop


def _return(value: str) -> str:
    """Return where a filter gives mail back, as master.cf names a service, or refuse it."""
    text = single_line(value)
    port = address_and_port(text, 'expected an address and a port such as "127.0.0.1:10025", as it is open to one')
    refuse_unless(port != 25, "expected a port that nothing else listens on")
    return text


class Milter(BaseModel):
    """A milter: where it listens, and what becomes of mail while it does not answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, AfterValidator(_milter)]
    when_away: Literal["tempfail", "accept"]

    @model_validator(mode="before")
    @classmethod
    def _is_chosen(cls, value: Any) -> Any:
        if isinstance(value, dict) and "when_away" not in value:
            raise ValueError(_CHOICE)
        return value


class ContentFilter(BaseModel):
    """A filter that mail goes through by SMTP or LMTP, and the port of the host at which it comes back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    address: Annotated[str, AfterValidator(_filter)]
    return_to: Annotated[str, AfterValidator(_return)]

    @property
    def where(self) -> Destination:
        """Where it takes mail."""
        found = destination(self.address)
        assert found is not None
        return found

    @property
    def place(self) -> str:
        """The same as HOST:PORT, an IPv6 address in brackets."""
        host = f"[{self.where.host}]" if ":" in self.where.host else self.where.host
        return f"{host}:{self.where.port}"

    @property
    def clients(self) -> str:
        """Who alone may send to the port at which mail comes back, as mynetworks has it."""
        address = ipaddress.ip_address(self.where.host)
        if address.is_loopback and address.version == 4:
            return "127.0.0.0/8"
        return f"[{address}]/128" if address.version == 6 else f"{address}/32"

    @property
    def is_on_host(self) -> bool:
        """Whether it is reached by the loopback."""
        return ipaddress.ip_address(self.where.host).is_loopback

    @property
    def problem(self) -> str:
        """Why mail could not come back, or from anybody; '' where it can."""
        try:
            there = ipaddress.ip_address(self.where.host)
        except ValueError:
            return f"{self.where.host} is a name; expected an address, as return_to is open to that alone"
        here = ipaddress.ip_address(self.return_to.rpartition(":")[0].strip("[]"))
        if here.is_unspecified:
            return f"return_to {self.return_to} is every address of the host; expected the one that the filter sends to"
        if here.is_loopback != there.is_loopback:
            side = "return_to" if here.is_loopback else "the filter"
            return f"only {side} is on the loopback; expected both there, or neither, as mail has to come back"
        return "is where the filter gives mail back as well" if self.place == self.return_to else ""


class Filters(Feature):
    """What looks at mail; docs/filters.md describes the fields."""

    comment: ClassVar[str] = "What looks at mail before it goes on, and what becomes of mail while that is away."

    milters: tuple[Milter, ...] = ()
    local_mail: Annotated[bool, Field(strict=True)] = False
    after_queue: ContentFilter | None = None
    before_queue: ContentFilter | None = None

    def problems(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield filters that mail would not come back from, and filters that exclude each other."""
        for name in ("after_queue", "before_queue"):
            found: ContentFilter | None = getattr(self, name)
            if found is not None and found.problem:
                yield Problem(f"filters[{name!r}]['address']", shown(found.address), found.problem)
        if self.before_queue and (self.milters or self.after_queue):
            reason = "does not go with milters or after_queue: expected it alone"
            yield Problem("filters['before_queue']", shown(self.before_queue.address), reason)
        if self.before_queue and self.before_queue.address.startswith("lmtp:"):
            reason = "smtpd talks SMTP to a filter before the queue; expected smtp:"
            yield Problem("filters['before_queue']['address']", shown(self.before_queue.address), reason)
        trusted = (desired.postscreen.trusted_port or "").rpartition(":")[2]
        for name in ("after_queue", "before_queue"):
            one: ContentFilter | None = getattr(self, name)
            if one is not None and one.return_to.rpartition(":")[2] == trusted:
                reason = "has the port of postscreen['trusted_port']; expected another one"
                yield Problem(f"filters[{name!r}]['return_to']", shown(one.return_to), reason)
        if self.local_mail and not self.milters:
            yield Problem("filters['local_mail']", "True", "there is no milter that local mail would pass")

    def refusal(self, desired: DesiredState, postfix: HostPostfix) -> str:
        """Return what its Postfix, or its master.cf, cannot do."""
        if len({milter.when_away for milter in self.milters}) > 1 and postfix.version < (3, 0):
            return "milters that differ in when_away came with Postfix 3.0; before there is one choice for all"
        if self.edits_master_cf and postfix.master_cf:
            present = postfix.services
            if self.before_queue and not any(one.port == "25" for one in present):
                return "its master.cf has no service on port 25 that a filter could stand behind"
            if found := taken(present, self._listeners(present, postfix)):
                return f"its master.cf has other services of these names already: {', '.join(found)}"
        return ""

    def own_parameters(self) -> Sequence[str]:
        """Return what its fields that are declared may set."""
        milters = ("smtpd_milters", "non_smtpd_milters", "milter_default_action") if self.milters else ()
        return (*milters, *(["content_filter", *_UNBRIDLED] if self.after_queue else []))

    def parameters(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return the milters, and the filter behind the queue."""
        found: dict[str, str] = {}
        if self.milters:
            choices = {milter.when_away for milter in self.milters}
            listed = [milter.address for milter in self.milters]
            if len(choices) > 1:
                listed = [f"{{ {one.address}, default_action={one.when_away} }}" for one in self.milters]
            else:
                found["milter_default_action"] = choices.pop()
            found["smtpd_milters"] = ", ".join(listed)
            if self.local_mail:
                found["non_smtpd_milters"] = "$smtpd_milters"
        if self.after_queue:
            hop = self.after_queue.address.partition(":")[2]
            found["content_filter"] = f"{TRANSPORT}:{hop}"
            # It is one destination: what limits each next hop would limit all mail.
            limits = desired.limits
            if limits.destination_rate_delay or limits.destination_concurrency:
                found.update(_UNBRIDLED)
        return found

    @property
    def edits_master_cf(self) -> bool:
        """A content filter needs a port at which mail comes back; a milter needs nothing."""
        return bool(self.after_queue or self.before_queue)

    def services(self, desired: DesiredState, place: Place, present: Sequence[Service]) -> Sequence[Service]:
        """Return the port at which mail comes back, and what takes it there."""
        found = list(self._listeners(present, place.postfix))
        if self.before_queue:
            option = f"smtpd_proxy_filter={self.before_queue.place}"
            found += [one.with_options([option]) for one in present if _serves_strangers(one)]
        return found

    def needed(self, desired: DesiredState) -> Sequence[Needed]:
        """Return the filters: mail waits for all but the milters that it can pass unseen."""
        filters = [one for one in (self.after_queue, self.before_queue) if one]
        return (
            *(Needed(one.address, is_vital=one.when_away == "tempfail") for one in self.milters),
            *(Needed(f"inet:{one.place}", is_vital=True) for one in filters),
        )

    def _listeners(self, present: Sequence[Service], postfix: HostPostfix) -> Iterator[Service]:
        chroot = next((one.chroot for one in present if one.program == "smtpd"), "-")
        if self.after_queue:
            yield _client(self.after_queue, chroot)
            yield _listener(
                self.after_queue, chroot, "no_unknown_recipient_checks,no_header_body_checks,no_milters", postfix
            )
        if self.before_queue:
            yield _listener(self.before_queue, chroot, "no_unknown_recipient_checks", postfix)


def _serves_strangers(service: Service) -> bool:
    return service.program == "smtpd" and (service.port == "25" or service.type == "pass")


def _client(found: ContentFilter, chroot: str) -> Service:
    """Return what takes mail to a filter, with the client's name and address (FILTER_README, "Advanced filter")."""
    protocol = found.address.partition(":")[0]
    options = [f"{protocol}_send_xforward_command=yes", "disable_mime_output_conversion=yes"]
    if protocol == "smtp":
        options.append("smtp_generic_maps=")
    if found.is_on_host:
        # What is asked of next hops is not asked of this one, which no cable leads to.
        options.append(f"{protocol}_tls_security_level=none")
    return Service(TRANSPORT, "unix", "-", "-", chroot, "-", "10", protocol).with_options(options)


def _listener(found: ContentFilter, chroot: str, overrides: str, postfix: HostPostfix) -> Service:
    """Return the port at which mail comes back: from the filter alone, and past what it went through before.

    FILTER_README and SMTPD_PROXY_README have it so. It is no open relay as it listens where only the filter is, or
    takes from its address alone.
    """
    options = [
        "content_filter=",
        "smtpd_proxy_filter=",
        f"receive_override_options={overrides}",
        "smtpd_client_restrictions=",
        "smtpd_helo_restrictions=",
        "smtpd_sender_restrictions=",
        *([f"{RELAY}="] if postfix.knows(RELAY) else []),
        "smtpd_recipient_restrictions=permit_mynetworks,reject",
        "smtpd_data_restrictions=",
        "smtpd_end_of_data_restrictions=",
        *(["smtpd_tls_security_level=none"] if found.is_on_host else []),
        f"mynetworks={found.clients}",
        f"smtpd_authorized_xforward_hosts={found.clients}",
    ]
    return Service(found.return_to, "inet", "n", "-", chroot, "-", "-", "smtpd").with_options(options)
