"""What has to happen on one host, and why: observed state x desired state -> Plan."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

from mailproxy.changes import Change, difference
from mailproxy.feature import Example
from mailproxy.gates import Gate, gates
from mailproxy.indexed import SUFFIXES, TABLE_TYPE, Index, Query, crossing, queries_of, why_stale
from mailproxy.main_cf import refusal
from mailproxy.managed import SECRETS, SHARED
from mailproxy.master_cf import our_services
from mailproxy.model import DesiredState, Entries
from mailproxy.needed import needed_of
from mailproxy.notices import repairs_of, warnings_of_host, warnings_of_taking_over
from mailproxy.observed import ObservedState, mode_of
from mailproxy.order import bridged, renames, rerouted
from mailproxy.probe import Probes, probes
from mailproxy.render import Content, database_type, needed_types, rendered, routes, tables
from mailproxy.service import (
    NOTHING,
    Service,
    effective,
    served_anew,
    service,
    warnings_of_instance,
)
from mailproxy.syntax import main_cf_parameters, table_entries

# Why a file is replaced that somebody edited.
EDITED = "edited on the host since the last rollout"
# Of a shared file whose lines cannot be kept as they are.
NOT_EDITABLE = "{} is no text in UTF-8: it cannot be edited"


@dataclass(frozen=True)
class FileChange:
    """A managed file that is to be replaced: observed is None where it is absent."""

    desired: Content
    observed: Content | None
    reason: str


@dataclass(frozen=True)
class Plan:
    """All that happens on one host, in the order of its fields from files to queries.

    changes says the same in the language of domains, by subject; gates what of it needs approval; probes what the host
    is asked when it is live.
    """

    directory: str
    # The directories of daemons and queue that are compiled in.
    compiled_in: tuple[str, str] = ("", "")
    files: tuple[FileChange, ...] = ()
    indexes: tuple[Index, ...] = ()
    # Whose routes go, and whose lead elsewhere.
    gone: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    bridge: Entries | None = None
    # From which type to which tables change that keep their file names.
    crossing: tuple[str, str] | None = None
    swaps: tuple[tuple[str, str], ...] = ()
    service: Service = NOTHING
    late_swaps: tuple[tuple[str, str], ...] = ()
    drops: tuple[str, ...] = ()
    # Shared files that have nothing of ours any more: they stay, and are not managed.
    releases: tuple[str, ...] = ()
    # By table.
    queries: tuple[tuple[Query, ...], ...] = field(default=(), repr=False)
    # What the tables that are tried in their order are asked for before the swap.
    examples: tuple[Example, ...] = field(default=(), repr=False)
    changes: tuple[tuple[Change, ...], ...] = field(default=(), repr=False)
    gates: tuple[Gate, ...] = ()
    is_managed: bool = True
    repairs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    base: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    loaded: Mapping[str, str] = field(default_factory=dict, repr=False)
    checks_main_cf: bool = False
    probes: Probes = field(default_factory=Probes, repr=False)
    # Of a return to an earlier generation: which one, the files that are taken from there, and whether it was made by
    # hand, so that nothing is to say afterwards that the host is managed.
    generation: int | None = None
    copies: tuple[str, ...] = ()
    is_by_hand: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether the host is as it is to be already and nothing is left over from an earlier run."""
        done = (self.files, self.indexes, self.copies, self.drops, self.releases, self.repairs)
        return not any(done) and self.service.action == "none"


@dataclass(frozen=True)
class Refusal:
    """A host for which no plan can be made, and why."""

    reason: str


def planned(desired: DesiredState, observed: ObservedState) -> Plan | Refusal:
    """Return what brings the observed host to the desired state."""
    table_type = database_type(desired, observed.postfix)
    if table_type not in SUFFIXES or (observed.table_types is not None and table_type not in observed.table_types):
        usable = ", ".join(sorted((observed.table_types or set()) & set(SUFFIXES))) or "none of ours"
        return Refusal(f"database_type {table_type} is not one that its Postfix can index; it has {usable}")
    if lacking := sorted(needed_types(desired).difference(observed.table_types or needed_types(desired))):
        return Refusal(f"its Postfix has no tables of type {', '.join(lacking)}, which are declared")
    if reason := refusal(desired, observed.postfix):
        return Refusal(reason)
    found_there = (feature.problem_on(desired, observed) for feature in desired.features.values())
    if reason := "; ".join(filter(None, found_there)):
        return Refusal(reason)
    contents = rendered(desired, observed.postfix)
    for name, live in observed.live.items():
        is_told = name in observed.texts or name in SECRETS
        if name in contents and live.digest != contents[name].digest and not is_told:
            return Refusal(f"its answer lacks the content of {name}, which is not as declared")
        if name in SHARED and name in contents and Content(name, observed.texts[name]).digest != live.digest:
            return Refusal(NOT_EDITABLE.format(name))
    files = tuple(_file_changes(contents, observed))
    indexes = tuple(_indexes(desired, table_type, files, observed))
    parameters = main_cf_parameters(contents["main.cf"].text)
    wanted = effective(parameters, observed)
    changed = {change.desired.name for change in files}
    compiled = {index.table: index.files for index in indexes}
    action = service(contents, changed, wanted, observed, compiled)
    plan = Plan(
        directory=observed.postfix.config_directory,
        compiled_in=observed.compiled_in,
        files=files,
        indexes=indexes,
        service=action,
        drops=_drops(contents, desired, table_type, observed),
        releases=_releases(contents, desired, observed),
        is_managed=observed.is_managed,
        repairs=tuple(repairs_of(observed)),
        warnings=(*warnings_of_host(desired, observed), *warnings_of_instance(action, parameters, observed)),
    )
    if plan.is_empty:
        return plan
    found = difference(contents, observed)
    gone, bridge = _bridge(desired, files, indexes, observed)
    swaps, late_swaps = renames(changed, compiled, bool(gone), bridge is not None, observed.live)
    return replace(
        plan,
        changes=found.changes,
        gates=gates(found, action.action, observed),
        warnings=(*plan.warnings, *warnings_of_taking_over(found, observed)),
        gone=gone,
        moved=rerouted(routes_before(files), routes(desired)),
        service=served_anew(action) if gone else action,
        bridge=bridge,
        crossing=crossing(table_type, compiled.values(), observed),
        swaps=swaps,
        late_swaps=late_swaps,
        queries=tuple(_queries(desired, table_type, observed)),
        examples=tuple(_examples(desired, changed)),
        base={name: observed.digest(name) for name in (*contents, *observed.live)},
        loaded={**wanted, **observed.postfix.kept, TABLE_TYPE: table_type},
        # postfix check reads main.cf and looks at the queue: once for every main.cf that goes live.
        checks_main_cf="main.cf" in changed or observed.manifest is None,
        probes=replace(
            probes(found, parameters, observed.journal is not None),
            serves=action.leaves_running,
            is_drained=bool(observed.postfix.drained),
            needed=needed_of(desired, found),
            # A process that goes on shows what it has read when it was started.
            certificate=None if action.action == "none" else desired.tls.certificate_to_come(observed),
        ),
    )


