"""Taking hosts over as they are: pyinfra INVENTORY mailproxy.adopt [into=DIRECTORY] [--dry]."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from pyinfra import context
from pyinfra.api import State

from mailproxy.adoption import EXPECTATION, Adopted, adopted
from mailproxy.declaration import source_of
from mailproxy.declared_files import COMMON, KEYS, by_file, declared_in, header_of, text_of, without_example
from mailproxy.group_data import nearer
from mailproxy.observed import ObservedState, Unread
from mailproxy.once import Once
from mailproxy.reading import Reading
from mailproxy.review import hosts_of
from mailproxy.stop import StopError
from mailproxy.unexpressed import Remark

_DEFAULT = "group_data"
_COUNTED = {
    "relay_domains": ("domain", "domains"),
    "mynetworks": ("network", "networks"),
    "aliases": ("alias", "aliases"),
    "main_cf": ("parameter", "parameters"),
}
_readings: Once[Reading] = Once()


def adopt(into: str = _DEFAULT, **unknown: object) -> None:
    """Write group_data that says what the hosts of a run are, as they were made by hand; pyinfra calls this for each.

    The last one writes, all or nothing, and prints what could not be said; with --dry it prints the files instead.
    Then it ends the run by StopError, of status 0, or 1 where nothing was written.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; expected into=DIRECTORY; nothing was read")
    state = context.state
    reading = _readings.get(state, lambda: Reading(state))
    reading.read(context.host, EXPECTATION)
    if not reading.is_complete:
        return
    _refuse(_unadoptable(reading.observed), "with --limit you adopt other hosts")
    hosts = {name: one for name, one in reading.observed.items() if isinstance(one, ObservedState)}
    found = {name: adopted(name, observed) for name, observed in hosts.items()}
    directory = Path(str(into))
    said = state.inventory.get_data() if directory != Path(_DEFAULT) else {}
    declared = by_file(found, said)
    files = {directory / f"{name}.py": header_of(name) + text_of(keys) for name, keys in declared.items()}
    way_out = f"move those keys away, or adopt into=ANOTHER directory and name it by --group-data (found {directory})"
    _refuse(_declared_in_files(files), way_out)
    _refuse(_declared_elsewhere(state, found, is_default=directory == Path(_DEFAULT)), "move those keys away")
    is_dry = "--dry" in sys.argv[1:]
    if not is_dry:
        _write({path: _appended(path, text) for path, text in files.items()})
    counts = {directory / f"{name}.py": _counts(keys) for name, keys in declared.items()}
    click.echo("\n" + "\n".join(_report(found, files, counts, directory, is_dry)))
    raise StopError("", 0)


def _refuse(reasons: Iterable[str], way_out: str) -> None:
    listed = "".join(f"\n    {reason}" for reason in dict.fromkeys(reasons))
    if listed:
        raise StopError(f"nothing was written; {way_out}:{listed}")


def _unadoptable(hosts: Mapping[str, ObservedState | Unread]) -> Iterator[str]:
    for name, observed in hosts.items():
        if isinstance(observed, Unread):
            yield f"{name} could not be read: {observed.reason}"
        elif observed.is_managed:
            yield f"{name} is managed by mailproxy already: group_data says what it is"
        elif "main.cf" not in observed.texts:
            yield f"{name} has no main.cf, so there is nothing to adopt"


def _declared_in_files(files: Iterable[Path]) -> Iterator[str]:
    """Yield the files that would be written and declare our keys already: which should hold?"""
    for path in files:
        try:
            keys = declared_in(without_example(path.read_text(encoding="utf-8"))) if path.exists() else set()
        except (OSError, SyntaxError, ValueError) as error:
            yield f"{path} cannot be read: {error}"
        else:
            if keys:
                yield f"{path} declares {', '.join(sorted(keys))} already"


def _declared_elsewhere(state: State, found: Mapping[str, Adopted], is_default: bool) -> Iterator[str]:
    """Yield the keys that are declared where they would win over what is written, and say something else."""
    for name, one in found.items():
        host = state.inventory.get_host(name)
        stronger = {**(_common(state) if is_default else {}), **nearer(host)}
        for key in KEYS:
            if key in stronger and stronger[key] != one.declared[key]:
                yield f"{source_of(host, key)} declares {key} already, and not as it is on {name}"


