"""A bare host becomes a mail proxy: Postfix never serves with what its package brings, whatever happens on the way."""

import contextlib
import smtplib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import fleet as lab
from lab.fleet import Fleet
from lab.hosts import Host
from lab.root import BARE, DEBIAN12
from tests.fleet.conftest import administrator, lab_name
from tests.fleet.controller import (
    AT_REST,
    Controller,
    assert_mail_flows,
    private_names,
    replaced,
    wait_until_idle,
    write,
)
from tests.recipes import SUDOERS

POLICY = "/usr/sbin/policy-rc.d"
GREETING = "mx1.lab.test ESMTP as declared"


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Controller]:
    """The administrator of a bare host and one with Postfix, who has declared the guide's proxy.

    On both the user deploy may do what docs/ssh.md has it do, and nothing more.
    """
    name = lab_name("bootstrap")
    try:
        controller = administrator(lab.up([BARE, DEBIAN12], name), tmp_path)
        for host in controller.fleet.hosts:
            host.run(["rm", "/etc/sudoers.d/deploy"])
            write(host, "/etc/sudoers.d/mailproxy", SUDOERS, 0o440)
        controller.declare(main_cf={"smtpd_banner": "$myhostname ESMTP as declared"})
        yield controller
    finally:
        lab.down(name)


@contextlib.contextmanager
def watched(fleet: Fleet, host: Host) -> Iterator[list[tuple[str, int]]]:
    """Inside, port 25 is asked without a pause; yields its greetings, each with the answer to a foreign recipient."""
    seen: list[tuple[str, int]] = []
    is_over = threading.Event()

    def ask() -> None:
        with fleet.network():
            while not is_over.wait(0.01):
                client = smtplib.SMTP(local_hostname="outside.example", timeout=10)
                with contextlib.suppress(OSError):
                    greeting = client.connect(host.address, 25)[1].decode()
                    client.ehlo()
                    client.mail("someone@outside.example")
                    seen.append((greeting, client.rcpt("user@foreign.example")[0]))
                client.close()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


def traces(host: Host) -> str:
    """Return every file that an installation could leave something in, with size and time."""
    places = "/etc /usr /srv /root /home /opt /var/lib /var/cache /var/spool"
    return host.run(["sh", "-c", f"find {places} -printf '%p %s %T@ %m\\n' | sort"]).stdout


def listens(host: Host) -> bool:
    return " 0A " in host.run(["sh", "-c", "cat /proc/net/tcp | grep ':0019 '"], check=False).stdout


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.1)


def is_enabled(host: Host) -> bool:
    return bool(list((host.root / "etc/rc2.d").glob("S*postfix")))


def assert_done(controller: Controller, host: Host) -> None:
    """Insist that a host serves as declared, is enabled at boot, and holds nothing that a bootstrap needs."""
    assert private_names(host) == AT_REST
    assert is_enabled(host)
    result = controller.run("--dry", "--limit", host.name)
    assert "0 to change, 1 as declared" in result.said, result.everything
    assert_mail_flows(controller.fleet, host, "example.com")


def test_a_bare_host_first_serves_with_what_is_declared(bare: Controller) -> None:
    fleet, (host, other) = bare.fleet, bare.fleet.hosts
    bare.roll_out("--limit", other.name)
    before = [traces(host), traces(other)]
    reviewed = bare.call("mailproxy.bootstrap", "--dry")
    assert reviewed.status == 0, reviewed.everything
    assert "2 hosts: 1 to bootstrap, 1 with Postfix already" in reviewed.said
    assert "apt-get: postfix of a version that is not known before its lists are fetched" in reviewed.said
    assert [traces(host), traces(other)] == before

    host.run(["apt-get", "-qq", "update"])
    before = [traces(host), traces(other)]
    squatter = "busybox nc -ll -p 25 -e true >/dev/null 2>&1 & echo $!"
    pid = host.run(["sh", "-c", squatter]).stdout.strip()
    refused = bare.call("mailproxy.bootstrap", "-y")
    assert refused.status == 1
    assert "mx1.lab.test: port 25 is held by busybox, which apt-get would not remove" in refused.log
    host.run(["kill", pid])
    reviewed = bare.call("mailproxy.bootstrap", "--dry")
    version = host.run(["sh", "-c", "apt-cache policy postfix | sed -n 's/ *Candidate: //p'"]).stdout.strip()
    assert f"Debian GNU/Linux 12 (bookworm), apt-get: postfix {version}" in reviewed.said
    assert "declared: 3 domains, 2 networks, 1 alias" in reviewed.said
    assert "has Postfix already, and is left alone: pyinfra INVENTORY deploy.py [mx2.lab.test]" in reviewed.said
    assert [traces(host), traces(other)] == before

    with watched(fleet, host) as seen:
        result = bare.call("mailproxy.bootstrap", "-y")
        assert result.status == 0, result.everything
        time.sleep(0.5)
    assert seen
    assert set(seen) == {(GREETING, 554)}
    assert "installed Postfix 3.7" in result.log
    assert "activated: start; nothing was live before" in result.log
    assert traces(other) == before[1]
    assert not (host.root / POLICY.lstrip("/")).exists()
    assert_done(bare, host)

    fleet.power_off(host)
    fleet.boot(host)
    assert_mail_flows(fleet, host, "example.com")


