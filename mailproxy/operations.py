"""The two steps of a change on a host: stage it, and activate it once every host has staged."""

import time
from collections.abc import Generator
from typing import Any

from pyinfra import context, host, logger, state
from pyinfra.api import Host, State, StringCommand, operation
from pyinfra.api.command import PyinfraCommand

from mailproxy.as_text import visible
from mailproxy.plan import Plan
from mailproxy.program import change, command
from mailproxy.rollout import Wave
from mailproxy.run import Run, run_of


class _Program(StringCommand):
    """A program under files/ that tells the run how it ended, and the user what it printed.

    A host on which it succeeded is added to reached; whatever pyinfra goes on with, only success gets it there.
    """

    def __init__(self, run: Run, text: str, stdin: str = "", reached: set[str] | None = None):
        super().__init__(text, _stdin=stdin)
        self.run = run
        self.reached = reached

    def execute(self, state: State, host: Host, connector_arguments: Any) -> Any:
        """Run it; False and a reason in the ledger when it failed or was cut off."""
        try:
            status, output = super().execute(state, host, connector_arguments)
        except BaseException:
            self.run.fail(host, "the connection was lost or timed out")
            raise
        if not status:
            reason = visible(" ".join(output.stderr_lines).removeprefix("mailproxy: "))
            self.run.fail(host, reason or "it ended without a reason")
        elif self.reached is not None:
            self.run.succeed(host)
            self.reached.add(host.name)
        for line in output.stdout_lines:
            if status and line != "staged":
                host.log(visible(line))
        return status, output


class _Refuse(PyinfraCommand):
    """Fail this host with a reason, having touched nothing on it."""

    def __init__(self, reason: str):
        super().__init__()
        self.reason = reason

    def execute(self, state: State, host: Host, connector_arguments: Any) -> bool:
        """Say why, and fail; also under --no-wait, where pyinfra does not mark the host by itself."""
        state.failed_hosts.add(host)
        host.log_styled(self.reason, fg="red", log_func=logger.error)
        return False


@operation()
def stage(plan: Plan | None) -> Generator[PyinfraCommand, None, None]:
    """Send a host's change beside its live files, index it and check it there."""
    run = run_of(context.state)
    if plan is None:
        yield _Refuse(f"nothing was touched: {run.failed[host.name]}")
    elif plan.is_empty and host.name in run.stale_locks:
        yield _Program(run, command("release", plan.directory, run.stale_locks[host.name]))
    elif plan.is_empty:
        host.noop("it is as declared")
    else:
        stale = run.stale_locks.get(host.name, "")
        text = command("stage", plan.directory, run.token, run.holder, stale)
        yield _Program(run, text, change(plan, run.record), run.staged)


@operation()
def activate(plan: Plan, wave: Wave) -> Generator[PyinfraCommand, None, None]:
    """Swap a staged change in and have Postfix read it, on a host of this wave and after the waves before it."""
    run = run_of(context.state)
    before = [name for earlier in run.waves if earlier.number < wave.number for name in earlier.hosts]
    reason = _reason_to_refuse(run, before) if state.is_executing else ""
    if reason:
        run.staged.discard(host.name)
        yield _Program(run, command("release", plan.directory, run.token))
        yield _Refuse(f"nothing was activated: {reason}")
        return
    if state.is_executing and run.activated.intersection(before):
        time.sleep(run.bake_seconds)
    yield _Program(run, command("activate", plan.directory, run.token), reached=run.activated)


def _reason_to_refuse(run: Run, before: list[str]) -> str:
    """Return why a host may not go live now: another is not staged, or a wave before failed or is not over."""
    for name, why in run.failed.items():
        if name not in run.staged and name not in run.left_behind:
            return f"{name} could not be staged ({why})"
    badly = [name for name in before if name in run.failed and name not in run.left_behind]
    if len(badly) > run.max_failures:
        return f"{badly[0]} failed in an earlier wave ({run.failed[badly[0]]})"
    for name in run.changing:
        if name not in run.staged:
            return f"{name} has not staged its change yet; run without --serial and --no-wait"
        if name in before and name not in run.activated and name not in run.failed:
            return f"{name} of an earlier wave is not activated yet; run without --serial and --no-wait"
    return ""
