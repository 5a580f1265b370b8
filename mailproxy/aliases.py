"""Aliases: text of group_data -> aliases(5), and where they lead."""

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from mailproxy.entries import Entries
from mailproxy.names import domain_name, folded, single_line
from mailproxy.problem import Problem, refuse_unless

# What stands between the commas of an alias, where a comma in quotes is none (aliases(5)).
_TARGET = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^,"])+')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPED = re.compile(r"\\.")
# Postfix puts a blank between quotes and what stands beside them, which then are two addresses (tok822_parse.c).
_WHOLE = re.compile(r'(?:\||:include:)?"(?:[^"\\]|\\.)*"|[^"]*')
_LITERAL = re.compile(r"\[[^\[\]]+\]")
# What local(8) runs, appends to, or reads further targets from; it looks at a target without quotes and backslashes.
_PROGRAM = ("|", "/", ":include:")
_NOWHERE = "/dev/null"
# Mail for these has to be read by somebody (RFC 5321 4.5.1; what a system writes goes to root).
_READ = ("postmaster", "root")


def alias_name(value: str) -> str:
    """Return the local part that an alias redirects, in lower case as postalias folds it, or refuse it."""
    name = single_line(value)
    if not re.fullmatch(r"[A-Za-z0-9._+=/-]+", name):
        raise ValueError("expected a local name without @, blanks or quotes, such as postmaster")
    return name.lower()


def joined(value: Any) -> Any:
    """Turn a list of alias targets into the text of aliases(5)."""
    if isinstance(value, (list, tuple)) and all(isinstance(target, str) for target in value):
        return ", ".join(target.strip(" ") for target in value)
    return value


def alias_targets(value: str) -> str:
    """Return the targets of an alias as postalias stores them, joined by ", ", or refuse them."""
    text = single_line(value)
    refuse_unless(text.count('"') % 2 == 0, "expected each quote to be closed")
    refuse_unless("#" not in text, "expected no #: aliases(5) knows no comment behind a value")
    targets = split_targets(text)
    refuse_unless(bool(targets), "expected at least one target")
    for target in targets:
        _check(target)
    return ", ".join(targets)


def split_targets(text: str) -> list[str]:
    """Return the targets of an alias."""
    return [target.strip() for target in _TARGET.findall(text) if target.strip()]


def is_program(target: str) -> bool:
    """Whether a target is a command, a file, or a list of targets in a file."""
    return _bare(target).startswith(_PROGRAM)


def local_name(target: str, own: Collection[str]) -> str | None:
    """Return the account or alias a target names, also by an address at one of the host's own names; else None."""
    if is_program(target) or '"' in target:
        return None
    name, at, domain = target.lower().rpartition("@")
    if not at:
        return domain
    return name if folded(domain) in own else None


def accounts(aliases: Entries, own: Collection[str]) -> dict[str, list[str]]:
    """Return the accounts that aliases lead to, each with the names of these aliases."""
    found: dict[str, list[str]] = {}
    for name, value in aliases.items():
        for target in split_targets(value):
            account = local_name(target, own)
            if account and (account not in aliases or account == name):
                found.setdefault(account, []).append(name)
    return found


def problems_of_aliases(aliases: Entries, programs: tuple[str, ...], own: frozenset[str]) -> tuple[Problem, ...]:
    """Return what is wrong between aliases; programs names those that may lead to commands and files, own the host."""
    return _problems(aliases, programs, own & _domains(aliases))


def warnings_of_aliases(aliases: Entries, programs: tuple[str, ...]) -> Iterator[Problem]:
    """Yield what somebody may not have meant."""
    if "postmaster" not in aliases:
        reason = "mail for postmaster reaches an account of that name, if the host has one; expected an alias for it"
        yield Problem("aliases", repr(dict(aliases))[:60], f'{reason}, such as "postmaster": "root" (RFC 5321 4.5.1)')
    for index, name in enumerate(programs):
        if not any(map(is_program, split_targets(aliases.get(name, "")))):
            yield Problem(f"alias_programs[{index}]", repr(name), "leads to no command or file: nothing to allow")


