"""What pyinfra logs of many hosts, in few lines: those that say the same are told once, with their number.

pyinfra logs a line for each host and operation, and more where something is told of a host. A record here is one of
these: its text, less its colours, begins with the host's name in brackets, or with "-->" where something new begins.
"""

import logging
import re
import sys
import time
from collections.abc import Callable

import click
from pyinfra import logger, state

# With up to so many hosts all is left as it is; of more, so many that failed in the same way are named at once.
FEW = 10
# Where nobody sees pyinfra's own progress, as in CI, a line says so often how far it is.
SECONDS = 10
_OF_HOST = re.compile(r"\[(?P<host>[^]]+)\] +(?P<text>.*)", re.DOTALL)


class Condensed(logging.Filter):
    """Holds back what several hosts say alike, and tells it when the next step begins; size counts hosts.

    Warnings and errors are told at once and name their hosts.
    """

    def __init__(self, size: Callable[[], int], tell: Callable[[int, str], None], is_watched: bool):
        super().__init__()
        self.size, self.tell, self.is_watched = size, tell, is_watched
        self.held: dict[tuple[int, str], list[str]] = {}
        self.heard: set[str] = set()
        self.last = time.monotonic()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is told as it is."""
        text = click.unstyle(record.getMessage())
        if text.startswith("-->"):
            self._tell_all()
            return True
        found = _OF_HOST.fullmatch(text)
        if found is None or self.size() <= FEW:
            return True
        self.heard.add(found["host"])
        hosts = self.held.setdefault((record.levelno, found["text"]), [])
        hosts.append(found["host"])
        self._tell_how_far()
        return record.levelno > logging.INFO and len(hosts) <= FEW

    def _tell_how_far(self) -> None:
        if not self.is_watched and time.monotonic() - self.last >= SECONDS:
            self.last = time.monotonic()
            self.tell(logging.INFO, f"... {len(self.heard)} of {self.size()} hosts so far")

    def _tell_all(self) -> None:
        for (level, text), hosts in self.held.items():
            if level == logging.INFO:
                self.tell(level, f"[{', '.join(hosts) if len(hosts) <= 3 else f'{len(hosts)} hosts'}] {text}")
            elif len(hosts) > FEW:
                self.tell(level, f"[{len(hosts) - FEW} more: {', '.join(hosts[FEW:])}] {text}")
        self.held.clear()
        self.heard.clear()
        self.last = time.monotonic()


def condense() -> None:
    """Have pyinfra log in few lines, unless it was asked for more by -v.

    Called when a run begins to read hosts, and by an inventory, which is executed before pyinfra connects.
    """
    if any(isinstance(one, Condensed) for one in logger.filters):
        return
    if not any(re.fullmatch(r"-[a-z]*v[a-z]*|--debug", argument) for argument in sys.argv[1:]):
        logger.addFilter(Condensed(_size, _tell, is_watched=sys.stderr.isatty()))


def _size() -> int:
    limit = state.limit_hosts
    return len(limit) if isinstance(limit, list) else len(state.inventory)


def _tell(level: int, text: str) -> None:
    # To the handlers alone: it is not filtered again.
    logger.callHandlers(logger.makeRecord(logger.name, level, "", 0, text, (), None))
