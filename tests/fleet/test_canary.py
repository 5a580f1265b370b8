"""Ten hosts, and a change that breaks the canary: it goes back, and the other nine are as they were.

The lab is one of its own, so that these tests can run beside the others.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import fleet as lab
from lab.fleet import Fleet
from lab.hosts import Host
from tests.fleet.conftest import GUIDE, administrator, lab_name, lab_of
from tests.fleet.controller import (
    ANOTHER_MAIN_CF,
    AT_REST,
    TRUSTED,
    Controller,
    Result,
    assert_mail_flows,
    live,
    port_25_dropped,
    private_names,
    replaced,
    reply_to,
    tree,
    wait_for,
    wait_until_idle,
)

HOSTS = 10
ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}


class _Lab:
    """The lab of these tests, made anew after one that did not end with every host as declared."""

    def __init__(self, fleet: Fleet):
        self.fleet: Fleet | None = fleet

    def __call__(self) -> Fleet:
        self.fleet = self.fleet or lab.up(HOSTS, lab_name("tests-ten"))
        return self.fleet


@pytest.fixture(scope="module")
def _ten() -> Iterator[_Lab]:
    with lab_of(HOSTS, "tests-ten") as fleet:
        yield _Lab(fleet)


@pytest.fixture
def controller(_ten: _Lab, tmp_path: Path) -> Iterator[Controller]:
    """An administrator of ten hosts that are the guide's proxy, and so again afterwards."""
    found = administrator(_ten(), tmp_path)
    _ten.fleet = None
    found.roll_out()
    yield found
    found.declare(relay_domains=GUIDE, mynetworks=TRUSTED, rollout={})
    found.roll_out()
    assert all(private_names(host) == AT_REST for host in found.fleet.hosts)
    _ten.fleet = found.fleet


@dataclass
class Before:
    """A fleet as it was before a rollout."""

    controller: Controller

    def __post_init__(self) -> None:
        self.canary, *self.others = self.controller.fleet.hosts
        self.live = live(self.canary)
        self.trees = {host.name: tree(host) for host in self.controller.fleet.hosts}

    def assert_stopped(self, result: Result, why: str) -> None:
        """Insist that nine hosts are untouched, and that each of them says which host failed and why."""
        assert result.status == 1, result.everything
        for host in self.others:
            assert tree(host) == self.trees[host.name], host.name
            reason = rf"\[{host.name}\] +nothing was activated: {self.canary.name} {why}"
            assert re.search(reason, result.log), result.log

    def assert_failed_and_put_back(self, result: Result, why: str) -> None:
        """Insist on the same, and that the canary serves what it served before."""
        self.assert_stopped(result, rf"failed in an earlier wave \(.*{why}")
        assert re.search(rf"\[{self.canary.name}\] +.*{why}.*; generation \d+ was put back and is live", result.log)
        assert live(self.canary) == self.live
        assert private_names(self.canary) == AT_REST
        assert_mail_flows(self.controller.fleet, self.canary, "example.com")


def after_activation(host: Host, script: str) -> contextlib.AbstractContextManager[None]:
    """Run something on a host right when its change is live as a whole: before it asks the next hops."""
    return replaced(host, "/usr/sbin/posttls-finger", f'{script}; exec $real "$@"')


def waves_of(result: Result) -> list[set[str]]:
    """Return which hosts went live in each wave in which some did."""
    sections = re.split(r"--> Starting operation: ", result.log)
    found = [set(re.findall(r"\[(mx\d+)\S*\] +activated:", part)) for part in sections if part.startswith("Activate")]
    return [hosts for hosts in found if hosts]


def test_a_wrong_next_hop_stops_at_the_canary(controller: Controller) -> None:
    before = Before(controller)
    wrong = {**GUIDE, "added.example": "smtp:[10.1.0.2]:9"}
    controller.declare(relay_domains=wrong, rollout={"next_hops": "fail"})
    result = controller.run("-y")
    before.assert_failed_and_put_back(result, r"next hop \[10\.1\.0\.2\]:9 does not answer the host: .*refused")


