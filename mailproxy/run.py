"""One run of pyinfra over a fleet: what is declared, what each host's plan is, and how far each host has come."""

import dataclasses
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import click
from pyinfra.api import Host, Inventory, State

from mailproxy.as_html import as_html, problem_as_html
from mailproxy.as_json import as_json, problem_as_json
from mailproxy.as_markdown import as_markdown, problem_as_markdown
from mailproxy.as_text import Style, lines
from mailproxy.commit import commit_at
from mailproxy.declaration import DeclarationError
from mailproxy.digest import Fingerprint, differences, digest
from mailproxy.goal import Declared, Goal
from mailproxy.group_data import groups_of
from mailproxy.holder import for_another_process, is_stale, this_process
from mailproxy.lock import Held
from mailproxy.observed import ObservedState, Unread
from mailproxy.once import Once
from mailproxy.options import ACTIVATE, STAGE, Options, options
from mailproxy.phases import Staged, of_review, staged, waves_of
from mailproxy.places import named_folders
from mailproxy.plan import Plan
from mailproxy.program import programs_digest
from mailproxy.reading import Reading
from mailproxy.review import Outcome, Review, review
from mailproxy.rollout import Progress, waves, within
from mailproxy.shard import refuse_alone, this_shard
from mailproxy.stop import StopError

_VIEWS: Mapping[str, Callable[[Review], str]] = {".md": as_markdown, ".html": as_html, ".json": as_json}
_PROBLEM_VIEWS: Mapping[str, Callable[[str], str]] = {
    ".md": problem_as_markdown,
    ".html": problem_as_html,
    ".json": problem_as_json,
}
_COLOURS: Mapping[Style, Mapping[str, Any]] = {
    "title": {"bold": True},
    "stop": {"fg": "red", "bold": True},
    "warn": {"fg": "yellow"},
    "comes": {"fg": "green"},
    "goes": {"fg": "red"},
    "changes": {"fg": "cyan"},
    "plain": {},
}


