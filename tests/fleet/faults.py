"""Faults that strike a host, or its controller, exactly when a change on it has come to a certain step.

The programs that a step runs are replaced on the host by a stand-in that goes on as the program itself, unless a step
is armed: then it says that it was reached, and waits until the fault was injected. Every fault is the real thing but
for the clock: hosts of a lab share the machine's, so libfaketime tells their programs another time.
"""

import smtplib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from lab.every_key import every_key
from lab.fleet import INBOX, Fleet
from lab.hosts import Host, controller_pid
from lab.machine import LabError
from tests.fleet.controller import AT_REST, Controller, Result, live, private_names, reply_to, send
from tests.fleet.forks import Process

# Where each step is met: the program, a pattern of its arguments, and how many times it has to be met.
STEPS: dict[str, tuple[str, str, int]] = {
    "observe": ("postconf", '"-d mail_version "*', 1),
    "stage": ("awk", '*"stage=.mailproxy/"*', 1),
    "index": ("postmap", '*"/transport"', 1),
    "check": ("awk", '*"master.cf .mailproxy/stage."*', 1),
    # One domain comes and one goes: recipients, the routes of both sides, acceptance, and after the reload the routes
    # that stay. Of the tables of recipients and of both sides, which are read when main.cf or their domains are, the
    # first of two files is enough.
    **{f"rename {number}": ("mv", '"-f .mailproxy/stage."*', number) for number in (1, 3, 5, 6, 7)},
    "reload": ("ps", '*"-o comm="*', 1),
    "verify": ("postmap", '*" -q - "*', 1),
    "confirm": ("rm", '"-f .mailproxy/journal"', 1),
}
PROGRAMS = (
    "/usr/bin/awk",
    "/usr/bin/mv",
    "/usr/bin/rm",
    "/usr/bin/ps",
    *(f"/usr/sbin/{name}" for name in ("postconf", "postmap")),
)
STAND_IN = """\
#!/bin/sh
name=${0##*/}
if [ -e "/run/fault/$name-fails" ]; then
    echo "$name fails, as it was made to" >&2
    exit 1
fi
[ ! -r "/run/fault/$name" ] || . "/run/fault/$name"
exec "/usr/lib/real/$name" "$@"
"""
ARMED = """\
case "$*" in
    %s)
        echo met >>/run/fault/met
        if [ "$(wc -l </run/fault/met)" -eq %d ]; then
            # Nothing of this process is open for writing while the fault is injected.
            exec 2>/dev/null
            echo "$PPID" >/run/fault/caller
            : >/run/fault/reached
            while [ -e /run/fault/reached ] && [ ! -e /run/fault/go ]; do sleep 0.05; done
        fi
        ;;
esac
"""
Talked = TypeVar("Talked")
# How long a host waits for its confirmation, and how long the controller for a host, in seconds.
CONFIRM_SECONDS = 15
TIMEOUT = 5
ROUTE = "smtp:[10.1.0.2]"
SIDES = {
    "red": {"example.com": ROUTE, "example.net": ROUTE, "red.example": ROUTE},
    "blue": {"example.com": ROUTE, "example.net": ROUTE, "blue.example": ROUTE},
}


def declared(side: str) -> dict[str, Any]:
    """Return what a side declares, with every key there is."""
    return {"relay_domains": SIDES[side], **every_key(SIDES[side], ["user"], ["example.net"])}


@dataclass
class Site:
    """A host on which faults are tried one after the other, with an administrator of its own."""

    fleet: Fleet
    host: Host
    controller: Controller
    expected: dict[str, dict[str, str]]
    side: str = "blue"

    @property
    def other(self) -> str:
        """The side that it is to change to."""
        return "red" if self.side == "blue" else "blue"

    def start(self, *arguments: str) -> Process:
        """Start a rollout of what is declared, on this host alone."""
        return self.controller.start("-y", "--limit", self.host.name, *arguments)

    def shell(self, script: str, check: bool = True) -> str:
        """Run a script on the host."""
        return self.host.run(["sh", "-c", script], check=check).stdout


