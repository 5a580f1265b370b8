"""What the fleet tests do to a lab: declare, roll out, send mail, look at hosts, and break them."""

import contextlib
import os
import re
import smtplib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.fleet import Fleet
from lab.hosts import Host, controller_pid
from mailproxy.managed import FILES
from mailproxy.program import kept_name
from tests.fleet.forks import Process, start

REPOSITORY = Path(__file__).parent.parent.parent
PYINFRA = (str(Path(sys.executable).with_name("pyinfra")),)
# The same without its imports (tests/fleet/forks.py).
FORKED = ()
TRUSTED = ["127.0.0.0/8", "10.1.0.2/32"]
# What lies in the private directory of a host that nobody works on.
AT_REST = {"generations", "loaded", "manifest", kept_name()}
# What to declare besides, so that main.cf changes: only then Postfix is told by its own command to reload.
ANOTHER_MAIN_CF = {"message_size_limit": 10_240_000}


@dataclass(frozen=True)
class Result:
    """How a run of pyinfra ended: its exit status, the review (standard output) and the log (standard error)."""

    status: int
    review: str
    log: str

    @property
    def everything(self) -> str:
        """Both outputs."""
        return self.review + self.log

    @property
    def said(self) -> str:
        """The review as one line, as it is wrapped at 80 columns."""
        return " ".join(self.review.split())


