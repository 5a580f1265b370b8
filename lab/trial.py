"""What lab/bench and lab/soak share: a fresh lab of their own, the two deploys, and how such a command ends."""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lab import fleet
from lab.fleet import Fleet
from lab.machine import LabError, locked, require, uninterrupted
from lab.root import Kind

ROOT = Path(__file__).resolve().parent.parent
NEXT_HOP = "smtp:[10.1.0.2]"

# What each tool's user types.
DEPLOYS = {"textbook": "lab/textbook/deploy.py", "ours": "deploy.py"}


def declaration(relay_domains: Mapping[str, str]) -> dict[str, Any]:
    """Return the keys of group_data with these relay domains, in forms that every deploy reads."""
    return {
        "relay_domains": dict(relay_domains),
        "mynetworks": ["127.0.0.0/8", "10.1.0.2/32"],
        "aliases": {"postmaster": "root"},
        "message_size_limit": 20480000,
        "main_cf": {},
    }


def group_data(relay_domains: Mapping[str, str], further: Mapping[str, Any] | None = None) -> str:
    """Return group_data with these relay domains and further keys; of the project's own only how hosts are reached
    counts."""
    reached = {"ssh_paramiko_connect_kwargs": {"compress": True}}
    return "".join(
        f"{key} = {value!r}\n" for key, value in {**declaration(relay_domains), **reached, **(further or {})}.items()
    )


@contextlib.contextmanager
def fresh_lab(name: str, hosts: int | Sequence[Kind]) -> Iterator[Fleet]:
    """A lab of that many fresh hosts, or of these kinds, which is gone afterwards, whatever happens."""
    try:
        yield fleet.up(hosts, name)
    finally:
        with uninterrupted():
            fleet.down(name)


@contextlib.contextmanager
def alone(name: str) -> Iterator[None]:
    """Wait until nobody else tries something in the lab of that name: both would be given the same hosts."""
    lock = fleet.RUN / f"{name}.trying"
    with locked(lock):
        try:
            yield
        finally:
            lock.unlink()


@contextlib.contextmanager
def ended_with_us(process: subprocess.Popen[Any]) -> Iterator[None]:
    """Kill a process when waiting for it is given up: its lab is about to go."""
    try:
        yield
    except BaseException:
        process.kill()
        process.wait()
        raise


def ended(command: str, work: Callable[[], int]) -> int:
    """Do the work of a command and return its exit status: 1, and a line that says why, where it cannot be done."""
    for interruption in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(interruption, _interrupt)
    try:
        require("ip", "mount", "nsenter", "setsid", "ssh", "ssh-keygen", "unshare")
        if not Path(sys.executable).with_name("pyinfra").exists():
            raise LabError(f"found no pyinfra beside {sys.executable}: run lab/setup")
        return work()
    except (LabError, OSError, subprocess.SubprocessError) as error:
        print(f"{command}: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{command}: interrupted", file=sys.stderr)
    return 1


def up_to(largest: int) -> Callable[[str], int]:
    """Return the type of an argument that is a number from 1 to largest."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= largest):
            raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 1 to {largest}")
        return int(text)

    return number


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
