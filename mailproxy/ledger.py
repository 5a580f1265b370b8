"""The fleet at a glance: pyinfra INVENTORY mailproxy.status [domain=example.org]."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields

import click
from pyinfra import context
from pyinfra.api import State

from mailproxy import drift
from mailproxy.as_text import visible
from mailproxy.certificates import SOON, ending
from mailproxy.changes import difference
from mailproxy.declaration import declared
from mailproxy.drained import told
from mailproxy.inputs import expectation
from mailproxy.meaning import ROUTED, is_accepted
from mailproxy.model import DesiredState
from mailproxy.moment import time_text
from mailproxy.names import domain_name
from mailproxy.observed import ObservedState, Unread
from mailproxy.once import Once
from mailproxy.plan import Plan, planned
from mailproxy.reading import Reading
from mailproxy.render import rendered
from mailproxy.service import DISABLED
from mailproxy.stop import StopError

_UNKNOWN = "-"


@dataclass(frozen=True)
class Row:
    """One host, in words; "-" stands for what is not known. since is in UTC, queue in messages, certificate until when
    the one holds that senders are shown."""

    host: str
    postfix: str = _UNKNOWN
    generation: str = _UNKNOWN
    since: str = _UNKNOWN
    commit: str = _UNKNOWN
    queue: str = _UNKNOWN
    certificate: str = ""
    domain: str = ""
    state: str = ""


def row(name: str, desired: DesiredState, observed: ObservedState | Unread, domain: str = "") -> Row:
    """Return what there is to say of one host, and of one domain on it."""
    if isinstance(observed, Unread):
        certificate = _UNKNOWN if desired.tls.certificate else ""
        return Row(
            name, certificate=certificate, state=f"NOT READ: {observed.reason}", domain=_UNKNOWN if domain else ""
        )
    record = observed.manifest.record if observed.manifest else {}
    return Row(
        host=name,
        postfix=".".join(map(str, observed.postfix.version)),
        generation=record.get("generation", _UNKNOWN),
        since=time_text(record.get("activated", "")),
        commit=record.get("commit", _UNKNOWN).replace(" + uncommitted changes", "+"),
        queue=_UNKNOWN if observed.queue is None else str(observed.queue),
        certificate=_certificate(desired, observed),
        state="; ".join(_state(desired, observed)) or "as declared",
        domain=_domain(domain, desired, observed) if domain else "",
    )


def table(rows: Sequence[Row]) -> str:
    """Return rows in columns, the first line naming them; a column in which nothing is said is left out."""
    names = [column.name for column in fields(Row) if any(getattr(one, column.name) for one in rows)]
    return columns([names, *([getattr(one, name) for name in names] for one in rows)])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of words as lines in columns."""
    lines = [[visible(word) for word in row] for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    padded = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def _certificate(desired: DesiredState, observed: ObservedState) -> str:
    """Return until when the certificate holds that is on a host, '' where none is declared."""
    if not desired.tls.certificate:
        return ""
    found = desired.tls.certificate_on(observed)
    return f"{found.until:%Y-%m-%d}" if found else _UNKNOWN


def _state(desired: DesiredState, observed: ObservedState) -> Iterator[str]:
    """Yield what is not as it should be, the worst first."""
    outcome = planned(desired, observed)
    if isinstance(outcome, Plan) and outcome.service == DISABLED:
        yield DISABLED.reason
    elif not observed.running:
        yield "POSTFIX IS NOT RUNNING"
    if observed.postfix.drained:
        yield told(observed.postfix.drained, observed.manifest.record if observed.manifest else {})
    if not isinstance(outcome, Plan):
        yield f"cannot be managed: {outcome.reason}"
    elif not outcome.is_managed:
        yield "not managed yet"
    else:
        yield from outcome.repairs
        if found := drift.edited(outcome):
            yield f"edited by hand: {', '.join(change.desired.name for change in found)}"
        yield from (f"{change.desired.name}: {change.reason}" for change in drift.unlike(outcome))
        if found := drift.behind(outcome):
            yield f"behind what is declared: {', '.join(change.desired.name for change in found)}"
        yield from (f"stale table: {index.reason}" for index in drift.stale(outcome))
        if drift.is_pending(outcome):
            yield f"{outcome.service.action} pending: {outcome.service.reason}"
    certificate = desired.tls.certificate_on(observed) if desired.tls.certificate else None
    if certificate and observed.at and certificate.until - observed.at < SOON:
        yield f"the certificate {ending(certificate, observed.at)}"
    if observed.lock is not None:
        yield f"locked by {observed.lock.holder}"


def _domain(domain: str, desired: DesiredState, observed: ObservedState) -> str:
    """Return what the host does with mail for a domain."""
    live = difference(rendered(desired, observed.postfix), observed).live
    parents = [domain.split(".", count)[count] for count in range(1, domain.count(".") + 1)]
    candidates = [domain, *(parents if live.subdomains == ROUTED else [])]
    hop = next((live.domains[name] for name in candidates if name in live.domains), None)
    what = "not accepted" if hop is None else f"-> {hop}" if is_accepted(hop) else hop
    if not observed.running:
        return f"{what}, but Postfix is not running"
    if observed.postfix.drained:
        return f"{what}, but drained"
    digests = observed.manifest.digests if observed.manifest else {}
    deciding = [name for name in digests if not name.startswith(("aliases", "mynetworks"))]
    if any(digests[name] != observed.digest(name) for name in deciding):
        return f"{what} on the disk; Postfix may not have loaded it"
    return f"live {what}" if what.startswith("->") else what


class _Ledger:
    """The rows of one run, as far as hosts were read."""

    def __init__(self, state: State):
        self.reading = Reading(state)
        self.desired = declared(state.inventory, self.reading.hosts).desired


_ledgers: Once[_Ledger] = Once()


def status(domain: str = "", **unknown: object) -> None:
    """Print one line a host, with domain= also what becomes of its mail; pyinfra calls this for each host.

    The last one prints, and ends the run: with 1 where a host could not be read, else 0. --json prints a list.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; expected domain=example.org; nothing was read")
    try:
        asked = domain_name(str(domain)) if domain else ""
    except ValueError as error:
        raise StopError(f"domain={domain}: {error}; nothing was read") from None
    state = context.state
    ledger = _ledgers.get(state, lambda: _Ledger(state))
    name = context.host.name
    ledger.reading.read(context.host, expectation(ledger.desired[name], with_queue=True))
    if not ledger.reading.is_complete:
        return
    observed = ledger.reading.observed
    rows = [row(host, ledger.desired[host], found, asked) for host, found in observed.items()]
    if "--json" in sys.argv[1:]:
        click.echo(json.dumps([asdict(one) for one in rows], indent=1))
    else:
        click.echo(f"\n{table(rows)}")
    raise StopError("", int(any(isinstance(found, Unread) for found in observed.values())))
