"""The observed state of one host: what files/observe.sh printed, parsed."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from mailproxy.drained import reason_in
from mailproxy.host_postfix import HOST_PARAMETERS, HostPostfix
from mailproxy.lock import Held, Lock
from mailproxy.managed import SECRETS
from mailproxy.model import Entries
from mailproxy.render import MARK
from mailproxy.syntax import assignments, main_cf_parameters

# What every managed file and table is to be: readable by all, written by root alone; and what a secret is to be.
MODE = "-rw-r--r--"
SECRET_MODE = "-rw-------"
# The name under which main.cf stands that was live before an interrupted change.
BEFORE_MAIN_CF = "before/main.cf"
# What stands before the name of a file's content as it was when it was loaded, and as a generation keeps it.
_LOADED = "loaded/"
_SAVED = "saved/"
# And before the path of a file with certificates.
_CERTIFICATE = "certificate/"


@dataclass(frozen=True)
class LiveFile:
    """A managed file or table on the disk: its digest and who may do what with it, as ls -ln shows it."""

    digest: str
    mode: str
    owner: str

    def is_ours_alone(self, name: str) -> bool:
        """Whether owner and mode are those of a managed file, or table, of that name."""
        return self.mode == mode_of(name) and self.owner == "0:0"


def mode_of(name: str) -> str:
    """Return the mode that a managed file, or the table of one, is to have."""
    return SECRET_MODE if name in SECRETS or name.rpartition(".")[0] in SECRETS else MODE


@dataclass(frozen=True)
class Manifest:
    """What the running Postfix has loaded, as the last activation recorded it.

    record says which activation that was: generation, activated (seconds since 1970), by, commit; each may be absent.
    """

    digests: dict[str, str]
    loaded: dict[str, str]
    record: dict[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
        """All that it holds."""
        return self.digests, self.loaded, self.record


@dataclass(frozen=True)
class Foreign:
    """What main.cf says where it is not the one that was loaded last, in the host's own Postfix's words.

    effective and builtin are parameters as they hold and as they would without main.cf; unused names those that nothing
    reads, and unindexed the tables whose source was edited after they were made. A broken one Postfix cannot read.
    """

    effective: dict[str, str]
    builtin: dict[str, str]
    unused: frozenset[str] = frozenset()
    unindexed: frozenset[str] = frozenset()
    is_broken: bool = False


@dataclass(frozen=True)
class Saved:
    """A generation that a host keeps: its number, None where it does not keep the one that was asked for.

    numbers are all that it keeps, records what is known of each: when, by whom, from which commit. One without a
    manifest was made by hand, and foreign says what it leads to.
    """

    numbers: tuple[int, ...]
    number: int | None = None
    files: dict[str, LiveFile] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict, repr=False)
    manifest: Manifest | None = None
    foreign: Foreign | None = None
    records: dict[int, dict[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class ObservedState:
    """A host as one round trip found it. A name that is not in live is absent on the host.

    texts holds main.cf, of the other managed files those that are not as expected, and by their path the files that a
    foreign main.cf names; never secrets. loaded_texts holds what the drifted ones were when they were loaded.
    table_types is None unless asked for; queue (messages), queued (recipients by relay domain) and queues (messages by
    queue) where they were not or could not be read.
    programs names the directory of the programs that it keeps, '' where it keeps none that are whole.
    A host that is bootstrapping had Postfix installed by mailproxy, and no change confirmed since.
    certificates holds what is asked for by path, the text in PEM or None where there is no such file; keys what belongs
    to them: the SHA-256 of the public key in PEM, "absent", "damaged", or "unknown" where the host cannot tell.
    missing_paths are files that are to be there; at is when all that was found, None where that is not known.
    """

    postfix: HostPostfix
    table_types: frozenset[str] | None
    running: bool
    live: dict[str, LiveFile]
    texts: dict[str, str] = field(repr=False)
    missing_users: frozenset[str] = frozenset()
    manifest: Manifest | None = None
    journal: dict[str, str] | None = None
    lock: Lock | None = None
    loaded_texts: dict[str, str] = field(default_factory=dict, repr=False)
    foreign: Foreign | None = None
    queue: int | None = None
    queued: dict[str, int] | None = None
    queues: dict[str, int] | None = None
    saved: Saved | None = None
    is_bootstrapping: bool = False
    programs: str = ""
    certificates: dict[str, str | None] = field(default_factory=dict, repr=False)
    keys: dict[str, str] = field(default_factory=dict)
    missing_paths: frozenset[str] = frozenset()
    at: datetime | None = field(default=None, compare=False)

    @property
    def has_usable_main_cf(self) -> bool:
        """Whether Postfix can read main.cf at all: without that it serves nobody."""
        return "main.cf" in self.live and not (self.foreign and self.foreign.is_broken)

    @property
    def is_managed(self) -> bool:
        """Whether a rollout has been here: its manifest says so, or where that was lost its main.cf."""
        return self.manifest is not None or self.texts.get("main.cf", "").startswith(MARK)

    @property
    def compiled_in(self) -> tuple[str, str]:
        """The directories of daemons and queue that its Postfix was compiled for."""
        return self.postfix.defaults["daemon_directory"], self.postfix.defaults["queue_directory"]

    def digest(self, name: str) -> str | None:
        """Return the digest of a live file or table, None where it is absent."""
        return self.live[name].digest if name in self.live else None


@dataclass(frozen=True)
class Unread:
    """A host that could not be observed, and why. Never to be taken for a host where files are absent.

    is_garbled says that what it answered is none of files/observe.sh's, whatever it was.
    """

    reason: str
    is_garbled: bool = field(default=False, compare=False)


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
