"""The whole main job by accounts that may do nothing else, one behind a jump host; nothing of it stays behind."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.fleet import Fleet
from lab.hosts import Host
from lab.root import DEBIAN11, DEBIAN12, DEBIAN13
from mailproxy.managed import FILES
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import (
    ANOTHER_MAIN_CF,
    AT_REST,
    PYINFRA,
    REPOSITORY,
    Controller,
    live,
    private_names,
    replaced,
    send,
    tree,
    write,
)
from tests.recipes import DOAS, SUDOERS, SUDOERS_WITH_PASSWORD

# mx3 has doas.
KINDS = (DEBIAN13, DEBIAN11, DEBIAN12)
PASSWORD = "Corr%ct \\horse 'battery"
DIRECTORY = "/etc/postfix"
LOG = "/var/log/mail.log"
# What an honest Postfix, syslogd and sshd write whatever we do, and a sudo that asks for a password the first time.
THEIRS = (
    *("/var/spool/postfix/", "/var/lib/postfix/", "/var/log/", "/proc/", "/dev/", "/sys/", "/run/motd.dynamic"),
    "/var/lib/sudo/lectured/",
)


class Accounts:
    """Three hosts: mx1 lets deploy use sudo, mx2 sudo with a password, and mx3, behind mx1, doas; by one line each."""

    def __init__(self, controller: Controller, place: Path):
        self.controller = controller
        self.place = place
        self.fleet = controller.fleet
        self.by_sudo, self.by_password, self.by_doas = self.fleet.hosts
        self._lock_down()
        self._write_ssh_config()
        self.write_inventory()

    def _lock_down(self) -> None:
        for host in self.fleet.hosts:
            host.run(["rm", "/etc/sudoers.d/deploy"])
            host.run(["chpasswd"], input=f"deploy:{PASSWORD}\n")
        write(self.by_sudo, "/etc/sudoers.d/mailproxy", SUDOERS, 0o440)
        write(self.by_password, "/etc/sudoers.d/mailproxy", SUDOERS_WITH_PASSWORD, 0o440)
        write(self.by_doas, "/etc/doas.conf", DOAS, 0o400)
        key = self.fleet.ssh_key.with_name("key.pub").read_text()
        for host in self.fleet.hosts:
            also = f'port-forwarding,permitopen="{self.by_doas.address}:22",' if host is self.by_sudo else ""
            write(host, "/etc/ssh/authorized_keys", f"restrict,{also}{key}".replace(",ssh-", " ssh-"), 0o644)
        # The way from the controller to mx3: what mx3's sshd answers it goes nowhere.
        self.by_doas.run(["ip", "rule", "add", "pref", "5", "to", "198.18.0.1", *SSHD, "blackhole"])

    def _write_ssh_config(self) -> None:
        (self.place / "ssh_config").write_text(
            f"Host gate\n  HostName {self.by_sudo.address}\n  User deploy\n  IdentityFile {self.fleet.ssh_key}\n"
            f"  StrictHostKeyChecking yes\n  UserKnownHostsFile {self.fleet.known_hosts}\n"
            f"Host {self.by_doas.address}\n  ProxyJump gate\n"
            f"Host *\n  ForwardAgent no\n"
        )

    def write_inventory(self, password: str | None = PASSWORD, **more: dict[str, object]) -> None:
        """Write an inventory that gives a password for sudo on mx2; more is the data of hosts that are added."""
        common = {
            "ssh_user": "deploy",
            "ssh_key": str(self.fleet.ssh_key),
            "ssh_known_hosts_file": str(self.fleet.known_hosts),
            "ssh_config_file": str(self.place / "ssh_config"),
        }
        hosts = [(host.name, {"ssh_hostname": host.address}) for host in self.fleet.hosts]
        if password is not None:
            hosts[1][1]["_sudo_password"] = password
        hosts += [(f"{name}.lab.test", data) for name, data in more.items()]  # type: ignore[misc]
        text = f"proxies = ({hosts!r}, {common!r})\ncanary = [{hosts[1][0]!r}]\n"
        (self.place / "accounts.py").write_text(text)
        self.controller.inventory = str(self.place / "accounts.py")

    def unlock(self) -> None:
        """Let the controller reach mx3 again: the network is not among what the next test finds restored."""
        self.by_doas.run(["ip", "rule", "del", "pref", "5", "to", "198.18.0.1", *SSHD, "blackhole"], check=False)


SSHD = ("ipproto", "tcp", "sport", "22")


@pytest.fixture
def accounts(newcomer: Controller, tmp_path: Path) -> Iterator[Accounts]:
    place = tmp_path / "place"
    place.mkdir()
    accounts = Accounts(newcomer, place)
    try:
        yield accounts
    finally:
        accounts.unlock()


class Watch:
    """Looks at all processes of this machine, the hosts' among them, as often as it can."""

    def __init__(self, secret: str):
        self._secret = secret.encode()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.seen: set[str] = set()
        self.programs = 0

    def _look(self) -> None:
        # With a pause, as the hosts need the processors too.
        while not self._over.wait(0.02):
            for entry in os.scandir("/proc"):
                for name in ("cmdline", "environ") if entry.name.isdigit() else ():
                    try:
                        text = Path(entry.path, name).read_bytes()
                    except OSError:
                        continue
                    self.programs += b"mailproxy-begins" in text
                    if self._secret in text:
                        self.seen.add(f"{name}: {text[:300]!r}")

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def files(host: Host) -> dict[str, str]:
    """Return all files of a host that are nobody's daily business, with size and time of change."""
    listing = host.run(["find", "/", "-not", "-type", "d", "-printf", "%p\t%s %T@\n"], check=False).stdout
    found = dict(line.split("\t") for line in listing.splitlines())
    return {path: trace for path, trace in found.items() if not path.startswith(THEIRS)}


