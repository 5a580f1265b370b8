"""What is read from a host."""

from pyinfra.api import FactBase, StringCommand

from mailproxy.observed import ObservedState, Unread, parsed
from mailproxy.program import command


class Observation(FactBase[ObservedState | Unread]):
    """The state of a host's Postfix, in one round trip; None when not even a reason came back.

    The expectation (mailproxy.program.expectation) goes in as _stdin.
    """

    def command(self, directory: str = "") -> StringCommand:
        """Return files/observe.sh for a configuration directory, by default the one compiled in."""
        return StringCommand(command("observe", *([directory] if directory else [])))

    def process(self, output: list[str]) -> ObservedState | Unread:
        """Return the parsed records."""
        return parsed(output)


class MailService(FactBase[list[str]]):
    """What a host says of its own mail service: the lines of files/probe.sh, None when its answer was cut off.

    The questions (mailproxy.program.questions) go in as _stdin.
    """

    def command(self, directory: str) -> StringCommand:
        """Return files/probe.sh for a configuration directory."""
        return StringCommand(command("probe", directory))

    def process(self, output: list[str]) -> list[str]:
        """Return the lines."""
        return output if output[-1:] == ["end"] else []
