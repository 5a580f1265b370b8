"""What group_data declares for each host of an inventory, read through pyinfra and checked as a whole."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import ValidationError
from pyinfra.api import Host, Inventory
from pyinfra.api.arguments import all_argument_meta

from mailproxy.check import checked, member
from mailproxy.entry_file import CREDENTIALS, RELAY_DOMAINS, Placed, entries_of_file
from mailproxy.fleet_check import Fleet, Found, loops, nearly_a_group, same_addresses, same_names, unbracketed
from mailproxy.group_data import KEYS, groups_of, literals, own_data, value_of
from mailproxy.instances import DIRECTORY, Entry, collisions, plain_directory
from mailproxy.local_file import local_file
from mailproxy.model import DesiredState
from mailproxy.next_hops import spelled_host
from mailproxy.places import Places, listed_twice, of_command_line
from mailproxy.problem import Problem, shown
from mailproxy.recipient_file import with_files
from mailproxy.relay_recipients import KEY
from mailproxy.rollout import Rollout, waves
from mailproxy.secret import holds_secret, names_secret
from mailproxy.stop import StopError

MailHosts = Callable[[Iterable[str]], Mapping[str, Iterable[str]]]


class DeclarationError(StopError):
    """The desired state has problems; the message lists them all."""


@dataclass(frozen=True)
class Mistake:
    """A problem with where it stands, file and line where that can be known, and the names of the hosts it is of."""

    place: str
    problem: Problem
    hosts: tuple[str, ...]
    is_warning: bool = False


@dataclass(frozen=True)
class Examined:
    """What a fleet declares: the desired state of each host by name, and all that is wrong with it."""

    desired: Mapping[str, DesiredState]
    mistakes: tuple[Mistake, ...]

    @property
    def errors(self) -> tuple[Mistake, ...]:
        """The mistakes that stop a run."""
        return tuple(mistake for mistake in self.mistakes if not mistake.is_warning)

    def warnings_of(self, host: str) -> tuple[str, ...]:
        """Return what is to be said of a host and stops nothing."""
        return tuple(str(one.problem) for one in self.mistakes if one.is_warning and host in one.hosts)


def declared(inventory: Inventory, hosts: Sequence[Host], mail_hosts: MailHosts | None = None) -> Examined:
    """Return what is declared for hosts, or raise DeclarationError with everything that is wrong.

    mail_hosts looks up where mail for names goes; without it nothing is looked up.
    """
    found = examined(inventory, hosts, of_command_line(), mail_hosts)
    if found.errors:
        raise DeclarationError(_report(found.errors, len(hosts)))
    return found


def examined(
    inventory: Inventory, hosts: Sequence[Host], places: Places, mail_hosts: MailHosts | None = None
) -> Examined:
    """Return what is declared for hosts of an inventory, with everything that is wrong with that.

    The others count where it is about what is between hosts, such as loops.
    """
    found: dict[tuple[str, Problem, bool], list[str]] = {}

    def add(host: Host, problem: Problem, is_warning: bool = False, place: str = "") -> None:
        found.setdefault((place or places.of(host, problem.key), problem, is_warning), []).append(host.name)

    groups = groups_of(inventory)
    everywhere: dict[str, DesiredState] = {}
    of_run = {host.name for host in hosts}
    for host in inventory:
        given, of_file = _with_files(literals(host))
        state = checked(given)
        if state.desired is not None:
            everywhere[host.name] = state.desired
        if host.name not in of_run:
            continue
        for place, problem in of_file:
            add(host, problem, place=place)
        of_fleet = (*_rollout_problems(host, groups, hosts[0]), *_directory_problems(host))
        for problem in (*_misspelled(host), *state.problems, *of_fleet):
            add(host, problem)
        for problem in state.warnings:
            add(host, problem, is_warning=True)
    for one in _between(inventory, everywhere, mail_hosts):
        for name in of_run.intersection(one.hosts):
            add(inventory.hosts[name], one.problem, one.is_warning)
    in_order = {name: number for number, name in enumerate(inventory.hosts)}
    mistakes = [
        Mistake(place, problem, tuple(sorted(names, key=in_order.__getitem__)), warns)
        for (place, problem, warns), names in found.items()
    ]
    desired = {name: state for name, state in everywhere.items() if name in of_run}
    return Examined(desired, (*mistakes, *_of_inventory(inventory, places)))


def _between(
    inventory: Inventory, desired: Mapping[str, DesiredState], mail_hosts: MailHosts | None
) -> Iterator[Found]:
    """Yield what is wrong between the hosts of an inventory, whether or not they are in the run."""
    hosts = inventory.hosts
    members = {name: member(state, *known_by(hosts[name])) for name, state in desired.items()}
    looked_up = mail_hosts(unbracketed(members.values())) if mail_hosts else {}
    yield from loops(Fleet(members, looked_up))
    yield from same_names(hosts)
    yield from same_addresses({name: _way_to(host) for name, host in hosts.items()})
    for name, problem in collisions([_entry(hosts[name], state) for name, state in desired.items()]):
        yield Found(problem, (name,))


def _entry(host: Host, state: DesiredState) -> Entry:
    reached_at = (str(host.data.get("ssh_hostname") or host.name), str(host.data.get("ssh_port") or 22))
    parameters = {**state.main_cf, "myhostname": state.myhostname}
    return Entry(host.name, reached_at, str(value_of(host, DIRECTORY) or ""), parameters)


def known_by(host: Host) -> list[str]:
    """Return the names and addresses that the inventory gives a host."""
    known = (host.name, host.data.get("ssh_hostname"), host.data.get("smtp_hostname"))
    return [name for name in known if isinstance(name, str)]


def _way_to(host: Host) -> tuple[object, ...]:
    """Return what tells a host from the others: address, port, what ssh_config makes of them, and its instance."""
    data = host.data
    further = tuple(data.get(key) for key in ("ssh_port", "ssh_config_file", "config_directory"))
    address = data.get("ssh_hostname") or host.name
    return (spelled_host(str(address)), host.connector_cls.__name__, *further)


def _of_inventory(inventory: Inventory, places: Places) -> Iterator[Mistake]:
    """Yield what is wrong with what pyinfra reads and gives to no host."""
    if places.inventory is not None:
        for line, name, first in listed_twice(places.inventory):
            reason = f"is listed in line {first} already; expected it once"
            problem = Problem("inventory", repr(name), reason)
            yield Mistake(f"{places.inventory}:{line}", problem, (name,))
    names = [host.name for host in inventory]
    filled = {group for host in inventory for group in host.groups}
    empty = {name: dict(data) for name, data in inventory.group_data.items() if name not in filled | {*names, "all"}}
    declaring = {group: [key for key in data if key in KEYS] for group, data in empty.items()}
    for one in nearly_a_group({group: keys for group, keys in declaring.items() if keys}, [*sorted(filled), *names]):
        place = places.of_group(one.place, one.problem.key, empty[one.place][one.problem.key])
        yield Mistake(place, one.problem, (), one.is_warning)
    for group, data in empty.items():
        for key, value in data.items():
            if meant := _meant(key):
                yield Mistake(places.of_group(group, key, value), _no_key(key, value, meant), ())


def config_directory(host: Host) -> str:
    """Return which instance of a host's Postfix an entry of the inventory is, "" for the one that is compiled in.

    Raises DeclarationError where that cannot be one: it is needed also where nothing else of a declaration is.
    """
    problems = _directory_problems(host)
    if problems:
        raise DeclarationError(_report([Mistake(source_of(host, DIRECTORY), one, (host.name,)) for one in problems], 1))
    return str(value_of(host, DIRECTORY) or "")


def _directory_problems(host: Host) -> tuple[Problem, ...]:
    value = value_of(host, DIRECTORY)
    if value is None:
        return ()
    try:
        plain_directory(value)
    except ValueError as error:
        return (Problem(DIRECTORY, repr(value), str(error)),)
    return ()


def declared_rollout(inventory: Inventory, hosts: Sequence[Host]) -> Rollout:
    """Return the order of activation alone, or raise DeclarationError: all that a way back needs of a declaration."""
    groups, places = groups_of(inventory), of_command_line()
    found: dict[tuple[str, Problem], list[str]] = {}
    for host in hosts:
        for problem in _rollout_problems(host, groups, hosts[0]):
            found.setdefault((places.of(host, problem.key), problem), []).append(host.name)
    if not found and hosts:
        value = value_of(hosts[0], "rollout")
        try:
            return Rollout(**(value or {}))
        except (TypeError, ValidationError) as error:
            reason = "; ".join(item["msg"] for item in error.errors()) if isinstance(error, ValidationError) else error
            problem = Problem("rollout", repr(value), str(reason))
            found[places.of(hosts[0], "rollout"), problem] = [host.name for host in hosts]
    if found:
        mistakes = [Mistake(place, problem, tuple(names)) for (place, problem), names in found.items()]
        raise DeclarationError(_report(mistakes, len(hosts)))
    return Rollout()


def source_of(host: Host, key: str) -> str:
    """Return where a key was declared for a host, in the order of precedence: the file where that can be known."""
    return Places().of(host, key).rstrip("0123456789").removesuffix(":")


def _with_files(given: dict[str, Any]) -> tuple[dict[str, Any], tuple[Placed, ...]]:
    """Return keys with what files hold in their place, and what is wrong with these, by file and line."""
    found = dict(given)
    problems: list[Placed] = []
    if isinstance(given.get("relay_domains"), str):
        found["relay_domains"], wrong = entries_of_file(given["relay_domains"], RELAY_DOMAINS)
        problems += wrong
    if KEY in given:
        found[KEY], wrong = with_files(given[KEY])
        problems += wrong
    routes = given.get("routes")
    if isinstance(routes, dict) and isinstance(routes.get("credentials"), str):
        entries, wrong = entries_of_file(routes["credentials"], CREDENTIALS)
        found["routes"] = {**routes, "credentials": entries}
        problems += wrong
    if isinstance(tls := given.get("tls"), dict):
        sent = {name: local_file(path) for name in ("certificate", "key") if _is_local(path := tls.get(name))}
        found["tls"] = {**tls, **sent}
    return found, tuple(problems)


def _is_local(path: object) -> bool:
    """Whether it is the path of a file of this machine: those on hosts are absolute."""
    return isinstance(path, str) and path.isprintable() and not path.startswith("/") and "-----" not in path


def _misspelled(host: Host) -> Iterator[Problem]:
    """Yield the keys of group_data that would be ignored without a word: nearly ours, or pyinfra's in a host's file."""
    for key, value in own_data(host).items():
        if key.startswith("ssh_") or (key.startswith("_") and key in all_argument_meta):
            reason = f"pyinfra does not look for it in a file named after a host; put it into the inventory, at {host}"
            yield Problem(key, "(not shown)" if names_secret(key) else repr(value)[:80], reason)
    for key, value in {**host.data.dict(), **own_data(host)}.items():
        if meant := _meant(key):
            yield _no_key(key, value, meant)


@lru_cache(maxsize=4096)
def _meant(key: str) -> str:
    """Return the key of ours that one nearly is, '' for ours and for those of others."""
    ours = (*KEYS, DIRECTORY)
    if key in ours or key.startswith(("_", "ssh_")):
        return ""
    return next(iter(difflib.get_close_matches(key, ours, n=1, cutoff=0.85)), "")


def _no_key(key: str, value: object, meant: str) -> Problem:
    found = "(not shown)" if holds_secret(meant) else shown(value)
    return Problem(key, found, f"no such key; did you mean {meant}?")


def _rollout_problems(host: Host, groups: Mapping[str, list[str]], first: Host) -> tuple[Problem, ...]:
    """Check that the fleet has one order of activation and that its waves exist."""
    rollout = value_of(host, "rollout")
    if rollout != value_of(first, "rollout"):
        reason = f"differs from that of {first.name}; a fleet has one order of activation"
        return (Problem("rollout", repr(rollout), reason),)
    try:
        waves(Rollout(**(rollout or {})), [], groups)
    except (TypeError, ValidationError):
        return ()  # the model says what is wrong with its shape
    except ValueError as error:
        return (Problem("rollout", repr(rollout), str(error)),)
    return ()


def _report(mistakes: Sequence[Mistake], total: int) -> str:
    count = f"{len(mistakes)} problem{'s' if len(mistakes) > 1 else ''}"
    lines = [f"the desired state has {count}; nothing was touched on any host"]
    for one in mistakes:
        lines.append(f"      {one.place}: {one.problem}")
        if 0 < len(one.hosts) < total:
            more = f" and {len(one.hosts) - 1} more" if len(one.hosts) > 1 else ""
            lines.append(f"        for {one.hosts[0]}{more}")
    return "\n".join(lines)
