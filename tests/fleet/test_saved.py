"""A host that was given back a state is not to be told from one that never left it."""

import filecmp
import os
import stat
from pathlib import Path

import pytest

from lab.fleet import Fleet
from lab.hosts import Host
from tests.fleet.controller import Controller, assert_mail_flows
from tests.fleet.saved import save

# Where a running Postfix, syslogd and the kernel write by themselves.
BUSY = ("proc", "sys", "run", "dev", "mnt", "var/log/mail.log", "var/spool/postfix/pid", "var/lib/postfix")


def own_content(host: Host, path: str) -> bytes | None:
    """Return the content of a file, unless it is that of the root, which the host may have a copy of."""
    own, common = host.directory / "upper" / path, host.directory / "lower" / path
    if not own.exists() or (common.exists() and filecmp.cmp(own, common, shallow=False)):
        return None
    return own.read_bytes()


def everything(host: Host) -> dict[str, tuple[object, ...]]:
    """Return every path of a host with mode and owner, of files also size, time and content."""
    found: dict[str, tuple[object, ...]] = {}
    root = str(host.root)
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if os.path.relpath(f"{directory}/{name}", root) not in BUSY]
        for name in (*names, *files):
            path = Path(directory, name)
            below = os.path.relpath(path, root)
            seen = path.lstat()
            exact: tuple[object, ...] = ()
            if stat.S_ISREG(seen.st_mode):
                exact = (seen.st_size, seen.st_mtime_ns, own_content(host, below))
            elif stat.S_ISLNK(seen.st_mode):
                exact = (path.readlink(),)
            found[below] = (seen.st_mode, seen.st_uid, seen.st_gid, *exact)
    return {path: traits for path, traits in found.items() if path not in BUSY}


def running(host: Host) -> list[str]:
    """Return the commands that run on a host, less what Postfix's master starts as it is needed."""
    lines = host.run(["ps", "-eo", "args="]).stdout.splitlines()
    return sorted(line for line in lines if " -t unix" not in line and " -t inet" not in line and line[:3] != "ps ")


# What tests may do to a host: to its own files, to those of the package, and to what runs there.
HARM = [
    "postconf -e inet_interfaces=loopback-only && postfix stop && postfix start; echo hello | sendmail a@away.example",
    "cd /etc/postfix && rm -r .mailproxy transport.db; mv /usr/sbin/postmap /usr/sbin/aside; mkfifo /usr/sbin/postmap",
    "mv /etc/postfix /etc/elsewhere && ln -s elsewhere /etc/postfix; pkill -KILL -x master",
    "rm -r /etc/postfix /usr/lib/postfix && mkdir /usr/lib/postfix && touch /usr/lib/postfix/mine",
    "chmod 700 /etc/postfix; chown deploy /etc/postfix/main.cf /etc/passwd; chmod u+s /usr/sbin/postconf; "
    "touch -d 2001-01-01 /etc/postfix/transport; mkdir -p /srv/a/b/c; usermod -s /bin/true root",
    "mkdir /run/once; touch /run/reached /dev/shm/mine /tmp/mine; rm /var/log/mail.log; "
    "for n in 1 2 3; do setsid sh -c 'while :; do sleep 0.01; done' >/dev/null 2>&1 & done",
    "postfix stop; rm -r /var/spool/postfix/active",
]


@pytest.mark.parametrize("harm", HARM)
def test_what_was_done_to_a_host_is_undone(controller: Controller, harm: str, tmp_path: Path) -> None:
    host = controller.fleet.hosts[1]
    saved = save(host, tmp_path / "saved")
    # What the rollout has left running ends with this.
    saved.put_back()
    before, runs, log = everything(host), running(host), (host.root / "var/log/mail.log").read_text()
    host.run(["sh", "-c", harm])
    saved.put_back()
    assert everything(host) == before
    assert running(host) == runs
    assert (host.root / "var/log/mail.log").read_text().startswith(log)
    assert_mail_flows(controller.fleet, host, "example.org")
    assert host.run(["postqueue", "-p"]).stdout == "Mail queue is empty\n"


def test_a_host_that_nobody_touched_keeps_its_running_postfix(controller: Controller, tmp_path: Path) -> None:
    host = controller.fleet.hosts[1]
    saved = save(host, tmp_path / "saved")
    master = host.run(["pgrep", "-x", "master"]).stdout
    controller.run("--dry")
    saved.put_back()
    assert host.run(["pgrep", "-x", "master"]).stdout == master
    assert_mail_flows(controller.fleet, host, "example.org")
    saved.put_back()
    assert host.run(["pgrep", "-x", "master"]).stdout != master


def test_a_fleet_given_back_its_state_has_received_no_mail(
    controller: Controller, request: pytest.FixtureRequest
) -> None:
    assert_mail_flows(controller.fleet, controller.fleet.hosts[0], "example.org")
    assert controller.fleet.messages() != []
    fleet: Fleet = request.getfixturevalue("fresh_fleet")
    assert fleet.messages() == []
