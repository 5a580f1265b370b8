"""Hosts made by hand are taken over as they are: adopted, reviewed as no change, rolled out, and relaying as before."""

import json
import os
import re
import time
from pathlib import Path

import pytest

from lab.fleet import Fleet
from lab.hosts import Host
from tests.fleet.conftest import GUIDE, Restorable
from tests.fleet.controller import Controller, Result, assert_mail_flows, private_names, reply_to, tree

GUIDE_MAIN_CF = """\
myhostname={name}
mydomain=lab.test
mynetworks=/etc/postfix/mynetworks
alias_maps=hash:/etc/postfix/aliases
alias_database=hash:/etc/postfix/aliases
relay_domains=/etc/postfix/relaydomains
transport_maps=hash:/etc/postfix/transport
message_size-limit=20480000
"""
GUIDE_FILES = {
    "etc/postfix/mynetworks": "127.0.0.0/8\n10.1.0.2\n",
    "etc/postfix/aliases": "root:   postmaster\n",
    "etc/postfix/relaydomains": "example.com\nexample.net\nexample.org\n",
    "etc/postfix/transport": "".join(f"{domain}          {hop}\n" for domain, hop in GUIDE.items()),
}
RELAYING = """\
mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128, 10.1.0.2
relay_domains = example.com, example.net
    example.org
transport_maps = hash:/etc/postfix/maps/routes
"""
RELAYING_FILES = {
    "etc/postfix/maps/routes": "example.com smtp:[10.1.0.2]\nexample.net smtp:[10.1.0.2]:25\nexample.org :[10.1.0.2]\n",
    "etc/aliases": "postmaster: root\nroot: admin@example.com\nabuse: root,postmaster\n",
}
ODD_MAIN_CF = """\
# A host with a history.
compatibility_level=2
myhostname ={NAME}
# the banner
smtpd_banner = $myhostname
    ESMTP
# in between

\t{name}
mynetworks = 127.0.0.0/8,
   [2001:DB8::]/32
# inside
\t10.1.0.2/32
biff = yes
relay_domains = hash:/etc/postfix/Relay
transport_maps = hash:/etc/postfix/transport
alias_maps = hash:/etc/aliases
relay_recipient_maps =
biff = no
smtpd_relay_restrictions = permit_mynetworks
  reject_unauth_destination
my_filter = permit_mynetworks
smtpd_client_restrictions = $my_filter
"""
ODD_FILES = {
    "etc/postfix/Relay": "Example.COM ok\nexample.net ok\nexample.ORG ok\nexample.com again\n",
    "etc/postfix/transport": "# routes\nEXAMPLE.com smtp:[10.1.0.2]\n\nexample.net\n   smtp:[10.1.0.2]\n"
    "example.net smtp:[10.1.0.9]\nexample.org smtp:[10.1.0.2]\n",
    "etc/aliases": 'Root: admin@example.com\npostmaster: root\nroot: nobody\nprog: "|/bin/true a, b"\n',
}


def make_by_hand(host: Host, main_cf: str, files: dict[str, str], *tables: str) -> None:
    """Write files on a host as an administrator would, index tables by "TOOL PATH", and start Postfix anew."""
    for path, text in files.items():
        (host.root / path).parent.mkdir(exist_ok=True)
        (host.root / path).write_text(text)
    path_of_main_cf = host.root / "etc/postfix/main.cf"
    path_of_main_cf.write_text(main_cf)
    # Every program of Postfix would wait until it is two seconds old.
    os.utime(path_of_main_cf, times=(time.time() - 10,) * 2)
    for table in tables:
        tool, path = table.split()
        host.run([tool, f"hash:/etc/postfix/{path}" if not path.startswith("/") else f"hash:{path}"])
    host.run(["sh", "-c", "postfix stop; postfix start"])


def make_as_debian_with_the_guide(host: Host) -> None:
    """Put the guide's lines behind those of the package."""
    there = (host.root / "etc/postfix/main.cf").read_text()
    text = there + GUIDE_MAIN_CF.format(name=host.name)
    make_by_hand(host, text, GUIDE_FILES, "postalias aliases", "postmap transport")


def make_as_debian_with_relaying(host: Host) -> None:
    """Add relaying in main.cf itself, and routes somewhere else."""
    there = (host.root / "etc/postfix/main.cf").read_text()
    make_by_hand(host, there + RELAYING, RELAYING_FILES, "postalias /etc/aliases", "postmap maps/routes")


