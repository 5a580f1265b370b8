"""Tables of each type, and relay domains in both forms, change under running mail: no message is refused or lost."""

import contextlib
import itertools
import re
import smtplib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

from lab.fleet import Fleet
from lab.hosts import Host
from mailproxy.render import INDEXED_FROM
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import (
    AT_REST,
    Controller,
    arrived,
    assert_mail_flows,
    private_names,
    replaced,
    reply_to,
    send,
    wait_for,
    wait_until_idle,
)
from tests.fleet.test_rollback import roll_back
from tests.fleet.test_state_not_memory import UNLESS_LIVE, kill_in_rename

# Each type becomes the next one.
TYPES = ("hash", "lmdb", "cdb", "btree")
SUFFIXES = {"hash": "db", "btree": "db", "lmdb": "lmdb", "cdb": "cdb"}
NEXT_HOP, ELSEWHERE = "smtp:[10.1.0.2]", "smtp:[10.1.0.2]:2525"
CHANGED = {"example.com": NEXT_HOP, "example.net": ELSEWHERE, "added.example": NEXT_HOP}
# With one more it is one too few for a table.
MANY = {f"customer-{number:04}.example": NEXT_HOP for number in range(INDEXED_FROM - 3)} | {"example.com": NEXT_HOP}


@contextlib.contextmanager
def mail_running(fleet: Fleet, *hosts: Host) -> Iterator[None]:
    """Send a message after the other through each host, and insist that all of them are taken and arrive."""
    stop, sent, refused = threading.Event(), list[str](), list[str]()

    def flow(host: Host) -> None:
        for number in itertools.count():
            if stop.wait(0.1):
                return
            subject = f"running {host.name} {number} {time.monotonic_ns()}"
            try:
                send(fleet, host, "user@example.com", subject)
                sent.append(subject)
            except (smtplib.SMTPException, OSError) as error:
                refused.append(f"{host.name}: {error}")

    threads = [threading.Thread(target=flow, args=(host,)) for host in hosts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert refused == []
    assert len(sent) > len(hosts)
    assert all(arrived(fleet, subject, "user@example.com") for subject in sent[-1:])
    missing = set(sent) - {str(message["Subject"]) for message in fleet.messages()}
    deadline = time.monotonic() + 30
    while missing and time.monotonic() < deadline:
        time.sleep(0.5)
        missing -= {str(message["Subject"]) for message in fleet.messages()}
    assert missing == set()


def declare_types(controller: Controller, types: Mapping[str, str]) -> None:
    """Declare a type for each host by its name."""
    for host, table_type in types.items():
        (controller.group_data / f"{host}.py").write_text(f"database_type = {table_type!r}\n")


def rotated(fleet: Fleet, by: int) -> dict[str, str]:
    return {host.name: TYPES[(number + by) % len(TYPES)] for number, host in enumerate(fleet.hosts)}


def tables(host: Host) -> set[str]:
    """Return the compiled tables that lie on a host."""
    directory = host.root / "etc/postfix"
    return {path.name for suffix in {*SUFFIXES.values(), "dir", "pag"} for path in directory.glob(f"*.{suffix}")}


def entries(host: Host, table_type: str, table: str) -> dict[str, str]:
    # Postfix cannot list cdb.
    keys = "".join(f"{domain}\n" for domain in (*MANY, *GUIDE, *CHANGED) if table_type == "cdb")
    asked = ["-q", "-"] if keys else ["-s"]
    listing = host.run(["postmap", *asked, f"{table_type}:/etc/postfix/{table}"], input=keys).stdout
    return dict(line.split("\t", 1) for line in listing.splitlines())


def assert_tables(
    hosts: Sequence[Host], types: Mapping[str, str], domains: Mapping[str, str], indexed: bool = False
) -> None:
    """Insist that hosts have tables of their type and no others, with these routes, and nothing else lies about."""
    for host in hosts:
        table_type = types[host.name]
        names = ("aliases", "transport", *["relaydomains"] * indexed)
        assert tables(host) == {f"{name}.{SUFFIXES[table_type]}" for name in names}
        assert host.run(["postconf", "-h", "transport_maps"]).stdout == f"{table_type}:/etc/postfix/transport\n"
        assert entries(host, table_type, "transport") == domains
        assert private_names(host) == AT_REST
        assert not list((host.root / "etc/postfix").glob("*lock*"))


def test_hosts_of_three_types_take_changes_under_mail_are_healed_and_finished(newcomer: Controller) -> None:
    fleet, (lmdb, cdb, btree) = newcomer.fleet, newcomer.fleet.hosts
    types = rotated(fleet, 1)
    declare_types(newcomer, types)
    newcomer.roll_out()
    assert_tables(fleet.hosts, types, GUIDE)
    with mail_running(fleet, *fleet.hosts):
        newcomer.declare(relay_domains=CHANGED)
        newcomer.roll_out()
    assert_tables(fleet.hosts, types, CHANGED)
    for host in fleet.hosts:
        assert_mail_flows(fleet, host, "added.example")
        assert_mail_flows(fleet, host, "example.net")
        assert reply_to(fleet, host, "user@example.org")[0] == 554
    # Processes that have it mapped are hit by the first one.
    lmdb.run(["sh", "-c", ": >/etc/postfix/transport.lmdb"])
    cdb.run(["sh", "-c", "head -c 100 /etc/postfix/transport >/etc/postfix/transport.cdb"])
    btree.run(["rm", "/etc/postfix/aliases.db"])
    review = newcomer.roll_out().said
    assert "transport.lmdb is not the table that was indexed from transport" in review
    assert "transport.cdb is not the table that was indexed from transport" in review
    assert_tables(fleet.hosts, types, CHANGED)
    # A moved domain: only the table changes, and the controller dies while it is renamed.
    moved = {**CHANGED, "example.com": ELSEWHERE}
    newcomer.declare(relay_domains=moved)
    with replaced(lmdb, "/usr/bin/mv", UNLESS_LIVE + 'touch /run/reached; sleep 1; exec $real "$@"'):
        process = newcomer.start("-y")
        wait_for(lmdb, "/run/reached")
        process.kill()
        process.communicate()
        wait_until_idle(lmdb)
    newcomer.roll_out()
    newcomer.assert_converged()
    assert_tables(fleet.hosts, types, moved)
    for host in fleet.hosts:
        assert_mail_flows(fleet, host, "example.com")


def test_each_type_becomes_the_next_under_mail_and_goes_back(controller: Controller) -> None:
    fleet, canary = controller.fleet, controller.fleet.hosts[0]
    with mail_running(fleet, *fleet.hosts):
        for by, domains in enumerate([CHANGED, GUIDE, CHANGED, GUIDE], start=1):
            types = rotated(fleet, by)
            declare_types(controller, types)
            controller.declare(relay_domains=domains)
            controller.roll_out()
            assert_tables(fleet.hosts, types, domains)
            for host in fleet.hosts:
                assert_mail_flows(fleet, host, "example.net")
                foreign = "added.example" if domains is GUIDE else "example.org"
                assert reply_to(fleet, host, f"user@{foreign}")[0] == 554
        controller.assert_converged()
        roll_back(controller)
        assert_tables(fleet.hosts, rotated(fleet, 3), CHANGED)
    # Killed in a change to other file names, and in one between types that share theirs.
    for wanted, number in (("hash", 3), ("btree", 3)):
        types = {canary.name: wanted}
        declare_types(controller, types)
        with replaced(canary, "/usr/bin/mv", kill_in_rename(number)):
            assert controller.run("-y", "--limit", canary.name).status == 1
        canary.run(["rm", "-f", "/run/count"])
        assert "journal" in private_names(canary)
        assert_mail_flows(fleet, canary, "example.com")
        assert "repair: finishes an interrupted change" in controller.roll_out("--limit", canary.name).said
        assert_tables([canary], types, GUIDE)


def test_many_relay_domains_are_a_table_and_come_and_go_under_mail(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    alone, types, last = ("--limit", host.name), {controller.fleet.hosts[0].name: "hash"}, next(reversed(MANY))
    few, many = {**MANY, "example.net": NEXT_HOP}, {**MANY, **CHANGED}
    controller.declare(relay_domains=few)
    controller.roll_out(*alone)
    assert_tables([host], types, few)
    with mail_running(fleet, host):
        controller.declare(relay_domains=many)
        review = controller.roll_out(*alone).said
        assert f"index relaydomains as hash ({len(many)} entries): relaydomains changes" in review
        assert re.findall(r" [-+~] (\S+) ", review) == ["added.example", "example.net:"]
        assert_tables([host], types, many, indexed=True)
        assert host.run(["postconf", "-h", "relay_domains"]).stdout == "hash:/etc/postfix/relaydomains\n"
        assert_mail_flows(fleet, host, "added.example")
        assert reply_to(fleet, host, "user@sub.example.com")[0] == 554
        assert reply_to(fleet, host, "user@ok")[0] == 554
        many = {**many, "other.example": NEXT_HOP}
        del many["added.example"]
        controller.declare(relay_domains=many, relay_subdomains=True)
        controller.roll_out(*alone)
        assert_mail_flows(fleet, host, "other.example")
        assert_mail_flows(fleet, host, "sub.example.com")
        assert reply_to(fleet, host, "user@added.example")[0] == 554
        controller.declare(relay_domains=few, relay_subdomains=False)
        review = controller.roll_out(*alone).said
        assert "index relaydomains" not in review
        assert_tables([host], types, few)
        assert reply_to(fleet, host, "user@other.example")[0] == 554
        roll_back(controller, *alone)
        assert tables(host) == {"aliases.db", "relaydomains.db", "transport.db"}
        assert_mail_flows(fleet, host, "other.example")
        host.run(["sh", "-c", "cd /etc/postfix && : >new && mv new relaydomains.db"])
        controller.declare(relay_domains=many, relay_subdomains=True)
        assert "reload Postfix: the table of relaydomains is replaced" in controller.roll_out(*alone).said
        assert_mail_flows(fleet, host, last)
    # Killed between the parts of a change from the table to a list, and of one back.
    for domains, number in ((few, 2), (many, 4)):
        controller.declare(relay_domains=domains, relay_subdomains=False)
        with replaced(host, "/usr/bin/mv", kill_in_rename(number)):
            assert controller.run("-y", *alone).status == 1
        host.run(["rm", "-f", "/run/count"])
        assert_mail_flows(fleet, host, "example.com")
        review = controller.roll_out(*alone).said
        assert last not in review
        assert_tables([host], types, domains, indexed=domains is many)
