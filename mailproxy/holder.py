"""Who holds the lock of a host, and whether they still do."""

import os
from pathlib import Path

from mailproxy.lock import Lock

# How long a lock of another controller counts. Nothing rests on it but courtesy: a run whose lock was taken over
# finds that out before it touches a live file.
LEASE_SECONDS = 3600


def this_process() -> str:
    """Return who runs this: a text for people that also tells this machine, and a process of it, from others."""
    user = os.environ.get("SUDO_USER") or os.environ.get("USER") or f"uid {os.getuid()}"
    return f"{user}@{os.uname().nodename} process {os.getpid()} of {_machine()}"


def for_another_process() -> str:
    """Return who stages what another process is to activate, perhaps elsewhere: its lock outlives who took it."""
    return f"{this_process().partition(' process ')[0]} for phase=activate"


def is_stale(lock: Lock) -> bool:
    """Return whether a lock's run is over: its process on this machine is gone, or nobody heard of it for a lease."""
    words = lock.holder.split()
    if words[-2:] == ["of", _machine()] and words[-4:-3] == ["process"]:
        try:
            os.kill(int(words[-3]), 0)
        except (ProcessLookupError, ValueError, OverflowError):
            return True
        except PermissionError:
            pass
    return lock.age > LEASE_SECONDS


def _machine() -> str:
    """Return what tells this boot and this process namespace from others, as far as the system says."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8]
        return f"{boot}-{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return os.uname().nodename
