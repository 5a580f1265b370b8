"""The key postscreen of group_data: whom SMTP is spoken with at all."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mailproxy.access import client_network
from mailproxy.entries import Entries
from mailproxy.feature import Feature, Needed, Place
from mailproxy.host_postfix import HostPostfix
from mailproxy.mappings import mapping
from mailproxy.master_cf import Service, taken
from mailproxy.names import domain_name, single_line
from mailproxy.networks import address_and_port
from mailproxy.problem import Problem, refuse_unless, shown

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

ACCESS = "postscreenaccess"
# What may stand behind a DNSBL: the answers that count (postconf(5), postscreen_dnsbl_sites).
_NUMBER = r"[0-9]{1,3}"
_RANGE = rf"{_NUMBER}(\.\.{_NUMBER})?"
_PART = rf"({_NUMBER}|\[{_RANGE}(;{_RANGE})*\])"
_ANSWERS = re.compile(rf"{_PART}(\.{_PART}){{3}}")
_PASS = ("smtpd", "pass")
_SCREEN = "postscreen"
_TRUSTED_ALONE = "smtpd_client_restrictions=permit_mynetworks,reject"
_CACHE = "postscreen_cache_map"

# Names of today, each with the one from before Postfix 3.6.
_DENYLIST_ACTION = ("postscreen_denylist_action", "postscreen_blacklist_action")
_ALLOWLIST_THRESHOLD = ("postscreen_dnsbl_allowlist_threshold", "postscreen_dnsbl_whitelist_threshold")
# The tests that need a dialogue: who passes them is deferred once, as it cannot be handed on in the middle of one.
_DEEP_TESTS = ("pipelining", "non_smtp_command", "bare_newline")

Action = Literal["ignore", "enforce", "drop"]


def _site(value: str) -> str:
    """Return the zone of a DNSBL, and "=" and which answers count, or refuse it."""
    zone, equals, answers = single_line(value).partition("=")
    refuse_unless(
        not equals or bool(_ANSWERS.fullmatch(answers)), "expected answers as in list.dnswl.org=127.0.[0..255].[1..3]"
    )
    return f"{domain_name(zone)}{equals}{answers}"


def _weight(value: int) -> str:
    refuse_unless(0 < abs(value) < 2**15, "expected what an answer counts, such as 2; below 0 it speaks for the client")
    return str(value)


def _listener(value: Any) -> Any:
    """Return a port, or an address and a port, as master.cf names a service that listens there."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    expected = 'expected a port such as 2525, or an address and a port such as "10.1.0.1:2525"'
    refuse_unless(isinstance(value, str) and bool(value.strip()), expected)
    port = int(value) if value.isascii() and value.isdigit() else address_and_port(value, expected)
    refuse_unless(0 < port < 65536, expected)
    refuse_unless(port != 25, "is the port that postscreen listens on; expected another one")
    return value


def _switched(value: Any) -> Any:
    """Take True, and a dict that does not say otherwise, as on."""
    if isinstance(value, bool):
        return {"on": True} if value else {}
    if not isinstance(value, (dict, Postscreen)):
        raise ValueError('expected True, False, or a dict such as {"dnsbl": {"bl.example.org": 1}}')
    return {"on": True, **value} if isinstance(value, dict) else value


def _when_on(value: Postscreen) -> Postscreen:
    return value if value.on else Postscreen()


Site = Annotated[str, AfterValidator(_site)]
Weight = Annotated[int, Field(strict=True), AfterValidator(_weight)]
Sites = Annotated[Entries, mapping(Site, Weight)]
Client = Annotated[str, AfterValidator(client_network)]
Listener = Annotated[str, BeforeValidator(_listener)]
Wait = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,2}[sm]$")]


