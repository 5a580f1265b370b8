"""What a mail service needs besides next hops, and what follows where that does not answer a host."""

from collections.abc import Iterable, Iterator

from mailproxy.changes import Difference
from mailproxy.feature import Feature, Needed
from mailproxy.judging import Outcome
from mailproxy.model import DesiredState

_WORD = "needed "


def needed_of(desired: DesiredState, found: Difference | None = None) -> tuple[Needed, ...]:
    """Return what features need; with a difference only those that it is about."""
    features = (feature for feature in desired.features.values() if found is None or _is_about(feature, found))
    return tuple(dict.fromkeys(one for feature in features for one in feature.needed(desired)))


def _is_about(feature: Feature, found: Difference) -> bool:
    changes = [change for changes in found.changes for change in changes]
    names = {change.key for change in changes if change.subject == "parameter"}
    is_edited = feature.edits_master_cf and any(change.file == "master.cf" for change in changes)
    return is_edited or not names.isdisjoint(feature.own_parameters())


def is_of_needed(line: str) -> bool:
    """Whether a line of a host says how something needed answers it."""
    return line.startswith(_WORD)


def needed_outcomes(lines: Iterable[str], needed: Iterable[Needed], fails: bool) -> Iterator[Outcome]:
    """Yield what the "needed ..." lines of a host prove (files/needing.sh), those that answer left out.

    fails says whether a host fails where something vital is silent; else that is a warning, as the rest always is.
    """
    vital = {one.name for one in needed if one.is_vital}
    for line in filter(is_of_needed, lines):
        _, name, state, *rest = line.split(" ", 3)
        reason = f": {rest[0]}" if rest else ""
        if state == "silent":
            yield Outcome("fail" if fails and name in vital else "pass", f"{name} does not answer the host{reason}")
        elif state != "answers":
            yield Outcome("pass", f"{name} was not asked{reason}")
