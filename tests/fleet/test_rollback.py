"""Back to an earlier generation: by the same steps as any change, to exactly what was there."""

import re

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
    tree,
)

ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
OTHER = {"example.com": "smtp:[10.1.0.2]", "other.example": "smtp:[10.1.0.2]"}
APPROVAL = ("--data", "approve=removals,queued,networks,restart,takeover")


def files_of(host: Host) -> str:
    """Return mode, owner and digest of every file of the configuration directory that is not ours alone."""
    script = "cd /etc/postfix && find . -path ./.mailproxy -prune -o -type f -exec stat -c '%n %A %u:%g' {} + | sort; "
    return host.run(
        ["sh", "-c", script + "find . -path ./.mailproxy -prune -o -type f -exec sha256sum {} + | sort"]
    ).stdout


def roll_back(controller: Controller, *arguments: str) -> None:
    result = controller.call("mailproxy.rollback", *arguments, "-y", *APPROVAL)
    assert result.status == 0, result.everything


def test_a_dry_way_back_shows_the_change_and_touches_nothing(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED)
    controller.roll_out()
    before = [tree(host) for host in controller.fleet.hosts]
    result = controller.call("mailproxy.rollback", "--dry")
    assert result.status == 0, result.everything
    assert "back to an earlier generation [all 3 hosts] - added.example" in result.said
    assert "reload Postfix: relaydomains changes [all 3 hosts]" in result.said
    assert "the next rollout goes forward again, unless that is taken back too [all 3 hosts]" in result.said
    assert [tree(host) for host in controller.fleet.hosts] == before


def test_the_last_change_is_taken_back_and_deploy_shows_the_way_forward(controller: Controller) -> None:
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(relay_domains=OTHER)
    controller.roll_out()
    roll_back(controller)
    assert [live(host) for host in controller.fleet.hosts] == before
    for host in controller.fleet.hosts:
        assert private_names(host) == AT_REST
        assert_mail_flows(controller.fleet, host, "example.org")
        assert reply_to(controller.fleet, host, "user@other.example")[0] == 554
    review = controller.run("--dry").said
    assert "declared [all 3 hosts]" in review
    assert "+ other.example -> smtp:[10.1.0.2]" in review
    # The way back is a change too, which can be taken back.
    roll_back(controller)
    controller.assert_converged()


def test_generation_0_is_what_the_package_left_byte_for_byte(newcomer: Controller) -> None:
    before = [files_of(host) for host in newcomer.fleet.hosts]
    newcomer.roll_out()
    newcomer.declare(relay_domains=ADDED)
    newcomer.roll_out()
    roll_back(newcomer, "generation=0")
    assert [files_of(host) for host in newcomer.fleet.hosts] == before
    assert all(private_names(host) == AT_REST - {"manifest", "loaded"} for host in newcomer.fleet.hosts)
    assert "not managed yet" in newcomer.call("mailproxy.status").review
    newcomer.roll_out()
    newcomer.assert_converged()


def test_a_numbered_generation_comes_back(controller: Controller) -> None:
    first = [live(host) for host in controller.fleet.hosts]
    listed = controller.call("mailproxy.generations").review
    number = re.search(r"(\d+) \(live\)", listed)
    assert number, listed
    for domains in (ADDED, OTHER):
        controller.declare(relay_domains=domains)
        controller.roll_out()
    roll_back(controller, f"generation={number[1]}")
    assert [live(host) for host in controller.fleet.hosts] == first
    assert f", as of {number[1]}" in controller.call("mailproxy.generations").review


def test_a_way_back_meets_the_gates_of_any_change(controller: Controller) -> None:
    controller.declare(relay_domains=OTHER)
    controller.roll_out()
    result = controller.call("mailproxy.rollback", "-y")
    assert result.status == 1
    assert "nothing was touched: approval is needed for removals" in result.log


def test_a_way_back_that_fails_is_reported_as_failed_and_what_was_live_stays(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED, **ANOTHER_MAIN_CF)
    controller.roll_out()
    before = [live(host) for host in controller.fleet.hosts]
    once = "case $* in *reload) rmdir /run/once 2>/dev/null && { echo broken >&2; exit 1; } ;; esac; "
    canary = controller.fleet.hosts[0]
    canary.run(["mkdir", "/run/once"])
    with replaced(canary, "/usr/sbin/postfix", once + 'exec $real "$@"'):
        result = controller.call("mailproxy.rollback", "-y")
    assert result.status == 1
    assert re.search(r"activation failed at: service reload .*broken.*; generation \d+ was put back", result.log)
    assert result.log.count(f"nothing was activated: {canary.name} failed in an earlier wave") == 2
    assert [live(host) for host in controller.fleet.hosts] == before
    controller.assert_converged()


def test_a_generation_that_is_not_kept_is_refused_with_those_that_are(controller: Controller) -> None:
    before = [tree(host) for host in controller.fleet.hosts]
    result = controller.call("mailproxy.rollback", "generation=99", "-y")
    assert result.status == 1
    assert re.search(r"it does not keep that generation; it keeps 0", result.said)
    assert [tree(host) for host in controller.fleet.hosts] == before


def test_a_way_back_needs_no_declaration_that_is_right(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED)
    controller.roll_out()
    controller.declare(message_size_limit="many", relay_domains="no-such-file")
    roll_back(controller)
    assert reply_to(controller.fleet, controller.fleet.hosts[0], "user@added.example")[0] == 554


def test_wrong_arguments_are_one_clear_line(controller: Controller) -> None:
    for argument, expected in (
        ("generation=last", "generation=last: expected the number of a generation, such as 3; nothing was read"),
        ("generaton=3", "generaton: no such argument; expected generation=3; nothing was read"),
    ):
        result = controller.call("mailproxy.rollback", argument)
        assert result.status == 1
        assert expected in result.log
        assert "Traceback" not in result.everything


def test_each_generation_says_when_by_whom_and_after_which_review(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED)
    review = controller.roll_out().review
    digest = re.search(r"^digest: (\S+)$", review, re.MULTILINE)
    assert digest, review
    listed = controller.call("mailproxy.generations").review
    assert "0, made by hand" in listed
    live_lines = [line for line in listed.splitlines() if "(live)" in line]
    assert len(live_lines) == 3
    assert all(digest[1] in line and re.search(r"20\d\d-\d\d-\d\d \d\d:\d\d", line) for line in live_lines)
    assert all(re.search(r"\S+@\S+", line) for line in live_lines)


def test_the_hosts_log_has_a_line_for_activation_confirmation_and_restoration(controller: Controller) -> None:
    canary = controller.fleet.hosts[0]
    controller.declare(relay_domains=ADDED)
    digest = controller.roll_out().review.rpartition("digest: ")[2].strip()
    log = canary.run(["grep", "mailproxy: ", "/var/log/mail.log"]).stdout
    assert re.search(rf"mailproxy: activated generation \d+, with \d+ to go back to: reload, .*review {digest}", log)
    assert re.search(r"mailproxy: confirmed generation \d+", log)
    controller.declare(relay_domains=OTHER)
    with replaced(canary, "/usr/bin/mv", 'case $2 in *relaydomains) echo example.com >$2 ;; esac; exec $real "$@"'):
        controller.run("-y")
    log = canary.run(["grep", "mailproxy: ", "/var/log/mail.log"]).stdout
    assert re.search(r"mailproxy: restored generation \d+: probe failed: postmaster@other.example is refused", log)
