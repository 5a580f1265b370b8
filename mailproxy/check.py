"""What is wrong with a desired state: everything at once, each with key, value and what to write instead."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from mailproxy.model import DesiredState
from mailproxy.render import OWN_PARAMETERS
from mailproxy.secret import names_secret


@dataclass(frozen=True)
class Problem:
    """One mistake in the declaration: the key it stands under, what was found there, and why it cannot be."""

    key: str
    found: str
    reason: str

    def __str__(self) -> str:
        return f"{self.key} = {'(not shown)' if names_secret(self.key) else self.found}: {self.reason}"


def validated(declared: Mapping[str, Any]) -> tuple[DesiredState | None, tuple[Problem, ...]]:
    """Return the desired state that the literals of group_data declare, or every problem with them."""
    try:
        desired = DesiredState(**declared)
    except ValidationError as error:
        errors = [dict(item) for item in error.errors(include_url=False)]
        problems = [_problem(item) for item in errors]
        return None, (*problems, *_problems_of_the_rest(declared, errors))
    problems = list(problems_of(desired))
    return (None if problems else desired), tuple(problems)


def problems_of(desired: DesiredState) -> Iterator[Problem]:
    """Yield what no field can tell by itself."""
    yield from _overridden_parameters(desired)
    yield from _own_name_relayed(desired)
    yield from _next_hop_loops(desired)
    yield from _alias_loops(desired)


def local_targets(desired: DesiredState) -> frozenset[str]:
    """Return the accounts that aliases lead to: names that are neither aliases themselves nor addresses elsewhere."""
    targets = {target for value in desired.aliases.values() for target in _targets(value)}
    return frozenset(target for target in targets if target.isascii() and _is_account(target)) - set(desired.aliases)


def _problems_of_the_rest(declared: Mapping[str, Any], errors: list[dict[str, Any]]) -> Iterator[Problem]:
    """Yield what is wrong between the fields that are right by themselves, so that nothing comes to light later."""
    rest = dict(declared)
    for item in errors:
        key, *below = item["loc"]
        if below and isinstance(rest.get(key), dict):
            rest[key] = {name: value for name, value in rest[key].items() if name != below[0]}
        else:
            rest.pop(key, None)
    placeholders = {"relay_domains": {}, "myhostname": "host.invalid", "mydomain": "invalid"}
    try:
        yield from problems_of(DesiredState(**{**placeholders, **rest}))
    except ValidationError:
        return


def _problem(item: dict[str, Any]) -> Problem:
    """Turn an error of pydantic (its dict: loc, msg, type, input) into ours."""
    location = [part for part in item["loc"] if part != "[key]"]
    key = "".join(f"[{part!r}]" if index else str(part) for index, part in enumerate(location))
    reason = (
        str(item["msg"])
        .removeprefix("Value error, ")
        .replace("Input should be", "expected")
        .replace("a valid tuple", "a list")
    )
    if item["type"] == "missing":
        return Problem(key, "nothing", "required, and found in no group_data")
    if item["type"] == "extra_forbidden":
        return Problem(key, _shown(item["input"]), "no such key")
    return Problem(key, _shown(item["input"]), reason[:1].lower() + reason[1:])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _overridden_parameters(desired: DesiredState) -> Iterator[Problem]:
    for name, key in OWN_PARAMETERS.items():
        if name in desired.main_cf:
            yield Problem(
                f"main_cf[{name!r}]", repr(desired.main_cf[name]), f"is set by mailproxy; declare {key} instead"
            )
    for name, value in desired.main_cf.items():
        if "-" in name and name.replace("-", "_") in OWN_PARAMETERS:
            right = OWN_PARAMETERS[name.replace("-", "_")]
            yield Problem(f"main_cf[{name!r}]", repr(value), f"is no parameter of Postfix; declare {right} instead")


def _own_name_relayed(desired: DesiredState) -> Iterator[Problem]:
    if desired.myhostname in desired.relay_domains:
        yield Problem(
            f"relay_domains[{desired.myhostname!r}]",
            repr(desired.relay_domains[desired.myhostname]),
            "is this host's own name, which is delivered here (mydestination) and not relayed",
        )


def _next_hop_loops(desired: DesiredState) -> Iterator[Problem]:
    for domain, hop in desired.relay_domains.items():
        host = hop.partition(":")[2].partition(":")[0].lower()
        if host == domain:
            reason = f"leads back to {domain} by its MX, which is this proxy; name the internal server in brackets"
            yield Problem(f"relay_domains[{domain!r}]", repr(hop), reason)
        elif host.strip("[]") == desired.myhostname:
            yield Problem(f"relay_domains[{domain!r}]", repr(hop), "is this host itself: a loop")


def _alias_loops(desired: DesiredState) -> Iterator[Problem]:
    for name, value in desired.aliases.items():
        seen, frontier = set[str](), {name}
        while frontier:
            seen |= frontier
            following = {target for step in frontier for target in _targets(desired.aliases.get(step, ""))}
            if name in following and _targets(value) != [name]:
                yield Problem(
                    f"aliases[{name!r}]", repr(value), f"leads back to {name}; expected an account or an address"
                )
                break
            frontier = following - seen


def _targets(value: str) -> list[str]:
    """Split the value of an alias into targets in lower case; quoted ones are left to aliases(5)."""
    return [target.strip().lower() for target in value.split(",") if target.strip() and '"' not in value]


def _is_account(target: str) -> bool:
    return not any(character in target for character in '@|/:"\\ ')
