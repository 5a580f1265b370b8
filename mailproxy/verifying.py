"""Does each host serve as declared: pyinfra INVENTORY mailproxy.verify [domains=20] [inconclusive=pass]."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import click
from pyinfra import context
from pyinfra.api import Host, State

from mailproxy.as_text import visible
from mailproxy.changes import difference
from mailproxy.declaration import declared
from mailproxy.drained import told
from mailproxy.hop_answers import hop_outcomes
from mailproxy.indexed import queries_of
from mailproxy.inputs import expectation, questions
from mailproxy.judging import Outcome, Verdict, verdict
from mailproxy.model import DesiredState, Entries
from mailproxy.needed import needed_of, needed_outcomes
from mailproxy.observed import ObservedState, Unread
from mailproxy.once import Once
from mailproxy.options import PASS
from mailproxy.probe import Probes, all_probes
from mailproxy.proving import proven
from mailproxy.reading import Reading
from mailproxy.render import database_type, rendered, routes
from mailproxy.service import DISABLED, is_disabled
from mailproxy.stop import StopError
from mailproxy.syntax import main_cf_parameters

ALL = "all"
DOMAINS = 20


@dataclass(frozen=True)
class Verified:
    """One host: what its answers come to, what was asked, and what was found against it or left open."""

    host: str
    verdict: Verdict | None
    asked: str
    found: tuple[Outcome, ...]


class _Verification:
    """The hosts of one run, as far as they were asked."""

    def __init__(self, state: State):
        self.reading = Reading(state)
        self.desired = declared(state.inventory, self.reading.hosts).desired
        self.verified: dict[str, Verified] = {}

    def verify(self, host: Host, most: int | None) -> None:
        """Ask a host."""
        desired = self.desired[host.name]
        observed = self.reading.read(host, expectation(desired))
        if isinstance(observed, ObservedState):
            self.verified[host.name] = self._asked(host, desired, observed, most)

    def _asked(self, host: Host, desired: DesiredState, observed: ObservedState, most: int | None) -> Verified:
        contents = rendered(desired, observed.postfix)
        parameters = main_cf_parameters(contents["main.cf"].text)
        serves = observed.running or not is_disabled(parameters, observed.postfix)
        asked = replace(
            all_probes(difference(contents, observed), parameters, most),
            serves=serves,
            is_drained=bool(observed.postfix.drained),
            needed=needed_of(desired),
            certificate=desired.tls.certificate_to_come(observed),
        )
        table_type, entries = database_type(desired, observed.postfix), routes(desired)
        keys = (*asked.accepted, *desired.routes.exceptions)
        routed = Entries({key: entries[key] for key in keys if key in entries})
        queries = queries_of(table_type, "transport", Entries({}), routed)
        lines = self.reading.ask(host, observed.postfix.config_directory, questions(queries, asked.hops, asked.needed))
        hops_fail = desired.rollout is not None and desired.rollout.next_hops == "fail"
        of_host = _of_host(lines, observed, hops_fail, asked)
        of_needed = needed_outcomes(lines, asked.needed, hops_fail)
        found = [*of_host, *of_needed, *proven(host, asked, was_reachable=False)]
        return Verified(host.name, verdict(found), _asked_for(asked, len(desired.relay_domains)), tuple(found))


def _of_host(lines: Sequence[str], observed: ObservedState, hops_fail: bool, asked: Probes) -> Iterator[Outcome]:
    """Yield what a host says of itself that is not as it should be."""
    if not lines:
        yield Outcome("inconclusive", "the host did not answer what it was asked about its tables and next hops")
    if not asked.serves:
        yield Outcome("inconclusive", DISABLED.reason)
    elif "running no" in lines:
        yield Outcome("fail", "Postfix is not running")
    for line in lines:
        if line.startswith("wrong "):
            yield Outcome("fail", line.removeprefix("wrong "))
    if observed.postfix.drained:
        since = told(observed.postfix.drained, observed.manifest.record if observed.manifest else {})
        yield Outcome("pass", f"{since}; it answers 421, and that alone was asked by SMTP")
    if observed.journal is not None:
        yield Outcome("inconclusive", "a change on it was never confirmed: roll out again to settle it")
    yield from hop_outcomes([line for line in lines if line.startswith("hop ")], hops_fail, asked.largest)


def _asked_for(asked: Probes, domains: int) -> str:
    hops = f"{len(asked.hops)} next hop{'s' * (len(asked.hops) != 1)}"
    certificate = f" with the certificate of {asked.certificate}" if asked.certificate else ""
    starttls = f", STARTTLS{certificate}" if asked.starttls else ""
    return f"{len(asked.accepted)} of {domains} domains, a foreign one, {hops}{starttls}"


_verifications: Once[_Verification] = Once()


def verify(domains: object = DOMAINS, inconclusive: object = None, **unknown: object) -> None:
    """Ask each host what a rollout would, and print what it proves; pyinfra calls this for each host.

    Nothing is changed and no message sent. The last one prints, and ends the run: with 1 where a host failed, could not
    be read, or proved nothing (inconclusive=pass lets that pass), else 0. --json prints a list.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; expected domains=20, domains=all, inconclusive=pass")
    is_number = isinstance(domains, int) and not isinstance(domains, bool) and domains > 0
    if not is_number and domains != ALL:
        raise StopError(f"domains={domains}: expected how many domains to ask for, or {ALL}; nothing was asked")
    if inconclusive not in (None, PASS):
        raise StopError(f"inconclusive={inconclusive}: expected {PASS}; nothing was asked")
    state = context.state
    verification = _verifications.get(state, lambda: _Verification(state))
    verification.verify(context.host, domains if isinstance(domains, int) else None)
    if verification.reading.is_complete and len(verification.verified) == _read(verification):
        _conclude(verification, passes_inconclusive=inconclusive == PASS)


def _read(verification: _Verification) -> int:
    return sum(isinstance(found, ObservedState) for found in verification.reading.observed.values())


def _conclude(verification: _Verification, passes_inconclusive: bool) -> None:
    found = [
        Verified(name, None, "", (Outcome("fail", observed.reason),))
        if isinstance(observed, Unread)
        else verification.verified[name]
        for name, observed in verification.reading.observed.items()
    ]
    if "--json" in sys.argv[1:]:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        click.echo(f"\n{report(found)}")
    good = {"pass", "inconclusive"} if passes_inconclusive else {"pass"}
    raise StopError("", int(any(one.verdict not in good for one in found)))


def report(found: Sequence[Verified]) -> str:
    """Return a line for each host, and below it what was found against it, left open, or is worth knowing."""
    width = max(len(one.host) for one in found)
    lines = []
    for one in found:
        result = {"pass": "pass", "fail": "FAIL", "inconclusive": "inconclusive", None: "NOT READ"}[one.verdict]
        lines.append(f"{one.host.ljust(width)}  {result.ljust(12)}  {one.asked}".rstrip())
        for outcome in one.found:
            kind = {"pass": "warning", "fail": "against it", "inconclusive": "left open"}[outcome.verdict]
            lines.append(f"    {kind}: {visible(outcome.text)}")
    return "".join(f"{line}\n" for line in lines)
