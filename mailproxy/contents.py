"""The contents of managed files that hosts have alike, by their digest: each is sent by one host and kept once."""

import hashlib
from dataclasses import replace

from mailproxy.managed import SHARED, TABLES
from mailproxy.observed import ObservedState

# Of these a host may send the digest alone (files/observe.sh, brief).
_LARGE = (*(name for name in TABLES if name != "aliases"), *SHARED)


class Contents:
    """What hosts have sent."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def missing(self, observed: ObservedState, expected: str) -> frozenset[str]:
        """Return the digests of what a host left out that is not as expected, and that no host has sent."""
        wanted = frozenset(expected.splitlines())
        digests = {name: observed.live[name].digest for name in _LARGE if name in observed.live}
        return frozenset(
            digest
            for name, digest in digests.items()
            if name not in observed.texts and f"want {name} {digest}" not in wanted and digest not in self._texts
        )

    def shared(self, observed: ObservedState) -> ObservedState:
        """Return what was observed with what the host left out, as others have sent it."""
        texts = dict(observed.texts)
        for name, live in observed.live.items():
            text = texts.get(name, "")
            if live.digest not in self._texts and text and hashlib.sha256(text.encode()).hexdigest() == live.digest:
                self._texts[live.digest] = text
            if live.digest in self._texts:
                texts[name] = self._texts[live.digest]
        postfix = replace(observed.postfix, master_cf=texts.get("master.cf", ""))
        return replace(observed, texts=texts, postfix=postfix)
