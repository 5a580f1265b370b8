"""What is read from a host."""

from dataclasses import replace
from datetime import datetime, timezone

from pyinfra.api import FactBase, StringCommand

from mailproxy.answer import parsed
from mailproxy.bare import Survey, surveyed
from mailproxy.observed import ObservedState, Unread
from mailproxy.program import LOADER, output_of
from mailproxy.waiting import Queue
from mailproxy.waiting import parsed as parsed_queue


class Observation(FactBase[ObservedState | Unread]):
    """The state of a host's Postfix, in one round trip; None when not even a reason came back.

    files/observe.sh and the expectation (mailproxy.inputs.expectation) go in as _stdin (mailproxy.privilege.as_root).
    """

    def command(self) -> StringCommand:
        """Return what reads a program and runs it."""
        return StringCommand(LOADER)

    def process(self, output: list[str]) -> ObservedState | Unread:
        """Return the parsed records, and when they came."""
        found = parsed(output_of(output))
        return replace(found, at=datetime.now(timezone.utc)) if isinstance(found, ObservedState) else found


class MailService(FactBase[list[str]]):
    """What a host says of its own mail service: the lines of files/probe.sh, None when its answer was cut off.

    files/probe.sh and the questions (mailproxy.inputs.questions) go in as _stdin (mailproxy.privilege.as_root).
    """

    def command(self) -> StringCommand:
        """Return what reads a program and runs it."""
        return StringCommand(LOADER)

    def process(self, output: list[str]) -> list[str]:
        """Return the lines."""
        lines = output_of(output)
        return lines if lines[-1:] == ["end"] else []


class Installation(FactBase[Survey | None]):
    """What an installation of Postfix would meet on a host, None when its answer was cut off.

    files/install.sh, which only looks, goes in as _stdin (mailproxy.privilege.as_root).
    """

    def command(self) -> StringCommand:
        """Return what reads a program and runs it."""
        return StringCommand(LOADER)

    def process(self, output: list[str]) -> Survey | None:
        """Return the parsed records."""
        return surveyed(output)


class MailQueue(FactBase[Queue | Unread]):
    """What waits in a host's queue, as far as it is chosen; None when not even a reason came back.

    files/queue.sh and the filters (mailproxy.selection) go in as _stdin (mailproxy.privilege.as_root).
    """

    def command(self) -> StringCommand:
        """Return what reads a program and runs it."""
        return StringCommand(LOADER)

    def process(self, output: list[str]) -> Queue | Unread:
        """Return the parsed records."""
        return parsed_queue(output)