def _common(state: State) -> Mapping[str, Any]:
    """Return what is declared for all hosts, less the example that group_data/all.py comes with."""
    path = Path(_DEFAULT) / f"{COMMON}.py"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    is_example = without_example(text) != text
    return {key: value for key, value in state.inventory.get_data().items() if not is_example or key not in KEYS}


def _appended(path: Path, text: str) -> str:
    """Return the text of a file with more at its end; what is there, such as how hosts are reached, stays."""
    if not path.exists():
        return text
    there = without_example(path.read_text(encoding="utf-8"))
    return f"{there.rstrip()}\n\n{text}" if there.strip() else text


def _write(files: Mapping[Path, str]) -> None:
    """Write all files, each in one step, or take back what was written."""
    before = {path: path.read_text(encoding="utf-8") if path.is_file() else None for path in files}
    beside = {path: path.with_name(f".{path.name}.new") for path in files}
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside[path].write_text(text, encoding="utf-8")
        for path in files:
            beside[path].replace(path)
    except OSError as error:
        for path, text_before in before.items():
            with contextlib.suppress(OSError):
                beside[path].unlink(missing_ok=True)
                if text_before is None:
                    path.unlink(missing_ok=True)
                elif path.read_text(encoding="utf-8") != text_before:
                    path.write_text(text_before, encoding="utf-8")
        raise StopError(f"{error.filename}: cannot be written: {error.strerror}; nothing was written") from None


def _counts(keys: Mapping[str, Any]) -> str:
    parts = [f"{len(keys[key])} {_COUNTED[key][len(keys[key]) != 1]}" for key in _COUNTED if key in keys]
    return ", ".join([*parts, *(key for key in keys if key not in _COUNTED)])


def _report(
    found: Mapping[str, Adopted], files: Mapping[Path, str], counts: Mapping[Path, str], directory: Path, is_dry: bool
) -> Iterator[str]:
    if is_dry:
        for path, text in files.items():
            yield f"--- {path}\n{text}"
    for path, count in counts.items():
        yield f"{'would write' if is_dry else 'wrote'} {path}: {count}"
    remarks = hosts_of({name: one.unexpressed for name, one in found.items()})
    own = [path.stem for path in files if "\nrelay_domains = " in files[path] and path.stem != COMMON]
    if own and len(files) > len(own):
        yield f"note: a domain added in {COMMON}.py does not reach {', '.join(own)}: relay_domains of their own"
    yield from _remarks("cannot be expressed, and changes with the first rollout:", remarks, len(found), is_void=False)
    yield from _remarks("left out, as it had no effect:", remarks, len(found), is_void=True)
    changes = hosts_of({name: [str(change) for change in one.changes or ()] for name, one in found.items()})
    if changes:
        yield "\nthe first review will show:"
        yield from (f"    {text}{_for(names, len(found))}" for text, names in changes.items())
    refused = [name for name, one in found.items() if one.changes is None]
    if refused:
        yield f"\nthe declaration of {', '.join(refused)} is refused as it stands: see above, and mend it first"
    option = "" if directory == Path(_DEFAULT) else f" --group-data {directory}"
    yield f"\nnext: pyinfra INVENTORY deploy.py{option} --dry"
    yield "Hosts made by hand that relay already need --data approve=takeover for the rollout."


def _remarks(title: str, remarks: Mapping[Remark, tuple[str, ...]], total: int, is_void: bool) -> Iterator[str]:
    shown = {remark: names for remark, names in remarks.items() if remark.is_void == is_void}
    if shown:
        yield f"\n{title}"
    for remark, names in shown.items():
        yield f"    {remark.place}{_for(names, total)}"
        yield f"        {remark.reason}" + (f"; {remark.remedy}" if remark.remedy else "")


def _for(names: Sequence[str], total: int) -> str:
    return f"  [all {total} hosts]" if len(names) == total > 1 else f"  [{', '.join(names)}]"
