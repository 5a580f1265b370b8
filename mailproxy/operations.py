"""The steps of a change on a host: stage it, activate it once every host has staged, confirm it once it is proven."""

import time
from collections.abc import Generator, Iterable

from pyinfra import context, host, state
from pyinfra.api import Host, operation
from pyinfra.api.command import PyinfraCommand

from mailproxy.hop_answers import hop_outcomes
from mailproxy.inputs import change
from mailproxy.judging import Outcome, verdict
from mailproxy.needed import is_of_needed, needed_outcomes
from mailproxy.options import ACTIVATE
from mailproxy.plan import Plan
from mailproxy.program import Command, command
from mailproxy.proving import is_reachable, proven
from mailproxy.remote import Ended, Remote, Step
from mailproxy.rollout import HELD, Wave, reason_to_refuse
from mailproxy.run import Run, run_of

# What files/stage.sh says where files did not come out as declared.
NOT_AS_MEANT = "what was sent could not be written as it is"


@operation()
def stage(plan: Plan | None) -> Generator[PyinfraCommand, None, None]:
    """Send a host's change beside its live files, index it and check it there."""
    run = run_of(context.state)
    if plan is None:
        reason = f"nothing was touched: {run.progress.failed[host.name]}"
        yield Step(lambda remote: remote.complain(reason))
    elif plan.is_empty and host.name in run.stale_locks:
        release = command("release", plan.directory, run.stale_locks[host.name])
        yield Step(lambda remote: not remote.run(release).reason)
    elif plan.is_empty:
        host.noop("it is as declared")
    elif run.options.phase == ACTIVATE:
        host.noop("an earlier run staged it")
    else:
        yield Step(lambda remote: _stage(run, plan, remote))


@operation()
def hold(plan: Plan) -> Generator[PyinfraCommand, None, None]:
    """Leave a staged change for another run to activate, or give it up where not every host of this run has staged."""
    run = run_of(context.state)
    reason = reason_to_refuse(run.progress, HELD, run.order) if state.is_executing else ""
    if reason:
        yield Step(lambda remote: _give_up(run, plan, remote, reason))
    else:
        host.noop("it waits for phase=activate")


@operation()
def activate(plan: Plan, wave: Wave) -> Generator[PyinfraCommand, None, None]:
    """Swap a staged change in, have Postfix read it and ask it by SMTP, on a host of this wave.

    Hosts of other waves do nothing in it: pyinfra keeps operations in order only among hosts that have all of them.
    """
    run = run_of(context.state)
    if host.name not in wave.hosts or host.name in run.staged.done:
        host.noop("it is in another wave, or has this change already")
        return
    reason = reason_to_refuse(run.progress, wave, run.order) if state.is_executing else ""
    if reason:
        yield Step(lambda remote: _give_up(run, plan, remote, reason))
    else:
        yield Step(lambda remote: _activate(run, plan, remote))


@operation()
def confirm(plan: Plan, wave: Wave) -> Generator[PyinfraCommand, None, None]:
    """Confirm a change that was activated and proven, once it has baked: until then the host goes back by itself."""
    run = run_of(context.state)
    if host.name not in wave.hosts or host.name in {*run.progress.unproven, *run.staged.done}:
        host.noop("it is in another wave, or stays as it is")
    else:
        yield Step(lambda remote: _confirm(run, plan, wave, remote))


def _stage(run: Run, plan: Plan, remote: Remote) -> bool:
    stale = run.stale_locks.get(remote.host.name, "")
    program = command("stage", plan.directory, run.token, run.lock_holder, stale)
    record, held, is_kept = run.record(remote.host), run.held(remote.host), run.reading.keeps_programs(remote.host)
    ended = remote.run(program, change(plan, record, held, with_programs=not is_kept), is_kept=is_kept)
    if ended.reason.startswith(NOT_AS_MEANT):
        # Edits did not lead there: then the whole.
        everything = change(plan, record, held, whole=True, with_programs=not is_kept)
        ended = remote.run(program, everything, is_kept=is_kept)
    if ended.reason:
        return _fail(run, remote, ended.reason)
    run.succeed(remote.host)
    run.progress.staged.add(remote.host.name)
    for line in ended.lines:
        if line != "staged":
            remote.say(line)
    return True


def _give_up(run: Run, plan: Plan, remote: Remote, reason: str) -> bool:
    run.progress.staged.discard(remote.host.name)
    remote.run(command("release", plan.directory, run.token_of(remote.host)))
    return remote.complain(f"nothing was activated: {reason}")


