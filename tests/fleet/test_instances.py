"""Two instances of Postfix on one host: each is brought to a state of its own, and nothing of the other is touched."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.fleet import Fleet
from lab.hosts import Host
from tests.fleet.conftest import GUIDE, lab_of
from tests.fleet.controller import AT_REST, TRUSTED, Controller, arrived, replaced, reply_to, send, wait_until_idle

OUT = "out1.lab.test"
OUT_ADDRESS = "198.18.200.1"
OUT_INSIDE = "10.1.200.1"
OUT_DIRECTORY = "/etc/postfix-out"
# By the second way into the mail server.
OUT_DOMAINS = {"out.example": "smtp:[10.1.0.2]:2525", "staying.example": "smtp:[10.1.0.2]:2525"}
INVENTORY = """
fleet = {fleet!r}
proxies = [
    ("mx1.lab.test", {{"ssh_hostname": {address!r}}}),
    ("mx2.lab.test", {{"ssh_hostname": {other!r}}}),
    ({out!r}, {{"ssh_hostname": {address!r}, "config_directory": {directory!r}}}),
]
all = (
    [name for name, _ in proxies],
    {{"ssh_user": "root", "ssh_key": {key!r}, "ssh_known_hosts_file": {known_hosts!r}}},
)
"""


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two hosts; the first has two addresses on either side, and one Postfix, which listens on all of them."""
    with lab_of(2, "instances") as fleet:
        for address in (f"{OUT_ADDRESS}/15", f"{OUT_INSIDE}/16"):
            fleet.hosts[0].run(["ip", "address", "add", address, "dev", "eth0"])
        yield fleet


