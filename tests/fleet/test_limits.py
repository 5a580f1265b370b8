"""Limits hold for strangers, not for trusted networks, and are gone with their declaration."""

import contextlib
import smtplib
from collections.abc import Iterator

from lab.fleet import Fleet
from lab.hosts import Host
from tests.fleet.controller import Controller, live


@contextlib.contextmanager
def session(host: Host, fleet: Fleet) -> Iterator[smtplib.SMTP]:
    """Inside, a stranger of the internet is connected to a host and has said EHLO."""
    with fleet.network(), smtplib.SMTP(host.address, 25, local_hostname="outside.example", timeout=20) as client:
        client.ehlo()
        yield client


def replies(client: smtplib.SMTP, count: int, recipients: int = 1) -> list[int]:
    """Return what a client is answered to so many messages, each given up after its recipients."""
    found = []
    for _ in range(count):
        found.append(client.docmd("MAIL FROM:<someone@outside.example>")[0])
        found += [client.docmd(f"RCPT TO:<user{number}@example.com>")[0] for number in range(recipients)]
        client.rset()
    return found


def greetings(host: Host, fleet: Fleet, count: int) -> list[int]:
    """Return the greetings of so many connections of a stranger at the same time."""
    found = []
    with fleet.network(), contextlib.ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(contextlib.closing(smtplib.SMTP(timeout=20)))
            found.append(client.connect(host.address, 25)[0])
    return found


def of_the_mail_server(fleet: Fleet, host: Host, commands: str) -> str:
    """Return the answers to an SMTP dialogue that the internal mail server, which is trusted, holds with a host."""
    script = f"{{ printf '{commands}'; sleep 1; }} | nc -w 5 {host.internal_address} 25"
    return fleet.mail_server.run(["sh", "-c", script]).stdout


def test_a_stranger_is_limited_and_a_trusted_network_is_not(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    assert greetings(host, fleet, 4) == [220] * 4
    with session(host, fleet) as client:
        assert replies(client, 25) == [250] * 50
        assert replies(client, 1, recipients=5) == [250] * 6
    controller.declare(limits={"connections": 3, "message_rate": 40, "recipients": 3})
    review = controller.roll_out().review
    assert "+ smtpd_client_connection_count_limit = 3" in review
    assert "warning: limits['recipients'] = 3: is below 100" in " ".join(review.split())
    assert greetings(host, fleet, 4) == [220] * 3 + [421]
    with session(host, fleet) as client:
        assert replies(client, 1, recipients=5) == [250] * 4 + [452] * 2
        assert 450 in replies(client, 41)
    message = r"MAIL FROM:<>\r\nRCPT TO:<user@example.com>\r\nRSET\r\n"
    answers = of_the_mail_server(fleet, host, r"EHLO inside\r\n" + message * 45 + r"QUIT\r\n")
    assert " 450 " not in f" {answers.replace(chr(10), ' ')}"
    assert answers.count("250 2.1.5") == 45
    controller.declare(limits={})
    controller.roll_out()
    assert "limit" not in live(host)["main.cf"].replace("size_limit", "")
    assert greetings(host, fleet, 4) == [220] * 4
    with session(host, fleet) as client:
        assert replies(client, 1, recipients=5) == [250] * 6