@lru_cache(maxsize=1024)
def _problems(aliases: Entries, programs: tuple[str, ...], own: frozenset[str]) -> tuple[Problem, ...]:
    return (*_forbidden(aliases, programs), *_loops(aliases, own), *_unread(aliases, own))


@lru_cache(maxsize=1024)
def _domains(aliases: Entries) -> frozenset[str]:
    """Return the domains of all targets: all that decides which names of a host matter."""
    targets = (target for value in aliases.values() for target in split_targets(value) if "@" in target)
    return frozenset(folded(target.rpartition("@")[2]) for target in targets)


def _check(target: str) -> None:
    outside = _QUOTED.sub("", target)
    refuse_unless("\\" not in outside, "expected no \\ outside of quotes")
    refuse_unless('""' not in _ESCAPED.sub("", target), f"expected text between the quotes of {target!r}")
    escaped = _ESCAPED.findall(target)
    refuse_unless(set(escaped) <= {'\\"', "\\\\"}, f"expected \\ before a quote or a \\ only, found {target!r}")
    name, at, domain = target.rpartition("@") if "@" in outside else (target, "", "")
    is_whole = bool(_WHOLE.fullmatch(name)) and '"' not in domain
    refuse_unless(is_whole, f"expected quotes around all of a name or around none of it, found {target!r}")
    if is_program(target):
        is_plain = not re.search(r"[\s<>();\[\]]", outside)
        refuse_unless(is_plain, f"expected quotes around {target}, as there are blanks or brackets in it")
        return
    refuse_unless(not re.search(r"\s", outside), f"expected a comma between targets, found {target!r}")
    refuse_unless(not re.search(r"[<>();:\[\]]", outside.partition("@")[0]), f"expected an address alone: {target!r}")
    if at:
        refuse_unless(bool(name) and "@" not in _QUOTED.sub("", name), f"expected one name before the @ of {target!r}")
        try:
            _ = _LITERAL.fullmatch(domain) or domain_name(domain)
        except ValueError as error:
            raise ValueError(f"{error}, behind the @ of {target!r}") from None


def _bare(target: str) -> str:
    return re.sub(r'["\\]', "", target).strip().lower()


def _forbidden(aliases: Entries, programs: Collection[str]) -> Iterator[Problem]:
    for name, value in aliases.items():
        found = [target for target in split_targets(value) if is_program(target)]
        if found and name not in programs:
            reason = f"leads to a command or file, {found[0]}; if that is meant: alias_programs = [{name!r}]"
            yield Problem(f"aliases[{name!r}]", repr(value), reason)


def _loops(aliases: Entries, own: Collection[str]) -> Iterator[Problem]:
    steps = {
        name: {local_name(target, own) or "" for target in split_targets(value)} for name, value in aliases.items()
    }
    for name, value in aliases.items():
        seen, frontier = set[str](), {name}
        while frontier:
            seen |= frontier
            following = {target for step in frontier for target in steps.get(step, ())}
            # An alias that leads to its own name alone is for the account of that name (local(8)).
            if name in following and steps[name] != {name}:
                reason = f"leads back to {name}; expected an account or an address"
                yield Problem(f"aliases[{name!r}]", repr(value), reason)
                break
            frontier = following - seen


def _unread(aliases: Entries, own: Collection[str]) -> Iterator[Problem]:
    for name in _READ:
        if name in aliases and _ends(name, aliases, own, set()) == {_NOWHERE}:
            reason = "is thrown away; expected an account or an address where somebody reads it"
            yield Problem(f"aliases[{name!r}]", repr(aliases[name]), f"mail for {name} {reason} (RFC 5321 4.5.1)")


def _ends(name: str, aliases: Entries, own: Collection[str], seen: set[str]) -> set[str]:
    """Return what an alias comes to in the end."""
    if name in seen or name not in aliases:
        return {name}
    ends = set[str]()
    for target in split_targets(aliases[name]):
        local = local_name(target, own)
        ends |= _ends(local, aliases, own, seen | {name}) if local else {_bare(target)}
    return ends
