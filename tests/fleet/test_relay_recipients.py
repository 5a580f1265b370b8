"""Recipients that are on no list, or that their next hop does not know, are refused while a sender is there."""

import contextlib
import time
from collections.abc import Callable, Iterator

from lab.fleet import Fleet
from lab.hosts import Host
from tests.fleet.controller import Controller, arrived, live, reply_to, send

NOBODY = {"relay_recipients": {"example.com": ["user", "postmaster"], "example.net": "verify"}}


@contextlib.contextmanager
def strict_mail_server(fleet: Fleet) -> Iterator[None]:
    """Inside, the internal mail server refuses whoever is called nobody, or as the probe calls nobody."""
    names = ("nobody", "mailproxy-probe-nobody")
    refused = " ".join(f"{{{name}@example.net = REJECT no such user at inside.example}}" for name in names)
    rule = f"smtpd_recipient_restrictions = check_recipient_access inline:{{{refused}}}"
    before = fleet.mail_server.run(["postconf", "smtpd_recipient_restrictions"]).stdout.strip()
    fleet.mail_server.run(["postconf", "-e", rule])
    fleet.mail_server.run(["postfix", "reload"])
    try:
        yield
    finally:
        fleet.mail_server.run(["postconf", "-e", before])
        fleet.mail_server.run(["postfix", "reload"])


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def code(fleet: Fleet, host: Host, recipient: str) -> int:
    return reply_to(fleet, host, recipient)[0]


def test_whom_nobody_knows_is_refused(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    assert code(fleet, host, "nobody@example.com") == code(fleet, host, "nobody@example.net") == 250
    with strict_mail_server(fleet):
        controller.declare(**NOBODY)
        review = " ".join(controller.roll_out().review.split())
        assert "+ recipients of example.com: 2 addresses" in review
        assert "+ verify recipients of example.net" in review
        assert "warning: example.org takes mail for anybody (relay_recipients)" in review
        for each in fleet.hosts:
            assert reply_to(fleet, each, "nobody@example.com")[0] == 550
            known = (code(fleet, each, f"user@example.{name}") for name in ("com", "net", "org"))
            assert [*known, code(fleet, each, "nobody@example.org")] == [250] * 4
            refused, text = reply_to(fleet, each, "nobody@example.net")
            assert (refused, "inside.example" in text) == (550, False), text
        send(fleet, host, "user@example.net", "verified")
        assert arrived(fleet, "verified", "user@example.net")
        fleet.mail_server.run(["postfix", "stop"])
        try:
            put_off, text = reply_to(fleet, host, "another@example.net")
            assert put_off == 450
            assert "unverified address: its mail server does not confirm it" in text
            assert code(fleet, host, "user@example.net") == 250
        finally:
            fleet.mail_server.run(["postfix", "start"])
        controller.assert_converged()
        listed = {"example.com": ["user", "postmaster", "New@example.com"], "example.net": "verify"}
        controller.declare(relay_recipients=listed)
        assert code(fleet, host, "new@example.com") == 550
        result = controller.roll_out()
        assert "~ recipients of example.com: 2 addresses -> 3 addresses (+ new)" in result.review
        # A table is all that changes: Postfix notices that by itself.
        wait_until(lambda: code(fleet, host, "new@example.com") == 250)
    controller.declare(relay_recipients={})
    assert "- recipients of example.com: 3 addresses" in controller.roll_out().review
    assert [code(fleet, host, f"nobody@example.{name}") for name in ("com", "net")] == [250, 250]
    left = [path.name for path in host.configuration.iterdir() if path.name.startswith(("relayrec", "verify"))]
    assert left == []
    assert "recipient" not in live(host)["main.cf"]


def test_somebody_made_up_who_is_accepted_takes_a_host_back(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    before = live(host)
    # What makes the list say nothing.
    controller.declare(relay_recipients={"example.com": ["user"]}, main_cf={"smtpd_reject_unlisted_recipient": False})
    result = controller.run("-y")
    assert result.status == 1
    assert "mailproxy-probe-nobody@example.com, who is on no list, is accepted: 250" in result.log
    assert live(host) == before
    assert code(fleet, host, "nobody@example.com") == 250