@dataclass(frozen=True)
class Fault:
    """What strikes, and what ends it: the process is the controller's."""

    name: str
    inject: Callable[[Site, Process], None]
    lift: Callable[[Site], None] = lambda _: None
    # The host does not go on by itself: it is started anew.
    loses_power: bool = False
    # What the host needs: a file system of its own under the configuration directory.
    on_small_disk: bool = False
    timeout: int = 60


@dataclass(frozen=True)
class Outcome:
    """What a fault at a step led to, in a word, and what was wrong with it, '' where nothing was."""

    word: str
    problem: str = ""


def _kill_controller(site: Site, process: Process) -> None:
    process.kill()
    process.wait()


def _cut(site: Site, up: bool) -> None:
    network = f"--net=/proc/{controller_pid(site.fleet.directory)}/ns/net"
    command = ["nsenter", network, "ip", "link", "set", site.host.short_name, "up" if up else "down"]
    subprocess.run(command, check=True)


def _signal_all(site: Site, signal: str) -> None:
    """Stop or continue everything on a host but its first process, from outside: it cannot do that to itself."""
    namespace = Path(f"/proc/{site.host.pid}/ns/pid").readlink()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != site.host.pid:
            try:
                if (entry / "ns/pid").readlink() == namespace:
                    subprocess.run(["kill", f"-{signal}", entry.name], stderr=subprocess.DEVNULL, check=False)
            except OSError:
                continue


def _fill_disk(site: Site, _: object) -> None:
    site.shell("/usr/bin/dd if=/dev/zero of=/etc/postfix/filler bs=1k 2>/dev/null", check=False)


def _make_read_only(site: Site, _: object) -> None:
    # A shell of ours that has a file open for writing holds it up until it closes that.
    site.shell(
        "(until mount -o remount,ro /etc/postfix 2>/dev/null || [ -e /run/fault/lifted ]; do sleep 0.01; done) "
        ">/dev/null 2>&1 & sleep 0.2"
    )


def _make_writable(site: Site) -> None:
    site.shell("touch /run/fault/lifted; sleep 0.1; mount -o remount,rw /etc/postfix")


def _second_controller(site: Site, _: object) -> None:
    second = site.start()
    second.communicate(timeout=120)


def _program_fault(name: str, kind: str) -> Fault:
    if kind == "fails":
        break_it, mend_it = f"touch /run/fault/{name}-fails", f"rm -f /run/fault/{name}-fails"
    else:
        break_it, mend_it = f"mv /usr/sbin/{name} /usr/sbin/{name}.gone", f"mv /usr/sbin/{name}.gone /usr/sbin/{name}"
    return Fault(f"{name} {kind}", lambda site, _: _done(site.shell(break_it)), lambda site: _done(site.shell(mend_it)))


def _done(_: object) -> None:
    return None


_PRELOAD = "ls /usr/lib/*/faketime/libfaketime.so.1 >/etc/ld.so.preload; echo -1h >/etc/faketimerc"

FAULTS = (
    Fault("controller killed", _kill_controller),
    Fault("connection cut", lambda site, _: _cut(site, False), lambda site: _cut(site, True), timeout=TIMEOUT),
    Fault(
        "host hangs",
        lambda site, _: _signal_all(site, "STOP"),
        lambda site: _signal_all(site, "CONT"),
        timeout=TIMEOUT,
    ),
    Fault("power lost", lambda site, _: site.host.power_off(), loses_power=True, timeout=TIMEOUT),
    Fault("disk full", _fill_disk, lambda site: _done(site.shell("rm -f /etc/postfix/filler")), on_small_disk=True),
    Fault("read-only", _make_read_only, _make_writable, on_small_disk=True),
    *(_program_fault(name, kind) for name in ("postmap", "postconf") for kind in ("fails", "is gone")),
    Fault(
        "no file handles",
        lambda site, _: _done(site.shell("prlimit --nofile=4 --pid $(cat /run/fault/caller)")),
    ),
    Fault(
        "clock set back",
        lambda site, _: _done(site.shell(_PRELOAD)),
        lambda site: _done(site.shell("rm -f /etc/ld.so.preload /etc/faketimerc")),
    ),
    Fault("two controllers", _second_controller),
    Fault("main.cf edited", lambda site, _: _done(site.shell("echo '# by hand' >>/etc/postfix/main.cf"))),
)


