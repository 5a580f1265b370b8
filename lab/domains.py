"""lab/bench-domains: what smtpd and trivial-rewrite pay for a list of relay domains, plain and indexed."""

from __future__ import annotations

import argparse
import smtplib
import statistics
import sys
import time
from collections.abc import Iterator, Sequence

from lab.fleet import Fleet
from lab.hosts import Host
from lab.tables import table
from lab.trial import alone, ended, fresh_lab, up_to

NAME = "bench-domains"
PLAIN = "plain"
SESSIONS = 30
RECIPIENTS = 40
DESCRIPTION = """\
Measure, in a lab of its own that is gone afterwards, how one host serves with relay_domains as a plain list and as an
indexed table. Prints a Markdown table: the first session after a reload, from connection to the answer to RCPT TO,
which has to read a plain list; a session after that; a recipient of a foreign domain, which is compared with the whole
list; and the memory of its own of an smtpd and of trivial-rewrite. Needs Linux and root, as the lab does."""
HEAD = ("domains", "list", "first session ms", "session ms", "recipient ms", "smtpd MiB", "trivial-rewrite MiB")


def _configure(host: Host, kind: str, count: int) -> None:
    names = [f"customer-{number:06}.example" for number in range(1, count + 1)]
    text = "".join(f"{name}\n" if kind == PLAIN else f"{name} OK\n" for name in names)
    (host.root / "etc/postfix/relaydomains").write_text(text)
    path = "/etc/postfix/relaydomains"
    if kind != PLAIN:
        host.run(["postmap", f"{kind}:{path}"])
    # Each answer is then about relay_domains, and nothing is looked up elsewhere.
    host.run(
        ["postconf", "-e", f"relay_domains = {path if kind == PLAIN else f'{kind}:{path}'}", "inet_protocols = ipv4"]
    )
    host.run(
        [
            "postconf",
            "-e",
            "smtpd_recipient_limit = 1000",
            "smtpd_hard_error_limit = 2000",
            "smtpd_error_sleep_time = 0",
        ]
    )


def _milliseconds(lab: Fleet, host: Host, recipients: Sequence[str]) -> tuple[float, list[float]]:
    """Return how long a session of one host takes to its first answer to RCPT TO, and each recipient after that."""
    began, answered = time.perf_counter(), list[float]()
    with lab.network(), smtplib.SMTP(host.address, local_hostname="outside.example", timeout=60) as client:
        client.ehlo()
        client.mail("sender@outside.example")
        for recipient in recipients:
            client.rcpt(recipient)
            answered.append(time.perf_counter())
    times = [(after - before) * 1000 for before, after in zip([began, *answered], answered, strict=False)]
    return times[0], times[1:]


def _memory(host: Host, program: str) -> float:
    """Return the MiB that the largest process of a program shares with none."""
    numbers = host.run(["pidof", program]).stdout.split()
    found = []
    for number in numbers:
        lines = (host.root / f"proc/{number}/smaps_rollup").read_text().splitlines()
        found.append(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")))
    return max(found) / 1024


def _row(lab: Fleet, host: Host, kind: str, count: int) -> tuple[str, ...]:
    _configure(host, kind, count)
    known = [f"user@customer-{number * count // SESSIONS + 1:06}.example" for number in range(SESSIONS)]
    firsts = []
    for _ in range(3):
        host.run(["postfix", "reload"])
        time.sleep(1)
        firsts.append(_milliseconds(lab, host, known[-1:])[0])
    sessions = [_milliseconds(lab, host, [recipient])[0] for recipient in known]
    foreign = _milliseconds(lab, host, [*known[:1], *(f"user@foreign-{n}.example" for n in range(RECIPIENTS))])[1]
    figures = [statistics.median(each) for each in (firsts, sessions, foreign)]
    figures += [_memory(host, "smtpd"), _memory(host, "trivial-rewrite")]
    return (f"{count:,}", kind, *(f"{figure:.2f}" for figure in figures))


def _rows(lab: Fleet, kinds: Sequence[str], counts: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for count in counts:
        for kind in kinds:
            print(f"{NAME}: {count:,} domains, {kind}", file=sys.stderr, flush=True)
            yield _row(lab, lab.hosts[0], kind, count)


def _report(counts: Sequence[int]) -> int:
    with alone(NAME), fresh_lab(NAME, 1) as lab:
        host = lab.hosts[0]
        known = host.run(["postconf", "-m"]).stdout.split()
        kinds = [PLAIN, *(kind for kind in ("hash", "btree", "lmdb", "cdb") if kind in known)]
        rows = list(_rows(lab, kinds, counts))
        version = host.run(["postconf", "-d", "-h", "mail_version"]).stdout.strip()
    print(f"Postfix {version}\n\n{table(HEAD, rows, names=2)}")
    return 0


def main(arguments: Sequence[str]) -> int:
    """Do what the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(prog="lab/bench-domains", description=DESCRIPTION)
    default = [100, 1000, 10000, 100000]
    parser.add_argument("domains", type=up_to(999_999), nargs="*", default=default, help="sizes (%(default)s)")
    options = parser.parse_args(arguments)
    return ended("bench-domains", lambda: _report(options.domains))