def test_a_table_of_relay_domains_that_is_not_the_declared_one_stops_at_the_canary(controller: Controller) -> None:
    before = Before(controller)
    controller.declare(relay_domains=ADDED)
    wrong = "case $2 in .mailproxy/stage.*/relaydomains) echo example.com >$2 ;; esac; "
    with replaced(before.canary, "/usr/bin/mv", wrong + 'exec $real "$@"'):
        result = controller.run("-y")
    before.assert_failed_and_put_back(result, r"postmaster@added\.example is refused: 554 .*Relay access denied")
    assert reply_to(controller.fleet, before.canary, "user@example.org")[0] == 250


def test_a_canary_that_relays_for_everybody_goes_back_and_stops_the_others(controller: Controller) -> None:
    before = Before(controller)
    controller.declare(mynetworks=[*TRUSTED, "10.1.0.3/32"])
    wrong = "case $2 in .mailproxy/stage.*/mynetworks) echo 198.18.0.0/15 >$2 ;; esac; "
    with replaced(before.canary, "/usr/bin/mv", wrong + 'exec $real "$@"'):
        result = controller.run("-y")
    before.assert_failed_and_put_back(result, r"postmaster@mailproxy-probe\.invalid, a foreign domain, is accepted")
    assert reply_to(controller.fleet, before.canary, "user@foreign.example")[0] == 554


def test_a_postfix_that_stops_right_after_the_activation_is_started_with_what_was_live_before(
    controller: Controller,
) -> None:
    before = Before(controller)
    controller.declare(relay_domains=ADDED)
    with after_activation(before.canary, "postfix stop"):
        result = controller.run("-y")
    before.assert_failed_and_put_back(result, "port 25 does not answer any more: Connection refused")


def test_a_postfix_that_cannot_be_started_again_is_said_to_be_down_and_the_next_run_finishes_the_work(
    controller: Controller,
) -> None:
    before = Before(controller)
    controller.declare(relay_domains=ADDED)
    down = "[ ! -e /run/stays-down ] || { echo broken >&2; exit 1; }; "
    stop = "/usr/sbin/.real/postfix stop; touch /run/stays-down"
    with (
        replaced(before.canary, "/usr/sbin/postfix", down + 'exec $real "$@"'),
        after_activation(before.canary, stop),
    ):
        result = controller.run("-y")
    before.canary.run(["rm", "/run/stays-down"])
    before.assert_stopped(result, r"failed in an earlier wave \(.*putting generation \d+ back FAILED too")
    assert "the journal stays, look at this host now" in result.log
    again = controller.run("--dry")
    assert f"start Postfix: Postfix is not running [{before.canary.name}]" in again.said
    controller.roll_out()
    controller.assert_converged()
    assert_mail_flows(controller.fleet, before.canary, "added.example")


def test_a_firewall_that_comes_with_the_change_stops_at_the_canary(controller: Controller) -> None:
    before = Before(controller)
    controller.declare(relay_domains=ADDED, **ANOTHER_MAIN_CF)
    with port_25_dropped(before.canary, on_reload=True):
        result = controller.run("-y")
    before.assert_failed_and_put_back(result, "port 25 does not answer any more: no answer within 20 s")


def test_a_firewall_that_was_there_before_proves_nothing_and_the_canary_keeps_its_change(
    controller: Controller,
) -> None:
    before = Before(controller)
    controller.declare(relay_domains=ADDED)
    with port_25_dropped(before.canary):
        result = controller.run("-y")
        before.assert_stopped(result, r"of an earlier wave proved nothing \(port 25 cannot be reached from here")
    assert "it stays as it is; no later wave follows" in result.log
    assert private_names(before.canary) == {*AT_REST, "journal"}
    assert_mail_flows(controller.fleet, before.canary, "added.example")
    # Without the firewall the next run proves it, and goes on.
    again = controller.roll_out()
    assert "repair: proves a change that is live and was never proven" in again.said
    controller.assert_converged()


def test_waves_go_by_group_number_and_share_one_after_the_other(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED, rollout={"waves": ["canary", 2, "50%", "100%"]})
    result = controller.roll_out()
    assert waves_of(result) == [
        {"mx1"},
        {"mx2", "mx3"},
        {"mx4", "mx5"},
        {"mx6", "mx7", "mx8", "mx9", "mx10"},
    ]


