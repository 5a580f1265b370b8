"""The cached roots that lab hosts are made from: one directory for each kind of host."""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lab.machine import LabError, locked, require

LAB = Path(__file__).resolve().parent
CACHE = LAB / "cache"
FILES = LAB / "files"
# Installing is half waiting for the mirror, half work for one processor.
BUILT_AT_ONCE = 2


@dataclass(frozen=True)
class Kind:
    """A kind of host: the recipe of its root, and where things are on it.

    The recipe: what mmdebstrap installs, or the kind whose root is copied, and what finishes it.
    """

    name: str
    suite: str = ""
    packages: tuple[str, ...] = ()
    base: Kind | None = None
    setup: str = "root-setup"
    files: tuple[str, ...] = ()
    config_directory: str = "/etc/postfix"
    commands: str = "/usr/sbin"
    daemons: str = "/usr/lib/postfix/sbin"
    database_type: str = "hash"
    proc: str = "/proc"
    privilege: Literal["sudo", "doas"] = "sudo"  # how the user deploy becomes root
    is_bare: bool = False  # without Postfix

    def digest(self) -> str:
        """Differs whenever a root made by this recipe would."""
        base = self.base.digest() if self.base else ""
        recipe = hashlib.sha256(repr((self.suite, self.packages, base)).encode())
        for program in (self.setup, *self.files):
            recipe.update((FILES / program).read_bytes())
        return recipe.hexdigest()[:16]

    @property
    def root(self) -> Path:
        """Where its root is cached, once built."""
        return CACHE / f"{self.name}-{self.digest()}"


PACKAGES = (
    *("openssh-server", "postfix", "postfix-lmdb", "postfix-cdb", "sudo", "iproute2", "tini", "busybox", "procps"),
    # The programs under files/ are run under it as well, as they would be on OpenBSD.
    *("mksh", "libfaketime", "ssl-cert"),
)
DEBIAN11 = Kind("debian11", suite="bullseye", packages=PACKAGES, files=("host-boot",))
# What those need that are made of it comes along: it changes nothing on a Debian that has its own awk and no doas.conf.
DEBIAN12 = Kind("debian12", suite="bookworm", packages=(*PACKAGES, "opendoas", "original-awk"), files=("host-boot",))
DEBIAN13 = Kind("debian13", suite="trixie", packages=PACKAGES, files=("host-boot",))
OPENBSD = Kind(
    "openbsd",
    base=DEBIAN12,
    setup="like-openbsd",
    files=("hide", "bsd-tool", "bsd-sha256", "bsd-stat", "rcctl"),
    config_directory="/opt/postfix",
    commands="/usr/local/sbin",
    daemons="/usr/local/libexec/postfix",
    proc="/prc0",
    privilege="doas",
)
ALPINE = Kind(
    "alpine",
    base=DEBIAN12,
    setup="like-alpine",
    files=("hide", "rc-service"),
    database_type="lmdb",
    privilege="doas",
)
# Without Postfix: mailproxy.bootstrap installs it, from a repository that the host carries itself.
BARE = Kind(
    name="bare",
    suite="bookworm",
    packages=("openssh-server", "sudo", "iproute2", "tini", "busybox", "procps"),
    setup="bare-setup",
    files=("host-boot", "root-setup"),
    is_bare=True,
)
# Debian 12 with what Ansible needs on a host: for lab/bench, and not among those that are built when none are named.
PYTHON = Kind("python", suite="bookworm", packages=(*DEBIAN12.packages, "python3"), files=("host-boot",))
# Debian 12 with a milter, for the test of filters alone.
FILTERING = Kind("filtering", suite="bookworm", packages=(*DEBIAN12.packages, "opendkim"), files=("host-boot",))
KINDS = {kind.name: kind for kind in (DEBIAN11, DEBIAN12, DEBIAN13, OPENBSD, ALPINE, BARE)}
KNOWN = {**KINDS, PYTHON.name: PYTHON, FILTERING.name: FILTERING}


def cached_root(kind: Kind) -> Path:
    """The root of a kind, built first when it is not there: about half a minute, 250 MB."""
    cached_roots([kind])
    return kind.root


def cached_roots(kinds: Iterable[Kind]) -> None:
    """Build those roots of these kinds that are not there, some at a time."""
    wanted = list(dict.fromkeys(kinds))
    if all(kind.root.is_dir() for kind in wanted):
        return
    require("mmdebstrap", "unshare")
    if ":" in str(CACHE):
        raise LabError(f"apt cannot make a root below a path with a colon: {CACHE}; use a checkout elsewhere")
    # The build holds the lock as well: when only this process is killed, the
    # next one waits for the orphan instead of building in its way.
    with locked(CACHE / "lock") as lock:
        for leftover in CACHE.glob("building-*"):
            shutil.rmtree(leftover)
        # Those that others are copied from come first.
        installed = list(dict.fromkeys(kind.base or kind for kind in wanted))
        with concurrent.futures.ThreadPoolExecutor(BUILT_AT_ONCE) as pool:
            builds = {kind: pool.submit(_build, kind, lock.fileno()) for kind in installed}
            for kind in sorted(wanted, key=lambda kind: kind.base is not None):
                if kind.base is not None:
                    builds[kind.base].result()
                    builds[kind] = pool.submit(_build, kind, lock.fileno())
            for build in builds.values():
                build.result()


def _build(kind: Kind, lock: int) -> None:
    """Build a root that is not there; its output goes to lab/cache/KIND.log."""
    if kind.root.is_dir():
        return
    print(f"lab: building the root {kind.root.name}", flush=True)
    with _directory() as directory:
        root = directory / "root"
        if kind.base is not None:
            # Owners, modes and links of any kind as they are, and no space of its own where the file system can share.
            subprocess.run(["cp", "-a", "--reflink=auto", str(kind.base.root), str(root)], check=True)
            command = [str(FILES / kind.setup), str(root)]
        else:
            command = ["mmdebstrap", "--variant=minbase", f"--include={','.join(kind.packages)}"]
            # A release outlives its suites of updates: the mirror keeps it when it has none any more.
            command += ['--setup-hook=sed -i -e "/-updates /d" -e "/-security /d" "$1/etc/apt/sources.list"']
            command += [f"--customize-hook={FILES / kind.setup}", kind.suite, str(root)]
        _run(kind, command, lock)
        root.chmod(0o755)
        root.rename(kind.root)
    _remove_outdated(kind)


@contextlib.contextmanager
def _directory() -> Iterator[Path]:
    """A directory to build in, which is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="building-", dir=CACHE))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


def _remove_outdated(kind: Kind) -> None:
    """Remove the roots of earlier recipes of a kind that no host of any lab stands on."""
    used = {link.readlink() for link in LAB.glob("run/*/hosts/*/lower")}
    for root in CACHE.glob(f"{kind.name}-*"):
        if root != kind.root and root not in used:
            shutil.rmtree(root)


def _run(kind: Kind, command: list[str], lock: int) -> None:
    """Run the last and longest step of a build."""
    log = CACHE / f"{kind.name}.log"
    # In namespaces of its own nothing is ever mounted under a directory that
    # is removed later, and no part of the build outlives unshare.
    isolated = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", *command]
    with log.open("wb") as output:
        status = subprocess.run(
            isolated,
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
            f"{Path(command[0]).name} for {kind.name} ended with status {status} (mmdebstrap needs Debian's keys, "
            f"package debian-archive-keyring, and a mirror); the end of {log}:\n{tail}"
        )