def _file_changes(contents: Mapping[str, Content], observed: ObservedState) -> Iterator[FileChange]:
    for name, desired in contents.items():
        live = observed.live.get(name)
        if live is None:
            yield FileChange(desired, None, "absent")
        elif live.digest != desired.digest:
            yield FileChange(desired, Content(name, observed.texts.get(name, "")), _difference(name, observed))
        elif name not in SHARED and not live.is_ours_alone(name):
            found = f"mode {live.mode} and owner {live.owner}, expected {mode_of(name)} and 0:0"
            yield FileChange(desired, desired, found)


def _difference(name: str, observed: ObservedState) -> str:
    if observed.manifest is None:
        return "not managed until now"
    if name in SHARED and not _is_edited(name, observed):
        return "declared"
    if observed.manifest.digests.get(name) != observed.digest(name):
        return EDITED if observed.journal is None else "left by an interrupted change"
    return "declared"


def _is_edited(name: str, observed: ObservedState) -> bool:
    """Whether what is ours in a shared file is not what it was when it was loaded; all else is nothing to us."""
    loaded = observed.loaded_texts.get(name)
    return loaded is not None and our_services(loaded) != our_services(observed.texts[name])


def _indexes(
    desired: DesiredState, table_type: str, files: tuple[FileChange, ...], observed: ObservedState
) -> Iterator[Index]:
    changed = {change.desired.name for change in files}
    for table, entries in tables(desired).items():
        index = Index(table, table_type, entries, "")
        reason = f"{table} changes" if table in changed else why_stale(index, observed)
        if reason:
            yield Index(table, table_type, entries, reason)


def _bridge(
    desired: DesiredState, files: tuple[FileChange, ...], indexes: tuple[Index, ...], observed: ObservedState
) -> tuple[tuple[str, ...], Entries | None]:
    """Return whose routes go away, and the table that bridges the time until then, None where it is live already."""
    before = routes_before(files)
    gone, bridge = bridged(before, routes(desired))
    if before is None or bridge is None:
        return gone, None
    (index,) = (index for index in indexes if index.table == "transport")
    is_live = bridge == table_entries(before) and not why_stale(index, observed)
    return gone, None if is_live else bridge


def routes_before(files: tuple[FileChange, ...]) -> str | None:
    """Return the source of the routes that are live where it is replaced."""
    change = next((change for change in files if change.desired.name == "transport"), None)
    return change.observed.text if change and change.observed else None


def _drops(
    contents: Mapping[str, Content], desired: DesiredState, table_type: str, observed: ObservedState
) -> tuple[str, ...]:
    """Return the files and compiled tables that an earlier rollout made and that nothing reads any more."""
    used = {f"{table}.{suffix}" for table in tables(desired) for suffix in SUFFIXES[table_type]}.union(contents)
    made = observed.manifest.digests if observed.manifest else {}
    return tuple(sorted(name for name in observed.live if name in made and name not in {*used, *SHARED}))


def _releases(contents: Mapping[str, Content], desired: DesiredState, observed: ObservedState) -> tuple[str, ...]:
    """Return the shared files that an earlier rollout managed and that no feature needs any more."""
    made = observed.manifest.digests if observed.manifest else {}
    if any(feature.edits_master_cf for feature in desired.features.values()):
        return ()
    return tuple(name for name in SHARED if name in made or name in contents)


def _examples(desired: DesiredState, changed: Collection[str]) -> Iterator[Example]:
    for feature in desired.features.values():
        yield from (example for example in feature.examples() if example.file in changed)


def _queries(desired: DesiredState, table_type: str, observed: ObservedState) -> Iterator[tuple[Query, ...]]:
    """Yield questions to each table."""
    for table, entries in tables(desired).items():
        if table in SECRETS:
            # Questions and wrong answers are shown.
            continue
        is_known = table in observed.texts and table != "aliases"
        before = table_entries(observed.texts[table]) if is_known else entries
        yield queries_of(table_type, table, before, entries)
