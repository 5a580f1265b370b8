"""References to parameters in a value of main.cf, as Postfix takes them apart (mac_parse.c, mac_expand.c)."""

import re
from collections.abc import Iterator

# "$$" is a dollar; "$name"; and in braces or parentheses a name alone, a name with a text that depends on it, or a
# comparison.
_BEGIN = re.compile(r"\$(?:\$|(?P<name>\w+)|(?P<open>[({]))?", re.ASCII)
# Also a function of Postfix 3.11 and later, with its argument.
_PAYLOAD = re.compile(r"\w+\{.*|(?P<name>\w+)\s*(?:[?:].*)?|\s*\{.*", re.ASCII)
_CLOSING = {"(": ")", "{": "}"}


def references(value: str) -> Iterator[str]:
    """Yield the names that a value refers to."""
    for found in _BEGIN.finditer(value):
        if found["name"]:
            yield found["name"]
        elif found["open"]:
            payload = _PAYLOAD.match(value, found.end())
            if payload and payload["name"]:
                yield payload["name"]


def broken_reference(value: str) -> str:
    """Return the part of a value that begins like a reference and is none, '' where there is none."""
    for found in _BEGIN.finditer(value):
        if found[0] == "$":
            return value[found.start() : found.end() + 1]
        if found["open"]:
            end = _closing(value, found.end() - 1)
            if end is None or not _PAYLOAD.fullmatch(value[found.end() : end]):
                return value[found.start() : (end or len(value)) + 1]
    return ""


def _closing(value: str, start: int) -> int | None:
    """Return where the bracket at start is closed, None where it is not."""
    opening, closing, depth = value[start], _CLOSING[value[start]], 0
    for place in range(start, len(value)):
        depth += (value[place] == opening) - (value[place] == closing)
        if depth == 0:
            return place
    return None
