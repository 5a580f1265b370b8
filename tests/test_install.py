"""files/install.sh and files/service.sh on systems that cannot be had here, whose programs only note their calls.

Of this machine's programs only those of TOOLS are to be found there: none that could change anything outside.
"""

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mailproxy.bare import Survey, surveyed
from mailproxy.program import PROGRAMS, parts

SHELLS = ("dash", "bash --posix", "mksh", "busybox sh")
TOOLS = "awk cat chmod cp cut date grep head ln ls mkdir mv printf ps rm rmdir sed sha256sum sleep sort tail tr"
# What a package manager leaves: the programs and files of Postfix, here in the sandbox.
POSTFIX = """
mkdir -p {etc} && : >{etc}/master.cf && : >{etc}/main.cf
cat >{bin}/postconf <<'END'
#!/bin/sh
case "$*" in *"daemon_directory queue_directory") echo {bin} {etc} ;; *) echo 3.9.1 ;; esac
END
chmod 755 {bin}/postconf
"""


@dataclass(frozen=True)
class System:
    """A system: what its programs do, which paths there are, and how surveying and installing are to call them."""

    manager: str
    programs: Mapping[str, str]
    uname: str = "Linux"
    paths: tuple[str, ...] = ()
    removes: tuple[str, ...] = ()
    etc: str = "etc/postfix"
    surveying: tuple[str, ...] = ()
    installing: tuple[str, ...] = ()


ALPINE = System(
    "apk",
    {
        "apk": 'case "$*" in *simulate*) echo "(1/1) Installing postfix (3.9.1-r0)" ;; "add postfix") POSTFIX ;; esac',
        "rc-service": "",
        "rc-update": "",
    },
    paths=("run/openrc/", "etc/runlevels/default/postfix"),
    installing=("apk update", "apk add --simulate postfix", "apk add postfix", "rc-update del postfix default"),
)
RED_HAT = System(
    "dnf",
    {
        "dnf": 'case "$*" in *list*) echo postfix.x86_64 3.9.1-r0 baseos ;; *install*) POSTFIX ;; esac',
        "systemctl": "",
    },
    paths=("run/systemd/system/",),
    surveying=("dnf -q -C list --available postfix",),
    installing=("dnf -q -y install postfix", "systemctl disable postfix"),
)
SUSE = System(
    "zypper",
    {"zypper": 'case "$*" in *info*) echo "Version        : 3.9.1-r0" ;; *) POSTFIX ;; esac', "systemctl": ""},
    paths=("run/systemd/system/",),
    surveying=("zypper -n --no-refresh info postfix",),
    installing=("zypper -n install --no-recommends postfix", "systemctl disable postfix"),
)
ARCH = System(
    "pacman",
    {"pacman": 'case "$*" in -Si*) echo "Version         : 3.9.1-r0" ;; *) POSTFIX ;; esac', "systemctl": ""},
    paths=("run/systemd/system/",),
    surveying=("pacman -Si postfix",),
    installing=("pacman -S --noconfirm --needed postfix", "systemctl disable postfix"),
)
OPENBSD = System(
    "pkg_add",
    {
        "pkg_info": "echo postfix-3.9.1-r0",
        "pkg_add": "POSTFIX",
        "rcctl": "",
        "postfix-enable": "",
    },
    uname="OpenBSD",
    removes=("smtpd",),
    surveying=("pkg_info -Q postfix", "rcctl get smtpd status"),
    installing=(
        "pkg_add -I postfix--%stable",
        "rcctl disable postfix",
        "rcctl stop smtpd",
        "rcctl disable smtpd",
        "postfix-enable",
    ),
)
FREEBSD = System(
    "pkg",
    {
        "pkg": 'case "$*" in rquery*) echo 3.9.1-r0 ;; install*) POSTFIX ;; esac',
        "service": "",
        "sysrc": "",
    },
    uname="FreeBSD",
    paths=("usr/local/etc/rc.d/postfix", "usr/local/share/postfix/mailer.conf.postfix"),
    removes=("sendmail",),
    etc="usr/local/etc/postfix",
    surveying=("pkg rquery -U %v postfix", "service sendmail onestatus"),
    installing=(
        "pkg update -q",
        "pkg install -y postfix",
        "sysrc postfix_enable=NO",
        "service sendmail onestop",
        "sysrc sendmail_enable=NONE",
    ),
)
SYSTEMS = (ALPINE, RED_HAT, SUSE, ARCH, OPENBSD, FREEBSD)


