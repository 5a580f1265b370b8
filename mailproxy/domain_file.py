"""A file of "domain next-hop" lines: path -> entries, and what is wrong with it by line."""

from functools import cache
from pathlib import Path

from mailproxy.names import folded
from mailproxy.problem import Problem

Placed = tuple[str, Problem]


@cache
def relay_domains_of_file(path: str) -> tuple[dict[str, str], tuple[Placed, ...]]:
    """Return the entries of a file of domains, and each problem with it, with the line it is in."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        return {}, (("", Problem("relay_domains", repr(path), f"cannot be read as a file of domains: {error}")),)
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
            problems.append((where, Problem("relay_domains", found, 'expected "domain next-hop"')))
        elif name in first:
            reason = f"names {name} a second time, first in line {first[name]}; expected it once"
            problems.append((where, Problem("relay_domains", found, reason)))
        else:
            entries[words[0]] = words[1].strip()
            first[name] = number
    if not entries and not problems:
        problems.append(("", Problem("relay_domains", repr(path), "holds no domain; to relay none, declare {}")))
    return entries, tuple(problems)
