"""pyinfra as a fork of a process that has imported it already: three quarters of what a run of a few hosts costs.

The tests run it some two thousand times. It is the same program with the same arguments, environment, directory,
network and outputs, and a process of its own that can be killed; only the imports are not made again.

    python -m tests.fleet.forks SOCKET      what does that: it forks for each message that it is sent
"""

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from lab.machine import enter_network_of

REPOSITORY = Path(__file__).parent.parent.parent
# Below the largest message of a socket (net.core.wmem_max).
_MOST = 100_000
# What a run tells of itself: its number first, and how it ended, each in so many characters at most.
_WIDTH = 16


class Forked:
    """A run of pyinfra as subprocess.Popen has one: with what of that the tests use."""

    def __init__(self, outputs: Sequence[int], status: int):
        self._outputs = outputs
        self._status = status
        self.pid = int(os.read(status, _WIDTH).decode())
        self.returncode: int | None = None

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """Return its exit status, None while it runs; minus SIGKILL where it did not end by itself."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            said = os.read(self._status, _WIDTH).decode()
            self.returncode = int(said) if said else -signal.SIGKILL
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; subprocess.TimeoutExpired where that takes longer."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired("pyinfra", timeout or 0)
        status = self.poll()
        assert status is not None
        return status

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end and return both outputs; subprocess.TimeoutExpired where that takes longer."""
        deadline = None if timeout is None else time.monotonic() + timeout
        found = dict.fromkeys(self._outputs, b"")
        waiting = set(found)
        while waiting:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select(sorted(waiting), [], [], left)
            if not ready:
                raise subprocess.TimeoutExpired("pyinfra", timeout or 0)
            for output in ready:
                part = os.read(output, 65536)
                found[output] += part
                if not part:
                    waiting.discard(output)
        self.wait(timeout)
        for end in (*self._outputs, self._status):
            os.close(end)
        out, log = (found[output].decode("utf-8", "replace") for output in self._outputs)
        return out, log


Process = subprocess.Popen[str] | Forked


def start(arguments: Sequence[str], environment: Mapping[str, str], network_of: int) -> Forked:
    """Start pyinfra in the repository, in the network of a process; standard input is at its end."""
    out, out_end = os.pipe()
    log, log_end = os.pipe()
    status, status_end = os.pipe()
    message = json.dumps([list(arguments), dict(environment), network_of]).encode()
    assert len(message) <= _MOST, "an environment or arguments of that size were not thought of"
    socket.send_fds(_forker()[0], [message], [out_end, log_end, status_end])
    for end in (out_end, log_end, status_end):
        os.close(end)
    return Forked([out, log], status)


@cache
def _forker() -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """Start the process that forks, one for each process of tests; it ends with the socket to it."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.fleet.forks", str(theirs.fileno())]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "PYINFRA_PROGRESS": "off"},
        pass_fds=[theirs.fileno()],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    theirs.close()
    atexit.register(_end, ours, process)
    return ours, process


def _end(ours: socket.socket, process: "subprocess.Popen[bytes]") -> None:
    ours.close()
    process.wait()


def _serve(number: int) -> None:
    # Others stand in the place of these once pyinfra is imported (gevent.monkey).
    receive, fork, close = socket.socket(fileno=number).recvmsg, os.fork, os.close
    space = socket.CMSG_SPACE(3 * 4)
    main = import_module("pyinfra_cli.main").main
    for name in ("run", "operations", "verifying", "ledger", "bootstrapping", "adopting", "rolling_back"):
        import_module(f"mailproxy.{name}")
    # Who ended is gone at once, and no zombie that a lock would count as alive.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, ancillary, _, _ = receive(_MOST, space)
        if not message:
            return
        ends = [int.from_bytes(ancillary[0][2][at : at + 4], sys.byteorder) for at in (0, 4, 8)]
        if fork() == 0:
            import_module("gevent").reinit()
            _run(main, json.loads(message), ends)
        for end in ends:
            close(end)


def _run(main: Any, request: tuple[list[str], dict[str, str], int], ends: Sequence[int]) -> None:
    """Be pyinfra, in a process of its own, to its end."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    arguments, environment, network = request
    out, log, status = ends
    os.write(status, f"{os.getpid():{_WIDTH}}".encode())
    for end, number in ((out, 1), (log, 2)):
        os.dup2(end, number)
        os.close(end)
    enter_network_of(network)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["pyinfra", *arguments]
    sys.path[0] = str(Path(sys.executable).parent)
    code: object = 1
    try:
        main()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    if code is not None and not isinstance(code, int):
        os.write(2, f"{code}\n".encode())
        code = 1
    os.write(status, str(int(code or 0)).encode())
    os._exit(0)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
