"""Which commit the declared state comes from."""

import subprocess
from pathlib import Path


def commit_at(directory: Path) -> str:
    """Return the short name of the commit checked out there, "+ uncommitted changes" where there are.

    '' outside of a repository, and where the repository does not know the directory.
    """
    name = _git(directory, "rev-parse", "--short=12", "HEAD")
    if not name or not _git(directory, "ls-files", "."):
        return ""
    return f"{name} + uncommitted changes" if _git(directory, "status", "--porcelain") else name


def _git(directory: Path, *arguments: str) -> str:
    """Return what git says, '' where there is no git or no repository."""
    try:
        said = subprocess.run(["git", *arguments], cwd=directory, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return said.stdout.strip() if said.returncode == 0 else ""
