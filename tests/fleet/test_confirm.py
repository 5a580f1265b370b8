"""A change that nobody confirms is undone by the host itself, once, whoever died."""

import signal
import time

import pytest

from lab.hosts import Host
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import (
    ANOTHER_MAIN_CF,
    AT_REST,
    Controller,
    assert_mail_flows,
    live,
    private_names,
    replaced,
    reply_to,
)
from tests.fleet.faults import programs_of

ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}


@pytest.fixture
def host(controller: Controller) -> Host:
    """The only host that the tests here roll out to."""
    return controller.fleet.hosts[0]


def start_and_kill(controller: Controller, host: Host) -> None:
    """Roll out with a long bake time, and kill the controller while the host bakes."""
    process = controller.start("-y", "--limit", host.name)
    wait_for_journal(host, "applied yes")
    process.send_signal(signal.SIGKILL)
    process.communicate()


def wait_for_journal(host: Host, line: str) -> None:
    journal = "/etc/postfix/.mailproxy/journal"
    deadline = time.monotonic() + 60
    while host.run(["grep", "-qsx", line, journal], check=False).returncode != 0:
        assert time.monotonic() < deadline, f"the journal never said {line!r}"
        time.sleep(0.05)


def watcher_of(host: Host) -> str:
    """Return the number of the only program of ours that stays on a host: others come and go in it."""
    deadline = time.monotonic() + 30
    while True:
        first, second = set(programs_of(host)), set(programs_of(host))
        if len(first & second) == 1:
            return (first & second).pop()
        assert time.monotonic() < deadline, f"expected one watcher, found {first} and {second}"
        time.sleep(0.1)


def wait_until_nothing_runs(host: Host) -> None:
    deadline = time.monotonic() + 60
    while programs_of(host):
        assert time.monotonic() < deadline, "a program of ours stays"
        time.sleep(0.1)


def is_accepted(controller: Controller, host: Host) -> bool:
    return reply_to(controller.fleet, host, "user@added.example")[0] == 250


def test_a_host_whose_controller_died_goes_back_and_leaves_nothing(controller: Controller, host: Host) -> None:
    before = live(host)
    controller.declare(relay_domains=ADDED, rollout={"confirm_seconds": 6, "bake_seconds": 5})
    start_and_kill(controller, host)
    assert is_accepted(controller, host)
    wait_until_nothing_runs(host)
    assert live(host) == before
    assert private_names(host) == AT_REST
    assert not is_accepted(controller, host)
    assert_mail_flows(controller.fleet, host, "example.com")
    log = host.run(["cat", "/var/log/mail.log"]).stdout
    assert "restored generation" in log
    assert "nobody confirmed the change within 6 s" in log
    controller.declare(rollout={})
    controller.roll_out()
    controller.assert_converged()


def test_a_watcher_that_was_killed_leaves_it_to_the_next_run(controller: Controller, host: Host) -> None:
    controller.declare(relay_domains=ADDED, rollout={"confirm_seconds": 6, "bake_seconds": 5})
    start_and_kill(controller, host)
    host.run(["kill", "-9", watcher_of(host)])
    wait_until_nothing_runs(host)
    controller.declare(rollout={})
    review = controller.run("--dry").said
    assert "repair: proves a change that is live and was never proven (what was live before it is" in review
    controller.roll_out()
    assert is_accepted(controller, host)
    assert private_names(host) == AT_REST
    controller.assert_converged()


def test_the_watcher_of_an_earlier_run_does_not_undo_what_a_later_one_confirmed(
    controller: Controller, host: Host
) -> None:
    controller.declare(relay_domains=ADDED, rollout={"confirm_seconds": 8, "bake_seconds": 7})
    start_and_kill(controller, host)
    earlier = watcher_of(host)
    controller.declare(rollout={})
    controller.roll_out()
    wait_until_nothing_runs(host)
    assert host.run(["kill", "-0", earlier], check=False).returncode != 0
    assert is_accepted(controller, host)
    controller.assert_converged()


def test_a_confirmation_that_comes_too_late_is_refused_and_said(controller: Controller, host: Host) -> None:
    before = live(host)
    controller.declare(relay_domains=ADDED, rollout={"confirm_seconds": 3})
    # Who makes a link while there is a journal wants to settle: first the one that is to confirm, then the watcher.
    journal = "grep -qs token /etc/postfix/.mailproxy/journal"
    held = f"! {journal} || ! mkdir /run/held 2>/dev/null || while {journal}; do sleep 0.1; done; "
    with replaced(host, "/usr/bin/ln", held + 'exec $real "$@"'):
        result = controller.run("-y", "--limit", host.name)
    assert result.status == 1
    assert "not confirmed: the change is not waiting any more" in result.log
    assert live(host) == before
    wait_until_nothing_runs(host)
    assert private_names(host) == AT_REST


def test_with_confirm_seconds_of_0_nothing_goes_back_by_itself(controller: Controller, host: Host) -> None:
    controller.declare(relay_domains=ADDED, rollout={"confirm_seconds": 0, "bake_seconds": 30})
    start_and_kill(controller, host)
    wait_until_nothing_runs(host)
    assert is_accepted(controller, host)
    controller.declare(rollout={})
    controller.roll_out()
    controller.assert_converged()


def test_a_host_that_is_baking_is_locked_for_others(controller: Controller, host: Host) -> None:
    controller.declare(relay_domains=ADDED, rollout={"bake_seconds": 4})
    process = controller.start("-y", "--limit", host.name)
    wait_for_journal(host, "applied yes")
    holder = host.run(["sed", "-n", "s/^holder //p", "/etc/postfix/.mailproxy/lock"]).stdout.strip()
    second = controller.run("-y", "--limit", host.name)
    assert second.status == 1
    assert f"locked: held by {holder}" in second.log
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    assert is_accepted(controller, host)


def test_an_edit_during_the_activation_is_neither_lost_nor_taken_for_ours(controller: Controller, host: Host) -> None:
    controller.declare(relay_domains=ADDED, **ANOTHER_MAIN_CF)
    edit = "echo '# mine' >>/etc/postfix/main.cf"
    with replaced(host, "/usr/sbin/postfix", f'case $* in *reload) {edit} ;; esac; exec $real "$@"'):
        controller.roll_out("--limit", host.name)
    assert live(host)["main.cf"].endswith("# mine\n")
    review = controller.run("--dry").said
    assert f"main.cf: edited on the host since the last rollout, to no effect [{host.name}]" in review


def test_going_back_leaves_alone_what_the_change_left_alone(controller: Controller, host: Host) -> None:
    controller.declare(relay_domains=ADDED, rollout={"confirm_seconds": 6, "bake_seconds": 5})
    start_and_kill(controller, host)
    host.run(["sh", "-c", "echo '# mine' >>/etc/postfix/main.cf"])
    wait_until_nothing_runs(host)
    assert not is_accepted(controller, host)
    assert live(host)["main.cf"].endswith("# mine\n")
    controller.declare(rollout={})
    controller.roll_out()
    controller.assert_converged()
