"""Senders are shown the declared certificate, a wrong one goes nowhere, and next hops have to have their TLS."""

import os
import smtplib
import ssl
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

from lab.fleet import Fleet
from lab.hosts import Host
from mailproxy.certificates import Certificate, certificate_in, certificate_of
from tests.fleet.controller import Controller, arrived, live, send, tree, write
from tests.pairs import Pair, pair

YESTERDAY = datetime.now(timezone.utc) - timedelta(days=1)
NAMES = ("mx1.lab.test", "mx2.lab.test", "mx3.lab.test")
ON_HOST = {"certificate": "/etc/ssl/mx.pem", "key": "/etc/ssl/private/mx.key"}


def shown(fleet: Fleet, host: Host) -> tuple[Certificate, str] | None:
    """Return the certificate that a host shows to a stranger, and the version of TLS; None without STARTTLS."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with fleet.network(), smtplib.SMTP(host.address, 25, local_hostname="outside.example", timeout=20) as client:
        client.ehlo()
        if not client.has_extn("starttls"):
            return None
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return certificate_of(client.sock.getpeercert(binary_form=True) or b""), str(client.sock.version())


def to_send(directory: Path, certificate: Pair, key: Pair) -> dict[str, str]:
    """Write a certificate and a key to files of the controller; returns them as tls declares them."""
    files = {"certificate": directory / "mx.pem", "key": directory / "mx.key"}
    files["certificate"].write_text(certificate.certificate)
    files["key"].write_text(key.key)
    return {name: os.path.relpath(path) for name, path in files.items()}


def put_on(host: Host, certificate: Pair, key: Pair) -> None:
    """Write a certificate and a key to a host."""
    write(host, ON_HOST["certificate"], certificate.certificate, 0o644)
    write(host, ON_HOST["key"], key.key, 0o600)


def test_senders_are_shown_what_was_sent_and_a_wrong_pair_goes_nowhere(controller: Controller, tmp_path: Path) -> None:
    fleet, hosts = controller.fleet, controller.fleet.hosts
    first, renewed = pair(*NAMES, since=YESTERDAY), pair(*NAMES, since=YESTERDAY, days=200)
    assert [shown(fleet, host) for host in hosts] == [None] * 3
    controller.declare(tls=to_send(tmp_path, first, first))
    # As much as pyinfra can say.
    result = controller.roll_out("-vvv")
    assert f"+ certificate: {certificate_in(first.certificate)}" in result.said
    assert [shown(fleet, host) for host in hosts] == [(certificate_in(first.certificate), "TLSv1.3")] * 3
    assert {(host.configuration / "tls.pem").stat().st_mode & 0o777 for host in hosts} == {0o600}

    before = [tree(host) for host in hosts]
    to_send(tmp_path, renewed, first)
    refused = controller.run("-y")
    assert refused.status == 1
    assert "the key is not that of the first certificate" in " ".join(refused.everything.split())
    assert [tree(host) for host in hosts] == before

    to_send(tmp_path, renewed, renewed)
    changed = controller.roll_out()
    old, new = certificate_in(first.certificate), certificate_in(renewed.certificate)
    assert f"~ certificate: {old} -> {new}" in changed.said
    assert [shown(fleet, host) for host in hosts] == [(new, "TLSv1.3")] * 3
    secrets = [line for one in (first, renewed) for line in one.key.splitlines()[1:-1]]
    controller.assert_converged()

    returned = controller.call("mailproxy.rollback", "-y")
    assert returned.status == 0, returned.everything
    assert "certificate: changed, not shown" in returned.said
    assert [shown(fleet, host) for host in hosts] == [(old, "TLSv1.3")] * 3
    assert not any(line in run.everything for line in secrets for run in (result, refused, changed, returned))
    logs = "".join((host.root / "var/log/mail.log").read_text(errors="replace") for host in hosts)
    assert not any(line in logs for line in secrets)
    controller.declare(tls={})
    controller.roll_out()
    assert not any((host.configuration / "tls.pem").exists() or "tls" in live(host)["main.cf"] for host in hosts)
    assert [shown(fleet, host) for host in hosts] == [None] * 3


def test_files_on_a_host_are_looked_at_there(controller: Controller, tmp_path: Path) -> None:
    fleet, hosts = controller.fleet, controller.fleet.hosts
    of_hosts = [pair(host.name, since=YESTERDAY, days=20) for host in hosts]
    for host, one in zip(hosts, of_hosts, strict=True):
        put_on(host, one, one)
    put_on(hosts[1], of_hosts[1], of_hosts[2])
    controller.declare(tls=ON_HOST)
    before = [tree(host) for host in hosts]
    refused = controller.run("-y")
    assert refused.status == 1
    assert "the key is not that of the first certificate in it [mx2.lab.test]" in refused.said
    assert [tree(host) for host in hosts] == before

    put_on(hosts[1], of_hosts[1], of_hosts[1])
    assert "warning: the certificate /etc/ssl/mx.pem expires in 18 days" in controller.roll_out().said
    expected = [(certificate_in(one.certificate), "TLSv1.3") for one in of_hosts]
    assert [shown(fleet, host) for host in hosts] == expected
    status = controller.call("mailproxy.status")
    assert status.review.count(f"{expected[0][0].until:%Y-%m-%d}") == 6, status.review
    verified = controller.call("mailproxy.verify")
    assert verified.status == 0
    assert f"STARTTLS with the certificate of {expected[0][0]}" in verified.said


def deferred(host: Host) -> str:
    """Return why mail waits on a host, waiting for that up to 20 seconds."""
    deadline = time.monotonic() + 20
    while "(" not in (said := host.run(["postqueue", "-p"]).stdout):
        assert time.monotonic() < deadline, host.run(["tail", "-n", "30", "/var/log/mail.log"]).stdout
        time.sleep(0.1)
    return said


def test_a_next_hop_has_to_have_the_tls_of_its_policy(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    of_server = pair("mail.internal.test", since=YESTERDAY)
    put_on(fleet.mail_server, of_server, of_server)
    files = zip(("smtpd_tls_cert_file", "smtpd_tls_key_file"), ON_HOST.values(), strict=True)
    settings = {**dict(files), "smtpd_tls_security_level": "may", "smtpd_tls_received_header": "yes"}
    fleet.mail_server.run(["postconf", *(f"{name}={value}" for name, value in settings.items())])
    fleet.mail_server.run(["postfix", "reload"])
    for each in fleet.hosts:
        write(each, "/etc/ssl/other.pem", pair("authority.example").certificate, 0o644)
        write(each, "/etc/ssl/own.pem", of_server.certificate, 0o644)

    def roll_out(policy: str, authorities: str = "other") -> str:
        controller.declare(tls={"policy": {"[10.1.0.2]": policy}, "authorities": f"/etc/ssl/{authorities}.pem"})
        return controller.roll_out().said

    assert "+ TLS to [10.1.0.2]: encrypt" in roll_out("encrypt")
    send(fleet, host, "user@example.com", "encrypted")
    assert arrived(fleet, "encrypted", "user@example.com")
    (message,) = fleet.messages()
    assert "using TLSv1.3" in message["Received"]

    roll_out("secure match=mail.internal.test")
    send(fleet, host, "user@example.com", "unknown")
    assert "Server certificate not trusted" in " ".join(deferred(host).split())

    seen = certificate_in(of_server.certificate).sha256
    roll_out(f"fingerprint match={':'.join(seen[place : place + 2] for place in range(0, 64, 2))}")
    host.run(["postqueue", "-f"])
    assert arrived(fleet, "unknown", "user@example.com")

    roll_out("secure match=mail.internal.test", "own")
    send(fleet, host, "user@example.com", "believed")
    assert arrived(fleet, "believed", "user@example.com")