def prepare(site: Site) -> None:
    """Put the stand-ins in place."""
    for program in PROGRAMS:
        path = site.host.root / program.lstrip("/")
        site.host.run(["sh", "-c", f"mkdir -p /usr/lib/real && cp -a {program} /usr/lib/real/"])
        path.unlink()
        path.write_text(STAND_IN)
        path.chmod(0o755)


def use_small_disk(site: Site) -> None:
    """Move the configuration directory onto a small file system of its own."""
    site.shell(
        "cp -a /etc/postfix /run/kept && mount -t tmpfs -o size=4m,mode=755 tmpfs /etc/postfix && "
        "cp -a /run/kept/. /etc/postfix/ && rm -r /run/kept && postfix reload"
    )


def strike(site: Site, fault: Fault, step: str) -> Outcome:
    """Roll out to the other side, have the fault strike at a step, look at the host, and have the next run finish."""
    before, after = site.side, site.other
    try:
        word = _struck(site, fault, step, before, after)
        problem = "; ".join(_problems_of_next_run(site, after))
    except (AssertionError, OSError, subprocess.SubprocessError, LabError) as error:
        log = site.shell("tail -n 30 /var/log/mail.log", check=False) if site.host.is_up else ""
        _recover(site, fault, after)
        return Outcome("?", f"{type(error).__name__}: {error}\n{log}")
    finally:
        site.side = after
    return Outcome(word, problem)


def _recover(site: Site, fault: Fault, after: str) -> None:
    """Bring a host back after a fault that was not as expected, so that the next ones are judged by themselves."""
    if not site.host.is_up:
        site.host.boot()
    _signal_all(site, "CONT")
    _cut(site, True)
    for name in ("postmap", "postconf"):
        site.shell(f"[ ! -e /usr/sbin/{name}.gone ] || mv /usr/sbin/{name}.gone /usr/sbin/{name}")
    site.shell(
        "mkdir -p /run/fault && touch /run/fault/go; rm -f /etc/ld.so.preload /etc/faketimerc /etc/postfix/filler"
    )
    if fault.on_small_disk:
        _make_writable(site)
    site.shell("rm -rf /run/fault")
    site.controller.declare(**declared(after), _timeout=60)
    site.start().communicate(timeout=180)


def _struck(site: Site, fault: Fault, step: str, before: str, after: str) -> str:
    site.controller.declare(**declared(after), _timeout=fault.timeout)
    _arm(site, step)
    process = site.start()
    _wait_until(lambda: (site.host.root / "run/fault/reached").exists(), f"{step} was never reached", process)
    fault.inject(site, process)
    if not fault.loses_power:
        _go_on(site, fault)
    review, log = process.communicate(timeout=120)
    if fault.loses_power:
        site.host.boot()
    else:
        fault.lift(site)
        site.shell("rm -rf /run/fault")
    _wait_until(lambda: not programs_of(site.host), "a program of ours stays on the host")
    found = _state(site, before, after)
    return _word(site, found, before, after, Result(process.wait(), review, log))


def _go_on(site: Site, fault: Fault) -> None:
    (site.host.root / "run/fault/go").touch()


def _arm(site: Site, step: str) -> None:
    program, pattern, count = STEPS[step]
    site.shell("rm -rf /run/fault && mkdir -p /run/fault")
    (site.host.root / "run/fault" / program).write_text(ARMED % (pattern, count))


def _wait_until(holds: Callable[[], bool], complaint: str, process: Process | None = None) -> None:
    deadline = time.monotonic() + 90
    while not holds():
        if process is not None and process.poll() is not None and not holds():
            review, log = process.communicate()
            raise AssertionError(f"{complaint}: the run ended with {process.returncode}: {review[-2000:]}{log[-2000:]}")
        assert time.monotonic() < deadline, complaint
        time.sleep(0.1)


