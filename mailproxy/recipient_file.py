"""A file of recipients, an address a line: path -> recipients by domain, and what is wrong with it by line."""

from functools import cache
from pathlib import Path
from typing import Any

from mailproxy.entry_file import Placed
from mailproxy.names import relay_domain
from mailproxy.problem import Problem
from mailproxy.relay_recipients import ANY, KEY, VERIFY, local_part


def with_files(declared: Any) -> tuple[Any, tuple[Placed, ...]]:
    """Return what is declared with the recipients of files in their place, and what is wrong with these by line."""
    if isinstance(declared, str) and declared not in (ANY, VERIFY):
        return recipients_of_file(declared)
    if not isinstance(declared, dict):
        return declared, ()
    problems: list[Placed] = []
    entries = dict(declared)
    for domain, value in declared.items():
        if isinstance(value, str) and isinstance(domain, str) and value not in (ANY, VERIFY) and _is_domain(domain):
            found, wrong = recipients_of_file(value, domain)
            entries[domain] = next(iter(found.values()), ANY)
            problems += wrong
    return entries, tuple(problems)


def _is_domain(name: str) -> bool:
    """Whether the addresses of a file can be of a domain; what else is wrong with a name is told of the name alone."""
    try:
        return bool(relay_domain(name))
    except ValueError:
        return False


@cache
def recipients_of_file(path: str, domain: str = "") -> tuple[dict[str, tuple[str, ...]], tuple[Placed, ...]]:
    """Return the recipients in a file by domain, and each problem with it, with the line it is in.

    A line is an address, or a local part where the file is that of one domain; what follows behind a blank, as in a
    source of relay_recipient_maps, is passed over.
    """
    key = f"{KEY}[{domain!r}]" if domain else KEY
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = f'cannot be read as a file of addresses: {error}; without a file, expected "{ANY}" or "{VERIFY}"'
        return {}, (("", Problem(key, repr(path), reason)),)
    found: dict[str, dict[str, int]] = {}
    problems: list[Placed] = []
    for number, line in enumerate(lines, start=1):
        words = line.split(maxsplit=1)
        if not words or words[0].startswith("#"):
            continue
        try:
            if not domain and "@" not in words[0]:
                raise ValueError("expected an address such as alice@example.com")
            of = relay_domain(domain or words[0].rpartition("@")[2])
            local = local_part(words[0], of)
            first = found.setdefault(of, {}).setdefault(local, number)
            if first != number:
                raise ValueError(f"is {local}@{of} a second time, first in line {first}; expected it once")
        except ValueError as error:
            problems.append((f"{path}:{number}", Problem(key, repr(words[0]), str(error))))
    if not found and not problems:
        problems.append(
            ("", Problem(key, repr(path), "holds no address; expected one a line, such as alice@example.com"))
        )
    return {of: tuple(locals_) for of, locals_ in found.items()}, tuple(problems)
