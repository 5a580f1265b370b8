"""What files/observe.sh printed on a host -> its observed state."""

import re
from collections.abc import Iterable, Iterator

from mailproxy.drained import reason_in
from mailproxy.host_postfix import HOST_PARAMETERS, HostPostfix
from mailproxy.lock import Held, Lock
from mailproxy.model import Entries
from mailproxy.observed import Foreign, LiveFile, Manifest, ObservedState, Saved, Unread
from mailproxy.syntax import assignments, main_cf_parameters

# What stands before the name of a file's content as it was when it was loaded, and as a generation keeps it.
_LOADED = "loaded/"
_SAVED = "saved/"
# And before the path of a file with certificates.
_CERTIFICATE = "certificate/"


def parsed(lines: list[str]) -> ObservedState | Unread:
    """Return what the records of files/observe.sh say; its manual page describes them."""
    if not lines or lines[-1] != "end":
        return Unread("its answer came incomplete", is_garbled=True)
    try:
        records, texts = _split(lines[:-1])
        if "unreadable" in records:
            return Unread(records["unreadable"][0])
        if "odd" in records:
            odd = "; ".join("{} is {}".format(*record.split()) for record in records["odd"])
            return Unread(f"{odd}; expected regular files (ls -l shows - as the first character)")
        return _state(records, texts)
    except (KeyError, ValueError, IndexError) as error:
        return Unread(f"its answer could not be understood: {error!r}", is_garbled=True)


