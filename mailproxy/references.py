"""References to parameters in a value of main.cf, as Postfix takes them apart (mac_parse.c, mac_expand.c)."""

import re
from collections.abc import Iterator

# "$$" is a dollar; "$name"; and in braces or parentheses a name alone, a name with a text that depends on it, or a
# comparison.
_BEGIN = re.compile(r"\$(?:\$|(?P<name>\w+)|(?P<open>[({]))?", re.ASCII)
# Also a function of Postfix 3.11 and later, with its argument.
_PAYLOAD = re.compile(r"\w+\{.*|(?P<name>\w+)\s*(?P<choice>[?:].*)?", re.ASCII)
_COMPARING = re.compile(r"\s*(?:[=!<>]=|[<>])\s*(?=\{)")
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
            if end is None or not _is_payload(value[found.end() : end]):
                return value[found.start() : (end or len(value)) + 1]
    return ""


def _is_payload(text: str) -> bool:
    """Whether this may stand in brackets behind a dollar."""
    named = _PAYLOAD.fullmatch(text)
    return _is_choice(named["choice"] or "") if named else _is_comparison(text.strip())


def _is_comparison(text: str) -> bool:
    """Whether this is {text} == {text}, or another comparison, with or without a text that depends on it."""
    left = _closing(text, 0) if text.startswith("{") else None
    operator = _COMPARING.match(text, left + 1) if left is not None else None
    right = _closing(text, operator.end()) if operator else None
    return right is not None and _is_choice(text[right + 1 :].lstrip())


def _is_choice(text: str) -> bool:
    """Whether this is ?text, :text, ?{text}:text or nothing; a text that begins with a brace ends with its closing."""
    if not text or text[0] not in "?:":
        return not text
    chosen = text[1:].lstrip()
    end = _closing(chosen, 0) if chosen.startswith("{") else len(chosen)
    rest = chosen[end + 1 :].lstrip() if end is not None else "{"
    return not rest or (text[0] == "?" and rest[0] == ":" and _is_choice(rest))


def _closing(value: str, start: int) -> int | None:
    """Return where the bracket at start is closed, None where it is not."""
    opening, closing, depth = value[start], _CLOSING[value[start]], 0
    for place in range(start, len(value)):
        depth += (value[place] == opening) - (value[place] == closing)
        if depth == 0:
            return place
    return None
