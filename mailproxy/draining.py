"""Out of service and back: pyinfra INVENTORY mailproxy.drain [why="kernel update"] [wait=1h], mailproxy.undrain."""

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace

from pyinfra import context, host
from pyinfra.api import Host, Inventory, operation
from pyinfra.api.command import PyinfraCommand

from mailproxy.carrying_out import carry_out
from mailproxy.declaration import config_directory
from mailproxy.digest import Fingerprint
from mailproxy.drained import NO_REASON, RECORD
from mailproxy.gates import Gate
from mailproxy.goal import Declared
from mailproxy.holder import this_process
from mailproxy.inputs import expectation
from mailproxy.moment import seconds_of
from mailproxy.names import single_line
from mailproxy.observed import ObservedState, Unread
from mailproxy.options import STAGE
from mailproxy.plan import Plan, Refusal
from mailproxy.program import command
from mailproxy.remote import Remote, Step
from mailproxy.run import run_of
from mailproxy.selection import Selection
from mailproxy.stop import StopError
from mailproxy.waiting import Queue, age, parsed

_PAUSE = 5  # seconds


class Draining(Declared):
    """What is declared, on hosts that are out of service; why is '' where those that are so keep their reason."""

    settled = "drained"

    def __init__(self, inventory: Inventory, hosts: Sequence[Host], why: str):
        super().__init__(inventory, hosts)
        self.why = why
        self.is_whole_fleet = len(hosts) == len(list(inventory))

    def expectation(self, host: str) -> str:
        """Ask for what is not as declared, and for the queue."""
        return expectation(self.desired[host], with_queue=True)

    def aimed_at(self, observed: ObservedState) -> ObservedState:
        """Return a host as its files are to be rendered for."""
        return _with_reason(observed, self.why or observed.postfix.drained or NO_REASON)

    def plan(self, host: str, observed: ObservedState) -> Plan | Refusal:
        """Return what takes a host out of service."""
        plan = _planned(super().plan(host, self.aimed_at(observed)), observed)
        if isinstance(plan, Plan) and not observed.postfix.drained and self.is_whole_fleet:
            nobody = Gate("drain", "every host of the inventory is drained then, and the fleet takes no mail")
            return replace(plan, gates=(*plan.gates, nobody))
        return plan

    def fingerprint(self, host: str, observed: ObservedState | Unread, how: str) -> Fingerprint:
        """Return what the declaration and the host are, and that it is to be out of service."""
        aimed_at = self.aimed_at(observed) if isinstance(observed, ObservedState) else observed
        return super().fingerprint(host, aimed_at, how)

    def record(self, host: str, observed: ObservedState) -> Mapping[str, str]:
        """Return since when it is drained and by whom; one that is so already keeps that."""
        return super().record(host, observed) or {RECORD: f"{int(time.time())} {this_process()}"}


class Undraining(Draining):
    """What is declared, on hosts that are in service."""

    settled = "in service"

    def __init__(self, inventory: Inventory, hosts: Sequence[Host]):
        super().__init__(inventory, hosts, "")
        self.is_whole_fleet = False

    def aimed_at(self, observed: ObservedState) -> ObservedState:
        """Return a host as its files are to be rendered for."""
        return _with_reason(observed, "")

    def record(self, host: str, observed: ObservedState) -> Mapping[str, str]:
        """Nothing of it is kept."""
        return {}


def _with_reason(observed: ObservedState, reason: str) -> ObservedState:
    return replace(observed, postfix=replace(observed.postfix, drained=reason))


def _planned(plan: Plan | Refusal, observed: ObservedState) -> Plan | Refusal:
    if not observed.is_managed:
        return Refusal("it is not managed yet, so there is nothing to come back to: roll out first")
    return plan


def drain(why: object = "", wait: object = None, **unknown: object) -> None:
    """Have hosts answer new mail with 421, and go on with what is in their queues; pyinfra calls this for each host.

    It is reviewed, staged, activated in waves, asked and confirmed like any change, and --dry only reviews. wait is how
    long to wait for the queues to be empty, such as 1h: a host whose queue is not empty then has failed.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; expected why=TEXT, wait=1h; nothing was read")
    try:
        reason = single_line(str(why))
    except ValueError as error:
        raise StopError(f"why={why}: {error}; nothing was read") from None
    try:
        seconds = None if wait is None else seconds_of(str(wait))
    except ValueError as error:
        raise StopError(f"wait={wait}: {error}; nothing was read") from None
    run = carry_out(lambda inventory, hosts: Draining(inventory, hosts, reason))
    if run.options.phase != STAGE:
        finish(name="Look at the queue", seconds=seconds)


def undrain(**unknown: object) -> None:
    """Have hosts take mail again, as declared; pyinfra calls this for each host.

    It is reviewed, staged, activated in waves, asked and confirmed like any change, and --dry only reviews.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; it takes none; nothing was read")
    carry_out(Undraining)


@operation()
def finish(seconds: int | None) -> Generator[PyinfraCommand, None, None]:
    """Say how much is left in the queue of a drained host, once it is empty or the time is over."""
    run = run_of(context.state)
    plan = run.outcomes.get(host.name)
    if not isinstance(plan, Plan) or host.name in run.progress.failed:
        host.noop("it is not drained")
    elif plan.is_empty and seconds is None:
        host.noop("the review says how much is left")
    else:
        yield Step(lambda remote: _finish(seconds, remote))


def _finish(seconds: int | None, remote: Remote) -> bool:
    deadline = time.monotonic() + (seconds or 0)
    while True:
        # What is on hold is left to whoever put it there.
        found, held = _queue(remote, "deferred active"), _queue(remote, "hold")
        if isinstance(found, Unread) or not found.messages or time.monotonic() >= deadline:
            break
        time.sleep(min(_PAUSE, max(0, deadline - time.monotonic())))
    if isinstance(found, Unread):
        return remote.complain(f"it is drained, and its queue cannot be read: {found.reason}")
    on_hold = f"; {held.messages} on hold" if isinstance(held, Queue) and held.messages else ""
    if not found.messages:
        remote.say(f"its queue is empty{on_hold}")
        return True
    left = f"messages left in its queue: {found.messages}, the oldest {age(found.oldest)} old{on_hold}"
    if seconds is not None:
        return remote.complain(left)
    remote.say(f"{left}; run again to see")
    return True


def _queue(remote: Remote, queues: str) -> Queue | Unread:
    program = command("queue", config_directory(remote.host), "list")
    ended = remote.run(program, Selection((f"queue {queues}",)).records(rows=0), is_kept=False)
    return Unread(ended.reason) if ended.reason else parsed(ended.lines)