def _split(lines: list[str]) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Return the records by their first word, and the contents of files by name."""
    records: dict[str, list[str]] = {}
    texts: dict[str, list[str]] = {}
    encodings: dict[str, str] = {}
    current = ""
    for line in lines:
        if line.startswith("|"):
            texts[current].append(line[1:])
            continue
        word, _, rest = line.partition(" ")
        if word == "content":
            current, _, encoding = rest.partition(" ")
            encodings[current], texts[current] = encoding, []
        else:
            records.setdefault(word, []).append(rest)
    return records, {name: _decoded(content, encodings[name]) for name, content in texts.items()}


def _decoded(lines: list[str], encoding: str) -> str:
    if encoding == "hex":
        # Shown to people and compared by digest, never written back: a byte that is no UTF-8 may be replaced.
        return bytes.fromhex("".join(lines).replace(" ", "")).decode("utf-8", errors="backslashreplace")
    return "".join(f"{line}\n" for line in lines)


def _state(records: dict[str, list[str]], texts: dict[str, str]) -> ObservedState:
    manifest = _manifest(records.get("manifest", []))
    main_cf = texts.get("main.cf", "")
    in_main_cf = main_cf_parameters(main_cf)
    # postmulti edits these while we are away, also in the main.cf of an instance that it leaves alone otherwise.
    instances = {name: value for name, value in in_main_cf.items() if name.startswith("multi_instance_")}
    # What the last rollout kept wins: a main.cf that lost its queue_directory is not to lose the queue.
    parameters = {**in_main_cf, **(manifest.loaded if manifest else {}), **instances}
    defaults = dict(assignments(records["default"]))
    kept = {name: parameters[name] for name in HOST_PARAMETERS if name in parameters}
    version = re.match(r"(\d+)\.(\d+)", defaults["mail_version"])
    if not version:
        raise ValueError(f"version {defaults['mail_version']!r}")
    # A host stays drained as it was loaded last; of an interrupted change that may be what is live.
    postfix = HostPostfix(
        version=(int(version[1]), int(version[2])),
        config_directory=records.get("instance", [defaults["config_directory"]])[0],
        default_database_type=kept.get("default_database_type", defaults["default_database_type"]),
        defaults=Entries(defaults),
        kept=Entries(kept),
        lacking=frozenset(records.get("lacks", [])),
        master_cf=texts.get("master.cf", ""),
        drained=reason_in(main_cf if "journal" in records else texts.get(f"{_LOADED}main.cf", main_cf)),
    )
    own = {name: text for name, text in texts.items() if not name.startswith((_LOADED, _SAVED, _CERTIFICATE))}
    queue = records.get("queue", ["unread"])[0]
    return ObservedState(
        postfix=postfix,
        table_types=frozenset(records["table_types"][0].split()) if "table_types" in records else None,
        running=records["running"][0] == "yes",
        live=dict(_live_files(records.get("file", []))),
        texts=own,
        missing_users=frozenset(records.get("nouser", [])),
        manifest=manifest,
        journal=_pairs(records["journal"]) if "journal" in records else None,
        lock=_lock(records) if "lock" in records else None,
        loaded_texts=_named_below(_LOADED, texts),
        foreign=_foreign(records, parameters) if "effective" in records else None,
        queue=int(queue) if queue.isdigit() else None,
        queued={name: int(count) for name, count in _pairs(records.get("queued", [])).items()}
        if queue.isdigit()
        else None,
        queues={name: int(count) for name, count in _pairs(records["queues"]).items()} if "queues" in records else None,
        saved=_saved(records, texts) if "generations" in records else None,
        is_bootstrapping="bootstrap" in records,
        programs=records.get("programs", [""])[0],
        certificates={**dict.fromkeys(records.get("nocertificate", [])), **_named_below(_CERTIFICATE, texts)},
        keys=_pairs(records.get("key", [])),
        missing_paths=frozenset(records.get("nopath", [])),
    )


def _named_below(prefix: str, texts: dict[str, str]) -> dict[str, str]:
    return {name.removeprefix(prefix): text for name, text in texts.items() if name.startswith(prefix)}


def _saved(records: dict[str, list[str]], texts: dict[str, str]) -> Saved:
    numbers = tuple(sorted(int(number) for number in records["generations"][0].split()))
    kept: dict[int, dict[str, str]] = {number: {} for number in numbers}
    for record in records.get("kept", []):
        number, name, *value = record.split(" ", 2)
        kept[int(number)][name] = " ".join(value)
    if "chosen" not in records:
        return Saved(numbers, records=kept)
    own: dict[str, list[str]] = {}
    for record in records.get("saved", []):
        word, _, rest = record.partition(" ")
        own.setdefault(word, []).append(rest)
    return Saved(
        numbers=numbers,
        records=kept,
        number=int(records["chosen"][0]),
        files=dict(_live_files(own.get("file", []))),
        texts=_named_below(_SAVED, texts),
        manifest=_manifest(own.get("manifest", [])),
        foreign=_foreign(own, ()) if "effective" in own else None,
    )


def _foreign(records: dict[str, list[str]], parameters: Iterable[str]) -> Foreign:
    builtin = dict(assignments(records.get("builtin", [])))
    # Postfix itself tells from 2.9 on; no parameter that is built in has a hyphen in its name.
    misspelled = {name for name in parameters if "-" in name and name.replace("-", "_") in builtin}
    return Foreign(
        effective=dict(assignments(records["effective"])),
        builtin=builtin,
        unused=frozenset(misspelled.union(records.get("unused", []))),
        unindexed=frozenset(records.get("unindexed", [])),
        is_broken="broken" in records,
    )


def _live_files(records: list[str]) -> Iterator[tuple[str, LiveFile]]:
    for record in records:
        name, digest, mode, uid, gid = record.split()
        yield name, LiveFile(digest, mode, f"{uid}:{gid}")


def _pairs(records: list[str]) -> dict[str, str]:
    return {word: rest for word, _, rest in (record.partition(" ") for record in records)}


def _manifest(records: list[str]) -> Manifest | None:
    """Return the manifest, None where there is none or where it was cut off before its last line."""
    if records[-1:] != ["end"]:
        return None
    manifest = Manifest({}, {})
    for record in records[:-1]:
        word, first, *rest = record.split(" ")
        if word == "file":
            manifest.digests[rest[0]] = first
        elif word == "loaded":
            manifest.loaded[first] = " ".join(rest)
        elif word == "record":
            manifest.record[first] = " ".join(rest)
    return manifest


def _lock(records: dict[str, list[str]]) -> Lock:
    pairs = _pairs(records["lock"])
    return Lock(
        token=pairs.get("token", ""),
        holder=pairs.get("holder", "somebody"),
        age=int(records["now"][0]) - int(pairs.get("since", "0")),
        busy=records["lock_busy"][0] == "yes",
        held=Held(*records["held"][0].split(" ")) if "held" in records else None,
    )
