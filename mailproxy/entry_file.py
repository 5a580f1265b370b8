"""A file with a line for each entry: path -> entries, and what is wrong with it by line."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mailproxy.names import folded
from mailproxy.problem import Problem

Placed = tuple[str, Problem]


@dataclass(frozen=True)
class Form:
    """What a file is for: the key of group_data that names it, what it is of, and a line of it, two words with a blank.

    Nobody may see a line of a secret one, nor its path, where the secret itself may stand instead.
    """

    key: str
    entries: str
    line: str
    none: str
    is_secret: bool = False


RELAY_DOMAINS = Form("relay_domains", "domains", "domain next-hop", "holds no domain; to relay none, declare {}")
CREDENTIALS = Form(
    "routes['credentials']", "credentials", "destination user:password", "holds no credentials", is_secret=True
)


@cache
def entries_of_file(path: str, form: Form) -> tuple[dict[str, str], tuple[Placed, ...]]:
    """Return the entries of a file, and each problem with it, with the line it is in."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        return {}, (("", Problem(form.key, repr(path), _why_unread(error, form))),)
    entries: dict[str, str] = {}
    first: dict[str, int] = {}
    problems: list[Placed] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split(maxsplit=1)
        name = folded(words[0])
        found, where = repr(line.strip()), f"{path}:{number}"
        if len(words) != 2:
            problems.append((where, Problem(form.key, found, f'expected "{form.line}"')))
        elif name in first:
            named = "one" if form.is_secret else name
            reason = f"names {named} a second time, first in line {first[name]}; expected it once"
            problems.append((where, Problem(form.key, found, reason)))
        else:
            entries[words[0]] = words[1].strip()
            first[name] = number
    if not entries and not problems:
        problems.append(("", Problem(form.key, repr(path), form.none)))
    return entries, tuple(problems)


def _why_unread(error: OSError | ValueError, form: Form) -> str:
    reason = str(error)
    if form.is_secret:
        reason = error.strerror or "" if isinstance(error, OSError) else "it is no path, or no text in UTF-8"
    return f"cannot be read as a file of {form.entries}: {reason}"
