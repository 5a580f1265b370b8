"""The two steps of a change on a host: stage it, and activate it once every host has staged."""

import time
from collections.abc import Generator
from typing import Any

from pyinfra import context, host, logger, state
from pyinfra.api import Host, State, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from mailproxy.plan import Plan
from mailproxy.program import change, command
from mailproxy.rollout import Wave
from mailproxy.run import Run, run_of


class _Program(StringCommand):
    """A program under files/ that tells the run how it ended, and the user what it printed."""

    def __init__(self, run: Run, text: str, stdin: str = ""):
        super().__init__(text, _stdin=stdin)
        self.run = run

    def execute(self, state: State, host: Host, connector_arguments: Any) -> Any:
        """Run it; False and a reason in the ledger when it failed or was cut off."""
        try:
            status, output = super().execute(state, host, connector_arguments)
        except BaseException:
            self.run.fail(host, "the connection was lost or timed out")
            raise
        if not status:
            self.run.fail(host, " ".join(output.stderr_lines) or "it ended without a reason")
        for line in output.stdout_lines:
            if status and line != "staged":
                host.log(line)
        return status, output


class _Refuse(PyinfraCommand):
    """Fail this host with a reason, having touched nothing on it."""

    def __init__(self, reason: str):
        super().__init__()
        self.reason = reason

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Say why, and fail."""
        host.log_styled(self.reason, fg="red", log_func=logger.error)
        return False


@operation()
def stage(plan: Plan | None) -> Generator[PyinfraCommand, None, None]:
    """Send a host's change beside its live files, index it and check it there."""
    run = run_of(context.state)
    if plan is None:
        yield _Refuse(f"nothing was touched: {run.failed[host.name]}")
    elif plan.is_empty:
        host.noop("it is as declared")
    else:
        stale = run.stale_locks.get(host.name, "")
        yield _Program(run, command("stage", plan.directory, run.token, run.holder, stale), change(plan))
        run.staged.add(host.name)


@operation()
def activate(plan: Plan | None, wave: Wave, after: tuple[Wave, ...]) -> Generator[PyinfraCommand, None, None]:
    """Swap a staged change in and have Postfix read it, on the hosts of a wave and after the waves before it."""
    run = run_of(context.state)
    if plan is None or plan.is_empty or host.name not in wave.hosts:
        host.noop("it is as declared" if plan and plan.is_empty else f"not in wave {wave.label}")
        return
    reason = _reason_to_refuse(run, after) if state.is_executing else ""
    if reason:
        yield _Program(run, command("release", plan.directory, run.token))
        yield _Refuse(f"nothing was activated: {reason}")
        return
    if state.is_executing and any(name in run.staged for wave in after for name in wave.hosts):
        time.sleep(run.bake_seconds)
    yield _Program(run, command("activate", plan.directory, run.token))


def _reason_to_refuse(run: Run, after: tuple[Wave, ...]) -> str:
    """Return why nothing may go live now: a host is not staged, or too many of the waves before failed."""
    waiting = run.not_yet_staged()
    if waiting:
        return f"{waiting[0]} has not staged its change yet; run without --serial and --no-wait"
    before = {name for wave in after for name in wave.hosts}
    failures = {name: why for name, why in run.failed.items() if name not in run.staged}
    if failures:
        name, why = next(iter(failures.items()))
        return f"{name} could not be staged ({why})"
    activated_badly = {name: why for name, why in run.failed.items() if name in before}
    if len(activated_badly) > run.max_failures:
        name, why = next(iter(activated_badly.items()))
        return f"{name} failed in an earlier wave ({why})"
    return ""
