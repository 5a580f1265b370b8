"""A command, run with all that it starts, and what all of that took together.

    unshare --pid --fork --kill-child --mount-proc python -m lab.process_tree FILE COMMAND ARGUMENT...

FILE then holds a Spent as JSON. It has to be PID 1 of a namespace of its own: there nothing escapes it, neither ssh's
masters, which go on in the background when the command has ended, nor what a killed command leaves. It ends them after
the command, outside of the time that it gives, and their CPU time counts. The exit status is that of COMMAND.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path

# Looking at the memory of a hundred processes takes a while: the pause after it is so many times as long, and at least
# this many seconds, so that looking never takes more than a tenth of one processor.
PAUSE_FACTOR = 10
SHORTEST_PAUSE = 0.1


@dataclasses.dataclass(frozen=True)
class Spent:
    """What a process tree took: seconds until the command ended, CPU seconds of all of it, its peak in KiB."""

    wall: float
    cpu: float
    memory: int


def proportional_kib(rollup: str) -> int:
    """Return the Pss of a smaps_rollup (proc(5)): memory that several processes share counts a part in each."""
    return sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def memory_of(pids: Iterable[int]) -> int:
    """Return the KiB that these processes have together, those that have ended having none."""
    total = 0
    for pid in pids:
        try:
            total += proportional_kib(Path(f"/proc/{pid}/smaps_rollup").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


def main(result: Path, command: list[str]) -> int:
    """Run the command, write what it and its offspring took, and return its exit status."""
    if os.getpid() != 1:
        sys.exit("lab.process_tree: not PID 1: would end processes that are not its own")
    peak, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        pause = 0.0
        while not ended.wait(pause):
            started = time.perf_counter()
            peak = max(peak, memory_of(_others()))
            pause = max(SHORTEST_PAUSE, PAUSE_FACTOR * (time.perf_counter() - started))

    watcher = threading.Thread(target=watch)
    started = time.perf_counter()
    with subprocess.Popen(command) as process:
        watcher.start()
        status = process.wait()
    wall = time.perf_counter() - started
    ended.set()
    watcher.join()
    _end_others()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A short-lived peak of one process may fall between two looks; the kernel has seen it.
    spent = Spent(wall, usage.ru_utime + usage.ru_stime, max(peak, usage.ru_maxrss))
    result.write_text(json.dumps(dataclasses.asdict(spent)))
    return status if status >= 0 else 128 - status


def _others() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and entry.name != "1"]


def _end_others() -> None:
    """Kill all that is left of the namespace and wait for it, so that what it used is known."""
    with contextlib.suppress(ProcessLookupError):
        # To PID 1 these are all the others of its namespace.
        os.kill(-1, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
