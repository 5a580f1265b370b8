"""The command line of the lab.

lab/lab up [N | KIND[*N]...]    bring up fresh hosts, N of Debian 12 (3) or these, in place of those that were there;
                                kinds are debian11, debian12, debian13, openbsd and alpine (made like these two)
lab/lab down                    take everything down and remove it
lab/lab status                  what is up and what answers
lab/lab run COMMAND…            run a command in the controller's network
lab/lab ssh [USER@]HOST [COMMAND…]
                                log in to a host, as root unless told otherwise
lab/lab root [KIND...]          only build the cached roots that hosts are made from, by default all

LAB=NAME in the environment chooses among labs that are up at the same time (default).
Exit status: that of COMMAND; otherwise 0, 1 for a failure, 2 for wrong usage.
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from lab import fleet
from lab.fleet import Fleet
from lab.hosts import MAX_HOSTS, Host, controller_pid
from lab.machine import LabError, enter_network_of, require
from lab.root import DEBIAN12, KINDS, Kind, cached_roots


class UsageError(Exception):
    """A command line the lab does not understand."""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit status."""
    for interruption in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(interruption, _interrupt)
    try:
        return _dispatch(arguments)
    except UsageError as error:
        print(f"lab: {error}; see lab/lab help", file=sys.stderr)
        return 2
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 1


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _dispatch(arguments: Sequence[str]) -> int:
    match list(arguments):
        case ["up"]:
            return _up([DEBIAN12] * 3)
        case ["up", *wanted]:
            return _up(_hosts(wanted))
        case ["down"]:
            require()
            fleet.down()
            return 0
        case ["status"]:
            return _status()
        case ["run", command, *rest]:
            require()
            _become([command, *rest], controller_pid(fleet.directory_of()))
        case ["ssh", destination, *command]:
            _ssh(destination, command)
        case ["root", *names]:
            kinds = [_kind(name) for name in names or KINDS]
            cached_roots(kinds)
            print(*(kind.root for kind in kinds), sep="\n")
            return 0
        case ["help" | "-h" | "--help"]:
            print(__doc__, end="")
            return 0
        case ["run" | "ssh" as verb]:
            raise UsageError(f"{verb} what?")
        case ["down" | "status" as verb, *rest]:
            raise UsageError(f"{verb} does not take {' '.join(rest)!r}")
        case [verb, *_]:
            raise UsageError(f"no such command: {verb!r}")
        case _:
            raise UsageError("no command")


def _hosts(wanted: Sequence[str]) -> list[Kind]:
    """Return the kind of each host that the words after "up" ask for."""
    kinds: list[Kind] = []
    for word in wanted:
        name, star, count = ("debian12", "*", word) if word[:1].isdigit() else word.partition("*")
        count = count if star else "1"
        if not (count.isascii() and count.isdigit() and 1 <= int(count) <= MAX_HOSTS):
            raise UsageError(f"up takes a number of hosts from 1 to {MAX_HOSTS}, not {count!r}")
        kinds += [_kind(name)] * int(count)
    if len(kinds) > MAX_HOSTS:
        raise UsageError(f"up takes {MAX_HOSTS} hosts at the most, not {len(kinds)}")
    return kinds


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise UsageError(f"no such kind of host: {name!r}; there are {', '.join(KINDS)}, or a number of Debian 12")
    return KINDS[name]


def _up(kinds: Sequence[Kind]) -> int:
    require("ip", "mount", "nsenter", "setsid", "ssh", "ssh-keygen", "unshare")
    directory = fleet.up(kinds).directory
    print(f"lab {directory.name}: {len(kinds)} hosts and the internal mail server are up")
    return 0


def _status() -> int:
    """Print a line for each host; 1 when one of them does not answer."""
    require()
    lab = Fleet.load()
    everyone = (*lab.hosts, lab.mail_server)
    with concurrent.futures.ThreadPoolExecutor(max_workers=8) as pool:
        states = list(pool.map(_state_of, everyone))
    print(f"lab {lab.directory.name}: {lab.directory}")
    for host, state in zip(everyone, states, strict=True):
        addresses = sorted({host.address, host.internal_address}, reverse=True)
        print(f"{host.name:20} {host.kind.name:9} {' '.join(addresses):24} {state}")
    return 0 if all(state.startswith("up") for state in states) else 1


def _state_of(host: Host) -> str:
    if not host.is_up:
        return "off"
    silent = [name for name, port in (("ssh", 22), ("smtp", 25)) if not host.answers(port)]
    return f"does not answer: {', '.join(silent)}" if silent else f"up, pid {host.pid}"


def _ssh(destination: str, command: Sequence[str]) -> NoReturn:
    require("ssh")
    lab = Fleet.load()
    host = lab.host(destination.rpartition("@")[2])
    # Only the internal network reaches the mail server.
    asker = host.pid if host is lab.mail_server else controller_pid(lab.directory)
    _become(["ssh", "-F", str(lab.ssh_config), destination, *command], asker)


def _become(argv: Sequence[str], pid: int) -> NoReturn:
    """Go on as another program in the network of process pid."""
    enter_network_of(pid)
    # Python ignores these two, and a program would inherit that.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execvp(argv[0], list(argv))
    except OSError as error:
        raise LabError(f"cannot run {argv[0]!r}: {error.strerror}") from None