@pytest.fixture(scope="module")
def declared(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Controller:
    """An administrator who has declared an instance of its own for the second address."""
    directory = tmp_path_factory.mktemp("instances")
    inventory = directory / "inventory.py"
    first, second = fleet.hosts
    inventory.write_text(
        INVENTORY.format(
            fleet=fleet.directory.name,
            address=first.address,
            other=second.address,
            out=OUT,
            directory=OUT_DIRECTORY,
            key=str(fleet.ssh_key),
            known_hosts=str(fleet.directory / "known_hosts"),
        )
    )
    controller = Controller(fleet, directory, inventory=str(inventory))
    controller.declare(relay_domains=GUIDE, mynetworks=TRUSTED)
    declare_for(controller, "mx1.lab.test", main_cf={"inet_interfaces": f"{first.address}, 127.0.0.1"})
    declare_out(controller, OUT_DOMAINS)
    return controller


@pytest.fixture(scope="module")
def controller(declared: Controller) -> Controller:
    """The same when the instance was made, and all of it rolled out."""
    make = f"postmulti -e init && postmulti -I postfix-out -G mta -e create config_directory={OUT_DIRECTORY}"
    declared.fleet.hosts[0].run(["sh", "-c", make])
    result = declared.roll_out()
    assert "start Postfix: Postfix is not running [out1.lab.test]" in result.said
    return declared


def declare_for(controller: Controller, name: str, **keys: Any) -> None:
    text = "".join(f"{key} = {value!r}\n" for key, value in keys.items())
    (controller.group_data / f"{name}.py").write_text(text)


def declare_out(controller: Controller, domains: dict[str, str], **main_cf: Any) -> None:
    own = {
        "inet_interfaces": OUT_ADDRESS,
        "smtp_bind_address": OUT_INSIDE,
        "authorized_submit_users": "",
        "multi_instance_enable": True,
    }
    declare_for(controller, OUT, relay_domains=domains, main_cf={**own, **main_cf})


def at_out(host: Host) -> Host:
    """Return the address of the second instance as a host to send mail to."""
    return Host(OUT, OUT_ADDRESS, host.internal_address, host.lab)


def trace(host: Host, directory: str, with_private: bool = True) -> str:
    """Return every file of an instance with its time and digest, and the process number of its master."""
    skip = "" if with_private else "-path ./.mailproxy -prune -o"
    script = (
        f"cd {directory}; find . {skip} -type f -exec stat -c '%n %A %u:%g %i %y' {{}} + | sort; "
        f"find . {skip} -type f -exec sha256sum {{}} + | sort; "
        f"cat $(postconf -c {directory} -h queue_directory)/pid/master.pid"
    )
    return host.run(["sh", "-c", script]).stdout


def private_names_of(host: Host, directory: str) -> set[str]:
    return {path.name for path in (host.root / directory.lstrip("/") / ".mailproxy").iterdir()}


def test_an_instance_that_is_not_there_is_refused_with_how_to_make_it(declared: Controller) -> None:
    host = declared.fleet.hosts[0]
    before = trace(host, "/etc/postfix")
    result = declared.run("-y")
    assert result.status == 1
    make = f"postmulti -e init && postmulti -I postfix-out -G mta -e create config_directory={OUT_DIRECTORY}"
    assert f"there is no instance {OUT_DIRECTORY}; to make one: {make} [{OUT}]" in result.said
    assert trace(host, "/etc/postfix") == before
    (host.root / "etc/postfix-out").mkdir()
    result = declared.run("-y")
    assert f"{OUT_DIRECTORY} is no instance that postmulti knows (multi_instance_directories in" in result.said
    assert f"-e import config_directory={OUT_DIRECTORY} [{OUT}]" in result.said
    (host.root / "etc/postfix-out").rmdir()


def test_one_rollout_brings_each_instance_to_its_own_state(controller: Controller) -> None:
    fleet, host = controller.fleet, controller.fleet.hosts[0]
    for name, at, domain in (("mx1", host, "example.org"), (OUT, at_out(host), "out.example")):
        send(fleet, at, f"user@{domain}", f"through {name}")
        assert arrived(fleet, f"through {name}", f"user@{domain}")
    assert reply_to(fleet, host, "user@out.example")[0] == 554
    assert reply_to(fleet, at_out(host), "user@example.org")[0] == 554
    log = host.run(["grep", "status=sent", "/var/log/mail.log"]).stdout
    assert re.search(r"postfix-out/smtp\[.*to=<user@out.example>, relay=10.1.0.2\[10.1.0.2\]:2525", log)
    (sent,) = (message for message in fleet.messages() if message["Subject"] == f"through {OUT}")
    assert re.search(rf"from {OUT} \(\S+ \[{OUT_INSIDE}\]\)", str(sent.get_all("Received")))
    controller.assert_converged()
    table = controller.call("mailproxy.status").review
    assert [line.split()[0] for line in table.splitlines() if "as declared" in line] == [
        "mx1.lab.test",
        "mx2.lab.test",
        OUT,
    ]
    verified = controller.call("mailproxy.verify")
    assert verified.status == 0, verified.everything
    assert all(private_names_of(host, directory) == AT_REST for directory in ("/etc/postfix", OUT_DIRECTORY))


def test_a_change_of_one_leaves_the_other_untouched(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    # A process of the other instance that waits for clients is nothing that a removal has to wait for.
    for at in (host, at_out(host)):
        reply_to(controller.fleet, at, "user@example.org")
    before = trace(host, "/etc/postfix")
    declare_out(controller, {"new.example": "smtp:[10.1.0.2]", "staying.example": "smtp:[10.1.0.2]:2525"})
    result = controller.roll_out()
    assert "SMTP sessions from before" not in result.log
    assert f"declared [{OUT}] + new.example -> smtp:[10.1.0.2] - out.example" in result.said
    assert "1 to change, 2 as declared" in result.said
    assert trace(host, "/etc/postfix") == before
    assert reply_to(controller.fleet, at_out(host), "user@new.example")[0] == 250
    before = trace(host, OUT_DIRECTORY)
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    controller.roll_out()
    assert trace(host, OUT_DIRECTORY) == before
    assert reply_to(controller.fleet, host, "user@added.example")[0] == 250


def test_a_restart_of_one_asks_for_its_own_unit_and_leaves_the_other_running(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    before = trace(host, OUT_DIRECTORY)
    # systemd with Debian's units, as far as they matter here.
    fake = "#!/bin/sh\necho $* >>/run/asked\n[ $1 = cat ] || exec postmulti -i ${2#postfix@} -p $1\n"
    (host.root / "usr/bin/systemctl").write_text(fake)
    host.run(["sh", "-c", "chmod 755 /usr/bin/systemctl && mkdir -p /run/systemd/system"])
    listens = f"127.0.0.1, {host.address}, {host.internal_address}"
    declare_for(controller, "mx1.lab.test", main_cf={"inet_interfaces": listens})
    try:
        controller.roll_out()
        asked = (host.root / "run/asked").read_text().splitlines()
    finally:
        host.run(["sh", "-c", "rm -r /usr/bin/systemctl /run/systemd/system"])
    assert [line for line in asked if not line.startswith("cat ")] == ["stop postfix@-", "start postfix@-"]
    assert trace(host, OUT_DIRECTORY) == before


def test_a_failed_activation_rolls_back_only_its_own(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    before = trace(host, OUT_DIRECTORY, with_private=False)
    controller.declare(relay_domains={**GUIDE, "both.example": "smtp:[10.1.0.2]"})
    declare_out(
        controller,
        {"staying.example": "smtp:[10.1.0.2]", "both.example": "smtp:[10.1.0.2]"},
        bounce_queue_lifetime="4d",
    )
    once = "case $* in *postfix-out*reload) rmdir /run/once 2>/dev/null && { echo broken >&2; exit 1; } ;; esac; "
    host.run(["mkdir", "/run/once"])
    with replaced(host, "/usr/sbin/postfix", once + 'exec $real "$@"'):
        result = controller.run("-y")
    assert result.status == 1
    assert f"[{OUT}] activation failed at: service reload" in " ".join(result.log.split())
    after = trace(host, OUT_DIRECTORY, with_private=False)
    assert digests(after) == digests(before)
    assert reply_to(controller.fleet, host, "user@both.example")[0] == 250
    assert reply_to(controller.fleet, at_out(host), "user@both.example")[0] == 554
    controller.roll_out()
    assert reply_to(controller.fleet, at_out(host), "user@both.example")[0] == 250


def digests(traced: str) -> list[str]:
    """Return the digests and the process number of a trace."""
    return [line for line in traced.splitlines() if not line.startswith("./")]


def test_a_run_that_was_killed_is_finished_for_the_one_that_it_left(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    before = trace(host, "/etc/postfix")
    declare_out(controller, {**OUT_DOMAINS, "killed.example": "smtp:[10.1.0.2]"})
    kill = (
        f"case $PWD:$3 in {OUT_DIRECTORY}:relaydomains) "
        f"kill -9 $(sed -n 's/^pid //p' {OUT_DIRECTORY}/.mailproxy/lock) $PPID; exit 1 ;; esac; "
    )
    with replaced(host, "/usr/bin/mv", kill + 'exec $real "$@"'):
        assert controller.run("-y").status == 1
    assert "journal" in private_names_of(host, OUT_DIRECTORY)
    assert trace(host, "/etc/postfix") == before
    wait_until_idle(host)
    result = controller.roll_out()
    assert "repair: finishes an interrupted change" in result.said
    assert "1 to change, 2 as declared" in result.said
    assert trace(host, "/etc/postfix") == before
    assert private_names_of(host, OUT_DIRECTORY) == AT_REST
    assert reply_to(controller.fleet, at_out(host), "user@killed.example")[0] == 250


def test_one_goes_back_and_the_other_stays(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    before = trace(host, "/etc/postfix")
    declare_out(controller, {**OUT_DOMAINS, "mistaken.example": "smtp:[10.1.0.2]"})
    controller.roll_out()
    result = controller.call("mailproxy.rollback", "--limit", OUT, "-y", "--data", "approve=removals")
    assert result.status == 0, result.everything
    assert reply_to(controller.fleet, at_out(host), "user@mistaken.example")[0] == 554
    assert trace(host, "/etc/postfix") == before


def test_a_disabled_instance_is_stopped_once_kept_as_declared_and_never_started(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    declare_out(controller, OUT_DOMAINS, multi_instance_enable=False)
    controller.approves = ("removals", "queued", "networks", "takeover")
    held = controller.run("-y")
    assert "this instance of Postfix is stopped, and answers nobody from then on" in held.said
    controller.approves = (*controller.approves, "restart")
    assert "activated: stop" in controller.roll_out().log
    declare_out(controller, {**OUT_DOMAINS, "later.example": "smtp:[10.1.0.2]"}, multi_instance_enable=False)
    result = controller.roll_out()
    assert f"this instance is disabled (multi_instance_enable = no) and is not started [{OUT}]" in result.said
    assert "later.example" in (host.root / "etc/postfix-out/transport").read_text()
    controller.assert_converged()
    assert reply_to(controller.fleet, host, "user@example.org")[0] == 250
    with pytest.raises(ConnectionRefusedError):
        reply_to(controller.fleet, at_out(host), "user@out.example")
    assert "this instance is disabled and does not run" in controller.call("mailproxy.status").review


def test_back_at_generation_0_the_instance_is_as_postmulti_made_it_and_can_be_adopted(
    controller: Controller, tmp_path: Path
) -> None:
    host = controller.fleet.hosts[0]
    result = controller.call(
        "mailproxy.rollback", "generation=0", "--limit", OUT, "-y", "--data", "approve=removals,networks,restart"
    )
    assert result.status == 0, result.everything
    host.run(["postconf", "-c", OUT_DIRECTORY, "-e", f"inet_interfaces={OUT_ADDRESS}", "relay_domains=hand.example"])
    stranger = Controller(controller.fleet, tmp_path / "nothing", inventory=controller.inventory)
    stranger.group_data.mkdir()
    result = stranger.call("mailproxy.adopt", "--limit", OUT, f"into={tmp_path}")
    assert result.status == 0, result.everything
    adopted = (tmp_path / "all.py").read_text()
    assert OUT_ADDRESS in adopted
    assert "queue_directory" not in adopted
    assert "multi_instance" not in adopted
