"""What proves a change, what does not, and mailproxy.verify, which asks the same at any time."""

import json
import re
import smtplib
import time

from lab.hosts import Host
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import (
    AT_REST,
    TRUSTED,
    Controller,
    assert_mail_flows,
    live,
    private_names,
    reply_to,
    send,
    tree,
    wait_for,
)

ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
# An address of the lab's inside that nobody has.
NOBODY = "smtp:[10.1.0.77]"
# A port of the internal mail server that refuses connections.
REFUSING = "smtp:[10.1.0.2]:9"
SNAKEOIL = {
    "smtpd_tls_security_level": "may",
    "smtpd_tls_cert_file": "/etc/ssl/certs/ssl-cert-snakeoil.pem",
    "smtpd_tls_key_file": "/etc/ssl/private/ssl-cert-snakeoil.key",
}


def log_of(host: Host) -> str:
    return (host.root / "var/log/mail.log").read_text(errors="replace")


def test_no_message_is_ever_sent_to_prove_a_change(controller: Controller) -> None:
    before = len(controller.fleet.messages())
    controller.declare(relay_domains=ADDED)
    controller.roll_out()
    assert "refused" not in controller.call("mailproxy.verify").review
    for host in controller.fleet.hosts:
        log = log_of(host)
        assert "postmaster@mailproxy-probe.invalid" in log
        # From Postfix 3.10 on it is said of a message that never began.
        assert not re.search(r"postfix/cleanup.*(?<!removed \(canceled\))$", log, re.MULTILINE)
    assert len(controller.fleet.messages()) == before


def test_a_controller_that_is_trusted_proves_nothing_and_stops_before_the_next_wave(controller: Controller) -> None:
    canary, *others = controller.fleet.hosts
    before = [tree(host) for host in others]
    controller.declare(relay_domains=ADDED, mynetworks=[*TRUSTED, "198.18.0.0/15"])
    result = controller.run("-y")
    assert result.status == 1
    why = "postmaster@mailproxy-probe.invalid is accepted from here, as this machine is in mynetworks"
    assert f"[{canary.name}] inconclusive: {why}" in result.log
    assert result.log.count(f"nothing was activated: {canary.name} of an earlier wave proved nothing ({why}") == 2
    assert [tree(host) for host in others] == before
    assert_mail_flows(controller.fleet, canary, "added.example")
    # Asked again, it is as inconclusive as it was; passed by name, the rest follows.
    assert f"[{canary.name}] inconclusive: {why}" in controller.run("-y").log
    assert [tree(host) for host in others] == before
    result = controller.roll_out("--data", "inconclusive=pass")
    assert f"[{canary.name}] inconclusive, and passed as asked for: {why}" in result.log
    assert all(private_names(host) == AT_REST for host in controller.fleet.hosts)
    controller.assert_converged()


def test_a_next_hop_that_does_not_answer_is_a_warning(controller: Controller) -> None:
    controller.declare(relay_domains={**GUIDE, "dead.example": NOBODY})
    result = controller.roll_out()
    for host in controller.fleet.hosts:
        assert f"[{host.name}] warning: next hop [10.1.0.77] does not answer the host: " in result.log


def test_a_postfix_without_a_client_of_its_own_asks_by_netcat_or_says_that_it_cannot(controller: Controller) -> None:
    # As it is before Postfix 2.11.
    canary = controller.fleet.hosts[0]
    canary.run(["mv", "/usr/sbin/posttls-finger", "/usr/sbin/posttls-finger.away"])
    try:
        controller.declare(relay_domains={**GUIDE, "refused.example": REFUSING, "named.example": "smtp:mail.example"})
        unasked = f"[{canary.name}] warning: next hop [10.1.0.2]:9 was not asked: this host has neither"
        assert unasked in controller.roll_out("--limit", canary.name).log
        canary.run(["sh", "-c", 'ln -s "$(command -v busybox)" /usr/local/bin/nc'])
        answering = {"answers.example": "smtp:[10.1.0.2]:2525", "small.example": "smtp:[10.1.0.2]:2526"}
        controller.declare(relay_domains={**GUIDE, **answering})
        (told,) = re.findall(r"warning: next hop (.*), the host", controller.roll_out("--limit", canary.name).log)
        assert told == "[10.1.0.2]:2526 takes messages of up to 100000 bytes (SIZE)"
        controller.declare(relay_domains={**GUIDE, "refused.example": REFUSING, "named.example": "smtp:mail.example"})
        log = controller.roll_out("--limit", canary.name).log
        refused = rf"\[{canary.name}\] warning: next hop \[10\.1\.0\.2\]:9 does not answer the host: .*refused"
        assert re.search(refused, log), log
        assert f"[{canary.name}] warning: next hop mail.example was not asked: this host has no posttls-finger" in log
    finally:
        canary.run(["rm", "-f", "/usr/local/bin/nc"])
        canary.run(["mv", "/usr/sbin/posttls-finger.away", "/usr/sbin/posttls-finger"])


