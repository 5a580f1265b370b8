"""What every command does that changes hosts as a rollout does: review, stage, activate in waves, ask, confirm."""

from collections.abc import Callable, Sequence

from pyinfra import context
from pyinfra.api import Host, Inventory

from mailproxy.goal import Goal
from mailproxy.operations import activate, confirm, hold, stage
from mailproxy.run import Run, run_of


def carry_out(goal: Callable[[Inventory, Sequence[Host]], Goal]) -> Run:
    """Bring the host that pyinfra is at to a goal, and return the run."""
    host = context.host
    run = run_of(context.state, goal)
    plan = run.plan(host)
    stage(name="Stage and check", plan=plan)
    if plan is not None and run.holds(host):
        hold(name="Hold what is staged", plan=plan)
    for wave in host.loop(run.waves):
        if plan is not None and run.has_change(host):
            activate(name=f"Activate wave {wave.number}: {wave.label}", plan=plan, wave=wave)
            confirm(name=f"Confirm wave {wave.number}", plan=plan, wave=wave)
    return run
