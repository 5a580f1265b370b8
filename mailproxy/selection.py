"""Which messages of a queue are meant, and what is to be done with them: arguments of mailproxy.queue -> Selection."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from mailproxy.moment import seconds_of
from mailproxy.names import domain_name, single_line

QUEUES = ("deferred", "active", "hold")
FILTERS = ("domain", "next_hop", "sender", "older_than", "reason", "queue")
NAMES = (*FILTERS, "do")
_PLACES = {"deferred": "deferred", "active": "active", "hold": "on hold"}
# The sender of bounces, as Postfix lists it.
_NULL_SENDER = "MAILER-DAEMON"


@dataclass(frozen=True)
class Action:
    """What can be done with a message: in which queues, and how it is told, before and after."""

    queues: tuple[str, ...]
    imperative: str
    past: str


ACTIONS: Mapping[str, Action] = {
    "flush": Action(("deferred",), "try to deliver at once", "told to be tried at once"),
    "hold": Action(("deferred", "active"), "put on hold", "put on hold"),
    "release": Action(("hold",), "release from hold", "released from hold"),
    "requeue": Action(("deferred", "active"), "queue anew", "queued anew"),
    "delete": Action(QUEUES, "delete", "deleted"),
}


@dataclass(frozen=True)
class Selection:
    """The filters, as records of files/queue.sh, and the name of what is to be done, '' for nothing."""

    filters: tuple[str, ...] = ()
    action: str = ""

    def records(self, *, until: int | None = None, rows: int | None = None) -> str:
        """Return the input of files/queue.sh; until is in seconds since 1970."""
        further = [f"until {until}"] * (until is not None) + [f"rows {rows}"] * (rows is not None)
        return "".join(f"{record}\n" for record in (*self.filters, *further, "end"))


def selection(given: Mapping[str, object]) -> Selection:
    """Return what is asked for; raises ValueError with all that is wrong, a line each."""
    records: list[str] = []
    problems = [f"{name}: no such argument; expected {', '.join(NAMES)}" for name in given if name not in NAMES]
    for name, value in given.items():
        if name in FILTERS and name != "queue":
            try:
                records.append(_record(name, single_line(str(value))))
            except ValueError as error:
                problems.append(f"{name}={value}: {error}")
    action = str(given.get("do", ""))
    if "do" in given and action not in ACTIONS:
        problems.append(f"do={action}: expected one of {', '.join(ACTIONS)}")
    problems += _queue_problems(given, action)
    if problems:
        raise ValueError("\n".join(problems))
    queues = (str(given["queue"]),) if "queue" in given else ACTIONS[action].queues if action else ()
    return Selection((*records, *([f"queue {' '.join(queues)}"] if queues else [])), action)


def misspelled(given: Mapping[str, object]) -> Iterator[str]:
    """Yield what of --data is nearly one of our names: ignored, more would be acted on than was meant."""
    for name, value in given.items():
        for meant in () if name in NAMES else difflib.get_close_matches(name, NAMES, n=1, cutoff=0.75):
            yield f"{name}={value}: no such argument; did you mean {meant}?"


def _queue_problems(given: Mapping[str, object], action: str) -> Iterator[str]:
    if "queue" not in given:
        return
    queue = str(given["queue"])
    if queue not in QUEUES:
        yield f"queue={queue}: expected one of {', '.join(QUEUES)}"
    elif action in ACTIONS and queue not in ACTIONS[action].queues:
        places = " or ".join(_PLACES[name] for name in ACTIONS[action].queues)
        yield f"queue={queue}: do={action} is for what is {places}"


def _record(name: str, value: str) -> str:
    if not value:
        raise ValueError("found nothing; leave it out where all is meant")
    if name == "domain":
        return f"domain {domain_name(value)}"
    if name == "older_than":
        return f"older {seconds_of(value)}"
    if name == "sender":
        return f"sender {_NULL_SENDER if value == '<>' else value.removeprefix('@')}"
    return f"{name} {value}"
