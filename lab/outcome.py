"""Whether the tools that lab/bench compares have led to the same: only a change that has happened may be compared."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Mapping

from lab.fleet import Fleet
from lab.hosts import Host
from lab.machine import LabError
from lab.trial import NEXT_HOP

ARRIVAL_TIMEOUT = 20  # seconds
TABLES = ("mynetworks", "aliases", "relaydomains", "transport")


def configuration(lab: Fleet, tool: str, domain: str) -> set[str]:
    """Return the settings and the entries of the tables of the first host.

    LabError unless every host routes the domain, and the first relays to it.
    """
    for host in lab.hosts:
        route = host.run(["postmap", "-q", domain, "hash:/etc/postfix/transport"], check=False).stdout.strip()
        if route != NEXT_HOP:
            raise LabError(f"after {tool}, {host.name} routes {domain} to {route!r}, expected {NEXT_HOP}")
    first = lab.hosts[0]
    # A tool's name may have a comma in it, which ends an address.
    _relay(lab, first, f"{''.join(filter(str.isalnum, tool))}@{domain}")
    texts = {table: (first.configuration / table).read_text() for table in TABLES}
    return entries({"main.cf": first.run(["postconf", "-n"]).stdout, **texts})


def entries(texts: Mapping[str, str]) -> set[str]:
    """Return what stands in files, by name, without comments and with one blank between words: as Postfix reads it."""
    return {
        f"{name}: {_in_one_form(name, ' '.join(line.replace(',', ' ').split()))}"
        for name, text in texts.items()
        for line in text.splitlines()
        if line.strip() and not line.startswith("#")
    }


def _in_one_form(name: str, line: str) -> str:
    """Return a line as it is where relay domains are a list: many are a table for ours, and mean the same."""
    if name == "relaydomains":
        return line.removesuffix(" OK")
    return re.sub(r"^(relay_domains =) [a-z]+:", r"\1 ", line) if name == "main.cf" else line


def comparison(found: Mapping[str, set[str]]) -> str:
    """Say whether all tools have led to the same configuration."""
    first, *others = found
    differing = [
        f"{tool} and {first}: {_some(found[tool] ^ found[first])}" for tool in others if found[tool] != found[first]
    ]
    if differing:
        return f"NOT COMPARABLE: afterwards the configuration differs between {'; '.join(differing)}"
    return (
        "Afterwards postconf -n and the entries of all tables are the same with every tool, "
        "and mail for an added domain is relayed."
    )


def _some(lines: set[str], most: int = 10) -> str:
    return ", ".join(sorted(lines)[:most]) + (f", and {len(lines) - most} more" if len(lines) > most else "")


def _relay(lab: Fleet, host: Host, recipient: str) -> None:
    """Send a message through a host; LabError when it does not arrive at the internal mail server."""
    try:
        with lab.network(), smtplib.SMTP(host.address, timeout=ARRIVAL_TIMEOUT) as client:
            client.sendmail("sender@outside.example", [recipient], "Subject: bench\n\n.\n")
    except smtplib.SMTPException as error:
        raise LabError(f"{host.name} does not relay to {recipient}: {error}") from None
    deadline = time.monotonic() + ARRIVAL_TIMEOUT
    while recipient not in [message["X-Original-To"] for message in lab.messages()]:
        if time.monotonic() > deadline:
            raise LabError(f"a message to {recipient} did not arrive within {ARRIVAL_TIMEOUT} s")
        time.sleep(0.1)
