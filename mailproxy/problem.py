"""A mistake in what is declared, in the words that everything which checks has in common."""

from collections.abc import Sequence
from dataclasses import dataclass

from mailproxy.secret import holds_secret, shown_key

_LONGEST = 80
_NAMED = 3


@dataclass(frozen=True)
class Problem:
    """One mistake in the declaration: the key it stands under, what was found there, and why it cannot be."""

    key: str
    found: str
    reason: str

    def __str__(self) -> str:
        found = "(not shown)" if holds_secret(self.key, self.found) else self.found
        text = f"{shown_key(self.key)} = {found}: {self.reason}"
        # What is wrong with a value may be that it does something to a terminal, or cannot be written at all.
        return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shown(value: object) -> str:
    """Return a value of group_data as Python spells it, shortened; a private key that stands there is not shown."""
    try:
        text = repr(value)
    except ValueError:  # of a number of thousands of digits (sys.set_int_max_str_digits)
        text = f"a value of type {type(value).__name__} that is too long to be shown"
    if "PRIVATE KEY" in text:
        return "(not shown)"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def some(names: Sequence[str]) -> str:
    """Return the first of some names, and how many there are besides."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def refuse_unless(holds: bool, reason: str) -> None:
    """Raise ValueError, as validators of pydantic do, unless something holds."""
    if not holds:
        raise ValueError(reason)
