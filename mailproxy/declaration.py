"""What group_data declares for each host of an inventory, read through pyinfra and checked as a whole."""

import ast
import difflib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pyinfra.api import Host, Inventory
from pyinfra.api.arguments import all_argument_meta

from mailproxy.check import Problem, validated
from mailproxy.instances import DIRECTORY, Entry, collisions, plain_directory
from mailproxy.model import DesiredState
from mailproxy.rollout import Rollout, waves
from mailproxy.stop import StopError

KEYS = tuple(DesiredState.model_fields)


class DeclarationError(StopError):
    """The desired state has problems; the message lists them all."""


def declared(inventory: Inventory, hosts: Sequence[Host]) -> dict[str, DesiredState]:
    """Return the desired state of each host by name, or raise DeclarationError with everything that is wrong."""
    desired: dict[str, DesiredState] = {}
    found: dict[tuple[str, Problem], list[str]] = {}
    groups = groups_of(inventory)
    for host in hosts:
        state, problems = _validated(host)
        if state is not None:
            desired[host.name] = state
        for problem in (*problems, *_rollout_problems(host, groups, hosts[0]), *_directory_problems(host)):
            found.setdefault((source_of(host, problem.key), problem), []).append(host.name)
    for host, problem in _collisions(inventory, desired):
        found.setdefault((source_of(host, problem.key), problem), []).append(host.name)
    if found:
        raise DeclarationError(_report(found, len(hosts)))
    return desired


def config_directory(host: Host) -> str:
    """Return which instance of a host's Postfix an entry of the inventory is, "" for the one that is compiled in.

    Raises DeclarationError where that cannot be one: it is needed also where nothing else of a declaration is.
    """
    problems = _directory_problems(host)
    if problems:
        raise DeclarationError(_report({(source_of(host, DIRECTORY), problem): [host.name] for problem in problems}, 1))
    return str(_value(host, DIRECTORY) or "")


def _directory_problems(host: Host) -> tuple[Problem, ...]:
    value = _value(host, DIRECTORY)
    if value is None:
        return ()
    try:
        plain_directory(value)
    except ValueError as error:
        return (Problem(DIRECTORY, repr(value), str(error)),)
    return ()


def _collisions(inventory: Inventory, desired: Mapping[str, DesiredState]) -> Iterator[tuple[Host, Problem]]:
    """Yield what instances of one host would take from each other, as far as they are declared."""
    entries = []
    for name, state in desired.items():
        host = inventory.get_host(name)
        reached_at = (str(host.data.get("ssh_hostname") or name), str(host.data.get("ssh_port") or 22))
        parameters = {**state.main_cf, "myhostname": state.myhostname}
        entries.append(Entry(name, reached_at, str(_value(host, DIRECTORY) or ""), parameters))
    for name, problem in collisions(entries):
        yield inventory.get_host(name), problem


def declared_rollout(inventory: Inventory, hosts: Sequence[Host]) -> Rollout:
    """Return the order of activation alone, or raise DeclarationError: all that a way back needs of a declaration."""
    groups = groups_of(inventory)
    found: dict[tuple[str, Problem], list[str]] = {}
    for host in hosts:
        for problem in _rollout_problems(host, groups, hosts[0]):
            found.setdefault((source_of(host, problem.key), problem), []).append(host.name)
    if not found and hosts:
        value = _value(hosts[0], "rollout")
        try:
            return Rollout(**(value or {}))
        except (TypeError, ValidationError) as error:
            reason = "; ".join(item["msg"] for item in error.errors()) if isinstance(error, ValidationError) else error
            problem = Problem("rollout", repr(value), str(reason))
            found[source_of(hosts[0], "rollout"), problem] = [host.name for host in hosts]
    if found:
        raise DeclarationError(_report(found, len(hosts)))
    return Rollout()


def literals(host: Host) -> dict[str, Any]:
    """Return the keys of the interface that group_data gives a host, names by their defaults."""
    given = {key: value for key in KEYS if (value := _value(host, key)) is not None}
    given.setdefault("myhostname", host.name)
    if isinstance(given["myhostname"], str):
        given.setdefault("mydomain", given["myhostname"].partition(".")[2] or given["myhostname"])
    return given


def nearer(host: Host) -> dict[str, Any]:
    """Return the keys of the interface that are declared for a host otherwise than for all."""
    inventory = host.inventory
    declared_for_it = {
        *inventory.get_override_data(),
        *inventory.get_host_data(host.name),
        *_own_data(host),
        *inventory.get_groups_data(host.groups),
    }
    return {key: _value(host, key) for key in KEYS if key in declared_for_it}


def _value(host: Host, key: str) -> Any:
    """Return what is declared under a key for a host, None where nothing is."""
    inventory = host.inventory
    if key in _own_data(host) and not {key} & {*inventory.get_override_data(), *inventory.get_host_data(host.name)}:
        return _own_data(host)[key]
    return host.data.get(key)


def _own_data(host: Host) -> Mapping[str, Any]:
    """Return what the file of group_data named after a host holds: pyinfra reads it, as of a group without hosts."""
    return _group_data(host.inventory, host.name)