class Postscreen(Feature):
    """Who is tested before smtpd sees it, and how; docs/postscreen.md describes the fields."""

    comment: ClassVar[str] = "Clients are tested before they reach smtpd (postscreen, in master.cf)."

    on: Annotated[bool, Field(strict=True)] = False
    dnsbl: Sites = Entries({})
    threshold: Annotated[int, Field(strict=True, ge=1, le=2**15)] | None = None
    allow_threshold: Annotated[int, Field(strict=True, ge=-(2**15), le=-1)] | None = None
    dnsbl_action: Action = "enforce"
    greet: Action = "enforce"
    greet_wait: Wait | None = None
    deep: Annotated[bool, Field(strict=True)] = False
    allow: tuple[Client, ...] = ()
    deny: tuple[Client, ...] = ()
    trusted_port: Listener | None = None

    def problems(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield thresholds of nothing, and clients that are to pass and not to pass."""
        for name in ("threshold", "allow_threshold"):
            value = getattr(self, name)
            if value is not None and not self.dnsbl:
                yield Problem(f"postscreen[{name!r}]", shown(value), "there is no dnsbl that would count")
        for index, client in enumerate(self.deny):
            if client in self.allow:
                yield Problem(f"postscreen['deny'][{index}]", shown(client), "is in allow as well; expected it in one")

    def warnings(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield thresholds that no client can reach."""
        weights = [int(weight) for weight in self.dnsbl.values()]
        most = sum(weight for weight in weights if weight > 0)
        if self.dnsbl and most < (self.threshold or 1):
            reason = f"is above what all of dnsbl count together, {most}: nobody is ever refused by it"
            yield Problem("postscreen['threshold']", shown(self.threshold or 1), reason)
        least = sum(weight for weight in weights if weight < 0)
        if self.dnsbl and self.allow_threshold is not None and least > self.allow_threshold:
            reason = f"is below what all of dnsbl count together, {least}: no client ever passes by it"
            yield Problem("postscreen['allow_threshold']", shown(self.allow_threshold), reason)

    def refusal(self, desired: DesiredState, postfix: HostPostfix) -> str:
        """Return why there is no postscreen, or nothing that it could stand before."""
        if "postscreen_greet_action" in postfix.lacking:
            return "there is no postscreen before Postfix 2.8"
        if self.allow_threshold is not None and postfix.lacking.issuperset(_ALLOWLIST_THRESHOLD):
            return "allow_threshold came with Postfix 2.11"
        present = postfix.services
        behind = _behind(present)
        if postfix.master_cf and not behind:
            return "its master.cf has no service smtpd on port 25 that postscreen could stand before"
        if len(behind) > 1:
            # Each would be a postscreen of its own, and they share one cache, which one process alone may write.
            return "its master.cf has several services on port 25; postscreen can stand before one"
        found = taken(present, self._trusted(behind[0], postfix)) if behind else []
        return f"trusted_port: its master.cf has another service {found[0]} already" if found else ""

    def own_parameters(self) -> Sequence[str]:
        """Return all that it may set."""
        return (
            _CACHE,
            "postscreen_access_list",
            "postscreen_greet_action",
            "postscreen_greet_wait",
            "postscreen_dnsbl_sites",
            "postscreen_dnsbl_threshold",
            "postscreen_dnsbl_action",
            *_ALLOWLIST_THRESHOLD,
            *_DENYLIST_ACTION,
            *(f"postscreen_{test}_{word}" for test in _DEEP_TESTS for word in ("enable", "action")),
        )

    def parameters(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return the tests, each with what becomes of a client that does not pass."""
        lacking = place.postfix.lacking
        listed = f", cidr:{place.file(ACCESS)}" if self.allow or self.deny else ""
        found = {
            "postscreen_access_list": f"permit_mynetworks{listed}",
            "postscreen_greet_action": self.greet,
        }
        if place.type == "lmdb":
            # Postfix's default type is one that such a host need not have.
            found[_CACHE] = "lmdb:$data_directory/postscreen_cache"
        if self.deny:
            found[_known(_DENYLIST_ACTION, lacking)] = "enforce"
        if self.greet_wait:
            found["postscreen_greet_wait"] = self.greet_wait
        if self.dnsbl:
            found["postscreen_dnsbl_sites"] = ", ".join(_weighted(*site) for site in self.dnsbl.items())
            found["postscreen_dnsbl_threshold"] = str(self.threshold or 1)
            found["postscreen_dnsbl_action"] = self.dnsbl_action
        if self.allow_threshold is not None:
            found[_known(_ALLOWLIST_THRESHOLD, lacking)] = str(self.allow_threshold)
        for test in _DEEP_TESTS if self.deep else ():
            found[f"postscreen_{test}_enable"] = "yes"
            found[f"postscreen_{test}_action"] = "enforce"
        return found

    def texts(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return the clients that pass, or do not, untested: of networks in each other the smaller one counts."""
        return {ACCESS: self._access} if self._access else {}

    def asks(self, desired: DesiredState) -> Sequence[str]:
        """Return that the networks need not be sent back."""
        return [f"want {ACCESS} {sha256(self._access.encode()).hexdigest()}"] if self._access else []

    @property
    def _access(self) -> str:
        if not self.allow and not self.deny:
            return ""
        listed = {**dict.fromkeys(self.allow, "permit"), **dict.fromkeys(self.deny, "reject")}
        lines = (f"{client} {listed[client]}\n" for client in sorted(listed, key=_smallest_first))
        return "".join(["# Managed by mailproxy.\n", *lines])

    @property
    def edits_master_cf(self) -> bool:
        """It stands in master.cf before smtpd."""
        return True

    def services(self, desired: DesiredState, place: Place, present: Sequence[Service]) -> Sequence[Service]:
        """Return postscreen in place of smtpd, what both need, and the port that is not screened.

        What the service smtpd was told by options it is still (POSTSCREEN_README, "Turning on postscreen").
        """
        behind = _behind(present)
        if not behind:
            return ()
        first = behind[0]
        screens = [
            replace(one, processes="1", command=one.command.replace("smtpd", _SCREEN, 1))
            for one in behind
            if one.type == "inet"
        ]
        helping = [
            Service(*_PASS, "-", "-", first.chroot, "-", first.processes, first.command),
            *(Service(name, "unix", "-", "-", first.chroot, "-", "0", name) for name in ("dnsblog", "tlsproxy")),
        ]
        there = {one.key for one in present}
        added = [one for one in helping if one.key not in there]
        return (*screens, *added, *self._trusted(first, place.postfix))

    def _trusted(self, screened: Service, postfix: HostPostfix) -> Iterator[Service]:
        if self.trusted_port:
            inside = replace(screened, name=self.trusted_port, type="inet", private="n")
            # Out of service it refuses everybody, as main.cf says.
            yield inside if postfix.drained else inside.with_options([_TRUSTED_ALONE])

    def needed(self, desired: DesiredState) -> Sequence[Needed]:
        """Return the zones that are asked, each once."""
        zones = dict.fromkeys(site.partition("=")[0] for site in self.dnsbl)
        return tuple(Needed(f"dnsbl:{zone}", is_vital=False) for zone in zones)


# The key as group_data has it: on, off, or a dict of fields.
DeclaredPostscreen = Annotated[Postscreen, BeforeValidator(_switched), AfterValidator(_when_on)]


def _behind(present: Sequence[Service]) -> list[Service]:
    """Return the services of smtpd that postscreen stands before, or does already by somebody's hand."""
    listening = [one for one in present if one.port == "25" and one.program == "smtpd"]
    screened = any(one.port == "25" and one.program == _SCREEN for one in present)
    return listening or [one for one in present if one.key == _PASS and screened]


def _known(names: Sequence[str], lacking: frozenset[str]) -> str:
    """Return the first of some names of a parameter that a host knows."""
    return next((name for name in names if name not in lacking), names[-1])


def _weighted(site: str, weight: str) -> str:
    return site if weight == "1" else f"{site}*{weight}"


def _smallest_first(client: str) -> tuple[int, int, str]:
    parsed = ipaddress.ip_network(client)
    return parsed.version, -parsed.prefixlen, client
