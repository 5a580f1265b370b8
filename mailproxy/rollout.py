"""The order of activation: waves of hosts."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mailproxy.model import Rollout

CANARY = "canary"


@dataclass(frozen=True)
class Wave:
    """Hosts that are activated together; number 1 goes first."""

    number: int
    label: str
    hosts: tuple[str, ...]


def waves(rollout: Rollout, hosts: Sequence[str], groups: Mapping[str, Sequence[str]]) -> tuple[Wave, ...]:
    """Return the waves in which hosts are activated, each host once, in the order of the inventory.

    A wave is the name of a group; a number of hosts; or a percentage: the share of all hosts that is done when the
    wave is. What no wave names follows in a last one. Without a declaration the group canary goes first, if there is
    one, and then the rest. Raises ValueError for a wave that names nothing.
    """
    left, found = list(hosts), list[Wave]()
    default = (CANARY, "100%") if groups.get(CANARY) else ("100%",)
    for wave in default if rollout.waves is None else rollout.waves:
        chosen = _chosen(wave, left, len(hosts), groups)
        left = [host for host in left if host not in set(chosen)]
        if chosen:
            found.append(Wave(len(found) + 1, _label(wave), tuple(chosen)))
    if left:
        found.append(Wave(len(found) + 1, "the rest", tuple(left)))
    return tuple(found)


def _label(wave: str | int) -> str:
    if isinstance(wave, int):
        return f"{wave} more"
    return f"up to {wave}" if wave.endswith("%") else wave


def _chosen(wave: str | int, left: list[str], total: int, groups: Mapping[str, Sequence[str]]) -> list[str]:
    if isinstance(wave, int):
        return left[:wave]
    percentage = re.fullmatch(r"(\d{1,3})%", wave)
    if percentage:
        done = total - len(left)
        return left[: max(0, math.ceil(total * min(int(percentage[1]), 100) / 100) - done)]
    if wave not in groups:
        raise ValueError(f"wave {wave!r}: expected a group of the inventory, a number of hosts or a percentage")
    members = set(groups[wave])
    return [host for host in left if host in members]
