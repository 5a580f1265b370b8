"""One run of pyinfra over a fleet: what is declared, what each host's plan is, and how far each host has come."""

import dataclasses
import io
import os
import re
import sys
from weakref import WeakKeyDictionary

import click
from pyinfra.api import Host, State
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import get_fact

from mailproxy.declaration import declared, groups_of
from mailproxy.facts import Observation
from mailproxy.holder import is_stale, this_process
from mailproxy.model import Rollout
from mailproxy.observed import ObservedState, Unread
from mailproxy.plan import Plan, planned
from mailproxy.program import expectation
from mailproxy.review import Outcome, review
from mailproxy.rollout import Wave, waves

_runs: WeakKeyDictionary[State, "Run"] = WeakKeyDictionary()


class Run:
    """The ledger of one run. Hosts are known by name; failed says why a host did not get to where it should."""

    def __init__(self, state: State):
        self.hosts = tuple(host for host in state.inventory if state.is_host_in_limit(host))
        self.desired = declared(state.inventory, self.hosts)
        self.token = os.urandom(8).hex()
        self.holder = this_process()
        self.outcomes: dict[str, Outcome] = {}
        self.stale_locks: dict[str, str] = {}
        self.staged: set[str] = set()
        self.activated: set[str] = set()
        self.failed: dict[str, str] = {}
        self._preparing = {host.name for host in state.inventory.get_active_hosts()}
        for host in self.hosts:
            if host.name not in self._preparing:
                self._settle(host, Unread("it could not be connected to"))
        first = next(iter(self.desired.values()), None)
        groups = groups_of(state.inventory)
        rollout = (first.rollout if first else None) or Rollout()
        self.max_failures, self.bake_seconds = rollout.max_failures, rollout.bake_seconds
        self.waves: tuple[Wave, ...] = waves(rollout, [host.name for host in self.hosts], groups)

    def plan(self, host: Host) -> Plan | None:
        """Observe a host and return its plan, None where none can be made. The last host prints the review of all."""
        observed = _observed(host, expectation(self.desired[host.name]))
        if isinstance(observed, ObservedState) and observed.lock is not None and is_stale(observed.lock):
            self.stale_locks[host.name] = observed.lock.token
            observed = dataclasses.replace(observed, lock=dataclasses.replace(observed.lock, stale=True))
        outcome = planned(self.desired[host.name], observed) if isinstance(observed, ObservedState) else observed
        self._settle(host, outcome)
        self._preparing.discard(host.name)
        if not self._preparing:
            _print({each.name: self.outcomes[each.name] for each in self.hosts})
            _refuse_unless_answerable(sys.argv[1:])
        return outcome if isinstance(outcome, Plan) else None

    def _settle(self, host: Host, outcome: Outcome) -> None:
        self.outcomes[host.name] = outcome
        if not isinstance(outcome, Plan):
            self.fail(host, outcome.reason)

    def fail(self, host: Host, reason: str) -> None:
        """Record that a host did not get to where it should: nothing goes live after that."""
        self.failed[host.name] = reason
        # pyinfra's exit status follows from this; the host stays active, so that its operations can say why.
        host.state.failed_hosts.add(host)

    def succeed(self, host: Host) -> None:
        """Take back a failure that a retry has made good."""
        self.failed.pop(host.name, None)
        host.state.failed_hosts.discard(host)

    def has_change(self, host: Host) -> bool:
        """Whether there is a plan for a host with something to do in it."""
        outcome = self.outcomes.get(host.name)
        return isinstance(outcome, Plan) and not outcome.is_empty

    @property
    def changing(self) -> list[str]:
        """The names of the hosts that have a change, in the inventory's order."""
        return [host.name for host in self.hosts if self.has_change(host)]


def run_of(state: State) -> Run:
    """Return the run of a pyinfra state; the first call checks every host's declaration and may raise."""
    if state not in _runs:
        _runs[state] = Run(state)
    return _runs[state]


def _observed(host: Host, expected: str) -> ObservedState | Unread:
    # get_fact of the host would drop it from the run when it fails, and with it the reason from the review.
    try:
        observed = get_fact(host.state, host, Observation, kwargs={"_stdin": expected}, apply_failed_hosts=False)
    except EOFError:
        observed = None
    return observed or Unread("it could not be read (the reason stands above)")


def _print(outcomes: dict[str, Outcome]) -> None:
    # With --json pyinfra keeps standard output for its own document.
    click.echo(f"\n{review(outcomes)}", err="--json" in sys.argv)


def _refuse_unless_answerable(arguments: list[str]) -> None:
    """Stop where pyinfra is about to ask for a confirmation that cannot come; it would end in a traceback."""
    if any(re.fullmatch(r"--yes|--dry|--json|-[a-z]*y[a-z]*", argument) for argument in arguments):
        return
    source = sys.stdin.buffer
    if not source.isatty() and isinstance(source, io.BufferedReader) and not source.peek(1):
        raise PyinfraError("standard input has ended, so nobody can confirm: add -y to roll out, or --dry to review")