def is_ours(path: str) -> bool:
    directory, _, name = path.rpartition("/")
    managed = directory == DIRECTORY and name.partition(".")[0] in {file.partition(".")[0] for file in FILES}
    return managed or path.startswith(f"{DIRECTORY}/.mailproxy/")


def controller_files() -> set[str]:
    return {path for top in ("/tmp", "/var/tmp") for path in map(str, Path(top).glob("*pyinfra*"))}


def test_the_whole_main_job_with_nothing_more_than_the_one_line_leaves_nothing_behind(accounts: Accounts) -> None:
    controller, fleet = accounts.controller, accounts.fleet
    before, before_here = [files(host) for host in fleet.hosts], controller_files()
    with Watch(PASSWORD) as watch:
        first = controller.run("--dry")
        assert "3 to change" in first.said, first.everything
        controller.roll_out()
        moved = {**GUIDE, "example.com": "smtp:[10.1.0.2]:2525", "added.example": "smtp:[10.1.0.2]"}
        del moved["example.org"]
        controller.declare(relay_domains=moved)
        # One of them sends the tables that all have alike, which is one more.
        assert _round_trips(controller, accounts.place / "trips") == 4 * len(fleet.hosts) + 1
        controller.assert_converged()
        settled = [live(host) for host in fleet.hosts]
        _assert_a_failed_activation_is_undone(controller, accounts.by_password)
        assert [live(host) for host in fleet.hosts] == settled
        result = controller.call("mailproxy.rollback", "-y", "--data", "approve=removals,queued,networks,restart")
        assert result.status == 0, result.everything
    came_from = re.findall(r"Accepted publickey for deploy from (\S+)", accounts.by_doas.run(["cat", LOG]).stdout)
    assert set(came_from) == {accounts.by_sudo.address}
    assert not watch.seen
    assert watch.programs
    for host, was in zip(fleet.hosts, before, strict=True):
        send(fleet, host, "user@example.org", "back again")
        assert private_names(host) == AT_REST
        assert {path for path, trace in files(host).items() if was.get(path) != trace and not is_ours(path)} == set()
    assert controller_files() == before_here
    for host, way in zip(fleet.hosts, ("sudo -n", "sudo -n", "doas -n"), strict=True):
        for other in ("id", "/bin/sh", "/bin/sh -c id"):
            assert host.run(["su", "deploy", "-c", f"{way} {other}"], check=False).returncode


def _round_trips(controller: Controller, count: Path) -> int:
    """Roll out, and return how often all the hosts were waited for."""
    usual = controller.pyinfra
    controller.pyinfra = (sys.executable, "-m", "lab.counted", str(count))
    controller.roll_out()
    controller.pyinfra = usual
    return int(count.read_text())


def _assert_a_failed_activation_is_undone(controller: Controller, host: Host) -> None:
    declared = controller.declared["relay_domains"]
    controller.declare(relay_domains={**declared, "failing.example": "smtp:[10.1.0.2]"}, **ANOTHER_MAIN_CF)
    once = "case $* in *reload) rmdir /run/once 2>/dev/null || { mkdir /run/once; exit 1; } ;; esac; "
    with replaced(host, "/usr/sbin/postfix", once + 'exec $real "$@"'):
        result = controller.run("-y")
    assert result.status == 1
    assert "was put back and is live" in result.log
    controller.declare(relay_domains=declared)


def test_who_has_no_way_in_is_told_what_was_tried_and_holds_up_nobody(accounts: Accounts) -> None:
    fleet, controller = accounts.fleet, accounts.controller
    before = [tree(host) for host in fleet.hosts]
    accounts.by_sudo.run(["rm", "/etc/sudoers.d/mailproxy"])
    accounts.by_doas.run(["rm", "/etc/doas.conf"])
    accounts.write_inventory("wrong", silent=_silent(fleet))
    with _listener(fleet):
        began = time.monotonic()
        result = controller.run("-y", "--dry")
        took = time.monotonic() - began
    assert [tree(host) for host in fleet.hosts] == before
    expected = "logged in as deploy, expected root, or one that doas or sudo lets run our programs (docs/ssh.md): "
    said = result.said
    assert expected in said, result.everything
    assert "1 incorrect password attempt" in said
    assert "sudo: a password is required" in said
    assert "it could not be connected to [silent.lab.test]" in said
    assert took < 30


def _silent(fleet: Fleet) -> dict[str, object]:
    return {"ssh_hostname": "198.18.0.1", "ssh_port": 2222, "ssh_connect_retries": 0}


def _listener(fleet: Fleet) -> socket.socket:
    """Return a listener in the controller's network that takes connections and never says a word."""
    with fleet.network():
        return socket.create_server(("198.18.0.1", 2222))


def test_the_password_for_sudo_is_asked_for_once_and_any_shell_passes_it_on(accounts: Accounts) -> None:
    accounts.write_inventory(password=None)
    # Whose printf is a program of its own.
    accounts.controller.declare(_shell_executable="mksh")
    command = [*PYINFRA, "--same-sudo-password", accounts.controller.inventory, "--group-data"]
    result = subprocess.run(
        accounts.fleet.controller_command([*command, str(accounts.controller.group_data), "deploy.py", "--dry"]),
        cwd=REPOSITORY,
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        # Without a terminal it is read from standard input.
        start_new_session=True,
        check=False,
    )
    assert "3 to change" in result.stdout, result.stderr
    assert result.stderr.count("sudo password: ") == 1
    assert PASSWORD not in result.stdout + result.stderr
