"""The order of the renames of a change, in which every moment is safe.

A domain that comes has its route before it is accepted, one that goes keeps its route until it is refused. Where both
happen at once, a table with the routes of both sides bridges the time between.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache

from mailproxy.managed import FEATURE_FILES, TABLES
from mailproxy.model import Entries, differing
from mailproxy.syntax import table_entries

# The name of the bridging table in the stage.
BRIDGE = "bridge"

# Pairs of staged and live name.
Renames = tuple[tuple[str, str], ...]


def bridged(before: str | None, after: Entries) -> tuple[tuple[str, ...], Entries | None]:
    """Return whose routes go away, and the routes of both sides where there are such.

    before is the source of the routes that are live, None where they stay or there are none. Without the route of a
    single address its mail has that of its domain at once. A domain that is not accepted any more may have mail queued.
    """
    if before is None:
        return (), None
    old = table_entries(before)
    gone = tuple(key for key in differing(old, after) if key not in after and "@" not in key)
    return (gone, _of_both(old, after)) if gone else ((), None)


def rerouted(before: str | None, after: Entries) -> tuple[str, ...]:
    """Return whose routes lead elsewhere afterwards; before is as in bridged()."""
    old = table_entries(before) if before is not None else after
    return tuple(key for key in differing(old, after) if key in old and key in after)


@lru_cache(maxsize=64)
def _of_both(old: Entries, new: Entries) -> Entries:
    return Entries({**old, **new})


def renames(
    changed: Collection[str],
    compiled: Mapping[str, Sequence[str]],
    routes_go: bool,
    with_bridge: bool,
    live: Collection[str],
) -> tuple[Renames, Renames]:
    """Return the renames before and after Postfix reads the change.

    changed names the sources that are replaced, compiled the files of each table that is, live what is there. A table
    is renamed before its source, as Postfix warns of a table that is older than its source. What features have comes
    first: a domain is not to be accepted before its recipients are known.
    """
    parts = {
        name: [*compiled.get(name, ()), *([name] if name in changed else [])] for name in (*TABLES, *FEATURE_FILES)
    }
    acceptance = ["main.cf", "relaydomains"] if _is_main_cf_first(compiled, live) else ["relaydomains", "main.cf"]
    names = [
        *(part for name in FEATURE_FILES for part in parts[name]),
        *([] if routes_go else parts["transport"]),
        *parts["aliases"],
        *compiled.get("relaydomains", ()),
        *(name for name in ("mynetworks", *acceptance) if name in changed),
    ]
    first = [(name, name) for name in names]
    if with_bridge:
        # With its source: while mail is queued for a removed domain they stay, and say what is live.
        bridge = [(name.replace("transport", BRIDGE, 1), name) for name in compiled["transport"]]
        first = [*bridge, (BRIDGE, "transport"), *first]
    late = [(name, name) for name in parts["transport"]] if routes_go else []
    return tuple(first), tuple(late)


def _is_main_cf_first(compiled: Mapping[str, Sequence[str]], live: Collection[str]) -> bool:
    """Whether main.cf is renamed before relaydomains.

    So it is where relaydomains becomes a table, so that main.cf never calls it a list while it has the form of a
    table's source, whose values would be domains; and not where it stops being one. Where it stays a list, and only the
    main.cf to come knows the name of the table with the new routes, what relaydomains adds has to wait for it.
    """
    if compiled.get("relaydomains"):
        return True
    is_list = "relaydomains" in live and not any(name.startswith("relaydomains.") for name in live)
    return is_list and any(name not in live for name in compiled.get("transport", ()))
