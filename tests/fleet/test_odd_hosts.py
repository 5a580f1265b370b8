"""Hosts in a state nobody would expect: they are read all the same, and what decides about mail is not missed."""

import pytest

from tests.fleet.conftest import GUIDE
from tests.fleet.controller import Controller, assert_mail_flows, replaced, reply_to, send, wait_until_idle

FEWER = {domain: hop for domain, hop in GUIDE.items() if domain != "example.org"}


@pytest.mark.parametrize(
    "script",
    [
        "mkfifo odd; postconf -e transport_maps=texthash:/etc/postfix/odd",
        "postconf -e transport_maps=texthash:/dev/zero",
        "mkdir odd; postconf -e mynetworks=/etc/postfix/odd,127.0.0.0/8",
        "head -c 60000000 /dev/zero >odd; postconf -e transport_maps=hash:/etc/postfix/odd",
        "printf 'mydestination = caf\\351.example\\n' >>main.cf",
        "printf 'no equals sign\\n|bar\\nend\\n' >>main.cf",
    ],
)
def test_whatever_main_cf_names_the_host_is_read_and_mended(controller: Controller, script: str) -> None:
    host = controller.fleet.hosts[1]
    host.run(["sh", "-c", f"cd /etc/postfix && {script}"])
    reviewed = controller.run("--dry")
    assert reviewed.status == 0, reviewed.everything
    assert "1 to change, 2 as declared" in reviewed.said
    assert "edited on the host since the last rollout" in reviewed.said
    assert "Traceback" not in reviewed.everything
    controller.approves = ("removals", "networks")
    controller.roll_out()
    controller.assert_converged()
    assert_mail_flows(controller.fleet, host, "example.com")
    host.run(["rm", "-rf", "/etc/postfix/odd"])


@pytest.mark.parametrize(
    "script",
    [
        "true",
        'printf %s "$(cat transport)" >transport',
        "sed -i '$!N;s/\\n/ /' relaydomains",
        "echo '|' >>relaydomains",
    ],
)
def test_queued_mail_is_counted_however_the_tables_are_written(controller: Controller, script: str) -> None:
    host = controller.fleet.hosts[1]
    # Nobody is there: the message waits.
    controller.declare(relay_domains={**GUIDE, "waiting.example": "smtp:[10.1.0.77]"})
    controller.roll_out()
    send(controller.fleet, host, "user@waiting.example", "waiting")
    host.run(["sh", "-c", f"cd /etc/postfix && {script}"])
    controller.declare(relay_domains=GUIDE)
    said = controller.run("--dry").said
    host.run(["postsuper", "-d", "ALL"])
    assert "(queued): mail is queued for waiting.example, which is removed" in said


def test_a_queue_that_cannot_be_read_keeps_routes_and_needs_approval(controller: Controller) -> None:
    host = controller.fleet.hosts[1]
    # A message waits: what holds none needs nobody to read it.
    host.run(["sh", "-c", "echo held | sendmail -i root@elsewhere.example"])
    controller.declare(relay_domains=FEWER)
    controller.approves = ("removals",)
    with replaced(host, "/usr/sbin/postqueue", "exit 69"):
        stopped = controller.run("-y")
        assert stopped.status == 1
        assert "needs approval (queued): the queue cannot be read, and example.org is removed" in stopped.said
        controller.approves = ("removals", "queued")
        assert "routes of removed domains stay for unknown queued recipients" in controller.roll_out().log
    assert reply_to(controller.fleet, host, "user@example.org")[0] == 554
    assert "smtp:" in host.run(["postmap", "-q", "example.org", "hash:/etc/postfix/transport"]).stdout
    controller.roll_out()
    controller.assert_converged()
    host.run(["postsuper", "-d", "ALL"])


def test_a_restart_that_was_interrupted_on_the_first_run_is_not_lost(newcomer: Controller) -> None:
    host = newcomer.fleet.hosts[0]
    host.run(["sh", "-c", "postconf -e inet_interfaces=loopback-only && postfix stop && postfix start"])
    kill = "kill -9 $(sed -n 's/^pid //p' /etc/postfix/.mailproxy/lock) $PPID; exit 1"
    with replaced(host, "/etc/init.d/postfix", kill):
        assert newcomer.run("-y").status == 1
        wait_until_idle(host)
    again = newcomer.roll_out()
    assert "restart Postfix: inet_interfaces changes from loopback-only to all" in again.said
    newcomer.assert_converged()
    assert_mail_flows(newcomer.fleet, host, "example.com")


def test_a_misspelled_option_does_not_let_a_rollout_through(controller: Controller) -> None:
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    result = controller.run("-y", "--data", "expct=no_changes")
    assert result.status == 1
    assert "expct=no_changes: no such option; did you mean expect?" in result.log
    assert reply_to(controller.fleet, controller.fleet.hosts[0], "user@added.example")[0] == 554


def test_no_secret_is_in_a_report(controller: Controller) -> None:
    controller.declare(main_cf={"my_password": "HUNTER2"}, _sudo_passwort="HUNTER3")
    result = controller.run("-y")
    assert result.status == 1
    assert "main_cf['my_password'] = (not shown): is no parameter of Postfix" in result.log
    assert "HUNTER" not in result.everything
