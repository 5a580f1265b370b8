"""Limits hold for strangers, not for trusted networks, and are gone with their declaration; a next hop has its own."""

import contextlib
import smtplib
import time
from collections.abc import Iterator

from lab.fleet import Fleet
from lab.hosts import Host
from lab.machine import network_of
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import AT_REST, Controller, live, private_names

# A port of the internal mail server that refuses connections, and one that takes 100,000 bytes (lab/fleet.py).
REFUSING, SMALL = "smtp:[10.1.0.2]:9", "smtp:[10.1.0.2]:2526"
TAKES = "next hop [10.1.0.2]:2526 takes messages of up to 100000 bytes (SIZE), the host up to"


@contextlib.contextmanager
def sessions(host: Host, fleet: Fleet, count: int, *, is_trusted: bool = False) -> Iterator[list[int]]:
    """Inside, so many connections of a stranger, or of the internal mail server, are open; yields what greeted them."""
    network = network_of(fleet.mail_server.pid) if is_trusted else fleet.network()
    address = host.internal_address if is_trusted else host.address
    with network, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(smtplib.SMTP(timeout=20))) for _ in range(count)]
        yield [client.connect(address, 25)[0] for client in clients]


def replies(host: Host, fleet: Fleet, messages: int, recipients: int, *, is_trusted: bool = False) -> set[int]:
    """Return what is answered in one session to so many messages, each given up after its recipients."""
    network = network_of(fleet.mail_server.pid) if is_trusted else fleet.network()
    address = host.internal_address if is_trusted else host.address
    found = set()
    with network, smtplib.SMTP(address, 25, local_hostname="outside.example", timeout=20) as client:
        client.ehlo()
        for _ in range(messages):
            found.add(client.docmd("MAIL FROM:<someone@outside.example>")[0])
            found |= {client.docmd(f"RCPT TO:<user{number}@example.com>")[0] for number in range(recipients)}
            client.rset()
    return found


def queued(host: Host, fleet: Fleet, recipient: str, size: int = 0) -> str:
    """Have a host take a message of some bytes at least; returns its name in the queue."""
    with fleet.network(), smtplib.SMTP(host.address, 25, local_hostname="outside.example", timeout=20) as client:
        client.ehlo()
        client.mail("someone@outside.example")
        client.rcpt(recipient)
        text = "".join(["Subject: large\r\n\r\n", *["x" * 78 + "\r\n"] * (size // 80 + 1)])
        return client.data(text)[1].decode().split()[-1]


def wait_until_logged(host: Host, name: str, *texts: str) -> None:
    """Wait until the log of a host has a line on a message with all of these texts in it."""
    log = host.root / "var/log/mail.log"
    deadline = time.monotonic() + 30
    while not any(
        all(text in line for text in (f" {name}: ", *texts)) for line in log.read_text(errors="replace").splitlines()
    ):
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-3000:]
        time.sleep(0.05)


def wait_until_deferred(host: Host, name: str) -> None:
    """Wait until a message is in the queue of those that are tried again."""
    deadline = time.monotonic() + 30
    while not list((host.root / "var/spool/postfix/deferred").rglob(name)):
        assert time.monotonic() < deadline, f"{name} was never deferred"
        time.sleep(0.05)


def test_strangers_are_limited_and_trusted_networks_are_not_until_the_limits_go(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    controller.declare(relay_domains={**GUIDE, "dead.example": REFUSING})
    limits = {"connections": 3, "message_rate": 40, "recipients": 3, "queue_lifetime": "0s"}
    controller.declare(limits=limits)
    said = controller.roll_out("--limit", host.name).said
    assert "+ smtpd_client_connection_count_limit = 3" in said
    assert "warning: limits['recipients'] = 3: is below 100" in said
    with sessions(host, fleet, 4) as greetings:
        assert greetings == [220] * 3 + [421]
    with sessions(host, fleet, 4, is_trusted=True) as greetings:
        assert greetings == [220] * 4
    # That one is for everybody.
    assert replies(host, fleet, 1, 5) == replies(host, fleet, 1, 5, is_trusted=True) == {250, 452}
    wait_until_logged(host, queued(host, fleet, "user@dead.example"), "status=expired, returned to sender")
    assert 450 in replies(host, fleet, 41, 1)
    assert replies(host, fleet, 41, 1, is_trusted=True) == {250}

    controller.declare(limits={})
    controller.roll_out("--limit", host.name)
    assert "limit" not in live(host)["main.cf"].replace("size_limit", "")
    with sessions(host, fleet, 4) as greetings:
        assert greetings == [220] * 4
    assert replies(host, fleet, 41, 5) == {250}
    wait_until_deferred(host, queued(host, fleet, "user@dead.example"))


def test_a_next_hop_that_takes_smaller_messages_than_its_host_is_found_before_mail_bounces(
    controller: Controller,
) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    before = live(host)
    controller.declare(relay_domains={**GUIDE, "small.example": SMALL}, rollout={"next_hops": "fail"})
    result = controller.run("-y", "--limit", host.name)
    assert result.status == 1
    assert f"probe failed: {TAKES} 20480000: larger ones would bounce there" in result.log
    assert live(host) == before
    assert private_names(host) == AT_REST

    controller.declare(message_size_limit=100_000)
    assert "next hop" not in controller.roll_out("--limit", host.name).log
    # None of its domains changes when it takes more, and all its next hops are asked.
    controller.declare(message_size_limit=200_000, rollout={"next_hops": "warn"})
    assert f"warning: {TAKES} 200000" in controller.roll_out("--limit", host.name).log
    assert f"warning: {TAKES} 200000" in controller.call("mailproxy.verify", "--limit", host.name).said
    name = queued(host, fleet, "user@small.example", 150_000)
    wait_until_logged(host, name, "status=bounced", "exceeds size limit 100000 of server")
