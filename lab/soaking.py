"""lab/soak: steady mail through the hosts while domains come, move and go, and an account of every message."""

from __future__ import annotations

import json
import os
import shutil
import signal
import smtplib
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from math import inf
from pathlib import Path

from lab.account import Attempt, Course, Mail, Span, discrepancies, judged, where
from lab.every_key import every_key
from lab.fleet import Fleet
from lab.hosts import Host
from lab.machine import LabError
from lab.rollouts import CUSTOMERS, STEADY, Rollout, first_declared
from lab.steady_mail import RECIPIENTS, SteadyMail
from lab.trial import DEPLOYS, ROOT, ended_with_us, group_data

PYINFRA = Path(sys.executable).with_name("pyinfra")
ARGUMENTS: Mapping[str, tuple[str, ...]] = {
    "textbook": (),
    "ours": ("--data", "approve=removals,queued,networks,restart,takeover"),
}
# As often a user runs it again before giving up, with a moment's rest.
TRIES = 5
REST = 1.0  # seconds
# How long mail gathers in the queues before a rollout that finds the internal server away.
AWAY_BEFORE = 2.0  # seconds
DRAIN_TIMEOUT = 60  # seconds
LOG = "var/log/mail.log"
# Whom hosts are asked for that are compared with what is declared.
ASKED = "asked"