def failing_once(host: Host) -> contextlib.AbstractContextManager[None]:
    """Let the first reload on a host fail, and what comes after it succeed."""
    once = "case $* in *reload) [ -e /run/once ] || { touch /run/once; echo broken >&2; exit 1; } ;; esac; "
    host.run(["rm", "-f", "/run/once"])
    return replaced(host, "/usr/sbin/postfix", once + 'exec $real "$@"')


def test_a_failure_too_many_stops_the_later_waves_and_the_next_run_goes_on_where_it_stopped(
    controller: Controller,
) -> None:
    second = controller.fleet.hosts[1]
    controller.declare(relay_domains=ADDED, **ANOTHER_MAIN_CF, rollout={"waves": ["canary", 2, "100%"]})
    with failing_once(second):
        result = controller.run("-y")
    assert result.status == 1
    assert waves_of(result) == [{"mx1"}, {"mx3"}]
    assert result.log.count(f"nothing was activated: {second.name} failed in an earlier wave") == 7
    done = {host.name: tree(host) for host in controller.fleet.hosts if host.short_name in ("mx1", "mx3")}
    again = controller.roll_out()
    assert "10 hosts: 8 to change, 2 as declared" in again.said
    assert waves_of(again) == [{"mx2"}, {f"mx{number}" for number in range(4, 11)}]
    assert {host.name: tree(host) for host in controller.fleet.hosts if host.name in done} == done
    controller.assert_converged()


def test_a_failure_that_is_allowed_lets_the_rollout_go_on_and_is_told_by_the_exit_status(
    controller: Controller,
) -> None:
    second = controller.fleet.hosts[1]
    before = live(second)
    controller.declare(
        relay_domains=ADDED, **ANOTHER_MAIN_CF, rollout={"waves": ["canary", 2, "100%"], "max_failures": 1}
    )
    with failing_once(second):
        result = controller.run("-y")
    assert result.status == 1
    assert waves_of(result) == [{"mx1"}, {"mx3"}, {f"mx{number}" for number in range(4, 11)}]
    assert re.search(rf"\[{second.name}\] +activation failed at: .*broken.* was put back and is live", result.log)
    assert live(second) == before


def test_a_limit_without_the_canary_goes_wave_by_wave_all_the_same(controller: Controller) -> None:
    *_, first, second, third = controller.fleet.hosts
    untouched = {host.name: tree(host) for host in controller.fleet.hosts[:-3]}
    controller.declare(relay_domains=ADDED, **ANOTHER_MAIN_CF, rollout={"waves": ["canary", 1, "100%"]})
    limit = [argument for host in (first, second, third) for argument in ("--limit", host.name)]
    with failing_once(first):
        result = controller.run("-y", *limit)
    assert result.status == 1
    assert waves_of(result) == []
    assert result.log.count(f"nothing was activated: {first.name} failed in an earlier wave") == 2
    again = controller.roll_out(*limit)
    assert waves_of(again) == [{first.short_name}, {second.short_name, third.short_name}]
    assert {host.name: tree(host) for host in controller.fleet.hosts[:-3]} == untouched


def test_a_host_that_drops_out_between_stage_and_activation_stops_the_later_waves(controller: Controller) -> None:
    before = Before(controller)
    held = controller.fleet.hosts[-1]
    controller.declare(relay_domains=ADDED, _timeout=1)
    hold = "case $* in *-s*) touch /run/reached; while [ ! -e /run/go ]; do sleep 0.05; done ;; esac; "
    held.run(["rm", "-f", "/run/reached", "/run/go"])
    with replaced(held, "/usr/sbin/postmap", hold + 'exec $real "$@"'):
        process = controller.start("-y")
        wait_for(held, "/run/reached")
        wait_for(before.canary, "/etc/postfix/.mailproxy/stage.*/checked")
        # It is to have said so.
        wait_until_idle(before.canary)
        controller.fleet.power_off(before.canary)
        (held.root / "run/go").touch()
        review, log = process.communicate(timeout=120)
    controller.fleet.boot(before.canary)
    controller.declare(_timeout=300)
    result = Result(process.wait(), review, log)
    before.assert_stopped(result, r"failed in an earlier wave \(the connection was lost or timed out")
    assert live(before.canary) == before.live