class Run:
    """The ledger of one run: what is declared, what was found and planned, how far each host has come, by its name."""

    def __init__(self, state: State, make_goal: Callable[[Inventory, Sequence[Host]], Goal] = Declared):
        _be_known_to_inspect(state)
        self.state = state
        self.options = options_of(state)
        self.group_data = _group_data_directories()
        self.reading = Reading(state)
        self.hosts = self.reading.hosts
        self.goal = self._goal(make_goal)
        self.token = os.urandom(8).hex()
        self.staged = Staged()
        self.fingerprints: dict[str, Fingerprint] = {}
        self.holder = this_process()
        self.lock_holder = for_another_process() if self.options.phase == STAGE else self.holder
        self.outcomes: dict[str, Outcome] = {}
        self.stale_locks: dict[str, str] = {}
        self.digest = ""
        self.rollout = self.goal.rollout
        self.progress = Progress((), self.rollout.max_failures)
        for host in self.hosts:
            found = self.reading.observed.get(host.name)
            if isinstance(found, Unread):
                self._settle(host, found)
        self.groups = groups_of(state.inventory)
        names = [host.name for host in self.hosts]
        # Of a shard the waves are those of the fleet, so that the same ones are first in every shard.
        fleet = [host.name for host in state.inventory] if this_shard() else names
        self.order = within(waves(self.rollout, fleet, self.groups), set(names))
        self.waves = waves_of(self.order, self.options)

    def _goal(self, make_goal: Callable[[Inventory, Sequence[Host]], Goal]) -> Goal:
        try:
            return make_goal(self.state.inventory, self.hosts)
        except DeclarationError as error:
            for file in self.options.files:
                _write(file, _PROBLEM_VIEWS[file.suffix](error.message))
            raise

    def record(self, host: Host) -> Mapping[str, str]:
        """Return what a host keeps of its activation: who did it, from which commit, after which review."""
        observed = self.reading.observed[host.name]
        own = self.goal.record(host.name, observed) if isinstance(observed, ObservedState) else {}
        commit = _commits.get(self.state, lambda: commit_at(Path([".", *self.group_data][-1])))
        found = {"by": self.holder, "commit": commit, "review": self.digest, **own}
        return {name: value for name, value in found.items() if value}

    def held(self, host: Host) -> Held | None:
        """Return for what a host's staged change waits, None where this run itself activates it."""
        return Held(self.digest, str(self.fingerprints[host.name])) if self.options.phase == STAGE else None

    def token_of(self, host: Host) -> str:
        """Return the token under which a host's change is staged."""
        return self.staged.tokens.get(host.name, self.token)

    def plan(self, host: Host) -> Plan | None:
        """Observe a host and return its plan, None where none can be made. The last host concludes the review."""
        outcome = self.look_at(host)
        if self.reading.is_complete:
            self._conclude()
        return outcome if isinstance(outcome, Plan) else None

    def look_at(self, host: Host) -> Outcome:
        """Observe a host and return its plan, or why there is none, which fails it."""
        observed = self.reading.read(host, self.goal.expectation(host.name))
        if isinstance(observed, ObservedState) and observed.lock is not None and is_stale(observed.lock):
            self.stale_locks[host.name] = observed.lock.token
            observed = dataclasses.replace(observed, lock=dataclasses.replace(observed.lock, stale=True))
        if self.options.phase == ACTIVATE and isinstance(observed, ObservedState):
            # Nobody's but the rollout's: no warning.
            observed = dataclasses.replace(observed, lock=None)
        outcome = self.goal.plan(host.name, observed) if isinstance(observed, ObservedState) else observed
        self._settle(host, outcome)
        return outcome

    def _settle(self, host: Host, outcome: Outcome) -> None:
        self.outcomes[host.name] = outcome
        if not isinstance(outcome, Plan):
            self.fail(host, outcome.reason)
            if isinstance(outcome, Unread) and "unreachable" in self.options.approved:
                self.progress.left_behind.add(host.name)

    def _conclude(self) -> None:
        """Show the review of the fleet, write it where it was asked for, and stop unless all is as it has to be."""
        order = {name: f"{wave.number} of {len(self.order)}" for wave in self.order for name in wave.hosts}
        self.fingerprints = {
            name: self.goal.fingerprint(name, observed, f"{order[name]} {programs_digest()}")
            for name, observed in self.reading.observed.items()
        }
        outcomes = {host.name: self.outcomes[host.name] for host in self.hosts}
        self.digest = digest(self.fingerprints)
        self.progress.changing = tuple(host.name for host in self.hosts if self.has_change(host))
        found = review(outcomes, self.order, self.groups, self.options.approved, self.digest, self.goal.settled)
        _print(found, with_files=bool(self.state.config.DIFF))
        for file in self.options.files:
            _write(file, _VIEWS[file.suffix](found))
        if self.options.expects_no_changes:
            is_as_declared = found.count("same") == len(found.hosts)
            raise StopError(
                "" if is_as_declared else "not all hosts are as declared; nothing was touched", not is_as_declared
            )
        if self.options.phase == STAGE:
            self.stale_locks.update(of_review(self.reading.observed, self.digest))
        if self.options.phase == ACTIVATE:
            self._take_over_what_is_staged()
        else:
            self._refuse_unless_reviewed()
        if not has_flag("--dry"):
            if not self.options.phase:
                refuse_alone()
            if self.options.phase != ACTIVATE:
                _refuse_unless_approved(found)
            refuse_unless_answerable(self.state)

    def _take_over_what_is_staged(self) -> None:
        """Go on where the phase stage ended, which asked for approval: as hosts say, and not without all of them."""
        self.staged = staged(self.outcomes, self.reading.observed, self.fingerprints, self.options.reviewed)
        if self.staged.reasons:
            raise StopError(f"nothing was activated:{self.staged.refusal}")
        self.progress.changing = tuple(name for name in self.progress.changing if name not in self.staged.done)
        self.progress.staged.update(self.progress.changing)

    def _refuse_unless_reviewed(self) -> None:
        if not self.options.reviewed:
            return
        others = [host.name for host in self.state.inventory if host.name not in self.fingerprints]
        try:
            moved = differences(self.options.reviewed, self.fingerprints, others)
        except ValueError as error:
            raise StopError(f"reviewed={self.options.reviewed}: {error}; nothing was touched") from None
        if moved:
            listed = "".join(f"\n    {reason}" for reason in moved)
            raise StopError(f"this is not what was reviewed; nothing was touched:{listed}")

    def fail(self, host: Host, reason: str) -> None:
        """Record that a host did not get to where it should: nothing goes live after that."""
        self.progress.failed[host.name] = reason
        # pyinfra's exit status follows from this; the host stays active, so that its operations can say why.
        host.state.failed_hosts.add(host)

    def succeed(self, host: Host) -> None:
        """Take back a failure that a retry has made good."""
        self.progress.failed.pop(host.name, None)
        host.state.failed_hosts.discard(host)

    def has_change(self, host: Host) -> bool:
        """Whether there is a plan for a host with something to do in it."""
        outcome = self.outcomes.get(host.name)
        return isinstance(outcome, Plan) and not outcome.is_empty

    def holds(self, host: Host) -> bool:
        """Whether the change of a host is left for another run to activate."""
        return self.options.phase == STAGE and self.has_change(host)