class Soak:
    """One tool's rollouts over a fleet under mail, and what is known of them afterwards."""

    def __init__(self, lab: Fleet, tool: str, data: Path, with_every_key: bool = False):
        self.lab, self.tool, self.data, self.with_every_key = lab, tool, data, with_every_key
        self.course = Course(frozenset(first_declared()), ())
        self.usual: list[float] = []

    def run(self, rollouts: Sequence[Rollout], senders: int, seed: int) -> tuple[list[Attempt], Mail]:
        """Make the rollouts while mail flows, wait for the queues, and return the attempts and where their mail is.

        LabError when not even the first declaration can be rolled out; a rollout that fails later is a finding.
        """
        self._declare(first_declared())
        status, said = self._pyinfra(None)
        if status != 0:
            raise LabError(f"{DEPLOYS[self.tool]} ended with status {status}:\n{''.join(said[-20:])}")
        with SteadyMail(self.lab, senders, seed) as mail:
            for rollout in rollouts:
                time.sleep(rollout.pause)
                mail.changing = tuple(rollout.changes)
                self._make(rollout, len(rollouts))
                mail.changing = ()
            time.sleep(REST)
        self._drain()
        stale = self._stale(rollouts[-1].declared if rollouts else first_declared())
        self.course = replace(self.course, stale_at_end=stale)
        files = (file.read_bytes() for file in sorted(self.lab.inbox.glob("*")))
        return mail.attempts, where(files, [_log_of(host).splitlines() for host in self.lab.hosts])

    def keep(self, directory: Path, attempts: Sequence[Attempt]) -> None:
        """Write what the account was made from: the hosts' mail logs, and all attempts and rollouts as JSON lines."""
        directory.mkdir(parents=True, exist_ok=True)
        for host in (*self.lab.hosts, self.lab.mail_server):
            shutil.copy(host.root / LOG, directory / f"{host.short_name}.log")
        said = [asdict(attempt) | {"verdict": verdict} for attempt, verdict in judged(attempts, self.course)]
        spans = [asdict(span) for span in self.course.spans]
        for name, records in (("attempts", said), ("rollouts", spans)):
            text = "".join(f"{json.dumps(record, default=sorted)}\n" for record in records)
            (directory / f"{name}.jsonl").write_text(text)

    def _make(self, rollout: Rollout, of: int) -> None:
        if rollout.server_away:
            self.lab.mail_server.run(["postfix", "stop"], check=False)
            time.sleep(AWAY_BEFORE)
        since = time.time()
        self._declare(rollout.declared)
        status, how = self._roll_out(rollout)
        until = time.time() if status == 0 else inf
        if rollout.server_away:
            self.lab.mail_server.run(["postfix", "start"])
            self._flush()
        self.say(f"rollout {rollout.number} of {of}: {rollout}{how}")
        course = self.course
        span = Span(rollout.changes, frozenset(rollout.declared), since, until)
        self.course = replace(
            course,
            spans=(*course.spans, span),
            failed=course.failed + (status != 0),
            stale=course.stale + bool(status == 0 and self._stale(rollout.declared)),
        )

    def _roll_out(self, rollout: Rollout) -> tuple[int, str]:
        """Run pyinfra until it says that it is done; returns the last exit status, and how it went in words."""
        how = ", server away" if rollout.server_away else ""
        status, said = self._pyinfra(rollout.killed_at)
        if status == -signal.SIGKILL:
            self.course = replace(self.course, killed=self.course.killed + 1)
            how += ", killed"
            status, said = self._pyinfra(None)
        elif rollout.killed_at is not None:
            how += ", ended before it was killed"
        for _ in range(TRIES):
            if status == 0:
                return status, how
            self.say("".join(line for line in said if "mailproxy:" in line or "Error" in line).rstrip())
            how += ", run again"
            time.sleep(REST)
            status, said = self._pyinfra(None)
        return status, f"{how}, NOT FINISHED"

    def _declare(self, domains: Mapping[str, str]) -> None:
        keys = every_key(domains, (*RECIPIENTS, ASKED)) if self.with_every_key else {}
        (self.data / "all.py").write_text(group_data(domains, keys))

    def _pyinfra(self, killed_at: float | None) -> tuple[int, list[str]]:
        """Run pyinfra, and kill it at a share of the time that it usually takes on the hosts; status and output."""
        command = [str(PYINFRA), "inventories/lab.py", "--group-data", str(self.data), DEPLOYS[self.tool]]
        process = subprocess.Popen(
            self.lab.controller_command([*command, *ARGUMENTS[self.tool], "-y"]),
            cwd=ROOT,
            env={**os.environ, "LAB": self.lab.directory.name, "PYINFRA_PROGRESS": "off"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        said, begun = list[str](), 0.0
        killer = threading.Timer(statistics.median(self.usual[-5:] or [0]) * (killed_at or 0), process.kill)
        with process, ended_with_us(process):
            for line in process.stdout or ():
                said.append(line)
                if line.startswith("--> Starting operation") and not begun:
                    begun = time.monotonic()
                    if killed_at is not None:
                        killer.start()
                elif line.startswith("--> Results") and killed_at is None:
                    self.usual.append(time.monotonic() - begun)
        killer.cancel()
        return process.returncode, said

    def _stale(self, declared: Mapping[str, str]) -> int:
        """Return how many hosts are not as declared, and say in what."""
        differing = {host.name: _differences(self.lab, host, declared) for host in self.lab.hosts}
        for name, found in differing.items():
            if found:
                self.say(f"{name} is not as declared: {'; '.join(found)}")
        return sum(map(bool, differing.values()))

    def _flush(self) -> None:
        for host in self.lab.hosts:
            host.run(["postqueue", "-f"], check=False)

    def _drain(self) -> None:
        """Wait until all queues are empty; what is in them at the end is a finding."""
        deadline = time.monotonic() + DRAIN_TIMEOUT
        self.say("waiting for the queues")
        while not all(map(_queue_is_empty, (*self.lab.hosts, self.lab.mail_server))):
            if time.monotonic() > deadline:
                return
            self._flush()
            time.sleep(REST)

    def say(self, what: str) -> None:
        """Tell how far it is."""
        print(f"soak: {self.tool}: {what}", file=sys.stderr, flush=True)


def _queue_is_empty(host: Host) -> bool:
    return "is empty" in host.run(["postqueue", "-p"], check=False).stdout


def _log_of(host: Host) -> str:
    return (host.root / LOG).read_text(errors="replace")


def _differences(lab: Fleet, host: Host, declared: Mapping[str, str]) -> list[str]:
    """Return in what a host differs from what is declared."""
    domains = (*STEADY, *CUSTOMERS)
    asked = ["postmap", "-q", "-", "hash:/etc/postfix/transport"]
    listing = host.run(asked, input="".join(f"{domain}\n" for domain in domains), check=False).stdout
    routes = dict(line.split("\t", 1) for line in listing.splitlines() if "\t" in line)
    try:
        with lab.network(), smtplib.SMTP(host.address, local_hostname="outside.example", timeout=20) as client:
            client.ehlo()
            client.mail(f"sender@{STEADY[0]}")
            taken = [domain for domain in domains if client.rcpt(f"{ASKED}@{domain}")[0] == 250]
    except OSError as error:
        return [f"it does not answer: {error}"]
    return discrepancies(declared, routes, taken)