@dataclass
class Controller:
    """An administrator at the controller of a lab, with group_data of their own."""

    fleet: Fleet
    group_data: Path
    declared: dict[str, Any] = field(default_factory=dict)
    # What this administrator approves of by habit; the tests of gates do not.
    approves: tuple[str, ...] = ("removals", "queued", "networks", "restart", "takeover")
    inventory: str = "inventories/lab.py"
    pyinfra: tuple[str, ...] = FORKED

    def declare(self, **keys: Any) -> None:
        """Declare keys of the interface for all hosts, on top of what is declared."""
        self.declared.update(keys)
        text = "".join(f"{key} = {value!r}\n" for key, value in self.declared.items())
        (self.group_data / "all.py").write_text(text)

    def start(self, *arguments: str) -> Process:
        """Start pyinfra as the README does; its process is the controller itself."""
        approval = ["--data", f"approve={','.join(self.approves)}"] if self.approves else []
        return self.start_pyinfra("deploy.py", *approval, *arguments)

    def start_pyinfra(self, *arguments: str) -> Process:
        """Start pyinfra with this administrator's inventory and group_data."""
        own = [self.inventory, "--group-data", str(self.group_data), *arguments]
        environment = {**os.environ, "LAB": self.fleet.directory.name, "PYINFRA_PROGRESS": "off"}
        if self.pyinfra == FORKED:
            return start(own, environment, controller_pid(self.fleet.directory))
        return subprocess.Popen(
            self.fleet.controller_command([*self.pyinfra, *own]),
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> Result:
        """Run pyinfra to its end."""
        return self._result(self.start(*arguments))

    def call(self, *arguments: str) -> Result:
        """Run pyinfra with something else than deploy.py to its end."""
        return self._result(self.start_pyinfra(*arguments))

    @staticmethod
    def _result(process: Process) -> Result:
        review, log = process.communicate(timeout=300)
        return Result(process.wait(), review, log)

    def roll_out(self, *arguments: str) -> Result:
        """Roll out, and insist that it succeeds."""
        result = self.run("-y", *arguments)
        assert result.status == 0, result.everything
        return result

    def assert_converged(self) -> None:
        """Insist that one more run finds nothing to do, and says so in pyinfra's own table too."""
        result = self.run("--dry")
        assert result.status == 0, result.everything
        assert "0 to change" in result.review, result.review
        rows = re.findall(r"^    (?:Stage|Activate)[^\n]*", result.log, re.MULTILINE)
        assert len(rows) == 1, result.log
        assert re.search(r" - +-$", rows[0].rstrip()), result.log


def live(host: Host) -> dict[str, str]:
    """Return the managed files as text, and the entries of the tables as their tools list them."""
    found: dict[str, str] = {}
    for name in FILES:
        path = host.configuration / name
        if path.exists():
            found[name] = path.read_text()
    for table in ("aliases", "transport"):
        listing = host.run(["postmap", "-s", table_of(host, table)], check=False).stdout
        kept = [line for line in listing.splitlines() if not line.startswith(("YP_", "@\t"))]
        found[f"{table} entries"] = "\n".join(sorted(kept))
    return found


def table_of(host: Host, name: str) -> str:
    """Return the name by which Postfix knows a table of a host that declares no type: TYPE:PATH."""
    return f"{host.kind.database_type}:{host.kind.config_directory}/{name}"


def index_of(host: Host, name: str) -> str:
    """Return the name of the file that such a table is indexed into."""
    return f"{name}.{'lmdb' if host.kind.database_type == 'lmdb' else 'db'}"


def assert_tables_match(host: Host) -> None:
    """Insist that the indexed tables hold what their sources say, by building them anew elsewhere."""
    for table, tool in (("aliases", "postalias"), ("transport", "postmap")):
        text = (host.configuration / table).read_text()
        anew = f"{host.kind.database_type}:$d/t"
        script = f"d=$(mktemp -d); cat >$d/t; {tool} {anew}; postmap -s {anew}; rm -r $d"
        listing = host.run(["sh", "-c", script], input=text).stdout
        kept = [line for line in listing.splitlines() if not line.startswith(("YP_", "@\t"))]
        assert live(host)[f"{table} entries"] == "\n".join(sorted(kept))


def tree(host: Host) -> str:
    """Return every file of the configuration directory with mode, owner, time and digest."""
    script = f"cd {host.kind.config_directory} && "
    script += "find . ! -path ./.mailproxy -exec stat -c '%n %A %u:%g %y' {} + | sort; "
    return host.run(["sh", "-c", script + "find . -type f -exec sha256sum {} + | sort"]).stdout


def private_names(host: Host) -> set[str]:
    """Return what lies in the private directory on a host; empty where there is none."""
    directory = host.configuration / ".mailproxy"
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def bytes_sent_by(host: Host) -> int:
    """Return the bytes that left a host's network interface since it was booted."""
    interfaces = Path(f"/proc/{host.pid}/net/dev").read_text().splitlines()[2:]
    (interface,) = (line for line in interfaces if " lo:" not in line)
    return int(interface.partition(":")[2].split()[8])


def reply_to(fleet: Fleet, host: Host, recipient: str, sender: str = "someone@outside.example") -> tuple[int, str]:
    """Return what a host answers the internet to RCPT TO."""
    with fleet.network(), smtplib.SMTP(host.address, 25, local_hostname="outside.example", timeout=20) as client:
        client.ehlo()
        client.mail(sender)
        code, message = client.rcpt(recipient)
        return code, message.decode()


def send(fleet: Fleet, host: Host, recipient: str, subject: str) -> None:
    """Send a message from the internet through a host; raises smtplib.SMTPException when it is refused."""
    with fleet.network(), smtplib.SMTP(host.address, 25, local_hostname="outside.example", timeout=20) as client:
        client.sendmail("someone@outside.example", [recipient], f"Subject: {subject}\r\n\r\nhello\r\n")


def arrived(fleet: Fleet, subject: str, recipient: str) -> bool:
    """Return whether a message is at the internal mail server, waiting for it up to half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for message in fleet.messages():
            if message["Subject"] == subject and message["X-Original-To"] == recipient:
                return True
        time.sleep(0.1)
    return False


def assert_mail_flows(fleet: Fleet, host: Host, domain: str) -> None:
    """Insist that a message to the domain gets through a host to the internal mail server."""
    subject = f"{host.name} {domain} {time.monotonic_ns()}"
    send(fleet, host, f"user@{domain}", subject)
    assert arrived(fleet, subject, f"user@{domain}"), host.run(["tail", "-n", "30", "/var/log/mail.log"]).stdout


def write(host: Host, path: str, text: str, mode: int) -> None:
    """Write a file on a host."""
    file = host.root / path.lstrip("/")
    file.write_text(text)
    file.chmod(mode)


@contextlib.contextmanager
def replaced(host: Host, program: str, script: str) -> Iterator[None]:
    """Put a shell script in the place of a program of a host, given by its path on Debian; "$real" in it is the program
    itself, under the same name, as some go by that."""
    place = Path(program)
    if place.name.startswith("post"):
        place = Path(host.kind.commands) / place.name
    if not (host.root / str(place).lstrip("/")).exists():
        # Where /bin is not yet a link to /usr/bin.
        place = Path("/bin") / place.name
    real = place.parent / ".real" / place.name
    path, aside = (host.root / str(each).lstrip("/") for each in (place, real))
    aside.parent.mkdir(exist_ok=True)
    path.rename(aside)
    path.write_text(f"#!/bin/sh\nreal={real}\n{script}\n")
    path.chmod(0o755)
    try:
        yield
    finally:
        aside.rename(path)
        # Another program may still lie there.
        with contextlib.suppress(OSError):
            aside.parent.rmdir()


@contextlib.contextmanager
def port_25_dropped(host: Host, *, on_reload: bool = False) -> Iterator[None]:
    """Keep every answer of a host's port 25 from its network, from now on or from the next "postfix reload" on."""
    rule = "pref 5 ipproto tcp sport 25 blackhole"
    if on_reload:
        drop = f"case $* in *reload) ip rule del {rule} 2>/dev/null; ip rule add {rule} ;; esac; "
        stand_in: contextlib.AbstractContextManager[None] = replaced(
            host, "/usr/sbin/postfix", drop + 'exec $real "$@"'
        )
    else:
        host.run(["ip", "rule", "add", *rule.split()])
        stand_in = contextlib.nullcontext()
    try:
        with stand_in:
            yield
    finally:
        host.run(["ip", "rule", "del", *rule.split()])


@contextlib.contextmanager
def program_at_work(host: Host) -> Iterator[int]:
    """Keep a process on a host that looks like a program of ours at work; yields its number there."""
    script = "sh -c 'PRIVATE=.mailproxy; sleep 100; :' >/dev/null 2>&1 & echo $!"
    pid = int(host.run(["sh", "-c", script]).stdout)
    try:
        yield pid
    finally:
        host.run(["kill", str(pid)])


def wait_for(host: Host, path: str) -> None:
    """Wait until a file whose path matches a pattern is there on a host; a relative one is below its configuration
    directory."""
    deadline = time.monotonic() + 60
    pattern = str(Path(host.kind.config_directory, path)).lstrip("/")
    while not list(host.root.glob(pattern)):
        assert time.monotonic() < deadline, f"{path} never came on {host.name}"
        time.sleep(0.02)


def wait_until_idle(host: Host) -> None:
    """Wait until no program of the tool runs on a host any more: a killed controller leaves it to its end."""
    deadline = time.monotonic() + 60
    script = (
        f"p=$(sed -n 's/^pid //p' {host.kind.config_directory}/.mailproxy/lock 2>/dev/null); "
        '[ -z "$p" ] || ! kill -0 $p 2>/dev/null'
    )
    while host.run(["sh", "-c", script], check=False).returncode != 0:
        assert time.monotonic() < deadline, f"a program still runs on {host.name}"
        time.sleep(0.05)
