"""Tables of each type, and relay domains in both forms, change under running mail: no message is refused or lost."""

import contextlib
import itertools
import smtplib
import threading
import time
from collections.abc import Iterator, Mapping

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
MANY = {f"customer-{number:04}.example": NEXT_HOP for number in range(INDEXED_FROM)}


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


def assert_as_declared(
    controller: Controller, types: Mapping[str, str], domains: Mapping[str, str], indexed: bool = False
) -> None:
    """Insist that each host has tables of its type and no others, that mail follows them, and nothing is left to do."""
    controller.assert_converged()
    for host in controller.fleet.hosts:
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
    assert_as_declared(newcomer, types, GUIDE)
    with mail_running(fleet, *fleet.hosts):
        newcomer.declare(relay_domains=CHANGED)
        newcomer.roll_out()
    assert_as_declared(newcomer, types, CHANGED)
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
    assert_as_declared(newcomer, types, CHANGED)
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
    assert_as_declared(newcomer, types, moved)
    for host in fleet.hosts:
        assert_mail_flows(fleet, host, "example.com")


def test_each_type_becomes_the_next_under_mail_and_goes_back(controller: Controller) -> None:
    fleet, canary = controller.fleet, controller.fleet.hosts[0]
    with mail_running(fleet, *fleet.hosts):
        for by, domains in enumerate([GUIDE, CHANGED, GUIDE, CHANGED, GUIDE]):
            types = rotated(fleet, by)
            declare_types(controller, types)
            controller.declare(relay_domains=domains)
            controller.roll_out()
            assert_as_declared(controller, types, domains)
            for host in fleet.hosts:
                assert_mail_flows(fleet, host, "example.net")
                assert reply_to(fleet, host, f"user@{'added.example' if domains is GUIDE else 'example.org'}")[0] == 554
        for by, domains in ((3, CHANGED), (4, GUIDE)):
            roll_back(controller)
            for host in fleet.hosts:
                table_type = rotated(fleet, by)[host.name]
                assert tables(host) == {f"{name}.{SUFFIXES[table_type]}" for name in ("aliases", "transport")}
                assert entries(host, table_type, "transport") == domains
    # The canary is at hash now: killed in any rename of its change to lmdb, and of another one to btree.
    for wanted, number in (("lmdb", 2), ("hash", 3), ("btree", 1), ("hash", 3)):
        types = {host.name: wanted for host in fleet.hosts}
        declare_types(controller, types)
        with replaced(canary, "/usr/bin/mv", kill_in_rename(number)):
            assert controller.run("-y").status == 1
        canary.run(["rm", "-f", "/run/count"])
        assert "journal" in private_names(canary)
        controller.roll_out()
        assert_as_declared(controller, types, GUIDE)
        assert_mail_flows(fleet, canary, "example.com")


def test_many_relay_domains_are_a_table_and_come_and_go_under_mail(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    types = dict.fromkeys((each.name for each in fleet.hosts), "hash")
    with mail_running(fleet, host):
        controller.declare(relay_domains={**GUIDE, **MANY})
        review = controller.roll_out().said
        assert f"index relaydomains as hash ({len(MANY) + 3:,} entries): relaydomains changes" in review.replace(
            "2003", "2,003"
        )
        assert_as_declared(controller, types, {**GUIDE, **MANY}, indexed=True)
        assert host.run(["postconf", "-h", "relay_domains"]).stdout == "hash:/etc/postfix/relaydomains\n"
        assert_mail_flows(fleet, host, "customer-1999.example")
        assert reply_to(fleet, host, "user@sub.example.com")[0] == 554
        assert reply_to(fleet, host, "user@ok")[0] == 554
        controller.declare(relay_domains={**CHANGED, **MANY}, relay_subdomains=True)
        review = controller.roll_out().said
        assert "+ added.example" in review
        assert "- example.org" in review
        assert "OK" not in review
        assert_mail_flows(fleet, host, "added.example")
        assert_mail_flows(fleet, host, "sub.example.com")
        assert reply_to(fleet, host, "user@example.org")[0] == 554
        host.run(
            ["sh", "-c", ": >/etc/postfix/relaydomains.db.new; cd /etc/postfix; mv relaydomains.db.new relaydomains.db"]
        )
        # Nobody has noticed yet; before anybody does it is whole again.
        assert "relaydomains.db is not the table that was indexed from relaydomains" in controller.roll_out().said
        # One less than it takes is a list again.
        controller.declare(relay_domains=CHANGED, relay_subdomains=False)
        controller.roll_out()
        assert_as_declared(controller, types, CHANGED)
        assert reply_to(fleet, host, "user@customer-1999.example")[0] == 554
        roll_back(controller)
        assert tables(host) == {"aliases.db", "relaydomains.db", "transport.db"}
        assert_mail_flows(fleet, host, "customer-1999.example")
        roll_back(controller)
        assert tables(host) == {"aliases.db", "transport.db"}
    # Killed between the parts of a change from a list to a table, and of one back.
    for domains, number in (({**CHANGED, **MANY}, 4), (CHANGED, 2)):
        controller.declare(relay_domains=domains)
        with replaced(host, "/usr/bin/mv", kill_in_rename(number)):
            assert controller.run("-y").status == 1
        host.run(["rm", "-f", "/run/count"])
        assert_mail_flows(fleet, host, "example.com")
        controller.roll_out()
        assert_as_declared(controller, types, domains, indexed=len(domains) > len(CHANGED))
