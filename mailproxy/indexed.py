"""Indexed tables: which files they are, whether they are those of their sources, and what they are asked."""

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mailproxy.model import Entries, differing
from mailproxy.observed import ObservedState

# The files that make up an indexed table, by type (DATABASE_README).
SUFFIXES = {"hash": ("db",), "btree": ("db",), "lmdb": ("lmdb",), "cdb": ("cdb",), "dbm": ("dir", "pag")}
# The word of the manifest for the type of the tables: hash and btree share file names.
TABLE_TYPE = "table_type"


def crossing(table_type: str, compiled: Iterable[Sequence[str]], observed: ObservedState) -> tuple[str, str] | None:
    """Return the types of tables that change and keep their names, None where no process could mistake one.

    compiled are the names of the tables that are replaced.
    """
    if not observed.running or not observed.has_usable_main_cf:
        return None
    for other, suffixes in SUFFIXES.items():
        shares = other != table_type and suffixes == SUFFIXES.get(table_type)
        if shares and any(compiled) and f"{other}:{observed.postfix.config_directory}/" in observed.texts["main.cf"]:
            return other, table_type
    return None


@dataclass(frozen=True)
class Index:
    """A table that is to be compiled from its source, and why."""

    table: str
    type: str
    entries: Entries
    reason: str

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the compiled table."""
        return tuple(f"{self.table}.{suffix}" for suffix in SUFFIXES[self.type])


@dataclass(frozen=True)
class Query:
    """A question to a live table after the swap; value is None where it is to find nothing."""

    type: str
    table: str
    key: str
    value: str | None


@lru_cache(maxsize=1024)
def listing_digest(entries: Entries) -> str:
    """Return the SHA-256 of the entries as postmap -s prints them, sorted by byte."""
    lines = sorted(f"{key}\t{value}\n".encode() for key, value in entries.items())
    return hashlib.sha256(b"".join(lines)).hexdigest()


def why_stale(index: Index, observed: ObservedState) -> str:
    """Return why the compiled table is not the one of its source, '' where it is."""
    manifest = observed.manifest
    for name in index.files:
        live = observed.live.get(name)
        if live is None:
            return f"{name} is missing"
        if manifest is None or name not in manifest.digests:
            return f"{name} was not made by mailproxy"
        if manifest.digests[name] != live.digest:
            return f"{name} is not the table that was indexed from {index.table}"
        if not live.is_ours_alone(name):
            return f"{name} has mode {live.mode} and owner {live.owner}"
    if manifest is not None and manifest.loaded.get(TABLE_TYPE) != index.type:
        return f"{index.files[0]} was indexed as {manifest.loaded.get(TABLE_TYPE)}"
    if manifest is not None and manifest.digests.get(index.table) != observed.digest(index.table):
        return f"{index.files[0]} was indexed from another {index.table}"
    return ""


@lru_cache(maxsize=256)
def queries_of(table_type: str, table: str, before: Entries, after: Entries) -> tuple[Query, ...]:
    """Return questions to a table: every key that comes, changes or goes, and one that may have stayed; all hosts with
    the same change share them."""
    differs = differing(before, after)
    come = [*(key for key in differs if key in after), *itertools.islice(after, 1)]
    return (
        *(Query(table_type, table, key, after[key]) for key in come),
        *(Query(table_type, table, key, None) for key in differs if key not in after),
    )
