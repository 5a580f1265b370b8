"""Mail through a real milter, and through content filters before and behind the queue; and what becomes of it when they
are away."""

import contextlib
import smtplib
import socketserver
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from lab.fleet import Fleet
from lab.hosts import Host
from lab.machine import network_of
from lab.root import FILTERING
from tests.fleet.conftest import administrator, lab_of
from tests.fleet.controller import Controller, arrived, live, send

MILTER = "inet:127.0.0.1:8891"
FILTER = {"address": "smtp:[127.0.0.1]:10024", "return_to": "127.0.0.1:10025"}
OPENDKIM = "opendkim -f -l -A -p inet:8891@127.0.0.1 -u opendkim -x /etc/opendkim-lab.conf"


@pytest.fixture
def filtering(tmp_path: Path) -> Iterator[Controller]:
    """An administrator of one host that has OpenDKIM, which does not run yet."""
    with lab_of([FILTERING], "filters") as fleet:
        yield administrator(fleet, tmp_path)


@contextlib.contextmanager
def milter(host: Host) -> Iterator[None]:
    """Inside, OpenDKIM runs on a host: it says in a header what it thinks of the signature that each mail lacks."""
    (host.root / "etc/opendkim-lab.conf").write_text("Mode v\nAlwaysAddARHeader yes\nSyslog yes\n")
    host.run(["sh", "-c", f"{OPENDKIM} >/dev/null 2>&1 </dev/null & echo $! >/run/opendkim-lab.pid"])
    wait_until_it_listens(host, 8891)
    try:
        yield
    finally:
        host.run(["sh", "-c", "kill $(cat /run/opendkim-lab.pid)"])


def wait_until_it_listens(host: Host, port: int) -> None:
    deadline = time.monotonic() + 20
    while f":{port:04X} 00000000:0000 0A" not in Path(f"/proc/{host.pid}/net/tcp").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)


class Filtering(socketserver.StreamRequestHandler):
    """A content filter: takes a mail, adds a header, and gives it back at port 10025; then it answers."""

    def handle(self) -> None:
        sender = ""
        recipients: list[str] = []
        self.wfile.write(b"220 filter\r\n")
        for line in self.rfile:
            verb, _, argument = line.decode().strip().partition(":")
            address = argument.strip().partition(">")[0].lstrip("<")
            reply = b"250 ok\r\n"
            match verb.upper():
                case "MAIL FROM":
                    sender, recipients = address, []
                case "RCPT TO":
                    recipients.append(address)
                case "DATA":
                    self.wfile.write(b"354 go on\r\n")
                    text = b"".join(iter(self.rfile.readline, b".\r\n"))
                    with smtplib.SMTP("127.0.0.1", 10025, local_hostname="filter.example") as client:
                        client.sendmail(sender, recipients, b"X-Filtered: yes\r\n" + text)
                case "QUIT":
                    return
            self.wfile.write(reply)


@contextlib.contextmanager
def content_filter(host: Host) -> Iterator[None]:
    """Inside, that filter runs on a host."""
    socketserver.ThreadingTCPServer.allow_reuse_address = True

    def serve() -> None:
        with network_of(host.pid), socketserver.ThreadingTCPServer(("127.0.0.1", 10024), Filtering) as server:
            servers.append(server)
            server.serve_forever(poll_interval=0.1)

    servers: list[socketserver.ThreadingTCPServer] = []
    thread = threading.Thread(target=serve)
    thread.start()
    wait_until_it_listens(host, 10024)
    try:
        yield
    finally:
        servers[0].shutdown()
        thread.join()


def through(fleet: Fleet, host: Host, subject: str) -> EmailMessage:
    """Send a mail through a host and return it as it arrived."""
    send(fleet, host, "user@example.com", subject)
    assert arrived(fleet, subject, "user@example.com"), host.run(["tail", "-n", "30", "/var/log/mail.log"]).stdout
    return next(message for message in fleet.messages() if message["Subject"] == subject)