def source_of(host: Host, key: str) -> str:
    """Return where a key was declared for a host, in the order of precedence: the file where that can be known."""
    name = key.partition("[")[0]
    inventory = host.inventory
    if name in inventory.get_override_data():
        return "--data"
    if name in inventory.get_host_data(host.name):
        return f"the inventory, host {host.name}"
    # Of several groups that declare a key pyinfra takes the last.
    for group in (host.name, *reversed(host.groups), "all"):
        data = _group_data(inventory, group)
        if name in data:
            path = Path("group_data") / f"{group}.py"
            whose = "host" if group == host.name else "group"
            return str(path) if _declares(path, name, data[name]) else f"group_data of the {whose} {group}"
    return "group_data"


def _declares(path: Path, name: str, value: Any) -> bool:
    """Whether a file gives that name that value: pyinfra reads several folders and does not say which.

    A value that is put together, as by x["y"] = "z", is not followed.
    """
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, UnicodeError):
        return False
    assigned = []
    for node in (node for node in body if isinstance(node, ast.Assign)):
        for to in node.targets:
            if isinstance(to, ast.Name) and to.id == name:
                assigned.append(node.value)
            elif isinstance(to, ast.Subscript) and isinstance(to.value, ast.Name) and to.value.id == name:
                return True
    try:
        return any(ast.literal_eval(node) == value for node in assigned)
    except ValueError:
        return False


def groups_of(inventory: Inventory) -> dict[str, list[str]]:
    """Return the names of the hosts of each group of the inventory, in its order."""
    groups: dict[str, list[str]] = {}
    for host in inventory:
        for group in host.groups:
            groups.setdefault(group, []).append(host.name)
    return groups


def _group_data(inventory: Inventory, group: str) -> Mapping[str, Any]:
    data = inventory.get_data() if group == "all" else inventory.get_group_data(group)
    return dict(data)


def _validated(host: Host) -> tuple[DesiredState | None, tuple[Problem, ...]]:
    given = literals(host)
    problems = tuple(_misspelled(host))
    if isinstance(given.get("relay_domains"), str):
        given["relay_domains"], of_file = _relay_domains_of_file(given["relay_domains"])
        problems += of_file
    state, of_state = validated(given)
    return (None if problems else state), (*problems, *of_state)


def _misspelled(host: Host) -> Iterator[Problem]:
    """Yield the keys of group_data that would be ignored without a word: nearly ours, or pyinfra's in a host's file."""
    for key, value in _own_data(host).items():
        if key.startswith("ssh_") or (key.startswith("_") and key in all_argument_meta):
            reason = f"pyinfra does not look for it in a file named after a host; put it into the inventory, at {host}"
            yield Problem(key, repr(value)[:80], reason)
    for key, value in {**host.data.dict(), **_own_data(host)}.items():
        if key not in (*KEYS, DIRECTORY) and not key.startswith(("_", "ssh_")):
            for meant in difflib.get_close_matches(key, (*KEYS, DIRECTORY), n=1, cutoff=0.85):
                yield Problem(key, repr(value)[:80], f"no such key; did you mean {meant}?")


@cache
def _relay_domains_of_file(path: str) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """Return the entries of a file of "domain next-hop" lines, or what is wrong with it by line."""
    entries: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        return {}, (Problem("relay_domains", repr(path), f"cannot be read as a file of domains: {error}"),)
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split(maxsplit=1)
        where = f"{path} line {number}: {line.strip()!r}"
        if len(words) != 2:
            problems.append(Problem("relay_domains", where, 'expected "domain next-hop"'))
        elif words[0].lower() in entries:
            problems.append(Problem("relay_domains", where, "names a domain a second time; expected it once"))
        else:
            entries[words[0].lower()] = words[1].strip()
    if not entries and not problems:
        problems.append(Problem("relay_domains", repr(path), "holds no domain; to relay none, declare {}"))
    return entries, tuple(problems)


def _rollout_problems(host: Host, groups: Mapping[str, list[str]], first: Host) -> tuple[Problem, ...]:
    """Check that the fleet has one order of activation and that its waves exist."""
    rollout = _value(host, "rollout")
    if rollout != _value(first, "rollout"):
        reason = f"differs from that of {first.name}; a fleet has one order of activation"
        return (Problem("rollout", repr(rollout), reason),)
    try:
        waves(Rollout(**(rollout or {})), [], groups)
    except (TypeError, ValidationError):
        return ()  # the model says what is wrong with its shape
    except ValueError as error:
        return (Problem("rollout", repr(rollout), str(error)),)
    return ()


def _report(found: Mapping[tuple[str, Problem], list[str]], total: int) -> str:
    count = f"{len(found)} problem{'s' if len(found) > 1 else ''}"
    lines = [f"the desired state has {count}; nothing was touched on any host"]
    for (source, problem), hosts in found.items():
        lines.append(f"      {source}: {problem}")
        if len(hosts) < total:
            lines.append(f"        for {hosts[0]}" + (f" and {len(hosts) - 1} more" if len(hosts) > 1 else ""))
    return "\n".join(lines)
