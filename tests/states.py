"""Desired and observed states for tests: the guide's proxy, and a host that is exactly so."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mailproxy.digest import digest, fingerprint
from mailproxy.host_postfix import HostPostfix
from mailproxy.indexed import TABLE_TYPE
from mailproxy.managed import SECRETS
from mailproxy.model import DesiredState, Entries
from mailproxy.observed import MODE, Foreign, LiveFile, Manifest, ObservedState, Unread, mode_of
from mailproxy.plan import Plan, planned
from mailproxy.render import Content, is_indexed, rendered
from mailproxy.review import Review, review
from mailproxy.rollout import Rollout, waves
from mailproxy.service import RESTART_PARAMETERS

GUIDE = {f"example.{suffix}": "smtp:[10.1.0.2]" for suffix in ("com", "net", "org")}
TABLE_FILES = {"aliases.db": "a" * 64, "transport.db": "b" * 64}


# What every review of domains whose recipients nobody knows warns of begins so.
ANYBODY = "example.com, example.net, example.org take mail for anybody (relay_recipients): "

# Parameters that matter to rendering and that not every version knows, each with the one that brought it (postconf(5)).
SINCE = {"smtpd_relay_restrictions": (2, 10), "compatibility_level": (3, 0), "maillog_file": (3, 4)}


def postfix(
    version: tuple[int, int] = (3, 7), bare_newline: Mapping[str, str] | None = None, **kept: str
) -> HostPostfix:
    """Return what rendering needs to know of a Debian host; bare_newline are its defaults of that kind."""
    names = "debug_peer_list,fast_flush_domains,mynetworks,permit_mx_backup_networks,qmqpd_authorized_clients"
    defaults = {
        "inet_interfaces": "all",
        "inet_protocols": "all",
        "daemon_directory": "/usr/lib/postfix/sbin",
        "queue_directory": "/var/spool/postfix",
        "parent_domain_matches_subdomains": f"{names},relay_domains,smtpd_access_maps",
        **{name: "" for name, since in SINCE.items() if version >= since},
        **(bare_newline or {}),
    }
    return HostPostfix(version, "/etc/postfix", "hash", Entries(defaults), Entries(kept))


def desired(**keys: Any) -> DesiredState:
    """Return the guide's proxy with some keys declared otherwise."""
    declared = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com", **keys}
    return DesiredState(**declared)


def observed(state: DesiredState, **changes: Any) -> ObservedState:
    """Return a host that is as declared, rolled out and running, with some fields otherwise."""
    contents = rendered(state, postfix())
    indexed = {"relaydomains.db": "d" * 64} if is_indexed(state.relay_domains) else {}
    digests = {name: content.digest for name, content in contents.items()} | TABLE_FILES | indexed
    host = ObservedState(
        postfix=postfix(),
        table_types=frozenset({"hash", "btree", "cidr"}),
        running=True,
        live={name: LiveFile(digest, mode_of(name), "0:0") for name, digest in digests.items()},
        texts={name: content.text for name, content in contents.items() if name not in SECRETS},
        queued={},
        manifest=Manifest(digests, {**dict.fromkeys(RESTART_PARAMETERS, "all"), TABLE_TYPE: "hash"}),
    )
    return dataclasses.replace(host, **changes)


def other_warnings(plan: Plan) -> list[str]:
    """Return what a plan of the guide's proxy warns of besides that."""
    return [warning for warning in plan.warnings if not warning.startswith(ANYBODY)]


def empty_host(**changes: Any) -> ObservedState:
    """Return a host where Postfix was installed and nothing else."""
    text = "myhostname = mx1.example.com\ninet_interfaces = all\n"
    host = ObservedState(
        postfix=postfix(),
        table_types=frozenset({"hash", "btree"}),
        running=True,
        live={"main.cf": LiveFile("c" * 64, MODE, "0:0")},
        texts={"main.cf": text},
    )
    return dataclasses.replace(host, **changes)


def edited(state: DesiredState, **texts: str) -> ObservedState:
    """Return a host that was rolled out with state, after somebody edited files (their names with _ for .).

    Tables were indexed anew.
    """
    host = observed(state)
    named = {name.replace("_", "."): text for name, text in texts.items()}
    live = {
        name: dataclasses.replace(host.live[name], digest=Content(name, text).digest) for name, text in named.items()
    }
    indexes = {
        f"{name}.db": dataclasses.replace(host.live[f"{name}.db"], digest="e" * 64)
        for name in named
        if f"{name}.db" in host.live
    }
    return dataclasses.replace(
        host,
        live={**host.live, **live, **indexes},
        texts={**host.texts, **named},
        loaded_texts={name: host.texts[name] for name in named},
    )


def hand_made(
    main_cf: str,
    builtin: Mapping[str, str] | None = None,
    texts: Mapping[str, str] | None = None,
    queued: dict[str, int] | None = None,
) -> ObservedState:
    """Return a host that was never managed: its main.cf, and the files it names by their whole path."""
    text = f"myhostname = mx1.example.com\n{main_cf}"
    matches = postfix().defaults["parent_domain_matches_subdomains"]
    set_in_it = dict(line.split(" = ", 1) for line in text.splitlines() if " = " in line)
    effective = {"parent_domain_matches_subdomains": matches, **set_in_it}
    foreign = Foreign(effective, dict(builtin or {}))
    return empty_host(texts={"main.cf": text, **(texts or {})}, foreign=foreign, queued=queued)


def reviewed(
    fleet: Mapping[str, tuple[DesiredState, ObservedState | Unread]],
    approved: Collection[str] = (),
    groups: Mapping[str, Sequence[str]] | None = None,
) -> Review:
    """Return the review of hosts by name."""
    outcomes = {
        name: planned(declared, host) if isinstance(host, ObservedState) else host
        for name, (declared, host) in fleet.items()
    }
    fingerprints = {name: fingerprint(declared, host, "") for name, (declared, host) in fleet.items()}
    groups = groups or {}
    return review(outcomes, waves(Rollout(), list(fleet), groups), groups, approved, digest(fingerprints))
