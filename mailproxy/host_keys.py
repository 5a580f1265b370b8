"""Host keys that are found by name.

paramiko compares each line of a known_hosts with all above it when it reads the file, and with each host when it
connects: the more hosts a fleet has, the longer for each of them (lab/bench-connecting, docs/speed.md).
"""

from typing import Any

from paramiko.hostkeys import HostKeyEntry, HostKeys
from pyinfra.connectors.sshuserclient import client

_HASHED = "|1|"


class _Lines(HostKeys):
    """The host keys of some lines; paramiko keeps these in an attribute of its own."""

    _entries: list[HostKeyEntry]

    def names(self, hostname: str, place: int) -> bool:
        """Whether the line at a place is about a host."""
        return bool(self._hostname_matches(hostname, self._entries[place]))  # type: ignore[attr-defined]


class NamedHostKeys(_Lines):
    """The host keys of a file; what it says of a host is what paramiko's own would say."""

    def __init__(self, filename: str | None = None):
        self._places: dict[str, list[int]] = {}
        self._hashed: list[int] = []
        self._known = 0
        super().__init__(filename)

    def lookup(self, hostname: str) -> Any:
        """Return a mapping of the keys of a host by their kind, None where there are none."""
        self._learn()
        places = list(self._places.get(hostname, ()))
        if not hostname.startswith(_HASHED):
            # Of a hashed name nothing but trying tells whose it is.
            places += [place for place in self._hashed if self.names(hostname, place)]
        if not places:
            return None
        found = _Lines()
        found._entries = [self._entries[place] for place in sorted(set(places))]
        return found.lookup(hostname)

    def _learn(self) -> None:
        """Take in the lines that were added; all anew where some were taken away."""
        if len(self._entries) < self._known:
            self._places, self._hashed, self._known = {}, [], 0
        for place in range(self._known, len(self._entries)):
            for name in self._entries[place].hostnames or ():
                self._places.setdefault(name, []).append(place)
                if name.startswith(_HASHED):
                    self._hashed.append(place)
        self._known = len(self._entries)


def find_host_keys_by_name() -> None:
    """Have pyinfra keep host keys so; for an inventory, which is executed before pyinfra connects."""
    vars(client)["HostKeys"] = NamedHostKeys
