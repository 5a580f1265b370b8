"""The observed state of one host."""

from dataclasses import dataclass, field
from datetime import datetime

from mailproxy.host_postfix import HostPostfix
from mailproxy.lock import Lock
from mailproxy.managed import SECRETS
from mailproxy.render import MARK

# What every managed file and table is to be: readable by all, written by root alone; and what a secret is to be.
MODE = "-rw-r--r--"
SECRET_MODE = "-rw-------"
# The name under which main.cf stands that was live before an interrupted change.
BEFORE_MAIN_CF = "before/main.cf"


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
