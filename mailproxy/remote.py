"""A program on a host: run over pyinfra's connection, and how it ended in words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gevent
from paramiko import SSHException
from pyinfra import logger
from pyinfra.api import Host, State, StringCommand
from pyinfra.api.command import PyinfraCommand

from mailproxy.as_text import visible
from mailproxy.privilege import as_root, left_to_us
from mailproxy.program import LACKING, LOADER, Command

LOST = "the connection was lost or timed out"
_MARGIN_SECONDS = 30


def time_limit(timeout: float | None) -> float | None:
    """Return how many seconds a round trip may take at most where pyinfra's _timeout is that, None without a limit.

    pyinfra counts only while it reads output: a peer that is gone without a word is found out when a new channel is
    opened, which nothing else limits.
    """
    return timeout + _MARGIN_SECONDS if timeout else None


@dataclass(frozen=True)
class Ended:
    """How a program ended: the lines it printed, and why it failed, '' where it did not."""

    lines: tuple[str, ...] = ()
    reason: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether nobody knows how it ended: the host brings it to its end by itself."""
        return self.reason == LOST


class Remote:
    """A host, and how pyinfra was told to run things on it."""

    def __init__(self, state: State, host: Host, arguments: Any):
        self.state = state
        self.host = host
        self.arguments = arguments

    def run(self, program: Command, stdin: str = "", *, is_kept: bool = True) -> Ended:
        """Run a program as root: in one round trip, or two where the host does not keep it after all."""
        if is_kept:
            ended = self._run(as_root(self.host, program, stdin, by_name=True))
            if ended.lines != (LACKING,):
                return ended
        return self._run(as_root(self.host, program, stdin))

    def _run(self, stdin: str) -> Ended:
        program = StringCommand(LOADER, _stdin=stdin)
        try:
            with gevent.Timeout(time_limit(self.arguments.get("_timeout")), TimeoutError):
                status, output = program.execute(self.state, self.host, self.arguments | left_to_us())
        except (OSError, EOFError, SSHException):
            return Ended(reason=LOST)
        lines = tuple(visible(line) for line in output.stdout_lines)
        if status:
            return Ended(lines)
        reason = visible(" ".join(output.stderr_lines).removeprefix("mailproxy: "))
        # A program that was cut off by the end of its connection has no exit status and says nothing.
        return Ended(lines, reason or "it ended without a reason")

    def say(self, text: str) -> None:
        """Tell the user something about this host."""
        self.host.log(visible(text))

    def warn(self, text: str) -> None:
        """Tell the user what is not as it should be, and holds nothing up."""
        self.host.log_styled(visible(text), fg="yellow", log_func=logger.warning)

    def complain(self, text: str) -> bool:
        """Tell the user why this host failed; returns False, which makes pyinfra fail it."""
        # Under --no-wait pyinfra does not mark it by itself.
        self.state.failed_hosts.add(self.host)
        self.host.log_styled(visible(text), fg="red", log_func=logger.error)
        return False


class Step(PyinfraCommand):
    """Something done on a host; do returns whether it succeeded, having said why where it did not."""

    def __init__(self, do: Callable[[Remote], bool]):
        super().__init__()
        self.do = do

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Do it, on behalf of pyinfra."""
        return self.do(Remote(state, host, connector_arguments))
