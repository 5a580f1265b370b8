"""The plans of all hosts as one value in which each change stands once, with the hosts it is for."""

import difflib
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeVar

from mailproxy.changes import Cause, Change, files_of, hidden
from mailproxy.gates import GateName
from mailproxy.managed import FEATURE_FILES, SECRETS
from mailproxy.observed import Unread
from mailproxy.plan import EDITED, FileChange, Plan, Refusal
from mailproxy.render import Content
from mailproxy.rollout import Wave
from mailproxy.secret import without_secrets

Outcome = Plan | Refusal | Unread
Status = Literal["failed", "by hand", "adopting", "change", "same"]
Kind = Literal["blocked", "gate", "warning", "repair", "effect"]
Group = TypeVar("Group", bound=Hashable)

CAUSES: tuple[Cause, ...] = ("declared", "by hand", "adopting", "returning")
# Stands for a host's own name where it is a value, so that a change of many hosts is one.
_HOST_NAME = "<the host's name>"


@dataclass(frozen=True)
class ReviewedHost:
    """One host of the fleet at a glance: what is with it, its wave (1 goes first), and why nothing can be done."""

    name: str
    status: Status
    wave: int
    reason: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is so on some hosts; of a gate its name, and whether it was approved."""

    kind: Kind
    text: str
    hosts: tuple[str, ...]
    gate: GateName | None = None
    approved: bool = False


@dataclass(frozen=True)
class Block:
    """The changes of one cause that are for the same hosts."""

    cause: Cause
    hosts: tuple[str, ...]
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class FileBlock:
    """A managed file that is replaced by the same lines on some hosts.

    It is explained where changes say what that does, and without effect where nothing else changes by it.
    """

    change: FileChange
    hosts: tuple[str, ...]
    is_explained: bool
    has_no_effect: bool = False


@dataclass(frozen=True)
class Review:
    """What a rollout would do to a fleet. Hosts stand in the inventory's order, everywhere."""

    hosts: tuple[ReviewedHost, ...]
    findings: tuple[Finding, ...]
    blocks: tuple[Block, ...]
    files: tuple[FileBlock, ...]
    waves: tuple[Wave, ...]
    groups: Mapping[str, Sequence[str]]
    digest: str
    settled: str = "as declared"

    def count(self, *statuses: Status) -> int:
        """Return how many hosts are of one of these statuses."""
        return sum(host.status in statuses for host in self.hosts)

    def of(self, *kinds: Kind) -> list[Finding]:
        """Return the findings of these kinds."""
        return [finding for finding in self.findings if finding.kind in kinds]

    @property
    def gates(self) -> list[str]:
        """The names of all gates that are met, approved or not: what has to be approved for the run to go on."""
        return list(dict.fromkeys(str(finding.gate) for finding in self.findings if finding.gate))

    @property
    def closed_gates(self) -> list[Finding]:
        """The gates that were not approved."""
        return [finding for finding in self.findings if finding.gate and not finding.approved]


def review(
    outcomes: Mapping[str, Outcome],
    waves: Sequence[Wave],
    groups: Mapping[str, Sequence[str]],
    approved: Collection[str],
    digest: str,
    settled: str = "as declared",
) -> Review:
    """Return the review of a fleet: outcomes by host name in the inventory's order, names of approved gates.

    settled says what a host is that has nothing to do.
    """
    wave_of = {name: wave.number for wave in waves for name in wave.hosts}
    hosts = tuple(_host(name, outcome, wave_of.get(name, 1)) for name, outcome in outcomes.items())
    plans = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Plan)}
    findings = hosts_of({name: list(_findings(outcome)) for name, outcome in outcomes.items()})
    return Review(
        hosts=hosts,
        findings=tuple(
            replace(finding, hosts=names, approved=finding.gate in approved) for finding, names in findings.items()
        ),
        blocks=tuple(_blocks(plans)),
        files=tuple(
            replace(block, hosts=names, change=_named(block.change, names))
            for block, names in hosts_of({name: list(_files(name, plan)) for name, plan in plans.items()}).items()
        ),
        waves=tuple(waves),
        groups=groups,
        digest=digest,
        settled=settled,
    )


@lru_cache(maxsize=4096)
def file_lines(change: FileChange) -> tuple[str, ...]:
    """Return the unified diff of a file, secrets hidden, or a line that says why there is none."""
    name = change.desired.name
    if name in SECRETS:
        return ("changed, not shown",)
    before = without_secrets(change.observed.text) if change.observed else ""
    after = without_secrets(change.desired.text)
    if before == after and change.observed and change.observed.text != change.desired.text:
        return ("changed, not shown",)
    if before.splitlines() == after.splitlines():
        return ("line ends, or the one at the end of the file, differ",)
    # One line of context: enough to find the place, and the review stays short.
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"live {name}", f"declared {name}", lineterm="", n=1
    )
    return tuple(line.rstrip() for line in lines)


def hosts_of(by_host: Mapping[str, Sequence[Group]]) -> dict[Group, tuple[str, ...]]:
    """Return each distinct thing with the names of its hosts, in the order of by_host."""
    hosts: dict[Group, list[str]] = {}
    for name, things in by_host.items():
        for thing in dict.fromkeys(things):
            hosts.setdefault(thing, []).append(name)
    return {thing: tuple(names) for thing, names in hosts.items()}