def make_oddly(host: Host) -> None:
    """Use whatever main.cf and tables allow."""
    text = ODD_MAIN_CF.format(name=host.name, NAME=host.name.title())
    make_by_hand(host, text, ODD_FILES, "postalias /etc/aliases", "postmap transport", "postmap Relay")


def make_all_by_hand(fleet: Fleet) -> None:
    first, second, third = fleet.hosts
    make_as_debian_with_the_guide(first)
    make_as_debian_with_relaying(second)
    make_oddly(third)


@pytest.fixture
def administrator(restorable: Restorable, tmp_path: Path) -> Controller:
    """An administrator of three hosts that were made by hand, each in another way, who has declared nothing."""
    restorable.bring_to("made by hand", lambda: make_all_by_hand(restorable.fleet))
    directory = tmp_path / "adopted"
    directory.mkdir()
    return Controller(restorable.fleet, directory, approves=("takeover",))


def adopt(administrator: Controller, *arguments: str) -> Result:
    return administrator.call("mailproxy.adopt", f"into={administrator.group_data}", *arguments)


def blocks(administrator: Controller, tmp_path: Path) -> list[str]:
    """Return the changes that a review shows."""
    path = tmp_path / "review.json"
    result = administrator.run("--dry", "-y", "--data", f"review={path}")
    assert result.status == 0, result.everything
    shown = [line.strip() for line in result.review.splitlines()]
    signed = [line for line in shown if line.startswith(("+ ", "- ", "~ "))]
    found = [change["text"] for block in json.loads(path.read_text())["blocks"] for change in block["changes"]]
    assert len(signed) == len(found), result.review
    return found


def meaning_of(host: Host) -> dict[str, str]:
    """Return what a host's own Postfix makes of all its parameters, less those that only lead to the files."""
    plumbing = ("mynetworks", "alias_maps", "alias_database", "relay_domains", "transport_maps")
    others = ("parent_domain_matches_subdomains", "process_id")
    plain, expanded = (
        {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in listed.splitlines())}
        for listed in (host.run(["postconf"]).stdout, host.run(["postconf", "-x"]).stdout)
    )
    return {
        name: " ".join(value.replace(",", " ").split()).lower()
        for name, value in expanded.items()
        if name not in (*plumbing, *others) and not any(f"${source}" in plain[name] for source in plumbing)
    }


def test_hosts_made_by_hand_are_adopted_without_a_change_and_relay_as_before(
    administrator: Controller, tmp_path: Path
) -> None:
    fleet = administrator.fleet
    before = [meaning_of(host) for host in fleet.hosts]
    trees = [tree(host) for host in fleet.hosts]
    foreign_before = [reply_to(fleet, host, "someone@foreign.example")[0] for host in fleet.hosts]

    result = adopt(administrator)
    assert result.status == 0, result.everything
    assert [tree(host) for host in fleet.hosts] == trees
    assert sorted(path.name for path in administrator.group_data.iterdir()) == [
        "all.py",
        "mx1.lab.test.py",
        "mx2.lab.test.py",
        "mx3.lab.test.py",
    ]
    assert "message_size-limit=20480000  [mx1.lab.test]" in result.review
    assert "/etc/postfix/main.cf line 14: biff = yes  [mx3.lab.test]" in result.review
    assert "/etc/postfix/transport line 6: example.net smtp:[10.1.0.9]  [mx3.lab.test]" in result.review
    assert "/etc/aliases line 3: root: nobody  [mx3.lab.test]" in result.review
    assert "accepts mail for subdomains of relay domains" in result.review
    assert "the first review will show" not in result.review
    assert "next: pyinfra INVENTORY deploy.py --group-data" in result.review

    assert blocks(administrator, tmp_path) == []
    rolled_out = administrator.roll_out()
    assert "is refused (relay_subdomains)" in rolled_out.said
    for host, was in zip(fleet.hosts, before, strict=True):
        now = meaning_of(host)
        assert {name: (was.get(name), now.get(name)) for name in was | now if was.get(name) != now.get(name)} == {}
    for host in fleet.hosts:
        for domain in GUIDE:
            assert_mail_flows(fleet, host, domain)
        assert reply_to(fleet, host, "user@sub.example.com")[0] in (454, 554)
    assert (
        [reply_to(fleet, host, "someone@foreign.example")[0] for host in fleet.hosts]
        == foreign_before
        == [
            454,
            454,
            554,
        ]
    )
    administrator.assert_converged()


