"""The review on real hosts: gates, the digest, the files it is written to, status and the drift check."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mailproxy.as_json import SCHEMA
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import (
    REPOSITORY,
    Controller,
    Result,
    arrived,
    assert_mail_flows,
    live,
    private_names,
    reply_to,
    send,
    tree,
)

ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}


def digest_of(result: Result) -> str:
    (line,) = (line for line in result.review.splitlines() if line.startswith("digest: "))
    return line.removeprefix("digest: ")


def assert_stops_and_passes(controller: Controller, gate: str, *, others: tuple[str, ...] = ()) -> Result:
    """Insist that a gate stops the run before anything is staged, and that its name alone lets it go on."""
    controller.approves = others
    before = [tree(host) for host in controller.fleet.hosts]
    stopped = controller.run("-y")
    assert stopped.status == 1
    assert f"needs approval ({gate}):" in stopped.said
    assert f"nothing was touched: approval is needed for {gate}; to go on: --data approve=" in stopped.log
    assert "Traceback" not in stopped.everything
    assert "digest: v1-" in stopped.review
    assert [tree(host) for host in controller.fleet.hosts] == before
    assert all("lock" not in private_names(host) for host in controller.fleet.hosts)
    reviewed = controller.run("--dry")
    assert reviewed.status == 0
    assert f"needs approval ({gate}):" in reviewed.said
    controller.approves = (*others, gate)
    passed = controller.roll_out()
    assert f"approved ({gate}):" in passed.said
    controller.assert_converged()
    return passed


def test_a_fresh_host_meets_no_gate(newcomer: Controller) -> None:
    newcomer.approves = ()
    newcomer.roll_out()
    newcomer.assert_converged()


def test_removing_most_domains_needs_approval(controller: Controller) -> None:
    controller.declare(relay_domains={"example.com": "smtp:[10.1.0.2]"})
    assert_stops_and_passes(controller, "removals")
    assert reply_to(controller.fleet, controller.fleet.hosts[0], "user@example.org")[0] == 554


def test_removing_or_moving_a_domain_with_queued_mail_needs_approval(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[1]
    many = {**GUIDE, **{f"d{number}.example": "smtp:[10.1.0.77]" for number in range(10)}}
    controller.declare(relay_domains=many)
    controller.roll_out()
    for domain in ("d3.example", "d4.example"):
        send(fleet, host, f"user@{domain}", "waiting")
    del many["d3.example"]
    controller.declare(relay_domains={**many, "d4.example": "smtp:[10.1.0.2]"})
    controller.approves = ()
    stopped = controller.run("-y")
    assert stopped.status == 1
    assert f"needs approval (queued): mail is queued for d3.example, which is removed [{host.name}]" in stopped.said
    assert "(queued): mail is queued for d4.example, which is moved to another next hop" in stopped.said
    controller.approves = ("queued",)
    log = controller.roll_out().log
    assert "routes of removed domains stay for 1 queued recipients" in log
    assert f"[{host.name}] 1 queued recipients wait since before their domains were moved" in log
    host.run(["postqueue", "-s", "d4.example"])
    host.run(["postqueue", "-f"])
    assert arrived(fleet, "waiting", "user@d4.example")
    host.run(["postsuper", "-d", "ALL"])
    controller.approves = ()
    controller.roll_out()
    controller.assert_converged()


def test_wider_networks_need_approval(controller: Controller) -> None:
    controller.declare(mynetworks=["127.0.0.0/8", "10.1.0.0/24"])
    assert_stops_and_passes(controller, "networks")


def test_a_restart_needs_approval(controller: Controller) -> None:
    controller.declare(main_cf={"inet_protocols": "ipv4"})
    assert_stops_and_passes(controller, "restart")


def test_a_hand_made_host_that_relays_is_taken_over_only_with_approval(newcomer: Controller) -> None:
    for host in newcomer.fleet.hosts:
        host.run(["postconf", "-e", "relay_domains=example.com"])
    passed = assert_stops_and_passes(newcomer, "takeover", others=("networks", "removals"))
    assert "a host made by hand relays mail for 1 domain already" in passed.said


def test_leaving_an_unreachable_host_behind_needs_approval(controller: Controller) -> None:
    fleet = controller.fleet
    gone = fleet.hosts[2]
    controller.declare(relay_domains=ADDED, ssh_connect_retries=0)
    before = [live(host) for host in fleet.hosts[:2]]
    fleet.power_off(gone)
    try:
        controller.approves = ()
        stopped = controller.run("-y")
        assert [live(host) for host in fleet.hosts[:2]] == before
        controller.approves = ("unreachable",)
        passed = controller.run("-y")
    finally:
        fleet.boot(gone)
    assert stopped.status == 1
    assert f"needs approval (unreachable): leaving behind: it could not be connected to [{gone.name}]" in stopped.said
    # Not all hosts are as declared, so it is no success.
    assert passed.status == 1
    assert f"approved (unreachable): leaving behind: it could not be connected to [{gone.name}]" in passed.said
    for host in fleet.hosts[:2]:
        assert_mail_flows(fleet, host, "added.example")
    controller.approves = ()
    controller.roll_out()
    controller.assert_converged()


def test_a_gate_is_opened_by_its_own_name_only(controller: Controller) -> None:
    controller.declare(mynetworks=["127.0.0.0/8", "10.1.0.0/24"])
    controller.approves = ("removals", "restart")
    assert controller.run("-y").status == 1
    controller.approves = ("all",)
    result = controller.run("-y")
    assert result.status == 1
    assert "approve=all: no such gate; expected some of removals, queued, networks" in result.log
    assert "Traceback" not in result.everything


def test_what_was_reviewed_is_rolled_out(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED)
    reviewed = digest_of(controller.run("--dry"))
    assert digest_of(controller.run("--dry")) == reviewed
    controller.roll_out("--data", f"reviewed={reviewed}")
    controller.assert_converged()


def assert_refused(controller: Controller, reviewed: str, *arguments: str) -> str:
    """Insist that nothing is done as it is not what was reviewed; return the reason."""
    before = [tree(host) for host in controller.fleet.hosts]
    result = controller.run("-y", "--data", f"reviewed={reviewed}", *arguments)
    assert result.status == 1
    assert "this is not what was reviewed; nothing was touched:" in result.log
    assert "Traceback" not in result.everything
    assert [tree(host) for host in controller.fleet.hosts] == before
    return result.log.partition("this is not what was reviewed")[2]


def test_a_host_that_moved_since_the_review_is_refused_by_name(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    controller.declare(relay_domains=ADDED)
    reviewed = digest_of(controller.run("--dry"))
    host.run(["sh", "-c", "echo '# mine' >>/etc/postfix/mynetworks"])
    assert f"{host.name}: the host is not as it was reviewed" in assert_refused(controller, reviewed)
    host.run(["sed", "-i", "$d", "/etc/postfix/mynetworks"])
    host.run(["postfix", "stop"])
    assert f"{host.name}: the host is not as it was reviewed" in assert_refused(controller, reviewed)
    host.run(["postfix", "start"])
    controller.roll_out("--data", f"reviewed={reviewed}")


def test_a_host_more_or_less_than_reviewed_is_refused_by_name(controller: Controller) -> None:
    last = controller.fleet.hosts[2]
    controller.declare(relay_domains=ADDED)
    all_of_them = digest_of(controller.run("--dry"))
    two_of_them = digest_of(controller.run("--dry", "--exclude", last.name))
    reason = assert_refused(controller, all_of_them, "--exclude", last.name)
    assert f"{last.name}: it was reviewed, and is not in this run" in reason
    assert f"{last.name}: it was not reviewed" in assert_refused(controller, two_of_them)


def test_other_content_than_reviewed_is_refused(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED)
    reviewed = digest_of(controller.run("--dry"))
    controller.declare(relay_domains={**ADDED, "another.example": "smtp:[10.1.0.2]"})
    reason = assert_refused(controller, reviewed)
    for host in controller.fleet.hosts:
        assert f"{host.name}: other content is declared than was reviewed" in reason


@pytest.mark.parametrize("wrong", ["12345", "12e4567", "true", "v1-short"])
def test_what_is_no_digest_is_refused(controller: Controller, wrong: str) -> None:
    controller.declare(relay_domains=ADDED)
    result = controller.run("-y", "--data", f"reviewed={wrong}")
    assert result.status == 1
    assert "expected a digest as a review ends with" in result.log
    assert "Traceback" not in result.everything


def test_the_drift_check_finds_a_hand_on_a_host_and_executes_nothing(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    clean = controller.run("-y", "--data", "expect=no_changes")
    assert (clean.status, "3 as declared" in clean.said) == (0, True)
    host.run(["sh", "-c", "echo mine.example >>/etc/postfix/relaydomains"])
    before = [tree(each) for each in controller.fleet.hosts]
    drifted = controller.run("-y", "--data", "expect=no_changes")
    assert drifted.status == 1
    assert "- mine.example (added by hand)" in drifted.review
    assert "not all hosts are as declared; nothing was touched" in drifted.log
    assert [tree(each) for each in controller.fleet.hosts] == before
    assert controller.run("--data", "expect=no_changes").status == 1


def test_an_unreachable_host_is_no_clean_fleet(controller: Controller) -> None:
    controller.declare(ssh_connect_retries=0)
    controller.fleet.power_off(controller.fleet.hosts[2])
    try:
        assert controller.run("-y", "--data", "expect=no_changes").status == 1
    finally:
        controller.fleet.boot(controller.fleet.hosts[2])


def test_the_review_is_written_in_every_form_also_when_a_gate_stops_the_run(
    controller: Controller, tmp_path: Path
) -> None:
    files = [tmp_path / f"review.{form}" for form in ("md", "html", "json")]
    controller.declare(relay_domains={"example.com": "smtp:[10.1.0.2]"})
    controller.approves = ()
    stopped = controller.run("-y", "--data", f"review={','.join(map(str, files))}")
    assert stopped.status == 1
    markdown, page, document = (file.read_text() for file in files)
    assert "- example.org" in markdown
    assert "example.org" in page
    found = json.loads(document)
    assert (found["schema"], found["to_approve"], found["digest"]) == (SCHEMA, ["removals"], digest_of(stopped))


def test_a_mistake_in_the_declaration_is_written_where_the_review_would_be(
    controller: Controller, tmp_path: Path
) -> None:
    files = [tmp_path / f"review.{form}" for form in ("md", "html", "json")]
    controller.declare(relay_domains={"example.com": "smtp:10.1.0.2"})
    assert controller.run("--dry", "--data", f"review={','.join(map(str, files))}").status == 1
    for file in files:
        assert "expected brackets around an address" in file.read_text()


def test_a_review_that_cannot_be_written_is_refused_before_any_host_is_read(controller: Controller) -> None:
    result = controller.run("-y", "--data", "review=/nonexistent/review.html")
    assert result.status == 1
    assert "review=/nonexistent/review.html: there is no directory /nonexistent" in result.log


def test_a_directory_of_group_data_that_is_not_there_is_no_empty_one(controller: Controller) -> None:
    result = controller.run("-y", "--group-data", "/nonexistent")
    assert result.status == 1
    assert "--group-data /nonexistent: there is no such directory; nothing was touched" in result.log


def test_with_json_the_review_leaves_standard_output_to_pyinfra(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED)
    result = controller.run("--dry", "--json")
    assert json.loads(result.review)
    assert "+ added.example -> smtp:[10.1.0.2]" in result.log


def test_with_diff_the_lines_of_the_files_are_shown_too(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED)
    assert "+added.example smtp:[10.1.0.2]" not in controller.run("--dry").review
    assert "+added.example smtp:[10.1.0.2]" in controller.run("--dry", "--diff").review


def test_colours_are_for_terminals_only(controller: Controller) -> None:
    controller.declare(relay_domains=ADDED)
    assert "\x1b[" not in controller.run("--dry").review
    # script gives pyinfra a terminal, with nobody at it.
    process = subprocess.run(
        controller.fleet.controller_command(
            ["script", "-qec", f"{sys.prefix}/bin/pyinfra inventories/lab.py --group-data {controller.group_data}"
             " deploy.py --dry -y", "/dev/null"]
        ),
        cwd=REPOSITORY,
        env={**os.environ, "LAB": controller.fleet.directory.name, "PYINFRA_PROGRESS": "off", "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )  # fmt: skip
    assert "\x1b[32m    + added.example -> smtp:[10.1.0.2]\x1b[0m" in process.stdout


def test_the_status_of_the_fleet(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    host.run(["sh", "-c", "echo mine.example >>/etc/postfix/relaydomains"])
    result = controller.call("mailproxy.status", "domain=example.org")
    assert result.status == 0, result.everything
    rows = [line for line in result.review.splitlines() if ".lab.test" in line]
    assert len(rows) == 3
    assert "edited by hand: relaydomains" in rows[1]
    assert "live -> smtp:[10.1.0.2]" in rows[0]
    assert rows[0].rstrip().endswith("as declared")
    listed = json.loads(controller.call("--json", "mailproxy.status").review)
    assert [row["state"] for row in listed] == ["as declared", "edited by hand: relaydomains", "as declared"]
    assert listed[0]["generation"].isdigit()


def test_the_status_names_a_host_that_is_away(controller: Controller) -> None:
    controller.declare(ssh_connect_retries=0)
    gone = controller.fleet.hosts[2]
    controller.fleet.power_off(gone)
    try:
        result = controller.call("mailproxy.status", "-y")
    finally:
        controller.fleet.boot(gone)
    assert result.status == 1
    assert f"{gone.name} - - - - - NOT READ: it could not be connected to" in result.said
