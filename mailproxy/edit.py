"""What turns one text into another, line by line: a host that has the first is sent no more than this."""

import itertools
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache


@lru_cache(maxsize=1024)
def edit(before: str, after: str) -> tuple[str, ...] | None:
    """Return the lines of an edit, or None where the whole text is shorter, or before is not made of whole lines.

    It is made of hunks, each "AT DROPPED ADDED" and the lines that are added: at line AT (from 1) so many are dropped,
    and so many come in their place. files/stage.sh reads it.
    """
    if not before.endswith("\n") or not after.endswith("\n"):
        return None
    lines = tuple(_hunks(before.split("\n")[:-1], after.split("\n")[:-1]))
    return lines if sum(map(len, lines)) + len(lines) < len(after) else None


def _hunks(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    ends = [(-1, -1), *_common(before, after), (len(before), len(after))]
    for (old, new), (old_end, new_end) in itertools.pairwise(ends):
        if (old_end - old, new_end - new) != (1, 1):
            yield f"{old + 2} {old_end - old - 1} {new_end - new - 1}"
            yield from after[new + 1 : new_end]


def _common(before: Sequence[str], after: Sequence[str]) -> list[tuple[int, int]]:
    """Return the places of lines that stay, in both: the most that keep their order, of those that each has once."""
    once = {line for line, count in Counter(before).items() if count == 1}
    places = {line: place for place, line in enumerate(before) if line in once}
    counted = Counter(after)
    pairs = [(places[line], new) for new, line in enumerate(after) if counted[line] == 1 and line in places]
    # The longest run of rising places (patience sorting): tops[n] ends the best of n + 1 found so far.
    tops: list[int] = []
    best: list[int] = []
    origin: list[int] = []
    for number, (old, _) in enumerate(pairs):
        length = bisect_left(tops, old)
        origin.append(best[length - 1] if length else -1)
        tops[length : length + 1] = [old]
        best[length : length + 1] = [number]
    kept = []
    number = best[-1] if best else -1
    while number >= 0:
        kept.append(pairs[number])
        number = origin[number]
    return kept[::-1]
