"""A mistake in what is declared, in the words that everything which checks has in common."""

from dataclasses import dataclass

from mailproxy.secret import names_secret

_LONGEST = 80


@dataclass(frozen=True)
class Problem:
    """One mistake in the declaration: the key it stands under, what was found there, and why it cannot be."""

    key: str
    found: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key} = {'(not shown)' if names_secret(self.key) else self.found}: {self.reason}"


def shown(value: object) -> str:
    """Return a value of group_data as Python spells it, shortened."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def refuse_unless(holds: bool, reason: str) -> None:
    """Raise ValueError, as validators of pydantic do, unless something holds."""
    if not holds:
        raise ValueError(reason)
