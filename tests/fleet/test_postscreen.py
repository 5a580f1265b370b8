"""postscreen before smtpd, in a master.cf that other hands are in as well."""

import concurrent.futures
import smtplib
import socket
import subprocess
from collections.abc import Iterator

import pytest

from lab.fleet import Fleet
from lab.hosts import CONTROLLER_ADDRESS, Host
from tests.fleet.controller import Controller, assert_mail_flows, live
from tests.name_server import name_server

ZONE = "bl.lab.test"
# Clients of the internet that no host has seen yet; the second is on the list of that zone.
HASTY, LISTED, DENIED, PROPER = "198.18.0.77", "198.18.0.66", "198.18.0.65", "198.18.0.55"
BY_HAND = "# Ask Erika before this is changed.\n10026     inet  n       -       n       -       -       smtpd\n"


@pytest.fixture
def internet(controller: Controller) -> Iterator[Controller]:
    """Inside, these clients are there, and a name server that the hosts ask."""
    fleet = controller.fleet

    def addresses(action: str) -> None:
        for client in (HASTY, LISTED, DENIED, PROPER):
            command = ["ip", "address", action, f"{client}/15", "dev", "internet"]
            subprocess.run(fleet.controller_command(command), check=True)

    listed = ".".join(reversed(LISTED.split(".")))
    zone = {(f"{name}.{ZONE}", "A"): ["127.0.0.2"] for name in (listed, "2.0.0.127")}
    for host in fleet.hosts:
        for place in ("etc/resolv.conf", "var/spool/postfix/etc/resolv.conf"):
            (host.root / place).write_text(f"nameserver {CONTROLLER_ADDRESS}\n")
    addresses("add")
    try:
        with fleet.network(), name_server(zone, at=(CONTROLLER_ADDRESS, 53)):
            yield controller
    finally:
        addresses("del")


def patient(fleet: Fleet, host: Host, source: str) -> tuple[int, str]:
    """Return what a client that waits for its turn is answered to RCPT TO."""
    with fleet.network(), smtplib.SMTP(host.address, timeout=20, source_address=(source, 0)) as client:
        client.ehlo("client.example")
        client.mail("someone@client.example")
        code, said = client.rcpt("user@example.com")
        return code, said.decode()


def hasty(fleet: Fleet, host: Host) -> str:
    """Return all that a client is answered that talks before it is greeted."""
    with fleet.network(), socket.create_connection((host.address, 25), 20, (HASTY, 0)) as client:
        client.sendall(b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<user@example.com>\r\nQUIT\r\n")
        return b"".join(iter(lambda: client.recv(4096), b"")).decode()


def master_cf(host: Host) -> str:
    return (host.configuration / "master.cf").read_text()


def is_managed(host: Host) -> bool:
    """Whether anything of ours knows of the host's master.cf."""
    private = host.configuration / ".mailproxy"
    return "master.cf" in (private / "manifest").read_text() or (private / "loaded/master.cf").exists()


def test_clients_are_screened_and_master_cf_comes_back_as_it_was(internet: Controller) -> None:
    fleet, host = internet.fleet, internet.fleet.hosts[0]
    path = host.configuration / "master.cf"
    path.write_text(f"{path.read_text()}{BY_HAND}")
    path.chmod(0o640)
    before = {each.name: master_cf(each) for each in fleet.hosts}
    assert not is_managed(host)
    assert "250 2.1.5" in hasty(fleet, host)
    assert patient(fleet, host, LISTED)[0] == 250

    zones = {"dnsbl": {ZONE: 2, "gone.lab.test": 1}, "threshold": 2}
    internet.declare(postscreen={**zones, "greet_wait": "2s", "deep": True, "deny": [f"{DENIED}/32"]})
    result = internet.roll_out()
    assert "+ service smtp inet: n - y - 1 postscreen, in place of n - y - - smtpd" in result.said
    assert "by hand" not in result.said
    assert result.log.count("warning: dnsbl:gone.lab.test does not answer the host") == len(fleet.hosts)
    assert f"dnsbl:{ZONE}" not in result.log
    assert "inconclusive" not in result.everything
    with concurrent.futures.ThreadPoolExecutor() as pool:
        refused = pool.submit(hasty, fleet, host)
        listed = [pool.submit(patient, fleet, each, LISTED) for each in fleet.hosts]
        denied = pool.submit(patient, fleet, host, DENIED)
        proper = pool.submit(patient, fleet, host, PROPER)
    assert "550 5.5.1 Protocol error" in refused.result()
    for reply in listed:
        assert reply.result() == (550, f"5.7.1 Service unavailable; client [{LISTED}] blocked using {ZONE}")
    assert denied.result()[0] == 550
    # Who passes is put off once, as the tests were in the middle of its dialogue.
    assert proper.result() == (450, "4.3.2 Service currently unavailable")
    assert patient(fleet, host, PROPER) == (250, "2.1.5 Ok")
    assert_mail_flows(fleet, host, "example.com")
    assert path.stat().st_mode & 0o777 == 0o640

    # A hand beside the marks is nobody's mistake, and stays.
    path.write_text(path.read_text().replace("Ask Erika", "Ask Hans"))
    before[host.name] = before[host.name].replace("Ask Erika", "Ask Hans")
    internet.assert_converged()
    internet.declare(postscreen=False)
    assert "- service smtp inet: n - y - 1 postscreen, in place of n - y - - smtpd" in internet.roll_out().said
    for each in fleet.hosts:
        assert master_cf(each) == before[each.name]
        assert not is_managed(each)
        assert "postscreen" not in live(each)["main.cf"]
    assert patient(fleet, host, LISTED)[0] == 250

    # Back to when it was on, and from there to before.
    for number, code in ((2, 550), (1, 250)):
        back = internet.call("mailproxy.rollback", f"generation={number}", "-y", "--limit", host.name)
        assert back.status == 0, back.everything
        assert patient(fleet, host, LISTED)[0] == code
        assert "Ask Hans" in master_cf(host)
        assert is_managed(host) == (code == 550)
    assert master_cf(host) == before[host.name]
