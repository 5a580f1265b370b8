"""What a mail service needs besides next hops, and what follows where that does not answer a host."""

from collections.abc import Iterable, Iterator

from mailproxy.changes import Difference
from mailproxy.model import DesiredState
from mailproxy.probe import Outcome

# What is asked for a judgement that mail can do without.
_OPTIONAL = "dnsbl:"
_WORD = "needed "


def needed_of(desired: DesiredState, found: Difference | None = None) -> tuple[str, ...]:
    """Return what features need, in the forms of files/needing.sh; with a difference only of those that it is about."""
    keys = {change.key for changes in found.changes for change in changes} if found else set()
    features = (
        feature for feature in desired.features.values() if not found or not keys.isdisjoint(feature.own_parameters())
    )
    return tuple(dict.fromkeys(one for feature in features for one in feature.needed(desired)))


def is_of_needed(line: str) -> bool:
    """Whether a line of a host says how something needed answers it."""
    return line.startswith(_WORD)


def needed_outcomes(lines: Iterable[str], fails: bool) -> Iterator[Outcome]:
    """Yield what the "needed ..." lines of a host prove (files/needing.sh), those that answer left out.

    fails says whether a host fails where mail waits for what is silent; what mail goes without is a warning.
    """
    for line in filter(is_of_needed, lines):
        _, name, state, *rest = line.split(" ", 3)
        reason = f": {rest[0]}" if rest else ""
        if state == "silent":
            is_vital = fails and not name.startswith(_OPTIONAL)
            yield Outcome("fail" if is_vital else "pass", f"{name} does not answer the host{reason}")
        elif state != "answers":
            yield Outcome("pass", f"{name} was not asked{reason}")