def _activate(run: Run, plan: Plan, remote: Remote) -> bool:
    was_reachable = is_reachable(remote.host, plan.probes)
    seconds = run.rollout.confirm_seconds
    ended = remote.run(_of_change("activate", run, plan, remote.host, str(seconds)))
    if ended.reason:
        return _fail(run, remote, ended.reason + _going_back(run, ended))
    run.succeed(remote.host)
    for line in ended.lines:
        if not line.startswith("hop ") and not is_of_needed(line):
            remote.say(line)
    hops = [line for line in ended.lines if line.startswith("hop ")]
    hops_fail = run.rollout.next_hops == "fail"
    of_hops = hop_outcomes(hops, hops_fail, plan.probes.largest)
    of_needed = needed_outcomes(ended.lines, plan.probes.needed, hops_fail)
    found = [*of_hops, *of_needed, *proven(remote.host, plan.probes, was_reachable)]
    if not _judge(run, plan, remote, found):
        return False
    if verdict(found) == "pass":
        run.progress.answering.add(remote.host.name)
    run.progress.activated[remote.host.name] = time.monotonic()
    return True


def _confirm(run: Run, plan: Plan, wave: Wave, remote: Remote) -> bool:
    if run.rollout.bake_seconds:
        time.sleep(max(0, run.progress.last_activation_of(wave) + run.rollout.bake_seconds - time.monotonic()))
        was_reachable = remote.host.name in run.progress.answering
        if not _judge(run, plan, remote, proven(remote.host, plan.probes, was_reachable)):
            return False
        if remote.host.name in run.progress.unproven:
            return True
    most = str(run.rollout.max_deferred)
    ended = remote.run(_of_change("settle", run, plan, remote.host, "confirm", most))
    if ended.reason:
        return _fail(run, remote, f"not confirmed: {ended.reason}{_going_back(run, ended)}")
    for line in ended.lines:
        remote.say(line)
    run.progress.confirmed.add(remote.host.name)
    return True


def _of_change(program: str, run: Run, plan: Plan, host: Host, *arguments: str) -> Command:
    """Return a program that works on what is staged on a host."""
    return command(program, plan.directory, run.token_of(host), *plan.compiled_in, *arguments)


def _judge(run: Run, plan: Plan, remote: Remote, found: Iterable[Outcome]) -> bool:
    """Act on what was found: go back where it fails, keep it where it proves nothing; False where it failed."""
    found = list(found)
    for outcome in found:
        if outcome.verdict == "pass":
            remote.warn(f"warning: {outcome.text}")
    against = "; ".join(outcome.text for outcome in found if outcome.verdict == "fail")
    open_questions = "; ".join(outcome.text for outcome in found if outcome.verdict == "inconclusive")
    match verdict(found):
        case "fail":
            ended = remote.run(_of_change("settle", run, plan, remote.host, "undo", f"probe failed: {against}"))
            lost = f"probe failed: {against}; {ended.reason}{_going_back(run, ended)}"
            return _fail(run, remote, lost if ended.is_lost else ended.reason)
        case "inconclusive" if run.options.passes_inconclusive:
            remote.warn(f"inconclusive, and passed as asked for: {open_questions}")
        case "inconclusive":
            _keep(run, plan, remote, open_questions)
    return True


def _keep(run: Run, plan: Plan, remote: Remote, why: str) -> None:
    """Leave a host as it is although nothing was proven: nobody goes back, and nobody goes on."""
    run.progress.unproven[remote.host.name] = why
    remote.state.failed_hosts.add(remote.host)
    ended = remote.run(_of_change("settle", run, plan, remote.host, "keep"))
    remote.warn(f"inconclusive: {why}")
    remote.warn(
        f"it could not be told to stay: {ended.reason}{_going_back(run, ended)}"
        if ended.reason
        else "it stays as it is; no later wave follows. To go on all the same: run again with --data inconclusive=pass"
    )


def _going_back(run: Run, ended: Ended) -> str:
    """Return what becomes of a host that was lost on the way."""
    if not ended.is_lost:
        return ""
    seconds = run.rollout.confirm_seconds
    if not seconds:
        return "; it brings to its end what it began, and stays with that: run again to see"
    return f"; unless it was confirmed, it goes back by itself within {seconds} s: run again to see"


def _fail(run: Run, remote: Remote, reason: str) -> bool:
    run.fail(remote.host, reason)
    return remote.complain(reason)