def test_the_guides_lines_alone_are_adopted_and_what_keeps_smtpd_from_starting_is_told(
    fresh_fleet: Fleet, tmp_path: Path
) -> None:
    host = fresh_fleet.hosts[0]
    make_by_hand(host, GUIDE_MAIN_CF.format(name=host.name), GUIDE_FILES, "postalias aliases", "postmap transport")
    administrator = Controller(fresh_fleet, tmp_path / "adopted", approves=("takeover",))
    administrator.group_data.mkdir()
    result = adopt(administrator, "--limit", host.name)
    assert result.status == 0, result.everything
    assert "so smtpd does not start" in result.review
    assert "the first review will show" not in result.review
    assert 'compatibility_level": "0"' in (administrator.group_data / "all.py").read_text()
    administrator.approves = ("takeover", "unreachable")
    reviewed = administrator.run("--dry", "-y", "--limit", host.name)
    assert [line for line in reviewed.review.splitlines() if line.strip().startswith(("+", "-", "~"))] == []
    assert "warning: smtpd does not start there, as no restriction refuses strangers" in reviewed.said
    administrator.roll_out("--limit", host.name)
    for domain in GUIDE:
        assert_mail_flows(fresh_fleet, host, domain)
    assert reply_to(fresh_fleet, host, "someone@foreign.example")[0] == 554


def test_dry_prints_the_files_and_writes_none(administrator: Controller) -> None:
    result = adopt(administrator, "--dry")
    assert result.status == 0, result.everything
    assert list(administrator.group_data.iterdir()) == []
    assert f"--- {administrator.group_data}/all.py\n# Adopted" in result.review
    assert '    "example.com": "smtp:[10.1.0.2]",\n' in result.review
    assert "would write" in result.review


def test_other_settings_of_a_file_stay_and_keys_of_ours_are_never_written_over(administrator: Controller) -> None:
    path = administrator.group_data / "all.py"
    path.write_text("ssh_connect_retries = 3  # times\n")
    assert adopt(administrator).status == 0
    assert path.read_text().startswith("ssh_connect_retries = 3  # times\n\n# Adopted")
    written = {file.name: file.read_text() for file in administrator.group_data.iterdir()}
    again = adopt(administrator)
    assert again.status == 1
    assert re.search(rf"{path} declares [a-z_, ]*relay_domains already", again.log)
    assert "Traceback" not in again.everything
    assert {file.name: file.read_text() for file in administrator.group_data.iterdir()} == written


def test_the_example_that_comes_with_the_repository_makes_room(administrator: Controller) -> None:
    result = administrator.call("mailproxy.adopt", "--dry")
    assert result.status == 0, result.everything
    assert "would write group_data/all.py: 3 domains" in result.review


def test_a_key_that_would_win_over_what_is_written_is_named(administrator: Controller) -> None:
    (administrator.group_data / "proxies.py").write_text("message_size_limit = 1\n")
    result = adopt(administrator)
    assert result.status == 1
    assert "group_data of the group proxies declares message_size_limit already, and not as it is on" in result.log
    assert [path.name for path in administrator.group_data.iterdir()] == ["proxies.py"]


def test_a_host_that_cannot_be_read_is_named_and_nothing_is_written(administrator: Controller) -> None:
    fleet = administrator.fleet
    fleet.power_off(fleet.hosts[2])
    try:
        # Without -y pyinfra asks whether to go on without the host.
        result = adopt(administrator, "-y")
        assert result.status == 1
        assert "mx3.lab.test could not be read: it could not be connected to" in result.log
        assert "with --limit" in result.log
        assert list(administrator.group_data.iterdir()) == []
        others = adopt(administrator, "--limit", fleet.hosts[0].name, "--limit", fleet.hosts[1].name)
        assert others.status == 0, others.everything
        assert sorted(path.name for path in administrator.group_data.iterdir()) == [
            "all.py",
            "mx1.lab.test.py",
            "mx2.lab.test.py",
        ]
    finally:
        fleet.boot(fleet.hosts[2])


def test_a_managed_host_is_not_adopted(controller: Controller, tmp_path: Path) -> None:
    directory = tmp_path / "adopted"
    result = controller.call("mailproxy.adopt", f"into={directory}")
    assert result.status == 1
    assert "mx1.lab.test is managed by mailproxy already" in result.log
    assert not directory.exists()
    assert "stage" not in private_names(controller.fleet.hosts[0])
