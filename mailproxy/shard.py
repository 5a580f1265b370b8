"""Which part of a fleet is this controller's: SHARD=i/n in the environment, or what GitLab and Kubernetes say there."""

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import pyinfra

from mailproxy.stop import StopError

# The group of an inventory that is this controller's part.
GROUP = "shard"


@dataclass(frozen=True)
class Shard:
    """One of total parts of a fleet; number 1 is the first."""

    number: int
    total: int

    def __str__(self) -> str:
        return f"{self.number}/{self.total}"

    def holds(self, host: str) -> bool:
        """Whether a host is in this part. That follows from its name alone: hosts that come or go move no other."""
        return int(hashlib.sha256(host.encode()).hexdigest(), 16) % self.total == self.number - 1


def shard_of(environment: Mapping[str, str]) -> Shard | None:
    """Return the shard that an environment names, None where it names none; ValueError where that cannot be one."""
    found = dict(_named(environment))
    if len(set(found.values())) > 1:
        told = " and ".join(f"{name} says {shard}" for name, shard in found.items())
        raise ValueError(f"{told}; expected one shard")
    return next(iter(found.values()), None)


def this_shard() -> Shard | None:
    """Return the shard of this process, None where it has the whole fleet; StopError where it is told nonsense."""
    try:
        return shard_of(os.environ)
    except ValueError as error:
        raise StopError(f"{error}; nothing was touched") from None


def shard(hosts: Iterable[str]) -> list[str]:
    """Return those of an inventory's hosts that are this controller's, for the group "shard": all without a shard.

    As pyinfra connects to whom --limit names and to no other, a run without it is refused here, before it connects.
    """
    mine = this_shard()
    if mine is not None and mine.total > 1 and pyinfra.is_cli and not _is_limited(sys.argv[1:]):
        raise StopError(f"this is shard {mine}: expected --limit {GROUP}; nothing was touched")
    return [host for host in hosts if mine is None or mine.holds(host)]


def refuse_other_shards(hosts: Iterable[str]) -> None:
    """Raise StopError where one of the hosts of this run is another controller's."""
    mine = this_shard()
    others = [host for host in hosts if mine is not None and not mine.holds(host)]
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise StopError(
            f"this is shard {mine}, and {others[0]}{more} of this run is in another: expected --limit {GROUP}, with a"
            f" group of that name in the inventory (inventories/production.example.py); nothing was touched"
        )


def refuse_alone() -> None:
    """Raise StopError where this is one of several shards: none of them may go live before all have staged."""
    mine = this_shard()
    if mine is not None and mine.total > 1:
        raise StopError(
            f"this is shard {mine}, and goes live when the others have staged, too: expected --data phase=stage, and"
            " then phase=activate; nothing was touched"
        )


def _is_limited(arguments: list[str]) -> bool:
    return any(argument.partition("=")[0] == "--limit" for argument in arguments)


def _named(environment: Mapping[str, str]) -> Iterator[tuple[str, Shard]]:
    """Yield what each engine says, by the variable that says so. One that is empty says nothing."""
    given = {name: value for name, value in environment.items() if value}
    own = given.get("SHARD", "")
    number, _, total = own.partition("/")
    if own:
        yield "SHARD", _shard(f"SHARD={own}", number, total, "SHARD=2/4 for the second of four")
    if "CI_NODE_INDEX" in given:
        # GitLab says CI_NODE_TOTAL=1 also where nothing is parallel.
        yield "CI_NODE_INDEX", _of(given, "CI_NODE_INDEX", "CI_NODE_TOTAL", "", first=1)
    if "JOB_COMPLETION_INDEX" in given:
        # Kubernetes counts from 0, and does not say to how many.
        yield "JOB_COMPLETION_INDEX", _of(given, "JOB_COMPLETION_INDEX", "SHARD_TOTAL", total, first=0)
    elif "SHARD_TOTAL" in given:
        yield "SHARD_TOTAL", _shard(f"SHARD_TOTAL={given['SHARD_TOTAL']}", "", "", "JOB_COMPLETION_INDEX beside it")


def _of(given: Mapping[str, str], index: str, of: str, total: str, first: int) -> Shard:
    total = given.get(of, total)
    number = str(int(given[index]) + 1 - first) if re.fullmatch(r"[0-9]{1,9}", given[index]) else ""
    expected = f"numbers, {index} from {first} on and {of} how many there are"
    return _shard(f"{index}={given[index]} with {of}={total}", number, total, expected)


def _shard(found: str, number: str, total: str, expected: str) -> Shard:
    if not (re.fullmatch(r"[0-9]{1,9}", number) and re.fullmatch(r"[0-9]{1,9}", total)):
        raise ValueError(f"{found}: expected {expected}")
    if not 1 <= int(number) <= int(total):
        raise ValueError(f"{found}: there is no such shard; expected {expected}")
    return Shard(int(number), int(total))
