"""The key postscreen of group_data: whom SMTP is spoken with at all."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, GetPydanticSchema

from mailproxy.entries import Entries
from mailproxy.feature import Feature, Needed, Place
from mailproxy.host_postfix import HostPostfix
from mailproxy.master_cf import Service, taken
from mailproxy.names import domain_name, named_twice, single_line
from mailproxy.problem import Problem, refuse_unless, shown

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

ACCESS = "postscreenaccess"
# What may stand behind a DNSBL: the answers that count (postconf(5), postscreen_dnsbl_sites).
_NUMBER = r"[0-9]{1,3}"
_RANGE = rf"{_NUMBER}(\.\.{_NUMBER})?"
_PART = rf"({_NUMBER}|\[{_RANGE}(;{_RANGE})*\])"
_ANSWERS = re.compile(rf"{_PART}(\.{_PART}){{3}}")
_PORT = re.compile(r"(?:(?:[0-9.]+|\[[0-9A-Fa-f:.]+\]):)?([0-9]+)")
_PASS = ("smtpd", "pass")
_SCREEN = "postscreen"

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


def _distinct(value: Any) -> Any:
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        for given, first in named_twice(value).items():
            raise ValueError(f"names one twice, as {first!r} and as {given!r}; expected it once")
    return value


def _client(value: str) -> str:
    """Return a network as cidr_table(5) has it, or refuse it."""
    try:
        return str(ipaddress.ip_network(single_line(value)))
    except ValueError as error:
        raise ValueError(f"expected a network such as 198.51.100.0/24: {error}") from None


def _listener(value: Any) -> Any:
    """Return a port, or an address and a port, as master.cf names a service that listens there."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    found = _PORT.fullmatch(value) if isinstance(value, str) else None
    if not found or not 0 < int(found[1]) < 65536:
        raise ValueError('expected a port such as 2525, or an address and a port such as "10.1.0.1:2525"')
    refuse_unless(int(found[1]) != 25, "is the port that postscreen listens on; expected another one")
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
_SITES = Annotated[dict[Site, Weight], BeforeValidator(_distinct), AfterValidator(Entries)]
Sites = Annotated[Entries, GetPydanticSchema(lambda _source, handler: handler(_SITES))]
Client = Annotated[str, AfterValidator(_client)]
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
        if len({one.command for one in behind}) > 1:
            return "its master.cf has several services on port 25 with different options; expected them alike"
        found = taken(present, self._trusted(behind[0])) if behind else []
        return f"trusted_port: its master.cf has another service {found[0]} already" if found else ""

    def own_parameters(self) -> Sequence[str]:
        """Return all that it may set."""
        return (
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
        if not self.allow and not self.deny:
            return {}
        listed = {**dict.fromkeys(self.allow, "permit"), **dict.fromkeys(self.deny, "reject")}
        lines = (f"{client} {listed[client]}\n" for client in sorted(listed, key=_smallest_first))
        return {ACCESS: "".join(["# Managed by mailproxy.\n", *lines])}

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
        return (*screens, *added, *self._trusted(first))

    def _trusted(self, screened: Service) -> Iterator[Service]:
        if self.trusted_port:
            inside = replace(screened, name=self.trusted_port, type="inet", private="n")
            yield inside.with_options(["smtpd_client_restrictions=permit_mynetworks,reject"])

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