_runs: Once[Run] = Once()
_commits: Once[str] = Once()


def run_of(state: State, make_goal: Callable[[Inventory, Sequence[Host]], Goal] = Declared) -> Run:
    """Return the run of a pyinfra state; the first call says what it is for, checks what is declared, and may raise."""
    return _runs.get(state, lambda: Run(state, make_goal))


def _be_known_to_inspect(state: State) -> None:
    """Make the file that pyinfra executes one that the inspect module finds at once.

    For each operation of each host pyinfra asks it for the lines of all callers (pyinfra/api/util.py), and for a file
    that is no module's inspect looks through all modules there are: a sixth of the controller's work.
    """
    if state.current_deploy_filename:
        module = ModuleType("deploy of this run")
        module.__file__ = state.current_deploy_filename
        sys.modules[module.__name__] = module


def options_of(state: State) -> Options:
    """Return what --data asks of a run; StopError where that cannot be."""
    try:
        return options(state.inventory.get_override_data())
    except ValueError as error:
        listed = "".join(f"\n    --data {problem}" for problem in str(error).splitlines())
        raise StopError(f"the run cannot be as asked for; nothing was touched:{listed}") from None


def _group_data_directories() -> list[str]:
    """Return what --group-data names; StopError for one that is not there, which pyinfra would pass over."""
    named = named_folders()
    missing = [name for name in named if not Path(name).exists()]
    if missing:
        raise StopError(f"--group-data {missing[0]}: there is no such directory; nothing was touched")
    return named


def _print(found: Review, with_files: bool) -> None:
    # With --json pyinfra keeps standard output for its own document.
    is_aside = has_flag("--json")
    stream = sys.stderr if is_aside else sys.stdout
    click.echo("", err=is_aside)
    for line in lines(found, with_files, shortened=stream.isatty()):
        click.echo(click.style(line.text, **_COLOURS[line.style]) if line.text else "", err=is_aside)
    click.echo("", err=is_aside)


def _write(file: Path, content: str) -> None:
    try:
        file.write_text(content, encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StopError(f"review={file}: cannot be written: {error}; nothing was touched") from None


def has_flag(name: str) -> bool:
    """Whether pyinfra was given a flag, as an argument or as its variable."""
    return name in sys.argv[1:] or bool(os.environ.get(f"PYINFRA_{name.removeprefix('--').upper()}"))


def _refuse_unless_approved(found: Review) -> None:
    closed = list(dict.fromkeys(str(finding.gate) for finding in found.closed_gates))
    if closed:
        needed = f"--data approve={','.join(found.gates)}"
        raise StopError(f"nothing was touched: approval is needed for {', '.join(closed)}; to go on: {needed}")


def refuse_unless_answerable(state: State) -> None:
    """Stop where pyinfra is about to ask for a confirmation that cannot come; it would end in a traceback."""
    # It does not look for changes where it was told to go on with -y.
    if not state.check_for_changes or has_flag("--json"):
        return
    source = sys.stdin.buffer
    if not source.isatty() and isinstance(source, io.BufferedReader) and not source.peek(1):
        raise StopError("standard input has ended, so nobody can confirm: add -y to roll out, or --dry to review")
