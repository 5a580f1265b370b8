"""What the user asks of a run besides the state of the hosts: what --data says, as approve= or review=."""

import difflib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mailproxy.digest import is_digest
from mailproxy.gates import FURTHER_GATES, GATES

FORMATS = (".md", ".html", ".json")
NO_CHANGES = "no_changes"
PASS = "pass"
STAGE, ACTIVATE = "stage", "activate"
_NAMES = ("approve", "review", "reviewed", "expect", "inconclusive", "phase", "waves")


@dataclass(frozen=True)
class Options:
    """approved names gates; files are where the review is written; reviewed is the digest that has to be met.

    passes_inconclusive says that a host which could not be proven counts as proven. phase is the one that runs alone,
    '' for all of them; waves is how many waves the phase activate takes, 0 for all.
    """

    approved: frozenset[str] = frozenset()
    files: tuple[Path, ...] = ()
    reviewed: str = ""
    expects_no_changes: bool = False
    passes_inconclusive: bool = False
    phase: str = ""
    waves: int = 0


def options(given: Mapping[str, Any]) -> Options:
    """Return the options among what --data gives; raises ValueError with all that is wrong, a line each."""
    problems = list(_misspelled(given))
    approved = words(given.get("approve"))
    unknown = [name for name in approved if name not in (*GATES, *FURTHER_GATES)]
    if unknown:
        problems.append(
            f"approve={','.join(unknown)}: no such gate; expected some of {', '.join((*GATES, *FURTHER_GATES))}"
        )
    files = [Path(name) for name in words(given.get("review"))]
    for file in files:
        if file.suffix not in FORMATS:
            problems.append(f"review={file}: expected a file that ends in {', '.join(FORMATS)}")
        elif not _is_directory(file.parent):
            problems.append(f"review={file}: there is no directory {file.parent}")
    expect = given.get("expect")
    if expect not in (None, NO_CHANGES):
        problems.append(f"expect={expect}: expected {NO_CHANGES}")
    inconclusive = given.get("inconclusive")
    if inconclusive not in (None, PASS):
        problems.append(f"inconclusive={inconclusive}: expected {PASS}")
    if "reviewed" in given and not is_digest(str(given["reviewed"]).strip()):
        problems.append(f"reviewed={given['reviewed']}: expected a digest as a review ends with")
    problems += _phase_problems(given, approved)
    if problems:
        raise ValueError("\n".join(problems))
    return Options(
        approved=frozenset(approved),
        files=tuple(files),
        reviewed=str(given.get("reviewed", "")).strip(),
        expects_no_changes=expect == NO_CHANGES,
        passes_inconclusive=inconclusive == PASS,
        phase=given.get("phase", ""),
        waves=given.get("waves", 0),
    )


def _phase_problems(given: Mapping[str, Any], approved: Collection[str]) -> Iterator[str]:
    phase = given.get("phase")
    if phase not in (None, STAGE, ACTIVATE):
        yield f"phase={phase}: expected {STAGE} or {ACTIVATE}"
    if phase is not None and "expect" in given:
        yield f"expect={given['expect']}: expected no phase beside it"
    if phase is not None and "unreachable" in approved:
        yield "approve=unreachable: a phase leaves no host behind; to go on without one: --exclude HOST in every phase"
    waves = given.get("waves")
    if waves is None:
        return
    if phase != ACTIVATE:
        yield f"waves={waves}: expected phase={ACTIVATE} beside it"
    if not isinstance(waves, int) or isinstance(waves, bool) or waves < 1:
        yield f"waves={waves}: expected how many waves to activate, such as 1 for the canary"


def _misspelled(given: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is nearly an option: ignored, it would let a run through that was to be held."""
    for name in given:
        for meant in () if name in _NAMES else difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.75):
            yield f"{name}={given[name]}: no such option; did you mean {meant}?"


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def words(value: Any) -> list[str]:
    """Return the words of "a,b", or of a list that --data was given as JSON."""
    given: Iterable[Any] = value if isinstance(value, list) else str(value or "").split(",")
    return [str(word).strip() for word in given if str(word).strip()]
