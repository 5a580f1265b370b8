"""The types of indexed tables: which files they are, and which of them share their names."""

from collections.abc import Iterable, Sequence

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
