"""One declaration for hosts of every kind: systems, versions of Postfix, ways to become root, types of tables."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.hosts import Host
from lab.root import KINDS
from tests.fleet.conftest import GUIDE, administrator, lab_of
from tests.fleet.controller import Controller, assert_mail_flows, private_names, reply_to

# Of each kind the type that its hosts declare, None for the one that their Postfix prefers.
TYPES = {"debian11": "btree", "debian12": "lmdb", "debian13": "cdb", "openbsd": None, "alpine": None}
INDEXED_AS = {"debian11": "btree", "debian12": "lmdb", "debian13": "cdb", "openbsd": "hash", "alpine": "lmdb"}
# A change of domains alone: one that comes, one that moves, one that goes.
CHANGED = {
    "example.com": "smtp:[10.1.0.2]",
    "example.net": "smtp:[10.1.0.2]:2525",
    "added.example": "smtp:[10.1.0.2]",
}


@pytest.fixture
def owner(tmp_path: Path) -> Iterator[Controller]:
    """An administrator of five hosts, each of another kind, who declares what differs in a group for each type."""
    with lab_of([kind for kind in KINDS.values() if not kind.is_bare], "tests-mixed") as fleet:
        controller = administrator(fleet, tmp_path)
        for kind, type in TYPES.items():
            if type:
                (tmp_path / f"{kind}.py").write_text(f"database_type = {type!r}\n")
        yield controller


def postconf(host: Host, name: str) -> str:
    """Return what a parameter is for a host's Postfix."""
    return host.run(["postconf", "-h", name]).stdout.strip()


def assert_serves(controller: Controller, taken: dict[str, str], refused: str) -> None:
    """Insist that each host takes mail for these domains and hands it on, and refuses another, and is at rest."""
    for host in controller.fleet.hosts:
        type = INDEXED_AS[host.kind.name]
        assert postconf(host, "transport_maps") == f"{type}:{host.kind.config_directory}/transport"
        for domain in taken:
            assert_mail_flows(controller.fleet, host, domain)
        assert reply_to(controller.fleet, host, f"user@{refused}")[0] == 554
        assert "lock" not in private_names(host)
    controller.assert_converged()


def test_hosts_of_every_kind_converge_in_one_run_and_take_a_change_of_domains_in_one(owner: Controller) -> None:
    assert "5 hosts: 5 to change, 0 as declared" in owner.roll_out().said
    assert_serves(owner, {"example.com": GUIDE["example.com"]}, "added.example")
    versions = {host.kind.name: postconf(host, "mail_version").rsplit(".", 1)[0] for host in owner.fleet.hosts}
    assert versions == {"debian11": "3.5", "debian12": "3.7", "debian13": "3.10", "openbsd": "3.7", "alpine": "3.7"}
    for host in owner.fleet.hosts:
        assert host.run(["postconf", "-n"]).stderr == ""
    owner.declare(relay_domains=CHANGED)
    result = owner.roll_out()
    assert result.review.count("+ added.example -> smtp:[10.1.0.2]\n") == 1
    assert "[all 5 hosts]" in result.said
    assert_serves(owner, CHANGED, "example.org")
    for host in owner.fleet.hosts:
        at_rest = host.run(["sh", "-c", "ls -A /tmp; ls -d /etc/postfix/.mailproxy 2>/dev/null || :"]).stdout.split()
        assert at_rest == (["/etc/postfix/.mailproxy"] if host.kind.config_directory == "/etc/postfix" else [])
