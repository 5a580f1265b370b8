"""From a bare host to a mail proxy: pyinfra INVENTORY mailproxy.bootstrap [replace=PACKAGE,...]."""

from collections.abc import Generator, Iterator
from typing import Any, cast

import click
from pyinfra import context, host, state
from pyinfra.api import Host, State, operation
from pyinfra.api.command import PyinfraCommand

from mailproxy.as_text import visible
from mailproxy.bare import Survey, refused, report, to_replace
from mailproxy.goal import Declared
from mailproxy.observed import Unread
from mailproxy.once import Once
from mailproxy.operations import activate, confirm, stage
from mailproxy.options import Options, words
from mailproxy.plan import Plan
from mailproxy.program import command
from mailproxy.remote import Remote, Step
from mailproxy.rollout import Wave
from mailproxy.run import Run, has_flag, refuse_unless_answerable, run_of
from mailproxy.stop import StopError

# Package managers are slow, and silent for long.
INSTALL_SECONDS = 1800
_LEFT = "it has a Postfix that was not confirmed and is not enabled at boot: run mailproxy.bootstrap again to go on"


class _Bootstrap:
    """The hosts of one run as they were found before anything is installed; replaced is what may be removed there."""

    def __init__(self, state: State, replaced: list[str]):
        self.run = run_of(state)
        _refuse_options(self.run.options)
        self.replaced = replaced
        self.found: dict[str, Survey | Unread] = {
            name: one for name, one in self.run.reading.observed.items() if isinstance(one, Unread)
        }

    def survey(self, host: Host) -> None:
        """Look at a host. The one that comes last shows the fleet, and stops the run unless all is as it has to be."""
        found = self.run.reading.survey(host)
        self.found[host.name] = found
        if isinstance(found, Unread):
            self.run.fail(host, found.reason)
            if "unreachable" in self.run.options.approved:
                self.run.progress.left_behind.add(host.name)
        if len(self.found) == len(self.run.hosts):
            self._conclude({host.name: self.found[host.name] for host in self.run.hosts})

    def is_bare(self, host: Host) -> bool:
        """Whether there is something to do on a host."""
        found = self.found[host.name]
        return isinstance(found, Survey) and found.is_bare

    def _conclude(self, found: dict[str, Survey | Unread]) -> None:
        lines = report(found, cast(Declared, self.run.goal).desired, self.replaced)
        is_aside = has_flag("--json")
        click.echo("\n" + "".join(f"{visible(line)}\n" for line in lines), err=is_aside)
        self.run.progress.changing = tuple(host.name for host in self.run.hosts if self.is_bare(host))
        if reasons := refused(found):
            raise StopError("nothing was touched:" + "".join(f"\n    {visible(reason)}" for reason in reasons))
        if has_flag("--dry") or not self.run.progress.changing:
            return
        if any(isinstance(one, Unread) for one in found.values()) and "unreachable" not in self.run.options.approved:
            raise StopError(
                "nothing was touched: approval is needed for unreachable; to go on: --data approve=unreachable"
            )
        if names := ",".join(to_replace(found, self.replaced)):
            raise StopError(f"nothing was touched: approval is needed to remove {names}; to go on: replace={names}")
        refuse_unless_answerable(self.run.state)


_bootstraps: Once[_Bootstrap] = Once()


def bootstrap(replace: object = "", **unknown: object) -> None:
    """Install Postfix where there is none, and roll out there what is declared; pyinfra calls this for each host.

    It is first started with what is declared, and enabled at boot once that is confirmed. Hosts that have Postfix are
    left alone. replace names packages that may be removed for it. --dry only shows what would be done.
    """
    if unknown:
        raise StopError(f"{', '.join(unknown)}: no such argument; expected replace=PACKAGE,...; nothing was touched")
    found = _bootstraps.get(context.state, lambda: _Bootstrap(context.state, words(replace)))
    found.survey(context.host)
    if not found.is_bare(context.host):
        return
    install(name="Install Postfix, not started", _timeout=INSTALL_SECONDS)
    stage_declared(name="Stage, index and check")
    for wave in context.host.loop(found.run.waves):
        start(name=f"Start wave {wave.number}: {wave.label}", wave=wave)
        confirm_and_enable(name=f"Confirm and enable wave {wave.number}", wave=wave)


def _refuse_options(given: Options) -> None:
    if given.files or given.reviewed or given.expects_no_changes or given.phase:
        raise StopError("review=, reviewed=, expect= and phase= are for deploy.py; nothing was touched")


@operation()
def install() -> Generator[PyinfraCommand, None, None]:
    """Install Postfix with the host's package manager, so that it neither starts now nor at boot."""
    found = _bootstraps[context.state]
    survey = found.found[host.name]
    if isinstance(survey, Survey) and survey.state == "installed":
        host.noop("an earlier run installed it")
    else:
        yield Step(lambda remote: _install(found.run, found.replaced, remote))


@operation()
def stage_declared() -> Generator[PyinfraCommand, None, None]:
    """Read what was installed, and stage what is declared for it."""
    if not state.is_executing:
        yield _unknown_yet()
        return
    run = run_of(context.state)
    outcome = run.look_at(context.host)
    plan = outcome if isinstance(outcome, Plan) else None
    for gate in plan.gates if plan else ():
        if gate.name not in run.options.approved:
            run.fail(context.host, f"approval is needed for {gate.name}: {gate.reason}")
            plan = None
    yield from _steps(stage, plan=plan)


@operation()
def start(wave: Wave) -> Generator[PyinfraCommand, None, None]:
    """Activate a host of this wave, which starts its Postfix, and ask it by SMTP."""
    yield from _of_wave(activate, wave)


@operation()
def confirm_and_enable(wave: Wave) -> Generator[PyinfraCommand, None, None]:
    """Confirm a host of this wave: that has its Postfix started at boot."""
    yield from _of_wave(confirm, wave)


def _of_wave(done: Any, wave: Wave) -> Iterator[PyinfraCommand]:
    plan = run_of(context.state).outcomes.get(host.name)
    if host.name not in wave.hosts:
        host.noop("it is in another wave")
    elif not state.is_executing:
        yield _unknown_yet()
    elif isinstance(plan, Plan):
        yield from _steps(done, plan=plan, wave=wave)


def _steps(done: Any, **arguments: object) -> Iterator[PyinfraCommand]:
    """Yield the steps of another operation, which also say what becomes of a host where they fail."""
    for step in done._inner(**arguments):
        yield Step(lambda remote, step=step: step.do(remote) or remote.complain(_LEFT))  # type: ignore[misc]


def _unknown_yet() -> Step:
    """Return what stands for steps that are known once Postfix is installed."""
    return Step(lambda remote: True)


def _install(run: Run, replaced: list[str], remote: Remote) -> bool:
    ended = remote.run(command("install", "install", run.holder, *replaced), is_kept=False)
    for line in ended.lines:
        remote.say(line)
    if not ended.reason:
        return True
    going_on = "; the host brings it to its end: run again to go on" if ended.is_lost else ""
    run.fail(remote.host, f"{ended.reason}{going_on}")
    return remote.complain(f"{ended.reason}{going_on}")
