"""The command line of lab/soak."""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from lab.account import Attempt, Figures, Mail, figures, judged, rows
from lab.hosts import MAX_HOSTS
from lab.rollouts import rollouts
from lab.soaking import Soak
from lab.steady_mail import RATE
from lab.tables import table
from lab.trial import alone, ended, fresh_lab, up_to

NAME = "soak"
MAX_ROLLOUTS = 10_000
MAX_SENDERS = 40  # smtpd_client_connection_count_limit is 50
TOOLS = ("textbook", "ours")
SHOWN = 5
WELL = {"accepted", "refused while added or removed", "refused as not declared"}

DESCRIPTION = """\
Send mail from several senders through the hosts of a lab of its own, which is gone afterwards, while rollouts add,
move and remove domains, and account for every message. Each tool is tried twice: undisturbed, and with pyinfra killed
at a random moment of every so manieth rollout and run again. In some rollouts that remove a domain the internal mail
server is away, so that mail for it waits in the queues. Prints a Markdown table, and on standard error what went
wrong. Needs Linux and root, as the lab does. Exit status: 1 when ours lost, duplicated or bounced anything, did not
finish, or refused with 5xx a domain that it was not changing."""

NOTES = """\
Bounced: a notice came back to the sender, or the host's log says so. A domain is being changed from just before its
rollout starts until it has ended on all hosts, runs after a kill included; for a session that was open then, until that
session ends. Not as declared: a route or an answer to RCPT differs, asked after each rollout that ended well."""


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit status."""
    options = _options(arguments)
    return ended(NAME, lambda: _soak(options))


def _soak(options: argparse.Namespace) -> int:
    columns: dict[str, Figures] = {}
    postfix = ""
    if options.keep:
        # A place that cannot be written to is to be known now, and not when all is sent.
        options.keep.mkdir(parents=True, exist_ok=True)
    with alone(NAME):
        for every in (None, options.interrupt):
            for tool in TOOLS if options.tool == "both" else (options.tool,):
                name = tool if every is None else f"{tool}, killed"
                with fresh_lab(NAME, options.hosts) as lab, tempfile.TemporaryDirectory(prefix="soak-") as data:
                    soak = Soak(lab, tool, Path(data), options.every_key and tool == "ours")
                    soak.say("undisturbed" if every is None else f"every {every}. rollout is killed")
                    attempts, mail = soak.run(
                        rollouts(options.seed, options.rollouts, every), options.senders, options.seed
                    )
                    postfix = lab.hosts[0].run(["postconf", "-d", "-h", "mail_version"]).stdout.strip()
                    if options.keep:
                        soak.keep(options.keep / name.replace(", ", "-"), attempts)
                columns[name] = figures(attempts, mail, soak.course)
                for line in _faults(attempts, mail, soak):
                    soak.say(line)
    versions = f"Python {platform.python_version()}, pyinfra {metadata.version('pyinfra')}, Postfix {postfix}"
    print(
        f"{options.hosts:,} hosts, {options.senders} senders, {RATE:g} messages/s in all, {os.cpu_count()} cores, "
        f"seed {options.seed}; killed: every {options.interrupt}. rollout; {versions}\n"
    )
    print(table(("", *columns), rows(list(columns.values())), names=1))
    print(f"\n{NOTES}", flush=True)
    return 0 if all(found.is_clean for name, found in columns.items() if name.startswith("ours")) else 1


def _faults(attempts: Sequence[Attempt], mail: Mail, soak: Soak) -> list[str]:
    """Return in words the first ones of each kind of fault: when and where which message was answered how."""
    shown: dict[str, list[str]] = {}
    for attempt, verdict in judged(attempts, soak.course):
        fate = _fate(attempt, mail) if attempt.is_accepted else ""
        for kind in {verdict, fate} - WELL - {""}:
            at = time.strftime("%H:%M:%S", time.localtime(attempt.began)) + f"{attempt.began % 1:.3f}"[1:]
            answer = "{} {} {}".format(*attempt.replies[-1])
            line = f"{kind}: {at} {attempt.host} {attempt.domain} message {attempt.id}: {answer}"
            shown.setdefault(kind, []).append(line)
    return [line for lines in shown.values() for line in lines[:SHOWN]]


def _fate(attempt: Attempt, mail: Mail) -> str:
    """Return what became of an accepted message, where it is not as it should be."""
    if attempt.id in mail.returned | mail.bounced:
        return "bounced"
    times = mail.arrived[attempt.id]
    if times == 0:
        return "never left the queue" if attempt.id in mail.deferred else "lost"
    return "" if times == 1 else "arrived more than once"


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab/soak", description=DESCRIPTION)
    parser.add_argument("--hosts", type=up_to(MAX_HOSTS), default=3, metavar="N", help="size of the fleet (3)")
    parser.add_argument("--rollouts", type=up_to(MAX_ROLLOUTS), default=100, metavar="N", help="of each soak (100)")
    parser.add_argument("--senders", type=up_to(MAX_SENDERS), default=4, metavar="N", help="at the same time (4)")
    parser.add_argument("--tool", choices=(*TOOLS, "both"), default="both", help="whose rollouts (both)")
    parser.add_argument(
        "--interrupt", type=up_to(MAX_ROLLOUTS), default=5, metavar="K", help="kill every Kth rollout (5)"
    )
    parser.add_argument("--every-key", action="store_true", help="ours with every key of group_data declared")
    parser.add_argument("--seed", type=up_to(2**31), default=1, metavar="N", help="decides what changes when (1)")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep mail logs and all answers there")
    return parser.parse_args(arguments)
