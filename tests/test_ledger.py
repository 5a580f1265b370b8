"""The fleet at a glance."""

import dataclasses

from mailproxy.ledger import row, table
from mailproxy.lock import Lock
from mailproxy.observed import ObservedState, Unread
from tests.states import GUIDE, desired, edited, empty_host, observed


def recorded(host: ObservedState) -> ObservedState:
    assert host.manifest is not None
    record = {"generation": "7", "activated": "1795394284", "commit": "abcdef123456 + uncommitted changes"}
    return dataclasses.replace(host, manifest=dataclasses.replace(host.manifest, record=record), queue=3)


def state(host: ObservedState) -> str:
    return row("mx1.example.com", desired(), host).state


def domain(name: str, host: ObservedState, **declared: object) -> str:
    return row("mx1.example.com", desired(**declared), host, name).domain


def test_a_host_as_declared_in_one_line() -> None:
    found = row("mx1.example.com", desired(), recorded(observed(desired())))
    assert dataclasses.astuple(found) == (
        "mx1.example.com", "3.7", "7", "2026-11-23 00:38", "abcdef123456+", "3", "", "", "as declared"
    )  # fmt: skip


def test_what_is_not_as_it_should_be_is_said() -> None:
    host = observed(desired())
    assert state(edited(desired(), mynetworks="10.0.0.0/8\n")) == "edited by hand: mynetworks"
    assert state(observed(desired(relay_domains={}))) == "behind what is declared: relaydomains, transport"
    assert "POSTFIX IS NOT RUNNING" in state(dataclasses.replace(host, running=False))
    assert state(empty_host()) == "not managed yet"
    assert "locked by ops" in state(dataclasses.replace(host, lock=Lock("t", "ops", 3, True)))
    assert "interrupted change" in state(dataclasses.replace(host, journal={"generation": "1"}))
    without_table = {name: file for name, file in host.live.items() if name != "transport.db"}
    assert state(dataclasses.replace(host, live=without_table)) == "stale table: transport.db is missing"
    assert host.manifest is not None
    digests = {**host.manifest.digests, "mynetworks": "0" * 64}
    unloaded = dataclasses.replace(host, manifest=dataclasses.replace(host.manifest, digests=digests))
    assert state(unloaded) == "reload pending: Postfix has not loaded the mynetworks on the disk"


def test_an_unread_host_is_named_with_its_reason() -> None:
    found = row("mx1.example.com", desired(), Unread("it timed out"), "example.com")
    assert (found.postfix, found.domain, found.state) == ("-", "-", "NOT READ: it timed out")


def test_where_a_domain_is_live() -> None:
    host = observed(desired())
    assert domain("example.org", host) == "live -> smtp:[10.1.0.2]"
    assert domain("foreign.example", host) == "not accepted"
    assert domain("sub.example.org", host) == "not accepted"
    assert domain("sub.example.org", observed(desired(relay_subdomains=True)), relay_subdomains=True).startswith("live")
    assert "not running" in domain("example.org", dataclasses.replace(host, running=False))
    listed = "".join(f"{name}\n" for name in (*GUIDE, "hand.example"))
    assert "may not have loaded it" in domain("hand.example", edited(desired(), relaydomains=listed))


def test_what_a_host_says_cannot_break_the_table() -> None:
    host = recorded(observed(desired()))
    assert host.manifest is not None
    for activated in ("99999999999999999", "\u00b2", "soon"):
        record = {**host.manifest.record, "activated": activated, "commit": "\x1b]0;title\x07"}
        odd = dataclasses.replace(host, manifest=dataclasses.replace(host.manifest, record=record))
        found = table([row("mx1.example.com", desired(), odd)])
        assert " -  " in found
        assert "\x1b" not in found


def test_the_table_has_a_column_only_for_what_is_said() -> None:
    rows = [row(name, desired(), observed(desired())) for name in ("mx1.example.com", "a.example")]
    head, first, second = table(rows).splitlines()
    assert head.split() == ["host", "postfix", "generation", "since", "commit", "queue", "state"]
    assert first.index("as declared") == second.index("as declared") == head.index("state")
