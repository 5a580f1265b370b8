"""Routes besides those of relay domains carry real mail, and credentials are given to whom they are for alone."""

import base64
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from lab.hosts import Host
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import AT_REST, Controller, arrived, live, private_names, reply_to, send
from tests.fleet.smarthost import smarthost

PASSWORD = "qZ7 top:secret"
# Ports of the internal mail server: one that refuses connections, a second way to it (lab/fleet.py), and others.
REFUSING, SECOND, SMARTHOST, LMTP = (f"[10.1.0.2]:{port}" for port in (9, 2525, 587, 24))


def install_mechanisms(host: Host) -> None:
    """Install what Debian's Postfix needs to give a password, from the mirror."""
    resolver = host.root / "etc/resolv.conf"
    before = resolver.read_text()
    resolver.write_text(Path("/etc/resolv.conf").read_text())
    try:
        # In the network of this machine.
        inside = ["nsenter", f"--target={host.pid}", "--mount", "--root", "--wd", "--", "sh", "-c"]
        script = "apt-get -qq update && apt-get -qq -y --no-install-recommends install libsasl2-modules"
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run([*inside, script], env=environment, check=True, capture_output=True)
    finally:
        resolver.write_text(before)


def submit(host: Host, recipient: str, subject: str = "out") -> None:
    """Have somebody on a host send a message."""
    host.run(["sendmail", "-f", "root", recipient], input=f"Subject: {subject}\n\nhello\n")


def wait_until(holds: Callable[[], bool], host: Host) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, log_of(host)[-3000:]
        time.sleep(0.05)


def log_of(host: Host) -> str:
    return (host.root / "var/log/mail.log").read_text(errors="replace")


def modes(host: Host) -> set[str]:
    """Return the modes of whatever is called passwords on a host, its copies and tables included."""
    script = "find . -name 'passwords*' -exec stat -c '%A %u:%g' {} +"
    return set(host.run(["sh", "-c", f"cd {host.kind.config_directory} && {script}"]).stdout.splitlines())


def test_mail_goes_by_exceptions_by_default_with_credentials_and_by_the_fallback(
    controller: Controller, tmp_path: Path
) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[1]
    before = live(host)
    (tmp_path / "credentials").write_text(f"# of the provider\n{SMARTHOST} relay:{PASSWORD}\n")
    exceptions = {
        "boss@example.org": f"smtp:{SECOND}",
        "list@example.org": f"lmtp:{LMTP}",
        "partner.example": "smtp:[10.1.0.2]",
    }
    routes = {"exceptions": exceptions, "default": SMARTHOST, "fallback": ["[10.1.0.2]"]}
    controller.declare(
        relay_domains={**GUIDE, "dead.example": f"smtp:{REFUSING}"},
        routes={**routes, "credentials": str(tmp_path / "credentials")},
        main_cf={"smtp_tls_security_level": "may"},
    )
    if not list(host.root.glob("usr/lib/*/sasl2/libplain.so")):
        refused = controller.run("-y", "--limit", host.name)
        assert "has no mechanism for that, such as libplain.so" in refused.log
        assert (refused.status, live(host), private_names(host)) == (1, before, AT_REST)
        install_mechanisms(host)
    with smarthost(fleet, 587, 24) as provider:
        rolled_out = controller.roll_out("--limit", host.name, "-vvv", "--debug")
        assert "+ credentials: changed, not shown" in rolled_out.review
        assert "qZ7" not in rolled_out.everything
        # Only the next hops of this change: that of the domain that is dead does not answer.
        assert rolled_out.log.count("warning: next hop") == 1
        assert modes(host) == {"-rw------- 0:0"}

        send(fleet, host, "Boss@example.org", "by the exception")
        assert arrived(fleet, "by the exception", "Boss@example.org")
        wait_until(lambda: f"to=<Boss@example.org>, relay=10.1.0.2{SECOND}" in log_of(host), host)
        send(fleet, host, "list@example.org", "by LMTP")
        send(fleet, host, "user@dead.example", "by the fallback")
        assert arrived(fleet, "by the fallback", "user@dead.example")
        assert reply_to(fleet, host, "user@partner.example")[0] == 554
        submit(host, "user@partner.example", "by the exception, out")
        assert arrived(fleet, "by the exception, out", "user@partner.example")
        submit(host, "user@elsewhere.example")
        wait_until(lambda: {"list@example.org", "user@elsewhere.example"} <= set(provider.recipients), host)
        given = base64.b64encode(f"\0relay\0{PASSWORD}".encode()).decode()
        assert f"TLS AUTH PLAIN {given}" in provider.commands

        # Whoever takes TLS away gets no password, and no mail: that goes by the fallback.
        provider.offers_tls = False
        provider.commands.clear()
        submit(host, "late@elsewhere.example", "without TLS")
        assert arrived(fleet, "without TLS", "late@elsewhere.example")
        assert provider.commands[0].startswith("EHLO ")
        assert not [command for command in provider.commands if command.startswith(("AUTH", "MAIL"))]
        provider.offers_tls = True

        host.run(
            ["sh", "-c", f"cd {host.kind.config_directory} && echo '[x] hand:made' >>passwords && postmap passwords"]
        )
        put_back = controller.roll_out("--limit", host.name)
        assert "~ credentials: changed, not shown (by hand)" in put_back.review
        assert modes(host) == {"-rw------- 0:0"}
        submit(host, "again@elsewhere.example")
        wait_until(lambda: "again@elsewhere.example" in provider.recipients, host)

    controller.declare(routes={}, relay_domains=GUIDE, main_cf={})
    controller.roll_out("--limit", host.name)
    assert live(host) == before
    back = controller.call("mailproxy.rollback", "--limit", host.name, "-y")
    assert "qZ7" not in back.everything
    assert modes(host) == {"-rw------- 0:0"}
    assert (host.configuration / "passwords").read_text().endswith(f"{SMARTHOST} relay:{PASSWORD}\n")
    assert private_names(host) == AT_REST
