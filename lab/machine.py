"""What the lab asks of the machine it runs on: programs, locks, processes and network namespaces."""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import fcntl
import os
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PACKAGE_OF = {
    "ip": "iproute2",
    "mmdebstrap": "mmdebstrap debian-archive-keyring",
    "mount": "mount",
    "nsenter": "util-linux",
    "setsid": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "unshare": "util-linux",
}
CLONE_NEWNET = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """Why the lab cannot do what it was asked: what was found, what is needed, what to do."""


def require(*programs: str) -> None:
    """Raise LabError unless this is Linux, the user is root and the programs are installed."""
    if sys.platform != "linux":
        raise LabError(f"the lab needs Linux namespaces; this is {sys.platform}: use a Linux machine")
    if os.geteuid() != 0:
        raise LabError(f"the lab needs root for namespaces and overlay mounts; this is uid {os.geteuid()}: use sudo")
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        packages = sorted({PACKAGE_OF[program] for program in missing})
        raise LabError(f"not installed: {', '.join(missing)}; on Debian: apt-get install {' '.join(packages)}")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[IO[str]]:
    """Hold the exclusive lock of a file, waiting for it.

    Who holds it may remove the file; a child process given it keeps the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        with path.open("a", encoding="ascii") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"lab: waiting for another lab command, which holds {path}", file=sys.stderr)
                fcntl.flock(lock, fcntl.LOCK_EX)
            # The file may have been removed while this waited for it: then others lock another one.
            if path.exists() and path.samefile(f"/proc/self/fd/{lock.fileno()}"):
                yield lock
                return


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Inside, Ctrl-C and polite kills wait until the end: half a clean-up is worse than a late exit."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def arguments_of(pid: int) -> list[str]:
    """The command line of a process; empty when there is none (any more)."""
    try:
        for _ in range(100):
            arguments = os.fsdecode(Path(f"/proc/{pid}/cmdline").read_bytes()).split("\0")[:-1]
            if arguments:
                return arguments
            # It reads as empty for a moment during exec(2).  Kernel threads
            # and zombies, for which it stays empty, have no program.
            Path(f"/proc/{pid}/exe").readlink()
            time.sleep(0.001)
    except OSError:
        pass
    return []


def bearing(mark: str) -> list[int]:
    """The pids of all processes with mark as one whole argument."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if mark in arguments_of(pid)]


def kill_bearing(mark: str, timeout: float = 30) -> None:
    """Kill all processes with mark as an argument and wait until they and what they start are gone."""
    deadline = time.monotonic() + timeout
    # A process may just be starting another one: only the second look that finds nothing is believed.
    clean = 0
    while clean < 2:
        pids = bearing(mark)
        clean = 0 if pids else clean + 1
        with concurrent.futures.ThreadPoolExecutor(max_workers=16) as pool:
            list(pool.map(lambda pid: kill(pid, mark), pids))
        if time.monotonic() > deadline:
            raise LabError(f"these processes do not end: {pids}; try again, or look at them with ps")
        time.sleep(0.01)


def kill(pid: int, mark: str) -> None:
    """Kill a process if it bears mark, and wait up to ten seconds for its end."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Looked at only now: from here on the pid cannot come to mean another process.
        if mark in arguments_of(pid):
            signal.pidfd_send_signal(process, signal.SIGKILL)
            end = select.poll()
            end.register(process, select.POLLIN)
            end.poll(10_000)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def enter_network_of(pid: int) -> None:
    """Move the calling thread, and what it starts from now on, into the network of a process."""
    try:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            _set_network(namespace.fileno())
    except OSError as error:
        raise LabError(f"cannot enter the network of process {pid}: {error.strerror}") from None


@contextlib.contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Inside, the calling thread's new sockets belong to the network of a process; other threads do not move."""
    with Path("/proc/thread-self/ns/net").open("rb") as home:
        enter_network_of(pid)
        try:
            yield
        finally:
            _set_network(home.fileno())


def _set_network(namespace: int) -> None:
    """setns(2) for the calling thread; Python itself has it from 3.12 only."""
    if LIBC.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