def test_another_mail_server_makes_room_only_when_that_was_agreed_to(bare: Controller) -> None:
    host = bare.fleet.hosts[0]
    policy = host.root / POLICY.lstrip("/")
    # Of its own, which lets packages start what they bring.
    policy.write_text("#!/bin/sh\n# the administrator's own\nexit 104\n")
    policy.chmod(0o755)
    install = "DEBIAN_FRONTEND=noninteractive apt-get -qq install exim4-daemon-light"
    host.run(["sh", "-c", f"apt-get -qq update && {install}"])
    assert listens(host)
    before = traces(host)
    stopped = bare.call("mailproxy.bootstrap", "-y")
    assert stopped.status == 1
    assert (
        "removes or turns off, and needs approval for, exim4-daemon-light, exim4-base, exim4-config; mail"
        in stopped.said
    )
    assert (
        "approval is needed to remove exim4-daemon-light,exim4-base,exim4-config; to go on: replace=exim4"
        in stopped.log
    )
    assert listens(host)
    assert traces(host) == before

    with watched(bare.fleet, host) as seen:
        result = bare.call("mailproxy.bootstrap", "-y", "replace=exim4-daemon-light,exim4-base,exim4-config")
    assert result.status == 0, result.everything
    assert set(seen) == {(GREETING, 554)}
    assert "administrator's own" in policy.read_text()
    assert_done(bare, host)


def test_what_was_killed_or_failed_never_serves_and_the_next_run_goes_on(bare: Controller) -> None:
    fleet, host = bare.fleet, bare.fleet.hosts[0]
    bare.declare(mynetworks=["127.0.0.0/8"])
    kill = "kill -9 $(sed -n 's/^pid //p' /etc/postfix/.mailproxy/bootstrap) $PPID"
    script = f'$real "$@"; status=$?; case "$*" in *"-s "*) ;; *"install postfix") {kill} ;; esac; exit $status'
    with watched(fleet, host) as seen:
        with replaced(host, "/usr/bin/apt-get", script):
            killed = bare.call("mailproxy.bootstrap", "-y")
        assert killed.status == 1
        assert (host.root / "usr/sbin/postfix").exists()
        assert (host.root / POLICY.lstrip("/")).exists()
        assert "the installation of Postfix was stopped there" in bare.run("--dry", "--limit", host.name).said

        assert (
            "go on with an installation of Postfix that was stopped" in bare.call("mailproxy.bootstrap", "--dry").said
        )
        broken = 'case "$*" in *-t*) exec $real "$@" ;; esac; exit 1'
        with replaced(host, "/usr/lib/postfix/sbin/master", broken):
            failed = bare.call("mailproxy.bootstrap", "-y")
        assert failed.status == 1
        assert "Postfix was stopped again" in failed.log
        assert "run mailproxy.bootstrap again to go on" in failed.log
        assert not is_enabled(host)
        assert not (host.root / POLICY.lstrip("/")).exists()
        assert not (host.root / "etc/postfix/main.cf").exists()
        assert not listens(host)
    assert not seen

    bare.declare(rollout={"bake_seconds": 20, "confirm_seconds": 21})
    controller = bare.start_pyinfra("mailproxy.bootstrap", "-y")
    wait_until(lambda: listens(host))
    controller.kill()
    controller.communicate()
    assert not is_enabled(host)
    wait_until(lambda: not listens(host) and not (host.root / "etc/postfix/main.cf").exists())
    wait_until_idle(host)
    bare.declare(rollout={})

    assert "go on: Postfix was installed by an earlier run" in bare.call("mailproxy.bootstrap", "--dry").said
    result = bare.call("mailproxy.bootstrap", "-y")
    assert result.status == 0, result.everything
    assert_done(bare, host)