def programs_of(host: Host) -> list[str]:
    """Return the numbers of our processes on a host, watchers included."""
    script = "for p in /proc/[0-9]*; do grep -qs 'PRIVATE=[.]mailproxy' $p/cmdline && echo ${p#/proc/}; done; :"
    return host.run(["sh", "-c", script]).stdout.split()


def _state(site: Site, before: str, after: str) -> str:
    """Return which side is live, "between" where files are of both."""
    found = live(site.host)
    found["main.cf"] = found["main.cf"].replace("# by hand\n", "")
    for name, side in (("old", before), ("new", after)):
        if found == site.expected[side]:
            return name
    return "between"


def _word(site: Site, found: str, before: str, after: str, result: Result) -> str:
    """Say what became of the host; AssertionError where that must not be."""
    unsettled = "journal" in private_names(site.host)
    _assert_mail_flows(site)
    for domain in (f"{before}.example", f"{after}.example"):
        if _reply(site, domain) == 250:
            route = site.host.run(["postmap", "-q", domain, "hash:/etc/postfix/transport"], check=False).stdout
            assert route.strip() == ROUTE, f"{domain} is accepted and has no route"
    log = (site.host.root / "var/log/mail.log").read_text(errors="replace")
    if found == "between":
        assert unsettled, f"files of both sides, and nothing says so: {result.everything[-1500:]}"
        return "between"
    if found == "new":
        if unsettled:
            return "unproven"
        return "new"
    assert not unsettled or result.status != 0, result.everything
    if "nobody confirmed the change" not in _last_of_ours(log):
        return "old"
    left = private_names(site.host) - AT_REST
    assert not left, f"went back by itself, and left {left}"
    return "back"


def _last_of_ours(log: str) -> str:
    return next((line for line in reversed(log.splitlines()) if " mailproxy: " in line), "")


def _problems_of_next_run(site: Site, after: str) -> Iterator[str]:
    """Have the next run finish; yield what is not as it should be afterwards."""
    site.controller.declare(_timeout=60)
    process = site.start()
    review, log = process.communicate(timeout=180)
    if process.returncode != 0:
        yield f"the next run ended with {process.returncode}: {review[-1500:]} {log[-1500:]}"
    found = live(site.host)
    yield from (f"{name} is not as declared" for name in found if found[name] != site.expected[after][name])
    _wait_until(lambda: not programs_of(site.host), "a watcher stays after the next run")
    left = private_names(site.host) - AT_REST
    if left:
        yield f"left over: {', '.join(sorted(left))}"
    if _reply(site, f"{after}.example") != 250:
        yield f"{after}.example is not accepted after the next run"


_inbox_lock = threading.Lock()
_subjects: dict[str, str] = {}


def _assert_mail_flows(site: Site) -> None:
    """Insist that a message for a domain of both sides arrives."""
    subject = f"fault {site.host.short_name} {time.monotonic_ns()}"
    _as_a_mail_server(lambda: send(site.fleet, site.host, "user@example.com", subject))
    deadline = time.monotonic() + 40
    while subject not in _arrived(site.fleet):
        assert time.monotonic() < deadline, (
            f"mail does not flow: {site.shell('tail -n 15 /var/log/mail.log; postqueue -p')}"
        )
        time.sleep(0.1)


def _reply(site: Site, domain: str) -> int:
    return _as_a_mail_server(lambda: reply_to(site.fleet, site.host, f"user@{domain}"))[0]


def _as_a_mail_server(talk: Callable[[], Talked]) -> Talked:
    """Try again where a connection is closed before a word was said, as it may be in the moment of a reload."""
    for pause in (0.5, 1, 2):
        try:
            return talk()
        except smtplib.SMTPServerDisconnected:
            time.sleep(pause)
    return talk()


def _arrived(fleet: Fleet) -> set[str]:
    """Return the subjects of all that arrived; each message is read once."""
    with _inbox_lock:
        for path in (fleet.mail_server.root / INBOX).glob("new/*"):
            if path.name not in _subjects:
                lines = path.read_text(errors="replace").splitlines()
                _subjects[path.name] = next((line[9:] for line in lines if line.startswith("Subject: ")), "")
        return set(_subjects.values())