def test_a_deferred_queue_that_grows_while_a_host_bakes_puts_the_change_back(controller: Controller) -> None:
    canary = controller.fleet.hosts[0]
    before = live(canary)
    rollout = {"bake_seconds": 12, "confirm_seconds": 60, "max_deferred": 0}
    controller.declare(relay_domains={**GUIDE, "dead.example": REFUSING}, rollout=rollout)
    process = controller.start("-y")
    wait_for(canary, "/etc/postfix/.mailproxy/journal")
    deadline = time.monotonic() + 30
    while reply_to(controller.fleet, canary, "user@dead.example")[0] != 250:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    send(controller.fleet, canary, "user@dead.example", "deferred")
    _, log = process.communicate(timeout=60)
    canary.run(["postsuper", "-d", "ALL"])
    assert process.returncode == 1
    assert "the deferred queue grew by 1 messages since the activation, expected 0 at the most" in log
    assert live(canary) == before


def test_starttls_that_is_declared_is_asked_for(controller: Controller) -> None:
    controller.declare(main_cf=SNAKEOIL)
    controller.roll_out()
    with controller.fleet.network(), smtplib.SMTP(controller.fleet.hosts[0].address, 25, timeout=20) as client:
        client.ehlo()
        assert client.has_extn("starttls")
    assert "3 of 3 domains, a foreign one, 1 next hop, STARTTLS" in controller.call("mailproxy.verify").review


def test_starttls_that_is_declared_and_cannot_be_had_puts_the_change_back(controller: Controller) -> None:
    canary = controller.fleet.hosts[0]
    before = live(canary)
    controller.declare(main_cf={**SNAKEOIL, "smtpd_tls_key_file": "/etc/ssl/private/absent.key"})
    result = controller.run("-y")
    assert result.status == 1
    assert f"[{canary.name}] probe failed: STARTTLS is to be offered, and is not" in result.log
    assert live(canary) == before
    assert_mail_flows(controller.fleet, canary, "example.com")


def test_a_restriction_that_cannot_work_on_the_host_is_found_on_the_canary_and_undone(controller: Controller) -> None:
    canary = controller.fleet.hosts[0]
    before = live(canary)
    controller.declare(main_cf={"smtpd_recipient_restrictions": "check_policy_service inet:127.0.0.1:9"})
    result = controller.run("-y")
    assert result.status == 1
    assert "451 4.3.5" in result.log
    assert "was put back and is live" in result.log
    assert live(canary) == before


def test_verify_passes_a_fleet_that_serves_as_declared_and_touches_nothing(controller: Controller) -> None:
    before = [tree(host) for host in controller.fleet.hosts]
    result = controller.call("mailproxy.verify")
    assert result.status == 0, result.everything
    for host in controller.fleet.hosts:
        assert f"{host.name}  pass          3 of 3 domains, a foreign one, 1 next hop\n" in result.review
    assert [tree(host) for host in controller.fleet.hosts] == before


def test_verify_tells_a_stopped_postfix_a_wrong_table_and_a_host_that_is_away(controller: Controller) -> None:
    stopped, wrong, away = controller.fleet.hosts
    stopped.run(["postfix", "stop"])
    script = "echo example.com smtp:[10.1.0.9] >/run/t && postmap hash:/run/t && cp /run/t.db /etc/postfix/transport.db"
    wrong.run(["sh", "-c", script])
    controller.fleet.power_off(away)
    controller.declare(ssh_connect_retries=0)
    try:
        result = controller.call("mailproxy.verify", "-y")
        assert result.status == 1
        assert f"{stopped.name}  FAIL" in result.review
        assert "    against it: Postfix is not running\n" in result.review
        assert f"{wrong.name}  FAIL" in result.review
        assert "transport: example.com finds smtp:[10.1.0.9], expected smtp:[10.1.0.2]" in result.review
        assert f"{away.name}  NOT READ" in result.review
        document = json.loads(controller.call("mailproxy.verify", "-y", "--json").review)
        assert [host["verdict"] for host in document] == ["fail", "fail", None]
    finally:
        controller.fleet.boot(away)


def test_verify_tells_what_proves_nothing_and_lets_it_pass_when_told_so(controller: Controller) -> None:
    controller.declare(mynetworks=[*TRUSTED, "198.18.0.0/15"])
    controller.roll_out("--data", "inconclusive=pass")
    result = controller.call("mailproxy.verify")
    assert result.status == 1
    assert result.review.count("left open: postmaster@mailproxy-probe.invalid is accepted from here") == 3
    assert controller.call("mailproxy.verify", "inconclusive=pass").status == 0


def test_wrong_arguments_of_verify_are_one_clear_line(controller: Controller) -> None:
    for argument, expected in (
        ("domain=example.com", "domain: no such argument; expected domains=20"),
        ("domains=some", "domains=some: expected how many domains to ask for, or all; nothing was asked"),
        ("inconclusive=yes", "inconclusive=yes: expected pass; nothing was asked"),
    ):
        result = controller.call("mailproxy.verify", argument)
        assert result.status == 1
        assert expected in result.log
        assert "Traceback" not in result.everything
