"""What Postfix's own manual says of its parameters and restrictions: mailproxy/postconf.tsv."""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

_TABLE = Path(__file__).parent / "postconf.tsv"


@dataclass(frozen=True)
class Parameter:
    """A parameter of main.cf: since is the versions that brought it in, '' where the manual names none.

    type is integer, signed, size, boolean, time, text, expanded (text with names that are no parameters) or obsolete
    (Postfix of today has none of that name); choices are the words that it may be. A Postfix which knows it has one
    of the names asked among its defaults: another one for the parameters of each transport, or for an obsolete one.
    """

    asked: tuple[str, ...]
    since: str
    type: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Restriction:
    """A restriction of smtpd: what has to follow it, in the manual's words, '' for nothing."""

    since: str
    argument: str


def parameter(name: str) -> Parameter | None:
    """Return what is known of a parameter, None where Postfix has none of that name."""
    known = parameters().get(name)
    if known is None:
        for suffix, of_transport in _of_transports().items():
            if name.endswith(suffix) and name != suffix:
                return of_transport
    return known


def asked_parameters(names: Iterable[str]) -> list[str]:
    """Return what to look for among a Postfix's defaults to see whether it knows the parameters of these names."""
    known = (parameter(name) for name in names)
    return [asked for one in known if one is not None for asked in one.asked]


@cache
def parameters() -> Mapping[str, Parameter]:
    """Return all parameters by name, less those of each transport."""
    found = {}
    for name, since, kind, listed in _rows("parameter"):
        choices = tuple(listed.split(",")) if listed else ()
        is_obsolete = kind == "obsolete"
        found[name] = Parameter((name, *choices * is_obsolete), since, kind, () if is_obsolete else choices)
    return found


@cache
def restrictions() -> Mapping[str, Restriction]:
    """Return the restrictions of smtpd by name."""
    return {name: Restriction(since, argument) for name, since, argument in _rows("restriction")}


@cache
def newest() -> str:
    """Return the version that the table is of."""
    found = re.search(r"Postfix (\d+\.\d+)", _TABLE.read_text(encoding="utf-8"))
    return found[1] if found else ""


@lru_cache(maxsize=4096)
def nearest(name: str) -> str | None:
    """Return the parameter that a misspelled name was meant to be, None where none is near."""
    return _nearest(name, tuple(parameters()))


@lru_cache(maxsize=4096)
def nearest_restriction(name: str) -> str | None:
    """Return the restriction that a misspelled name was meant to be, None where none is near."""
    return _nearest(name, tuple(restrictions()))


def _nearest(name: str, known: tuple[str, ...]) -> str | None:
    spelled = name.replace("-", "_")
    by_case = {one.lower(): one for one in known}
    if spelled.lower() in by_case:
        return by_case[spelled.lower()]
    return next(iter(difflib.get_close_matches(spelled, known, n=1, cutoff=0.85)), None)


@cache
def _of_transports() -> Mapping[str, Parameter]:
    return {suffix: Parameter((base,), since, kind) for suffix, since, kind, base in _rows("transport")}


def _rows(word: str) -> list[list[str]]:
    lines = _TABLE.read_text(encoding="utf-8").splitlines()
    return [row[1:] for row in (line.split("\t") for line in lines) if row[0] == word]
