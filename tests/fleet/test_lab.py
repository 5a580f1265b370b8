"""The lab leaves the machine as it was, and says what it needs."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import fleet as lab
from lab.fleet import Fleet
from lab.hosts import mark_of
from lab.machine import LabError, arguments_of, bearing, require
from tests.fleet.conftest import lab_name
from tests.fleet.controller import REPOSITORY

NAME = lab_name("spare")
KINDS = ("net", "mnt", "pid", "uts", "ipc")
IN_TURN = ("debian12", "debian12", "openbsd", "alpine")


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "lab/lab", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "LAB": NAME, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(autouse=True)
def _gone() -> Iterator[None]:
    yield
    lab.down(NAME)


def namespaces(pids: list[int]) -> set[str]:
    """Return the namespaces of processes, as links such as net:[4026531840]."""
    found = set()
    for pid in pids:
        for kind in KINDS:
            try:
                found.add(str(Path(f"/proc/{pid}/ns/{kind}").readlink()))
            except OSError:
                continue
    return found


@contextlib.contextmanager
def kept(pids: list[int]) -> Iterator[None]:
    """Inside, the numbers of the namespaces of processes are not given to new ones, such as those of another lab."""
    with contextlib.ExitStack() as files:
        for pid in pids:
            for kind in KINDS:
                with contextlib.suppress(OSError):
                    files.enter_context(Path(f"/proc/{pid}/ns/{kind}").open("rb"))
        yield


def living() -> list[int]:
    """Return the pids of all processes that have not ended; a zombie waits for its parent and holds nothing."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if arguments_of(pid)]


def assert_nothing_is_left(of: set[str]) -> None:
    directory = lab.directory_of(NAME)
    assert bearing(mark_of(directory)) == []
    assert not directory.exists()
    assert not (of - namespaces([os.getpid()])) & namespaces(living())
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()


def test_down_leaves_no_process_no_mount_and_no_namespace() -> None:
    fleet = lab.up(1, NAME)
    pids = [host.pid for host in (*fleet.hosts, fleet.mail_server)]
    used = namespaces(pids)
    assert len(used - namespaces([os.getpid()])) == len(KINDS) * 2
    with kept(pids):
        assert command("down").returncode == 0
        assert_nothing_is_left(used)


def test_down_cleans_up_after_an_up_that_was_killed() -> None:
    process = subprocess.Popen([sys.executable, "lab/lab", "up", "2"], cwd=REPOSITORY, env={**os.environ, "LAB": NAME})
    mark = mark_of(lab.directory_of(NAME))
    deadline = time.monotonic() + 60
    while len(pids := bearing(mark)) < 3:
        assert time.monotonic() < deadline, "no host of the lab ever started"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    used = namespaces(pids)
    with kept(pids):
        assert command("down").returncode == 0
        assert_nothing_is_left(used)


def test_a_second_up_leaves_exactly_one_fleet() -> None:
    first = lab.up(1, NAME)
    old = set(bearing(mark_of(first.directory)))
    second = lab.up(2, NAME)
    assert [host.short_name for host in second.hosts] == ["mx1", "mx2"]
    assert not old & set(bearing(mark_of(second.directory)))
    assert "up, pid" in command("status").stdout


def test_hosts_are_reached_by_their_own_keys_as_root_and_as_a_user_with_sudo() -> None:
    fleet = lab.up(2, NAME)
    keys = [line.split()[-1] for line in fleet.known_hosts.read_text().splitlines()]
    assert len(set(keys)) == 3
    assert command("ssh", "mx1", "id", "-un").stdout == "root\n"
    assert command("ssh", "deploy@mx2", "id -un; sudo -n id -un").stdout == "deploy\nroot\n"


def test_hosts_of_several_kinds_stand_side_by_side_and_lack_what_their_systems_lack() -> None:
    assert command("up", "debian12*2", "openbsd", "alpine").returncode == 0
    kinds = [line.split()[:2] for line in command("status").stdout.splitlines()[1:5]]
    assert kinds == [[f"mx{number}.lab.test", kind] for number, kind in enumerate(IN_TURN, start=1)]
    for host in ("mx3", "mx4"):
        assert command("ssh", f"deploy@{host}", "doas -n id -un").stdout == "root\n"
        for lacking in ("sudo", "bash", "apt-get"):
            assert command("ssh", host, f"command -v {lacking}").returncode != 0
    script = "for name in sha256sum stat sha256 postconf; do command -v $name; done; "
    script += "echo x >f; sha256 -r f; stat -f %z f; ls -d /proc/* /etc/postfix"
    openbsd = command("ssh", "mx3", script)
    assert openbsd.stdout.splitlines() == [
        *("/usr/bin/stat", "/usr/bin/sha256", "/usr/local/sbin/postconf"),
        *("73cb3858a687a8494ca3323053016282f3dad39d42cf62ca4e79dda2aac7d9ac f", "2"),
    ]
    for gnu in ("ls --all", "sed -i s/a/b/ f", "stat -c %s f", "find / -maxdepth 0 -printf x", "date --utc"):
        assert command("ssh", "mx3", f"touch f; {gnu}").returncode != 0, gnu
    assert "MIRBSD KSH" in command("ssh", "mx3", "echo $KSH_VERSION").stdout
    assert "BusyBox" in command("ssh", "mx4", "sed --help 2>&1; ls --help 2>&1").stdout


def test_the_controllers_network_has_no_way_out() -> None:
    fleet = lab.up(1, NAME)
    routes = subprocess.run(fleet.controller_command(["ip", "route"]), capture_output=True, text=True, check=True)
    assert "default" not in routes.stdout
    assert "default" not in fleet.hosts[0].run(["ip", "route"]).stdout


def test_a_host_that_lost_its_power_comes_back_with_its_files() -> None:
    fleet = lab.up(1, NAME)
    (host,) = fleet.hosts
    host.run(["touch", "/etc/postfix/kept"])
    fleet.power_off(host)
    assert "off" in command("status").stdout
    fleet.boot(host)
    assert (host.root / "etc/postfix/kept").exists()
    assert Fleet.load(NAME).hosts[0].pid == host.pid


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["up", "0"], 2, "up takes a number of hosts from 1 to 1000, not '0'"),
        (["up", "debian12", "none*2"], 2, "no such kind of host: 'none'; there are debian11, debian12"),
        (["dawn"], 2, "no such command: 'dawn'"),
        (["run", "true"], 1, f"lab {NAME} is not up: lab/lab up"),
        (["ssh", "mx1"], 1, f"lab {NAME} is not up: lab/lab up"),
        (["status"], 1, f"lab {NAME} is not up: lab/lab up"),
    ],
    # The same in all workers, which the name of the lab is not.
    ids=["up with no host", "up with no kind", "no command", "run", "ssh", "status"],
)
def test_wrong_usage_is_one_clear_line(arguments: list[str], status: int, expected: str) -> None:
    result = command(*arguments)
    assert result.returncode == status
    assert expected in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_missing_program_is_named_with_its_package() -> None:
    result = command("up", PATH="/nonexistent")
    assert result.returncode == 1
    assert "not installed: ip, mount, nsenter" in result.stderr
    assert "apt-get install iproute2" in result.stderr


def test_who_is_not_root_or_not_on_linux_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(LabError, match="the lab needs root for namespaces and overlay mounts; this is uid 1000"):
        require()
    monkeypatch.setattr(sys, "platform", "openbsd")
    with pytest.raises(LabError, match="needs Linux namespaces; this is openbsd"):
        require()
