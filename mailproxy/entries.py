"""Mappings that many hosts share, hashed once."""

import hashlib
from collections.abc import Iterator, Mapping
from functools import lru_cache


class Entries(Mapping[str, str]):
    """An immutable, sorted mapping that is hashed once, so that work on it is done once however many hosts share it."""

    def __init__(self, entries: Mapping[str, str]):
        self._entries = dict(sorted(entries.items()))
        listing = "".join(f"{len(key)}:{key}={len(value)}:{value};" for key, value in self._entries.items())
        self.digest = hashlib.sha256(listing.encode()).hexdigest()

    def __getitem__(self, key: str) -> str:
        return self._entries[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Entries) and self.digest == other.digest

    def __repr__(self) -> str:
        return f"Entries({self._entries!r})"


class HiddenEntries(Entries):
    """Entries that nobody may see, wherever what holds them is printed."""

    def __repr__(self) -> str:
        return f"HiddenEntries({self.digest})"


@lru_cache(maxsize=1024)
def differing(before: Entries, after: Entries) -> tuple[str, ...]:
    """Return the keys that come, go or have another value, sorted; found once however many hosts share both."""
    if before == after:
        return ()
    return tuple(sorted(key for key in {**before, **after} if before.get(key) != after.get(key)))
