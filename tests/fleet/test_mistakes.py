"""Mistakes in a declaration reach no host: all of them are told at once, before anything is sent."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lab.hosts import Host
from tests.fleet.controller import PYINFRA, Controller, Result, private_names, tree

HOP = "smtp:[10.1.0.2]"
RELAY, SAFE = "smtpd_relay_restrictions", "permit_mynetworks, reject_unauth_destination"


ONE_HOST = "mx2.lab.test"


class Mistake(NamedTuple):
    """A key of group_data, an entry of it or the whole as somebody got it wrong, and what is told of that.

    Also the name of the file in group_data where they did.
    """

    key: str
    wrong: Any
    told: str
    file: str = "all"


MISTAKES = [
    Mistake("relay_domains", {"exa mple.com": HOP}, "expected a domain name such as example.com"),
    Mistake("relay_domains", {"a" * 64 + ".example": HOP}, "each label of 63 characters at most, found 64"),
    Mistake("relay_domains", {"A.Example.": HOP, "a.example": HOP}, "names a.example twice, first as 'A.Example.'"),
    Mistake("relay_domains", {"bücher.example": HOP, "xn--bcher-kva.example": HOP}, "xn--bcher-kva.example twice"),
    Mistake("relay_domains", {"co.uk": HOP}, "is a public suffix"),
    Mistake("relay_domains", {"mx1.lab.test": HOP}, "is this host's own name"),
    Mistake("relay_domains", {"localhost.lab.test": HOP}, "is a name of this host, which is delivered here"),
    Mistake("relay_domains", {"*.wild.example": HOP}, "subdomains are relayed by relay_subdomains = True"),
    Mistake("relay_domains", {"b.example": "10.1.0.2"}, 'expected "transport:next-hop"'),
    Mistake("relay_domains", {"c.example": "smtp:10.1.0.2"}, "expected brackets around an address"),
    Mistake("relay_domains", {"d.example": "smtp:[2001:db8::1]"}, 'expected "[ipv6:2001:db8::1]"'),
    Mistake("relay_domains", {"e.example": "smtp:[10.1.0.2]:99999"}, "expected a port from 1 to 65535, found 99999"),
    Mistake("relay_domains", {"f.example": "smtp:[mx2.lab.test]"}, "is mx2.lab.test, a host of this fleet: a loop"),
    Mistake("relay_domains", {"g.example": "smtp:a.example"}, "leads back to a.example by its MX, which is this fleet"),
    Mistake("mynetworks", ["10.1.2.3/8"], "did you mean 10.0.0.0/8?"),
    Mistake("mynetworks", ["0.0.0.0/0"], "would relay for a large part of the internet"),
    Mistake("mynetworks", ["::/0"], "of /19 at the widest"),
    Mistake("mynetworks", ["11.0.0.0/8", "12.0.0.0/8"], "no more in all than a /8 has"),
    Mistake("mynetworks", ["192.168.1.0/24", "!192.168.0.0/16"], "is not trusted, as !192.168.0.0/16 excludes all"),
    Mistake("aliases", {"a@b.example": "root"}, "expected a local name without @"),
    Mistake("aliases", {"loop": "pool", "pool": "loop"}, "leads back to loop"),
    Mistake("aliases", {"prog": "|/bin/cat"}, "if that is meant: alias_programs = ['prog']"),
    Mistake("aliases", {"postmaster": "/dev/null"}, "mail for postmaster is thrown away"),
    Mistake("aliases", {"remark": "bob # gone"}, "expected no #: aliases(5) knows no comment behind a value"),
    Mistake("aliases", {"a\nroot": "bob"}, "holds the control character '\\n'; expected one line of text"),
    Mistake("main_cf", {"message_size-limit": 1}, "is no parameter of Postfix; declare message_size_limit instead"),
    Mistake("main_cf", {"smtpd_baner": "x"}, "is no parameter of Postfix; did you mean smtpd_banner?"),
    Mistake("main_cf", {"mynetworks": "10.0.0.0/8"}, "is set by mailproxy; declare mynetworks instead"),
    Mistake("main_cf", {"disable_vrfy_command": "maybe"}, "expected yes or no"),
    Mistake("main_cf", {"default_process_limit": "many"}, "= 'many': expected a number"),
    Mistake("main_cf", {"maximal_queue_lifetime": "5 days"}, "expected a time such as 5d"),
    Mistake("main_cf", {"virtual_mailbox_limit": "20M"}, "expected a number of bytes"),
    Mistake("main_cf", {"mailbox_size_limit": 1000}, "is below message_size_limit = 20480000"),
    Mistake("main_cf", {"smtpd_banner": "hello\nmynetworks = 0.0.0.0/0"}, "'hello\\nmynetworks"),
    Mistake("main_cf", {"smtpd_reject_footer": "a\0"}, "holds the control character '\\x00'"),
    Mistake("main_cf", {"mail_name": "$mail_nam"}, "did you mean $mail_name?"),
    Mistake(
        "main_cf", {"smtpd_helo_restrictions": "reject_unkown_helo_hostname"}, "did you mean reject_unknown_helo_h"
    ),
    Mistake("main_cf", {RELAY: f"permit, {SAFE}"}, "is an open relay: permit in smtpd_relay_restrictions comes before"),
    Mistake("main_cf", {RELAY: "permit_mynetworks"}, "has no rule that refuses strangers", ONE_HOST),
    Mistake("relay_domain", {}, "no such key; did you mean relay_domains?"),
    Mistake("rollout", {"waves": ["canery"]}, "wave 'canery': expected a group of the inventory"),
]


def everything_wrong(file: str) -> dict[str, Any]:
    """Return one declaration with all mistakes of a file."""
    declared: dict[str, Any] = {}
    for key, wrong, _, where in MISTAKES:
        if where == file and isinstance(wrong, dict):
            declared.setdefault(key, {}).update(wrong)
        elif where == file:
            declared.setdefault(key, []).extend(wrong)
    return declared


class Ended(NamedTuple):
    """How the run with all mistakes ended, and the hosts before and after it."""

    result: Result
    declared: Path
    before: list[tuple[str, set[str]]]
    after: list[tuple[str, set[str]]]


@pytest.fixture(scope="module")
def _kept() -> list[Ended]:
    return []


@pytest.fixture
def ended(request: pytest.FixtureRequest, _kept: list[Ended]) -> Ended:
    """The run with all mistakes, made once."""
    if not _kept:
        controller: Controller = request.getfixturevalue("controller")
        hosts = controller.fleet.hosts
        before = list(map(_seen, hosts))
        controller.declare(**everything_wrong("all"))
        (main_cf,) = everything_wrong(ONE_HOST).values()
        (controller.group_data / f"{ONE_HOST}.py").write_text(f"main_cf = {main_cf!r}\n")
        result = controller.run("-y")
        _kept.append(Ended(result, controller.group_data, before, list(map(_seen, hosts))))
    return _kept[0]


def _seen(host: Host) -> tuple[str, set[str]]:
    return tree(host), private_names(host)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.told)
def test_a_mistake_is_told_with_all_the_others(ended: Ended, mistake: Mistake) -> None:
    lines = [line for line in ended.result.log.splitlines() if mistake.told in line]
    assert lines, ended.result.log
    assert f"{ended.declared / mistake.file}.py:" in lines[0]
    assert f": {mistake.key}" in lines[0]


def test_no_host_was_touched(ended: Ended) -> None:
    assert ended.result.status == 1
    assert "problems; nothing was touched on any host" in ended.result.log
    assert "Traceback" not in ended.result.everything
    assert ended.after == ended.before


def test_an_inventory_that_names_a_host_twice_or_not_in_full_is_refused(controller: Controller, tmp_path: Path) -> None:
    fleet = controller.fleet
    before = list(map(_seen, fleet.hosts))
    data = {"ssh_user": "root", "ssh_key": str(fleet.ssh_key), "ssh_known_hosts_file": str(fleet.known_hosts)}
    address = {"ssh_hostname": fleet.hosts[0].address}
    hosts = [("mx1.lab.test", address), ("MX1.lab.test.", address), ("mx2", {"ssh_hostname": fleet.hosts[1].address})]
    controller.inventory = str(tmp_path / "twice.py")
    (tmp_path / "twice.py").write_text(f"proxies = ({hosts!r}, {data!r})\n")
    result = controller.run("-y")
    assert result.status == 1
    assert "twice.py:1: inventory = 'MX1.lab.test.': is 'mx1.lab.test' in another spelling" in result.log
    assert f"ssh_hostname = '{fleet.hosts[0].address}': is the address of mx1.lab.test too" in result.log
    assert "myhostname = 'mx2': expected a fully qualified name such as mx1.example.com" in result.log
    assert "Traceback" not in result.everything
    assert list(map(_seen, fleet.hosts)) == before


def test_warnings_stand_in_the_review_also_of_hosts_that_are_as_declared(controller: Controller) -> None:
    controller.declare(mynetworks=["127.0.0.0/8", "10.1.0.2/32", "8.8.8.0/24"])
    controller.roll_out()
    result = controller.run("--dry")
    assert "0 to change, 3 as declared" in result.said
    assert "warning: mynetworks[2] = '8.8.8.0/24': is a public range: each host in it may send mail" in result.said
    assert result.said.count("is a public range") == 1


def test_host_keys_that_are_not_read_to_their_end_stop_a_run(controller: Controller, tmp_path: Path) -> None:
    keys = tmp_path / "known_hosts"
    keys.write_text(f"{controller.fleet.known_hosts.read_text()}@revoked * ssh-rsa AAAA\n")
    number = len(controller.fleet.hosts) + 2
    expected = f"{keys}:{number}: ssh_known_hosts_file = '@revoked * ssh-rsa AAAA': @revoked is not understood"
    for command in (("deploy.py", "--dry"), ("mailproxy.rollback",)):
        result = controller.call(*command, "--data", f"ssh_known_hosts_file={keys}")
        assert result.status == 1
        assert expected in result.log
        assert "Traceback" not in result.everything


def test_an_inventory_stops_a_run_before_it_connects_where_host_keys_would_be_lost(
    controller: Controller, tmp_path: Path
) -> None:
    keys = tmp_path / "known_hosts"
    keys.write_text(f"# ours\n@revoked * ssh-rsa AAAA\n{controller.fleet.known_hosts.read_text()}")
    inventory = tmp_path / "production.py"
    inventory.write_text(
        "from mailproxy.known_hosts import read_to_its_end as _read_to_its_end\n"
        f'proxies = [("mx1.lab.test", {{"ssh_known_hosts_file": _read_to_its_end({str(keys)!r})}})]\n'
    )
    controller.inventory = str(inventory)
    result = controller.run("--dry")
    assert result.status == 1
    assert f"{keys}:2: ssh_known_hosts_file = '@revoked * ssh-rsa AAAA': @revoked is not understood" in result.log
    assert "Connecting" not in result.log
    assert "Traceback" not in result.everything


def test_a_name_server_that_does_not_answer_leaves_a_run_one_run(controller: Controller, tmp_path: Path) -> None:
    # Nobody in the lab has this address. While the first host of a run waits for it, pyinfra goes on with the others.
    nowhere = tmp_path / "resolv.conf"
    nowhere.write_text("nameserver 10.1.0.250\n")
    waiting = f'mount --bind {nowhere} /etc/resolv.conf && exec "$0" "$@"'
    controller.pyinfra = ("unshare", "--mount", "sh", "-c", waiting, *PYINFRA)
    controller.declare(relay_domains={"example.com": "smtp:inside.example"})
    review = controller.roll_out().review
    assert review.count("3 hosts: 3 to change") == 1, review
    assert all(
        (host.configuration / "relaydomains").read_text().endswith("\nexample.com\n") for host in controller.fleet.hosts
    )
    for call in ("mailproxy.status", "mailproxy.verify"):
        result = controller.call(call, "--json")
        assert {row["host"] for row in json.loads(result.review)} == {host.name for host in controller.fleet.hosts}
