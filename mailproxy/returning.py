"""What has to happen on one host to make an earlier generation live again: observed state -> Plan."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from mailproxy.changes import Change, difference
from mailproxy.drained import reason_in
from mailproxy.gates import gates
from mailproxy.indexed import TABLE_TYPE, Query, crossing, queries_of
from mailproxy.managed import BASIC_FILES, FILES, SECRETS, SHARED, TABLES
from mailproxy.master_cf import is_marked
from mailproxy.master_cf import returned as master_cf_returned
from mailproxy.meaning import lacks_relay_rule
from mailproxy.model import Entries
from mailproxy.notices import repairs_of, warnings_of_lock
from mailproxy.observed import ObservedState, Saved
from mailproxy.order import bridged, renames, rerouted
from mailproxy.plan import NOT_EDITABLE, FileChange, Plan, Refusal, routes_before
from mailproxy.probe import probes
from mailproxy.render import Content
from mailproxy.service import effective, served_anew, service, warnings_of_instance
from mailproxy.syntax import alias_entries, main_cf_parameters, table_entries


def returned(observed: ObservedState) -> Plan | Refusal:
    """Return what brings a host back to the generation that was observed of it (ObservedState.saved).

    Its files are copied on the host, tables included, as they were: nothing is rendered and nothing is indexed.
    """
    saved = observed.saved
    if saved is None or saved.number is None:
        numbers = ", ".join(map(str, saved.numbers)) if saved else ""
        return Refusal(f"it does not keep that generation; it keeps {numbers}" if numbers else "it keeps no generation")
    if "main.cf" not in saved.texts:
        return Refusal(
            f"generation {saved.number} has no main.cf: nothing served there then; to end the service, stop Postfix"
        )
    shared = _shared(saved, observed)
    for name, content in shared.items():
        if content.text != observed.texts[name] and Content(name, observed.texts[name]).digest != observed.digest(name):
            return Refusal(NOT_EDITABLE.format(name))
    own = {name: _content(name, saved) for name in FILES if name in saved.files and name not in SHARED}
    contents = {**own, **shared}
    copies = tuple(
        name for name, file in saved.files.items() if observed.digest(name) != file.digest and name not in SHARED
    )
    changed = (*copies, *(name for name, content in shared.items() if content.text != observed.texts[name]))
    files = tuple(_file_changes(contents, changed, saved.number, observed))
    parameters = main_cf_parameters(contents["main.cf"].text)
    compiled = {table: [name for name in copies if name.startswith(f"{table}.")] for table in TABLES}
    drained = reason_in(saved.texts["main.cf"])
    action = service(contents, changed, effective(parameters, observed), observed, compiled)
    drops = tuple(sorted(name for name in observed.live if name not in {*saved.files, *SHARED}))
    made = observed.manifest.digests if observed.manifest else {}
    managed = {name for name in SHARED if name in shared or name in made}
    found = difference(contents, observed, saved.foreign)
    holding = {**parameters, **(saved.foreign.effective if saved.foreign else {})}
    before, routes = _routes(contents, observed, files)
    gone, bridge = bridged(before, routes)
    swaps, late_swaps = renames(changed, compiled, bool(gone), bridge is not None, observed.live)
    return Plan(
        directory=observed.postfix.config_directory,
        compiled_in=observed.compiled_in,
        files=files,
        gone=gone,
        moved=rerouted(before, routes),
        bridge=bridge,
        crossing=crossing(_table_type_of(saved), compiled.values(), observed),
        swaps=swaps,
        service=served_anew(action) if gone else action,
        late_swaps=late_swaps,
        drops=drops,
        releases=(
            *(name for name in managed if name not in shared or not is_marked(shared[name].text)),
            *_somebody_elses(saved),
        ),
        queries=tuple(_queries(contents, saved, observed)),
        changes=tuple(tuple(_caused(change) for change in changes) for changes in found.changes),
        gates=gates(found, action.action, observed),
        is_managed=observed.is_managed,
        repairs=tuple(repairs_of(observed)),
        warnings=(
            *warnings_of_lock(observed),
            *_warnings(saved, holding, observed),
            *warnings_of_instance(action, holding, observed),
        ),
        base={
            name: observed.digest(name) for name in (*contents, *observed.live) if name not in SHARED or name in managed
        },
        loaded=saved.manifest.loaded if saved.manifest else {TABLE_TYPE: _table_type(observed)},
        probes=replace(
            probes(found, holding, observed.journal is not None), serves=action.leaves_running, is_drained=bool(drained)
        ),
        generation=saved.number,
        copies=copies,
        is_by_hand=saved.manifest is None,
    )


def _somebody_elses(saved: Saved) -> list[str]:
    """Return the files of a generation of ours that were not ours then: they are put back, and not managed."""
    if saved.manifest is None:
        return []
    return sorted(name for name in saved.files if name not in saved.manifest.digests and name not in SHARED)


def _content(name: str, saved: Saved) -> Content:
    return Content(name, saved.texts.get(name, ""), saved.files[name].digest if name in SECRETS else "")


def _shared(saved: Saved, observed: ObservedState) -> dict[str, Content]:
    """Return the shared files that have something of ours, now or then: as they are, with what was ours then."""
    found = {}
    for name in SHARED:
        live = observed.texts.get(name, "")
        text = master_cf_returned(live, saved.texts.get(name, "")) if live else ""
        if text != live or is_marked(text):
            found[name] = Content(name, text)
    return found


def _caused(change: Change) -> Change:
    """A hand on the host stays one; everything else comes of the way back."""
    return change if change.cause == "by hand" else replace(change, cause="returning")


def _file_changes(
    contents: Mapping[str, Content], changed: tuple[str, ...], number: int, observed: ObservedState
) -> Iterator[FileChange]:
    for name in FILES:
        if name in changed:
            live = observed.texts.get(name)
            yield FileChange(
                contents[name], None if live is None else Content(name, live), f"as of generation {number}"
            )


def _routes(
    contents: Mapping[str, Content], observed: ObservedState, files: tuple[FileChange, ...]
) -> tuple[str | None, Entries]:
    """Return the source of the routes that are live, None where either is not a table that we made, and the others."""
    saved = observed.saved
    before = routes_before(files) if saved and saved.manifest else None
    return before, table_entries(contents["transport"].text) if "transport" in contents else Entries({})


def _table_type(observed: ObservedState) -> str:
    loaded = observed.manifest.loaded if observed.manifest else {}
    return loaded.get(TABLE_TYPE, observed.postfix.default_database_type)


def _table_type_of(saved: Saved) -> str:
    return saved.manifest.loaded.get(TABLE_TYPE, "") if saved.manifest else ""


def _queries(contents: Mapping[str, Content], saved: Saved, observed: ObservedState) -> Iterator[tuple[Query, ...]]:
    """Yield questions to the tables of a managed generation; what others use is known to them alone."""
    if saved.manifest is None or not set(BASIC_FILES) <= set(contents):
        return
    table_type = _table_type_of(saved)
    for table in TABLES:
        if table in SECRETS or not any(name.startswith(f"{table}.") for name in saved.files):
            continue
        parse = alias_entries if table == "aliases" else table_entries
        entries = parse(contents[table].text)
        yield queries_of(table_type, table, parse(observed.texts.get(table, "")), entries)


def _warnings(saved: Saved, holding: Mapping[str, str], observed: ObservedState) -> Iterator[str]:
    live = observed.postfix.kept.get("multi_instance_directories", "").replace(",", " ").split()
    known = holding.get("multi_instance_directories", "").replace(",", " ").split()
    for directory in live:
        if directory not in known:
            again = f"postmulti -e import config_directory={directory}"
            lost = f"with generation {saved.number} postmulti does not know the instance {directory} any more"
            yield f"{lost}; afterwards: {again}"
    drained = reason_in(saved.texts["main.cf"])
    if drained:
        yield f"the host was drained then: with generation {saved.number} it answers 421 ({drained})"
    elif observed.postfix.drained:
        yield f"the host is drained: with generation {saved.number} it takes mail again"
    if saved.manifest is None:
        yield f"generation {saved.number} was made by hand: the host is not managed any more when it is live"
    if saved.foreign and lacks_relay_rule(holding):
        yield f"with generation {saved.number} smtpd does not start, as no restriction refuses strangers"
    yield "what is declared stays as it is: the next rollout goes forward again, unless that is taken back too"
