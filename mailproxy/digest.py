"""A digest of a review: what was reviewed in one word, from which a later run tells what moved since.

Besides a hash over everything it holds a small sketch: each host counts into one cell of each of three rows, chosen by
its name, and a cell is a short hash over its hosts. A host that is not as it was changes its cell in every row, so the
host that moved is named without having kept anything but the digest. (By chance a host that did not move can be named
beside one that did; with one that moved, that is one in 512 for each other host.)
"""

import base64
import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from mailproxy.model import DesiredState
from mailproxy.observed import ObservedState, Unread
from mailproxy.render import rendered

_VERSION = "v1-"
_ROWS, _COLUMNS = 3, 8
# In characters of base64, each of 6 bits: of the hash over all, and of each short hash.
_WHOLE, _SHORT = 14, 2
_FORM = re.compile(rf"{_VERSION}[A-Za-z0-9_-]{{{_WHOLE + _SHORT * (3 + _ROWS * _COLUMNS)}}}")


@dataclass(frozen=True)
class Fingerprint:
    """A host as it was observed, and what was declared for it, each as a hash."""

    observed: str
    desired: str

    def __str__(self) -> str:
        return self.observed + self.desired


def fingerprint(desired: DesiredState, observed: ObservedState | Unread, how: str) -> Fingerprint:
    """Return what of a host a review depends on, the same on any machine; neither locks nor the queue count.

    how says what else decides about what is done: the order of activation, and the programs that do it.
    """
    contents = rendered(desired, observed.postfix) if isinstance(observed, ObservedState) else {}
    digests = [f"{name} {content.digest}" for name, content in contents.items()]
    return _fingerprint(observed, desired.digest, how, *digests)


def fingerprint_of_return(observed: ObservedState | Unread, how: str) -> Fingerprint:
    """Return the same of a host that goes back to an earlier generation."""
    saved = observed.saved if isinstance(observed, ObservedState) else None
    files = sorted(f"{name} {file}" for name, file in saved.files.items()) if saved else []
    return _fingerprint(observed, f"generation {saved and saved.number}", how, *files)


def _fingerprint(observed: ObservedState | Unread, *desired: str) -> Fingerprint:
    return Fingerprint(
        _hash("observed", *_observed(observed), length=_WHOLE), _hash("desired", *desired, length=_WHOLE)
    )


def digest(fingerprints: Mapping[str, Fingerprint]) -> str:
    """Return the digest of a fleet, by host name, whatever the order."""
    fleet = sorted(fingerprints.items())
    cells = [_cell(row, column, fleet) for row in range(_ROWS) for column in range(_COLUMNS)]
    return _VERSION + _whole(fleet) + "".join((*_aspects(fleet), *cells))


def is_digest(text: str) -> bool:
    """Whether a text is of the form that a digest has."""
    return bool(_FORM.fullmatch(text))


def differences(reviewed: str, fingerprints: Mapping[str, Fingerprint], others: Collection[str]) -> list[str]:
    """Return what is not as it was reviewed, a sentence a host; empty where all is.

    others are hosts of the inventory that are not part of this run. Raises ValueError for what is no digest.
    """
    if not is_digest(reviewed):
        raise ValueError("expected a digest as a review ends with")
    current = digest(fingerprints)
    if current == reviewed:
        return []
    differs = [before != now for before, now in zip(_shorts(reviewed), _shorts(current), strict=True)]
    (names, observed, desired), cells = differs[:3], differs[3:]
    moved = [name for name in fingerprints if all(cells[place] for place in _places(name))]
    missing = [name for name in others if names and all(cells[place] for place in _places(name))]
    if names:
        why = "it was not reviewed, or is not as it was"
    elif observed and desired:
        why = "it, or what is declared for it, is not as it was reviewed"
    else:
        why = "the host is not as it was reviewed" if observed else "other content is declared than was reviewed"
    found = [f"{name}: {why}" for name in moved] + [
        f"{name}: it was reviewed, and is not in this run" for name in missing
    ]
    if not found:
        other = "a host that was reviewed is not in this run"
        found = [other if names else "the fleet is not as it was reviewed, or the digest was mistyped"]
    return found


def _shorts(value: str) -> list[str]:
    """Return the short hashes of a digest: of names, observed and desired, then of the cells."""
    short = value[len(_VERSION) + _WHOLE :]
    return [short[start : start + _SHORT] for start in range(0, len(short), _SHORT)]


def _whole(fleet: list[tuple[str, Fingerprint]]) -> str:
    return _hash("fleet", *(f"{name} {one.observed} {one.desired}" for name, one in fleet), length=_WHOLE)


def _aspects(fleet: list[tuple[str, Fingerprint]]) -> Iterator[str]:
    """Yield short hashes over the names, what was observed, and what is declared."""
    yield _hash("names", *(name for name, _ in fleet))
    yield _hash("observed", *(one.observed for _, one in fleet))
    yield _hash("desired", *(one.desired for _, one in fleet))


def _cell(row: int, column: int, fleet: list[tuple[str, Fingerprint]]) -> str:
    inside = [f"{name} {one.observed} {one.desired}" for name, one in fleet if _column(row, name) == column]
    return _hash("cell", *inside)


def _places(name: str) -> list[int]:
    """Return the places of a host's cells, one of each row."""
    return [row * _COLUMNS + _column(row, name) for row in range(_ROWS)]


def _column(row: int, name: str) -> int:
    return hashlib.sha256(f"{row} {name}".encode()).digest()[0] % _COLUMNS


def _observed(observed: ObservedState | Unread) -> Iterator[str]:
    if isinstance(observed, Unread):
        yield "unread"
        return
    postfix = observed.postfix
    yield repr((postfix.version, postfix.config_directory, postfix.defaults.digest, postfix.kept.digest))
    yield repr((observed.running, sorted(observed.table_types or ()), sorted(observed.missing_users)))
    yield from (f"{name} {file}" for name, file in sorted(observed.live.items()))
    yield repr(sorted((name, text) for name, text in observed.texts.items() if name not in observed.live))
    yield repr(observed.manifest and [sorted(part.items()) for part in observed.manifest.parts])
    yield repr(observed.journal and observed.journal.get("generation"))


def _hash(*parts: str, length: int = _SHORT) -> str:
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())[:length].decode()
