"""The cached roots that lab hosts are made from: one directory for each kind of host."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab.machine import LabError, locked, require

LAB = Path(__file__).resolve().parent
CACHE = LAB / "cache"
FILES = LAB / "files"


@dataclass(frozen=True)
class Kind:
    """The recipe of a root: what mmdebstrap installs, and the programs in lab/files that finish it."""

    name: str
    suite: str
    packages: tuple[str, ...]
    setup: str = "root-setup"
    files: tuple[str, ...] = ("host-boot",)

    def digest(self) -> str:
        """Differs whenever a root made by this recipe would."""
        recipe = hashlib.sha256(repr((self.suite, self.packages)).encode())
        for program in (self.setup, *self.files):
            recipe.update((FILES / program).read_bytes())
        return recipe.hexdigest()[:16]

    @property
    def root(self) -> Path:
        """Where its root is cached, once built."""
        return CACHE / f"{self.name}-{self.digest()}"


DEBIAN12 = Kind(
    name="debian12",
    suite="bookworm",
    # mksh: the programs under files/ are run under it as well, as they would be on OpenBSD.
    packages=("openssh-server", "postfix", "sudo", "iproute2", "tini", "busybox", "procps", "mksh", "libfaketime"),
)

# Without Postfix: mailproxy.bootstrap installs it, from a repository that the host carries itself.
BARE = Kind(
    name="bare",
    suite="bookworm",
    packages=("openssh-server", "sudo", "iproute2", "tini", "busybox", "procps"),
    setup="bare-setup",
    files=("host-boot", "root-setup"),
)


def cached_root(kind: Kind) -> Path:
    """The root of a kind, built first when it is not there: about half a minute, 200 MB."""
    root = kind.root
    if root.is_dir():
        return root
    require("mmdebstrap", "unshare")
    if ":" in str(CACHE):
        raise LabError(f"apt cannot make a root below a path with a colon: {CACHE}; use a checkout elsewhere")
    # The build holds the lock as well: when only this process is killed, the
    # next one waits for the orphan instead of building in its way.
    with locked(CACHE / "lock") as lock:
        for leftover in CACHE.glob("building-*"):
            shutil.rmtree(leftover)
        if not root.is_dir():
            directory = Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
            try:
                _build(kind, directory / "root", lock.fileno())
                (directory / "root").rename(root)
            finally:
                shutil.rmtree(directory)
            _remove_outdated(kind)
    return root


def _remove_outdated(kind: Kind) -> None:
    """Remove the roots of earlier recipes of a kind that no host of any lab stands on."""
    used = {link.readlink() for link in LAB.glob("run/*/hosts/*/lower")}
    for root in CACHE.glob(f"{kind.name}-*"):
        if root != kind.root and root not in used:
            shutil.rmtree(root)


def _build(kind: Kind, root: Path, lock: int) -> None:
    """Make a root; its output goes to lab/cache/KIND.log."""
    print(f"lab: building the root {kind.root.name}, about half a minute", flush=True)
    log = CACHE / f"{kind.name}.log"
    # In namespaces of its own nothing is ever mounted under a directory that
    # is removed later, and no part of the build outlives unshare.
    command = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    command += ["mmdebstrap", "--variant=minbase", f"--include={','.join(kind.packages)}"]
    command += [f"--customize-hook={FILES / kind.setup}", kind.suite, str(root)]
    with log.open("wb") as output:
        status = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[lock],
            umask=0o022,
            check=False,
        ).returncode
    if status != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabError(
            f"mmdebstrap {kind.suite} ended with status {status} (it needs Debian's keys, package "
            f"debian-archive-keyring, and a mirror); the end of {log}:\n{tail}"
        )
    root.chmod(0o755)
