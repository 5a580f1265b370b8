"""Mail is refused, held or let through by what is in it; a pattern or an example that is wrong reaches no host."""

import smtplib
import time
from pathlib import Path
from typing import Any

import pytest

from lab.fleet import Fleet
from lab.hosts import Host
from tests.fleet.controller import AT_REST, Controller, arrived, live, private_names, tree

LOTTERY = {"pattern": "/^Subject:.*lottery/", "action": "REJECT no lotteries", "match": ["Subject: the Lottery"]}
HELD = {"pattern": "/^Subject: \\[ads\\]/", "action": "HOLD", "match": ["Subject: [ads] a"], "no_match": ["Subject: a"]}
PROGRAM = {
    "pattern": '/name="[^"]*\\.(exe|scr)"/',
    "action": "REJECT 5.7.1 no $1 here",
    "match": ['Content-Type: application/octet-stream; name="a.exe"'],
}
BODY = {
    "pattern": "/^buy  now/",
    "action": "REJECT not now",
    "match": ["buy  now!"],
    "no_match": ["buy now", " buy  now"],
}
CHECKS: dict[str, Any] = {"header": [LOTTERY, HELD], "mime": [PROGRAM], "body": [BODY]}
PLAIN = "hello\r\n"
PART = '--b\r\nContent-Type: application/octet-stream; name="A.SCR"\r\n\r\nx\r\n--b--\r\n'


def answer(fleet: Fleet, host: Host, subject: str, body: str = PLAIN, kind: str = "text/plain") -> str:
    """Send a message from the internet; returns what a host answers to its end, without the name in its queue."""
    text = f"Subject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n{body}"
    with fleet.network(), smtplib.SMTP(host.address, 25, local_hostname="outside.example", timeout=20) as client:
        client.ehlo()
        client.mail("someone@outside.example")
        client.rcpt("user@example.com")
        code, said = client.data(text)
        return f"{code} {said.decode()}".partition(": queued as")[0]


def held(host: Host) -> list[Path]:
    """Return what waits until somebody releases it."""
    return list((host.root / "var/spool/postfix/hold").glob("*"))


def test_mail_is_refused_or_held_by_what_is_in_it_until_nothing_is_looked_for(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    controller.declare(checks=CHECKS)
    said = controller.roll_out("--limit", host.name).said
    assert "+ header check /^Subject:.*lottery/: REJECT no lotteries" in said
    assert answer(fleet, host, "you won the\r\n Lottery") == "550 5.7.1 no lotteries"
    assert answer(fleet, host, "parts", PART, "multipart/mixed; boundary=b") == "550 5.7.1 no SCR here"
    assert answer(fleet, host, "offer", "hello\r\nbuy  now!\r\n") == "550 5.7.1 not now"
    assert answer(fleet, host, "[ads] held") == "250 2.0.0 Ok"
    assert len(held(host)) == 1
    plain = f"checked {time.monotonic_ns()}"
    assert answer(fleet, host, plain, "buy now\r\n") == "250 2.0.0 Ok"
    assert arrived(fleet, plain, "user@example.com")
    controller.declare(checks={})
    controller.roll_out("--limit", host.name)
    assert not [name for name in live(host) if "checks" in name]
    free = f"lottery {time.monotonic_ns()}"
    assert answer(fleet, host, free) == "250 2.0.0 Ok"
    assert arrived(fleet, free, "user@example.com")


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        (
            {"header": [LOTTERY, {"pattern": "/^X-(a/", "action": "HOLD", "match": ["X-a: b"]}]},
            "headerchecks: Postfix does not accept /^X-(a/: postmap: warning: regexp map headerchecks, line 2: ",
        ),
        (
            {"mime": [{**PROGRAM, "action": "REJECT $2"}]},
            'Postfix does not accept /name="[^"]*\\.(exe|scr)"/: postmap: warning: regexp map mimechecks, line 1: ',
        ),
        (
            {"header": [LOTTERY, {**HELD, "match": ["Subject: [ads] lottery"]}]},
            '"Subject: [ads] lottery" is matched by /^Subject:.*lottery/, expected /^Subject: \\[ads\\]/; nothing',
        ),
        (
            {"header": [{**HELD, "no_match": ["Subject: [ads]"]}], "body": [BODY]},
            'headerchecks: "Subject: [ads]" is matched by /^Subject: \\[ads\\]/, expected that it does not; nothing',
        ),
        ({"type": "pcre", **CHECKS}, "its Postfix has no tables of type pcre, which are declared"),
    ],
    ids=["pattern", "group", "earlier pattern", "example", "pcre"],
)
def test_what_a_hosts_postfix_does_not_match_as_declared_goes_live_nowhere(
    controller: Controller, checks: dict[str, Any], expected: str
) -> None:
    hosts = controller.fleet.hosts
    before = [tree(host) for host in hosts]
    controller.declare(checks=checks)
    result = controller.run("-y")
    assert result.status == 1
    assert expected in " ".join(result.everything.split()).replace("buy now/", "buy  now/").replace(
        '"buy now', '"buy  now'
    )
    assert [tree(host) for host in hosts] == before
    assert all(private_names(host) == AT_REST for host in hosts)