def _host(name: str, outcome: Outcome, wave: int) -> ReviewedHost:
    if not isinstance(outcome, Plan):
        return ReviewedHost(name, "failed", wave, outcome.reason)
    return ReviewedHost(name, _status(outcome), wave)


def _status(plan: Plan) -> Status:
    if plan.is_empty:
        return "same"
    if not plan.is_managed:
        return "adopting"
    is_edited = any(change.reason == EDITED for change in plan.files)
    return (
        "by hand" if is_edited or any(c.cause == "by hand" for changes in plan.changes for c in changes) else "change"
    )


def _findings(outcome: Outcome) -> Iterator[Finding]:
    """Yield what is to be said of a host besides its changes, hosts to be filled in."""
    if isinstance(outcome, Unread):
        yield Finding("gate", f"leaving behind: {outcome.reason}", (), "unreachable")
        return
    if isinstance(outcome, Refusal):
        yield Finding("blocked", outcome.reason, ())
        return
    for gate in outcome.gates:
        yield Finding("gate", gate.reason, (), gate.name)
    for warning in outcome.warnings:
        yield Finding("warning", warning, ())
    for repair in outcome.repairs:
        yield Finding("repair", repair, ())
    changed = {change.desired.name for change in outcome.files}
    for change in outcome.files:
        if change.observed is not None and change.observed.text == change.desired.text:
            yield Finding("repair", f"{change.desired.name}: {change.reason}", ())
        elif change.observed is None and outcome.is_managed and change.desired.name not in FEATURE_FILES:
            yield Finding("repair", f"{change.desired.name} is absent and made anew", ())
    if not outcome.is_managed:
        yield Finding("effect", "take over main.cf and what it names: comments and layout go; kept as generation 0", ())
    for index in outcome.indexes:
        entries = f"{len(index.entries)} {'entry' if len(index.entries) == 1 else 'entries'}"
        text = f"index {index.table} as {index.type} ({entries}): {index.reason}"
        is_due = index.table in changed or not outcome.is_managed
        yield Finding("effect" if is_due else "repair", text, ())
    for name in outcome.drops:
        why = "nothing reads it any more" if outcome.generation is None else "it was not there then"
        yield Finding("effect", f"remove {name}: {why}", ())
    if not outcome.is_empty:
        action = "leave Postfix alone" if outcome.service.action == "none" else f"{outcome.service.action} Postfix"
        is_repair = outcome.service.action == "start" or (not outcome.files and outcome.service.action != "none")
        yield Finding("repair" if is_repair else "effect", f"{action}: {outcome.service.reason}", ())


def _blocks(plans: Mapping[str, Plan]) -> Iterator[Block]:
    """Yield the changes of all hosts, those for the same hosts together."""
    # Hosts with the same change share the tuple: what is done below is done once for all of them.
    sharing: dict[int, list[str]] = {}
    tuples: dict[int, tuple[Change, ...]] = {}
    for name, plan in plans.items():
        for changes in plan.changes:
            sharing.setdefault(id(changes), []).append(name)
            tuples[id(changes)] = changes
    sources: dict[Change, list[int]] = {}
    for identity, changes in tuples.items():
        for change in changes:
            sources.setdefault(_without_own_name(hidden(change), sharing[identity][0]), []).append(identity)
    of_hosts: dict[tuple[Cause, tuple[int, ...]], list[Change]] = {}
    for change, identities in sources.items():
        of_hosts.setdefault((change.cause, tuple(identities)), []).append(change)
    merged: dict[tuple[Cause, tuple[str, ...]], list[Change]] = {}
    for (cause, together), found in of_hosts.items():
        members = {name for identity in together for name in sharing[identity]}
        names = tuple(name for name in plans if name in members)
        merged.setdefault((cause, names), []).extend(found)
    for (cause, names), found in sorted(merged.items(), key=lambda item: (CAUSES.index(item[0][0]), -len(item[0][1]))):
        yield Block(cause, names, tuple(_with_own_name(change, names) for change in found))


def _without_own_name(change: Change, host: str) -> Change:
    return replace(change, after=_HOST_NAME) if change.subject == "parameter" and change.after == host else change


def _with_own_name(change: Change, hosts: Sequence[str]) -> Change:
    return replace(change, after=hosts[0]) if change.after == _HOST_NAME and len(hosts) == 1 else change


def _files(host: str, plan: Plan) -> Iterator[FileBlock]:
    changes = [change for changes in plan.changes for change in changes]
    for change in plan.files:
        name = change.desired.name
        if change.observed is not None and change.observed.text == change.desired.text:
            continue
        saying = [one for one in changes if name in files_of(one)]
        # Of an edited file, what is declared explains nothing of what was somebody's hand.
        explaining = [one for one in saying if change.reason != EDITED or one.cause == "by hand"]
        if name == "main.cf":
            explaining = [one for one in explaining if one.subject == "parameter"]
        is_known = change.observed is None or not plan.is_managed
        shared = _replaced(change, host, _HOST_NAME) if name == "main.cf" else change
        yield FileBlock(shared, (), is_known or bool(explaining), has_no_effect=not is_known and not saying)


def _named(change: FileChange, hosts: Sequence[str]) -> FileChange:
    return _replaced(change, _HOST_NAME, hosts[0]) if len(hosts) == 1 else change


def _replaced(change: FileChange, text: str, by: str) -> FileChange:
    observed = change.observed and Content(change.observed.name, change.observed.text.replace(text, by))
    return replace(
        change, desired=Content(change.desired.name, change.desired.text.replace(text, by)), observed=observed
    )