@dataclass
class Sandbox:
    """A directory that stands for the root of a system, and what its programs were called with."""

    root: Path
    system: System
    shell: str
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make its paths, and programs that note their calls."""
        self.bin = self.root / "bin"
        self.bin.mkdir(parents=True)
        for tool in TOOLS.split():
            found = shutil.which(tool)
            assert found is not None
            (self.bin / tool).symlink_to(found)
        for path in (*self.system.paths, "proc/net/tcp"):
            place = self.root / path
            (place if path.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
            if not path.endswith("/"):
                place.touch(mode=0o755)
        known = {"uname": f"echo {self.system.uname}", "id": "echo 0", "logger": "", "ss": "", **self.system.programs}
        for name, does in known.items():
            self.add(name, does)
        self.add("master", "")

    def add(self, name: str, does: str) -> None:
        """Put a program there."""
        does = does.replace("POSTFIX", POSTFIX.format(etc=self.root / self.system.etc, bin=self.bin))
        noted = "" if name in ("uname", "id", "logger", "ss", "master") else f'echo "{name} $*" >>{self.root}/calls\n'
        (self.bin / name).write_text(f"#!/bin/sh\n{noted}{does}\n")
        (self.bin / name).chmod(0o755)

    def run(self, files: tuple[Path, ...], *arguments: str, then: str = "") -> "subprocess.CompletedProcess[str]":
        """Run programs of files/ there, with what follows them; the calls of other programs are kept."""
        (self.root / "calls").write_text("")
        text = "".join(file.read_text() for file in files) + then
        text = re.sub(r"(?m)^PATH=.*$", f"PATH={self.bin}", text)
        text = re.sub(
            r"(?<![\w/.])/(?=(?:etc|run|proc/net|usr/local|usr/share|usr/sbin/policy)\b)", f"{self.root}/", text
        )
        result = subprocess.run(
            [*self.shell.split(), "-c", text, "sh", *arguments], capture_output=True, text=True, timeout=60
        )
        self.calls = [call.strip() for call in (self.root / "calls").read_text().splitlines()]
        return result

    def install(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run install.sh."""
        return self.run(parts()["install"], *arguments)

    def survey(self) -> Survey:
        """Return what install.sh finds."""
        found = surveyed(self.install("survey").stdout.splitlines())
        assert found is not None
        return found


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """Each shell that a host may have as sh."""
    name: str = request.param
    return name


@pytest.mark.parametrize("system", SYSTEMS, ids=[system.manager for system in SYSTEMS])
def test_each_package_manager_installs_postfix_which_is_left_down(system: System, shell: str, tmp_path: Path) -> None:
    host = Sandbox(tmp_path / "root", system, shell)
    found = host.survey()
    assert (found.manager, found.state, found.candidate) == (system.manager, "bare", "3.9.1-r0")
    assert (found.removes, found.refusals) == (system.removes, ())
    assert host.calls == list(system.surveying) or not system.surveying
    assert not (host.root / system.etc).exists()

    result = host.install("install", "somebody", *system.removes)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "installed Postfix 3.9.1, not started\n"
    assert [call for call in host.calls if call in system.installing] == list(system.installing)
    assert not [
        call for call in host.calls if re.search(r"(start|enable|add) postfix( |$)", call) and "add " not in call
    ]
    assert host.survey().state == "installed"


def test_what_was_not_agreed_to_stays_and_nothing_is_left_behind(shell: str, tmp_path: Path) -> None:
    host = Sandbox(tmp_path / "root", OPENBSD, shell)
    result = host.install("install", "somebody")
    assert result.returncode == 11
    assert (
        "pkg_add would remove smtpd for it, which was not reviewed: run again; nothing was installed" in result.stderr
    )
    assert not (host.root / "etc/postfix").exists()
    assert host.survey().state == "bare"


def test_a_failed_installation_says_why_and_leaves_a_bare_host(shell: str, tmp_path: Path) -> None:
    host = Sandbox(tmp_path / "root", RED_HAT, shell)
    host.add("dnf", 'echo "No match for argument: postfix" >&2; exit 1')
    result = host.install("install", "somebody")
    assert result.returncode == 13
    assert "dnf could not install it: No match for argument: postfix" in result.stderr
    assert not (host.root / "etc/postfix").exists()
    assert host.survey() == Survey(host.survey().system, "dnf", "bare")


def test_a_host_that_cannot_be_one_is_refused(shell: str, tmp_path: Path) -> None:
    host = Sandbox(tmp_path / "root", System("none", {"id": "echo 1000"}), shell)
    (host.root / "etc/postfix").mkdir(parents=True)
    (host.root / "etc/postfix/main.cf").touch()
    (host.root / "proc/net/tcp").write_text("   0: 00000000:0019 00000000:0000 0A 00000000:00000000\n")
    reasons = host.survey().refusals
    assert [reason[:30] for reason in reasons] == [
        "runs as uid 1000, expected roo",
        "found none of the package mana",
        f"it has a {host.root}/etc/postfix/main.cf"[:30],
        "port 25 is held by another pro",
    ]


SERVICES = {
    "systemd": (("run/systemd/system/",), ("systemctl",), ["systemctl start postfix", "systemctl enable postfix"]),
    "rcctl": ((), ("rcctl",), ["rcctl -f start postfix", "rcctl enable postfix"]),
    "openrc": (
        ("run/openrc/", "etc/init.d/postfix"),
        ("rc-service", "rc-update"),
        ["rc-service postfix zap", "rc-service postfix start", "rc-update add postfix default"],
    ),
    "rc.d": (
        ("usr/local/etc/rc.d/postfix",),
        ("service", "sysrc"),
        ["service postfix onestart", "sysrc postfix_enable=YES"],
    ),
    "init.d": (("etc/init.d/postfix",), ("chkconfig",), ["chkconfig postfix on"]),
    # Installed, and never started: as in a container.
    "none": (("etc/init.d/postfix",), ("rc-service", "rc-update", "postfix"), ["postfix -c / start"]),
}


@pytest.mark.parametrize("manager", SERVICES)
def test_postfix_is_started_and_enabled_the_way_of_the_system(manager: str, shell: str, tmp_path: Path) -> None:
    paths, programs, expected = SERVICES[manager]
    host = Sandbox(tmp_path / "root", System(manager, dict.fromkeys(programs, ""), paths=paths), shell)
    then = "cd / && service_manager && with_service_manager start && at_boot enable"
    result = host.run((PROGRAMS / "common.sh", PROGRAMS / "service.sh"), then=then)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{manager}\n", "")
    assert host.calls == expected
