"""What is wrong with a desired state: everything at once, each with key, value and what to write instead."""

import difflib
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError

from mailproxy.aliases import accounts, problems_of_aliases, warnings_of_aliases
from mailproxy.domains import own_names, problems_of_domains
from mailproxy.feature import VALUE, Feature
from mailproxy.fleet_check import Fleet, Kind, Member, loops
from mailproxy.main_cf import problems_of_parameters, warnings_of_parameters
from mailproxy.model import DesiredState
from mailproxy.names import folded, named_twice
from mailproxy.networks import problems_of_networks, warnings_of_networks
from mailproxy.next_hops import spelled_host
from mailproxy.problem import Problem, shown

# Stand for what is wrong by itself, so that the rest is checked too.
_PLACEHOLDERS: Mapping[str, Any] = {"relay_domains": {}, "myhostname": "host.invalid", "mydomain": "invalid"}
_PLACEHOLDER_NETWORK = "127.255.255.255/32"
# What an account may be called: what aliases lead to otherwise is no account.
_ACCOUNT = re.compile(r'[^@|/:"\\ ]+')
# Words of inet_interfaces and proxy_interfaces that say nothing of where a host is reached.
_NO_HOSTS = {"all", "loopback-only", "$myhostname", "localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True)
class Checked:
    """What was declared for a host: desired is what of it holds by itself, None where not even that can be told."""

    desired: DesiredState | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()


def validated(declared: Mapping[str, Any]) -> tuple[DesiredState | None, tuple[Problem, ...]]:
    """Return the desired state that the literals of group_data declare, or every problem with them."""
    found = checked(declared)
    if found.desired is None:
        return None, found.problems
    alone = Fleet({found.desired.myhostname: member(found.desired)})
    problems = (*found.problems, *(one.problem for one in loops(alone) if not one.is_warning))
    return (None if problems else found.desired), problems


def checked(declared: Mapping[str, Any]) -> Checked:
    """Return what the literals of group_data declare, and all that can be told without other hosts."""
    try:
        desired = DesiredState(**declared)
    except ValidationError as error:
        return _checked_rest(declared, [dict(item) for item in error.errors(include_url=False)])
    return Checked(desired, tuple(problems_of(desired)), tuple(warnings_of(desired)))


def problems_of(desired: DesiredState) -> Iterator[Problem]:
    """Yield what no field can tell by itself."""
    yield from problems_of_parameters(desired)
    yield from problems_of_domains(desired)
    yield from problems_of_networks(desired.mynetworks)
    yield from problems_of_aliases(desired.aliases, desired.alias_programs, own_names(desired))
    for key, feature in desired.features.items():
        yield from _set_twice(key, feature, desired)
        yield from feature.problems(desired)


def warnings_of(desired: DesiredState) -> Iterator[Problem]:
    """Yield what may not be meant and stops nothing."""
    yield from warnings_of_networks(desired.mynetworks)
    yield from warnings_of_aliases(desired.aliases, desired.alias_programs)
    yield from warnings_of_parameters(desired)
    for feature in desired.features.values():
        yield from feature.warnings(desired)


def _set_twice(key: str, feature: Feature, desired: DesiredState) -> Iterator[Problem]:
    for name in feature.own_parameters():
        if name in desired.main_cf:
            reason = f"is what {key} sets; expected it in one of the two"
            yield Problem(f"main_cf[{name!r}]", shown(desired.main_cf[name]), reason)


def member(desired: DesiredState, *known_by: str) -> Member:
    """Return a host as one of a fleet: by its own name, and the names and addresses it is known by otherwise."""
    parameters = (desired.main_cf.get(name, "") for name in ("inet_interfaces", "proxy_interfaces"))
    addresses = [word for value in parameters for word in value.replace(",", " ").split()]
    known = {spelled_host(name) for name in (desired.myhostname, *known_by, *addresses)}
    routes = desired.routes
    default, *fallback = (f"smtp:{hop}" if hop else "" for hop in (routes.default, *routes.fallback))
    kind = Kind(desired.relay_domains, desired.relay_subdomains, routes.exceptions, default, tuple(fallback))
    return Member(frozenset(known - _NO_HOSTS), kind)


def local_accounts(desired: DesiredState) -> dict[str, list[str]]:
    """Return the accounts that aliases lead to, each with the names of these aliases."""
    found = accounts(desired.aliases, own_names(desired))
    return {name: by for name, by in found.items() if name.isascii() and _ACCOUNT.fullmatch(name)}


def local_targets(desired: DesiredState) -> frozenset[str]:
    """Return the accounts that aliases lead to: names that are neither aliases themselves nor addresses elsewhere."""
    return frozenset(local_accounts(desired))


def _checked_rest(declared: Mapping[str, Any], errors: list[dict[str, Any]]) -> Checked:
    """Return what is wrong with fields and between those that are right, so that nothing comes to light later."""
    twice = {item["loc"][0]: named for item in errors if (named := _named_twice(item))}
    if twice:
        once = {key: _without(value, twice[key]) if key in twice else value for key, value in declared.items()}
        rest = checked(once)
        problems = (
            Problem(
                f"{key}[{given!r}]",
                shown(declared[key][given]),
                f"names {folded(given)} twice, first as {first!r}; expected it once",
            )
            for key, named in twice.items()
            for given, first in named.items()
        )
        return Checked(rest.desired, (*problems, *rest.problems), rest.warnings)
    wrong = tuple(map(_problem, errors))
    try:
        desired = DesiredState(**_right(declared, errors))
    except ValidationError:
        return Checked(None, wrong)
    # What else may not be meant there cannot be told.
    keys = {item["loc"][0] for item in errors}
    warnings = (warning for warning in warnings_of(desired) if warning.key.partition("[")[0] not in keys)
    return Checked(desired, (*wrong, *problems_of(desired)), tuple(warnings))


def _named_twice(item: dict[str, Any]) -> dict[str, str]:
    """Return the names of a mapping that an error of pydantic is about and that are one to Postfix, with the first."""
    given = item["input"]
    if len(_location(item)) > 1 or not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        return {}
    return named_twice(given)


def _right(declared: Mapping[str, Any], errors: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what is declared without what is wrong by itself."""
    wrong: dict[str, set[Any]] = {}
    for item in errors:
        key, *below = item["loc"]
        wrong.setdefault(key, set()).add(below[0] if below else None)
    right = {**_PLACEHOLDERS, **declared}
    for key, entries in wrong.items():
        value = declared.get(key)
        if isinstance(value, dict) and None not in entries:
            right[key] = _without(value, entries)
        elif key == "mynetworks" and isinstance(value, (list, tuple)) and None not in entries:
            right[key] = [_PLACEHOLDER_NETWORK if index in entries else item for index, item in enumerate(value)]
        else:
            right = {**{name: right[name] for name in right if name != key}, **_placeholder(key)}
    return right


def _placeholder(key: str) -> dict[str, Any]:
    return {key: _PLACEHOLDERS[key]} if key in _PLACEHOLDERS else {}


def _without(value: Mapping[Any, Any], names: Container[Any]) -> dict[Any, Any]:
    return {name: value[name] for name in value if name not in names}


def _location(item: dict[str, Any]) -> list[str | int]:
    """Return where in what somebody wrote an error of pydantic is."""
    return [part for part in item["loc"] if part not in ("[key]", VALUE)]


def _problem(item: dict[str, Any]) -> Problem:
    """Turn an error of pydantic (its dict: loc, msg, type, input) into ours."""
    location = _location(item)
    key = "".join(f"[{part!r}]" if index else str(part) for index, part in enumerate(location))
    reason = (
        str(item["msg"])
        .removeprefix("Value error, ")
        .replace("Input should be", "expected")
        .replace("a valid tuple", "a list")
    )
    reason = re.sub(r"a valid dictionary or instance of \w+", "a dict", reason)
    if item["type"] == "missing":
        return Problem(key, "nothing", "required, and found in no group_data")
    if item["type"] == "extra_forbidden":
        return Problem(key, shown(item["input"]), _no_such_key(location))
    return Problem(key, shown(item["input"]), reason[:1].lower() + reason[1:])


def _no_such_key(location: list[Any]) -> str:
    """Say what to write instead of a key that is none, where its place tells."""
    key, *below = location
    field = DesiredState.model_fields.get(key)
    kinds = (field.annotation, *get_args(field.annotation)) if field else ()
    names = [name for kind in kinds for name in getattr(kind, "model_fields", ())]
    if not names or len(below) != 1:
        return "no such key"
    near = difflib.get_close_matches(str(below[0]), names, n=1)
    return f"no such key; did you mean {near[0]}?" if near else f"no such key; expected one of {', '.join(names)}"