def refusal(fleet: Fleet, host: Host) -> str:
    """Return how a host refuses a mail."""
    with pytest.raises(smtplib.SMTPException) as refused:
        send(fleet, host, "user@example.com", "refused")
    return str(refused.value)


def test_mail_passes_filters_and_what_becomes_of_it_when_they_are_away_is_as_declared(filtering: Controller) -> None:
    fleet, host = filtering.fleet, filtering.fleet.hosts[0]
    filtering.roll_out()
    before = (host.configuration / "master.cf").read_text()

    filtering.declare(filters={"milters": [{"address": MILTER, "when_away": "tempfail"}], "after_queue": FILTER})
    with milter(host), content_filter(host):
        result = filtering.roll_out()
        assert "+ smtpd_milters = inet:127.0.0.1:8891" in result.said
        assert "+ service 127.0.0.1:10025 inet: n - y - - smtpd -o content_filter=" in result.said
        assert "does not answer" not in result.log
        message = through(fleet, host, "filtered")
        assert f"{host.name}; dkim=" in message["Authentication-Results"]
        assert message["X-Filtered"] == "yes"
        with fleet.network(), pytest.raises(ConnectionRefusedError):
            smtplib.SMTP(host.address, 10025)
    assert "451, b'4.7.1 Service unavailable" in refusal(fleet, host)
    # Taken while the filter is away, it is for a filter that nothing leads to any more when the key is gone.
    host.run(["sendmail", "-f", "root", "user@example.com"], input="Subject: stranded\n\nhello\n")
    verified = filtering.call("mailproxy.verify")
    assert f"{MILTER} does not answer the host" in verified.review, verified.everything
    assert "inet:127.0.0.1:10024 does not answer the host" in verified.review

    filtering.declare(filters={"milters": [{"address": MILTER, "when_away": "accept"}]})
    accepting = filtering.roll_out()
    assert f"warning: {MILTER} does not answer the host" in accepting.log
    assert (host.configuration / "master.cf").read_text() == before
    assert arrived(fleet, "stranded", "user@example.com")
    message = through(fleet, host, "unseen")
    assert message["Authentication-Results"] is message["X-Filtered"] is None

    # Mail waits for a filter before the queue, too, and a rollout that insists on it goes back.
    filtering.declare(filters={"before_queue": FILTER}, postscreen={"greet_wait": "1s"})
    daemon = host.root / "usr/lib/postfix/sbin/postscreen"
    aside = daemon.rename(daemon.with_suffix(".aside"))
    refused = filtering.run("-y")
    assert "has no daemon for: /usr/lib/postfix/sbin/postscreen; nothing was touched" in refused.log
    aside.rename(daemon)
    with content_filter(host):
        filtering.roll_out()
        assert through(fleet, host, "before")["X-Filtered"] == "yes"
    filtering.declare(
        filters={"milters": [{"address": MILTER, "when_away": "tempfail"}]}, rollout={"next_hops": "fail"}
    )
    failed = filtering.run("-y")
    assert failed.status != 0
    assert f"{MILTER} does not answer the host" in failed.everything
    edited = (host.configuration / "master.cf").read_text()
    assert "smtpd_proxy_filter" in edited

    filtering.declare(filters={}, postscreen=False, rollout={})
    filtering.roll_out()
    assert (host.configuration / "master.cf").read_text() == before
    assert "milter" not in live(host)["main.cf"]
    assert through(fleet, host, "plain")["X-Filtered"] is None

    # What a change has left that was cut off is taken out by the next one, though no other record has it.
    (host.configuration / "master.cf").write_text(edited)
    journal = "generation 1\ntoken of-a-run-that-died\nsince 0\nservice reload\nchanges master.cf\n"
    (host.configuration / ".mailproxy/journal").write_text(journal)
    filtering.roll_out()
    assert (host.configuration / "master.cf").read_text() == before
    assert "master.cf" not in (host.configuration / ".mailproxy/manifest").read_text()
