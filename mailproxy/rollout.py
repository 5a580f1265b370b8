"""The order of activation: waves of hosts, and what stops it."""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

CANARY = "canary"


def wave(value: Any) -> str | int:
    """Return what names the hosts of a wave, or refuse it."""
    is_number = isinstance(value, int) and not isinstance(value, bool) and value > 0
    is_share = isinstance(value, str) and (not value.endswith("%") or bool(re.fullmatch(r"100%|[1-9][0-9]?%", value)))
    if not (is_number or is_share):
        raise ValueError("expected a group, a number of hosts, or a percentage from 1% to 100%")
    return cast("str | int", value)


Count = Annotated[int, Field(ge=0, le=2**31 - 1, strict=True)]


class Rollout(BaseModel):
    """The order of activation, by group, number or percentage of hosts, and what stops it.

    A host goes back by itself unless it is confirmed within confirm_seconds of its activation (0: never by itself).
    next_hops says whether a next hop that does not answer fails its host; max_deferred by how many messages the
    deferred queue may grow until a host is confirmed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    waves: tuple[Annotated[Any, AfterValidator(wave)], ...] | None = None
    bake_seconds: Count = 0
    max_failures: Count = 0
    confirm_seconds: Count = 300
    next_hops: Literal["warn", "fail"] = "warn"
    max_deferred: Count = 100

    @model_validator(mode="after")
    def _bakes_before_it_goes_back(self) -> "Rollout":
        if 0 < self.confirm_seconds <= self.bake_seconds:
            found = f"found {self.confirm_seconds}, with bake_seconds of {self.bake_seconds}"
            raise ValueError(f"hosts would go back while they bake: expected longer confirm_seconds, {found}")
        return self


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


def within(order: Sequence[Wave], hosts: Collection[str]) -> tuple[Wave, ...]:
    """Return what of a fleet's waves is about some hosts; the numbers stay, and waves without any of them are out."""
    parts = (replace(wave, hosts=tuple(host for host in wave.hosts if host in hosts)) for wave in order)
    return tuple(wave for wave in parts if wave.hosts)


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


# Before all waves: what is staged for another run to activate.
HELD = Wave(0, "held", ())


@dataclass
class Progress:
    """How far the hosts of a rollout have come, by name; changing are those that have a change.

    failed says why a host did not get to where it should, left_behind those whose failure was approved; activated is
    the time of it (monotonic seconds), answering are those that then answered all as expected, unproven says why an
    activated host was kept without a proof.
    """

    changing: tuple[str, ...]
    max_failures: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    left_behind: set[str] = field(default_factory=set)
    staged: set[str] = field(default_factory=set)
    activated: dict[str, float] = field(default_factory=dict)
    answering: set[str] = field(default_factory=set)
    unproven: dict[str, str] = field(default_factory=dict)
    confirmed: set[str] = field(default_factory=set)

    def last_activation_of(self, wave: Wave) -> float:
        """Return when the last host of a wave was activated: from then on it bakes."""
        return max((self.activated[name] for name in wave.hosts if name in self.activated), default=0)


def reason_to_refuse(progress: Progress, wave: Wave, order: Sequence[Wave]) -> str:
    """Return why a host may not go live in a wave now, '' where it may.

    Another host is not staged, or the waves before are not over: too many failed, one proved nothing, or is not
    confirmed.
    """
    for name, why in progress.failed.items():
        if name not in progress.staged and name not in progress.left_behind:
            return f"{name} could not be staged ({why})"
    before = [name for earlier in order if earlier.number < wave.number for name in earlier.hosts]
    badly = [name for name in before if name in progress.failed and name not in progress.left_behind]
    if len(badly) > progress.max_failures:
        return f"{badly[0]} failed in an earlier wave ({progress.failed[badly[0]]})"
    for name in before:
        if name in progress.unproven:
            return f"{name} of an earlier wave proved nothing ({progress.unproven[name]})"
    for name in progress.changing:
        if name not in progress.staged:
            return f"{name} has not staged its change yet; run without --serial and --no-wait"
        if name in before and name not in progress.confirmed and name not in progress.failed:
            return f"{name} of an earlier wave is not confirmed yet; run without --serial and --no-wait"
    return ""
