"""How Postfix reads its files: texts -> parameters, entries, items, lines."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from mailproxy.entries import Entries

_BLANKS = r"\s+"
_REFERENCE = re.compile(r"\$(?:(\w+)|[({](\w+)[)}])")
# References that lead to references are followed so far.
_DEEPEST = 5


@lru_cache(maxsize=1024)
def main_cf_parameters(text: str) -> Entries:
    """Return the parameters that a main.cf sets, the last one of a name winning (postconf(5), SYNTAX)."""
    return Entries(dict(assignments(logical_lines(text))))


@lru_cache(maxsize=1024)
def table_entries(text: str) -> Entries:
    """Return the entries of a postmap(1) source: keys in lower case, the first of a key winning."""
    return _first_of_each(map(table_entry, logical_lines(text)))


@lru_cache(maxsize=1024)
def table_keys(text: str) -> tuple[str, ...]:
    """Return the keys of a postmap(1) source, whatever their values."""
    return tuple(dict.fromkeys(table_entry(line)[0] for line in logical_lines(text)))


def table_entry(line: str) -> tuple[str, str]:
    """Return key and value of a logical line of a postmap(1) source; Postfix ignores a line whose value is empty."""
    key, _, value = line.partition(" ")
    return key.lower(), value.strip()


@lru_cache(maxsize=1024)
def alias_entries(text: str) -> Entries:
    """Return the entries of a postalias(1) source, or of a table's listing: names in lower case, the first winning."""
    return _first_of_each(map(alias_entry, logical_lines(text)))


def alias_entry(line: str) -> tuple[str, str]:
    """Return name and targets of a logical line of a postalias(1) source, as table_entry does."""
    name, _, targets = line.partition(":" if ":" in line else " ")
    return name.strip().strip('"').lower(), re.sub(r"\s*,\s*", ", ", targets.strip())


def _first_of_each(pairs: Iterable[tuple[str, str]]) -> Entries:
    entries: dict[str, str] = {}
    for key, value in pairs:
        if value:
            entries.setdefault(key, value)
    return Entries(entries)


@lru_cache(maxsize=1024)
def list_items(text: str) -> tuple[str, ...]:
    """Return the items of a list file such as mynetworks: one or several a line, comments in the first column."""
    lines = (line for line in text.split("\n") if not line.lstrip().startswith("#"))
    return tuple(item for line in lines for item in line.replace(",", " ").split())


def logical_lines(text: str) -> Iterator[str]:
    """Yield lines without comments and blank ones, continuations and runs of blanks as one blank."""
    return (re.sub(_BLANKS, " ", line) for _, line in numbered_lines(text))


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the logical lines of a file, each with the number of its first line (postconf(5), postmap(1))."""
    begun, current = 0, ""
    for number, line in enumerate(text.split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if line[0].isspace():
            begun, current = begun or number, f"{current} {stripped}"
        else:
            if current:
                yield begun, current
            begun, current = number, stripped
    if current:
        yield begun, current


def expanded(value: str, parameters: Mapping[str, str]) -> str:
    """Return a value with its references to other parameters replaced, as far as these are known (postconf(5))."""
    for _ in range(_DEEPEST):
        if "$" not in value:
            break
        value = _REFERENCE.sub(lambda found: parameters.get(found[1] or found[2], found[0]), value)
    return value


def words(value: str) -> list[str]:
    """Return the words of a list as main.cf has them, between commas and blanks."""
    return value.replace(",", " ").split()


def assignments(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of each "name = value" among logical lines."""
    for line in lines:
        name, equals, value = line.partition("=")
        if equals:
            yield name.strip(), value.strip()
