"""The fleet in numbers, for Prometheus: pyinfra INVENTORY mailproxy.metrics [textfile=PATH]."""

import sys
import tempfile
import time
from pathlib import Path

import click
from pyinfra import context
from pyinfra.api import State

from mailproxy.declaration import declared
from mailproxy.exposition import exposition
from mailproxy.inputs import expectation
from mailproxy.observed import Unread
from mailproxy.once import Once
from mailproxy.reading import Reading
from mailproxy.stop import StopError

STDOUT = "-"
# node_exporter reads no other files of a directory.
_SUFFIX = ".prom"
# It is read by another user than the one that runs this.
_MODE = 0o644


class _Measurement:
    """The hosts of one run, as far as they were read."""

    def __init__(self, state: State):
        self.reading = Reading(state)
        self.desired = declared(state.inventory, self.reading.hosts).desired


_measurements: Once[_Measurement] = Once()


def metrics(textfile: object = STDOUT, **unknown: object) -> None:
    """Write the metrics of all hosts into a file, or print them; pyinfra calls this for each host.

    The last one writes, and ends the run: with 1 where a host could not be read, which the metrics say too, else 0.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; expected textfile=PATH; nothing was read")
    if "--json" in sys.argv[1:]:
        raise StopError("--json: expected no such flag: metrics are in the format of Prometheus; nothing was read")
    path = _path(str(textfile))
    state = context.state
    measurement = _measurements.get(state, lambda: _Measurement(state))
    reading, host = measurement.reading, context.host
    reading.read(host, expectation(measurement.desired[host.name], with_queues=True))
    if not reading.is_complete:
        return
    text = exposition(measurement.desired, reading.observed, int(time.time()))
    if path is None:
        click.echo(text, nl=False)
    else:
        _write(path, text)
    raise StopError("", int(any(isinstance(found, Unread) for found in reading.observed.values())))


def _path(textfile: str) -> Path | None:
    """Return where to write, None for standard output; StopError for what node_exporter would not read."""
    if textfile == STDOUT:
        return None
    path = Path(textfile)
    if path.suffix != _SUFFIX:
        reason = f"expected a name that ends in {_SUFFIX}, as node_exporter reads no other, or - for standard output"
        raise StopError(f"textfile={textfile}: {reason}; nothing was read")
    if not path.parent.is_dir():
        raise StopError(f"textfile={textfile}: there is no directory {path.parent}; nothing was read")
    return path


def _write(path: Path, text: str) -> None:
    """Put a text in the place of a file in one step: whoever reads it sees the one or the other."""
    beside: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, prefix=f".{path.name}.", delete=False, encoding="utf-8"
        ) as file:
            beside = Path(file.name)
            file.write(text)
        beside.chmod(_MODE)
        beside.replace(path)
    except OSError as error:
        if beside is not None:
            beside.unlink(missing_ok=True)
        raise StopError(f"textfile={path}: cannot be written: {error}; it is as it was") from None
