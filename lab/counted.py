"""pyinfra, run as it is, with its round trips to the hosts counted.

    python -m lab.counted FILE ARGUMENT...

FILE then holds the sum over all hosts. A round trip is one request that the controller waits for: a command with
its input and its output; the start of SFTP (the subsystem and its greeting, one each); an SFTP request. Not counted:
the set-up of the connection, what SSH needs to open a channel, and the writes of an upload, which do not wait.
"""

import functools
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

# What waits for the host's answer; one layer each, so that nothing is counted twice.
WAITING = {
    "Channel": ("exec_command", "invoke_subsystem"),
    "SFTPClient": ("_send_version", "_request"),
}


class Counter:
    """How often the functions it has wrapped were called."""

    def __init__(self) -> None:
        self.calls = 0

    def wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that does the same and is counted."""

        @functools.wraps(function)
        def counting(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            return function(*arguments, **named)

        return counting


def main(result: Path) -> None:
    """Run pyinfra with the arguments of this process and write the count, however it ends."""
    # First of all: this makes the standard library cooperative, and paramiko has to be built on that.
    pyinfra = import_module("pyinfra_cli.main")
    paramiko = import_module("paramiko")
    counter = Counter()
    for owner, names in WAITING.items():
        for name in names:
            waiting = getattr(paramiko, owner)
            setattr(waiting, name, counter.wrapped(getattr(waiting, name)))
    try:
        pyinfra.main()
    finally:
        result.write_text(f"{counter.calls}\n")


if __name__ == "__main__":
    result = Path(sys.argv[1])
    # As if the program pyinfra itself had been started.
    sys.argv = ["pyinfra", *sys.argv[2:]]
    sys.path[0] = str(Path(sys.executable).parent)
    main(result)
