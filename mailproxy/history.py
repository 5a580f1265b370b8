"""What each host keeps to go back to: pyinfra INVENTORY mailproxy.generations."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields

import click
from pyinfra import context

from mailproxy.inputs import expectation_of_generation
from mailproxy.ledger import columns
from mailproxy.moment import time_text
from mailproxy.observed import ObservedState, Unread
from mailproxy.once import Once
from mailproxy.reading import Reading
from mailproxy.stop import StopError

_UNKNOWN = "-"


@dataclass(frozen=True)
class Generation:
    """One generation of one host, in words; since is in UTC."""

    host: str
    generation: str
    since: str = _UNKNOWN
    by: str = _UNKNOWN
    commit: str = _UNKNOWN
    review: str = _UNKNOWN


def generations_of(host: str, observed: ObservedState | Unread) -> Iterator[Generation]:
    """Yield what a host keeps, what is live last; what was there before the first rollout is generation 0."""
    if isinstance(observed, Unread):
        yield Generation(host, f"NOT READ: {observed.reason}")
        return
    for number, record in (observed.saved.records if observed.saved else {}).items():
        yield _generation(host, str(number), record)
    if observed.manifest is not None:
        record = observed.manifest.record
        yield _generation(host, f"{record.get('generation', _UNKNOWN)} (live)", record)
    else:
        yield Generation(host, "made by hand (live)")


def _generation(host: str, number: str, record: Mapping[str, str]) -> Generation:
    if not record:
        return Generation(host, f"{number}, made by hand")
    returned = f", as of {record['returned']}" if "returned" in record else ""
    return Generation(
        host=host,
        generation=f"{number}{returned}",
        since=time_text(record.get("activated", "")),
        by=record.get("by", _UNKNOWN).partition(" process ")[0],
        commit=record.get("commit", _UNKNOWN),
        review=record.get("review", _UNKNOWN),
    )


_readings: Once[Reading] = Once()


def generations(**unknown: object) -> None:
    """Print a line for each generation of each host, for mailproxy.rollback; pyinfra calls this for each host.

    The last one prints, and ends the run: with 1 where a host could not be read, else 0. --json prints a list.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; it takes none; nothing was read")
    state = context.state
    reading = _readings.get(state, lambda: Reading(state))
    reading.read(context.host, expectation_of_generation(None))
    if not reading.is_complete:
        return
    rows = [row for name, observed in reading.observed.items() for row in generations_of(name, observed)]
    if "--json" in sys.argv[1:]:
        click.echo(json.dumps([asdict(row) for row in rows], indent=1))
    else:
        names = [field.name for field in fields(Generation)]
        click.echo(f"\n{columns([names, *([getattr(row, name) for name in names] for row in rows)])}")
    raise StopError("", int(any(isinstance(found, Unread) for found in reading.observed.values())))
