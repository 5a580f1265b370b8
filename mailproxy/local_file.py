"""A file of this machine whose content goes to hosts and is shown to nobody."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timezone
from functools import cache
from pathlib import Path


@dataclass(frozen=True, repr=False)
class LocalFile:
    """Its path and text, and when it was read; error says why it could not be."""

    path: str
    text: str
    at: datetime = field(compare=False)
    error: str = ""

    def __repr__(self) -> str:
        # Part of the digest of a declaration.
        return f"LocalFile({self.path!r}, {hashlib.sha256(self.text.encode()).hexdigest()})"


@cache
def local_file(path: str) -> LocalFile:
    """Return a file, read once in a run."""
    now = datetime.now(timezone.utc)
    try:
        return LocalFile(path, Path(path).read_text(encoding="ascii", errors="replace"), now)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        return LocalFile(path, "", now, f"cannot be read here: {reason}")
