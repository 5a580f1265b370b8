"""A real host is taken out of service and comes back: nothing new gets in, what is queued gets out."""

import smtplib

from lab.fleet import Fleet
from lab.hosts import Host
from tests.fleet.conftest import GUIDE
from tests.fleet.controller import AT_REST, Controller, arrived, assert_mail_flows, live, private_names, reply_to, send

ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}


def greeting(fleet: Fleet, host: Host) -> int:
    """Return the code with which a host greets the internet."""
    with fleet.network():
        try:
            with smtplib.SMTP(host.address, 25, timeout=20):
                return 220
        except smtplib.SMTPConnectError as error:
            return error.smtp_code


def test_a_host_is_drained_stays_so_and_comes_back(controller: Controller) -> None:
    fleet = controller.fleet
    host, other, _ = fleet.hosts
    before = live(host)
    # What waits is still on its way when the host is drained.
    host.run(["ip", "route", "add", "unreachable", "10.1.0.2"])
    send(fleet, host, "user@example.org", "queued")

    dry = controller.call("mailproxy.drain", "why=new disk", "--limit", host.name, "--dry")
    assert dry.status == 0, dry.everything
    assert "+ drained = new disk" in dry.review
    assert greeting(fleet, host) == 220

    drained = controller.call("mailproxy.drain", "why=new disk", "--limit", host.name, "-y")
    assert drained.status == 0, drained.everything
    assert f"[{host.name}] messages left in its queue: 1, the oldest" in drained.log
    assert (greeting(fleet, host), greeting(fleet, other)) == (421, 220)

    # A restart, and a rollout, leave it so.
    host.run(["postfix", "stop"])
    host.run(["postfix", "start"])
    controller.declare(relay_domains=ADDED)
    rolled_out = controller.roll_out()
    assert "new disk; it answers 421 until mailproxy.undrain" in rolled_out.said
    assert greeting(fleet, host) == 421
    assert "added.example" in live(host)["transport"]
    status = controller.call("mailproxy.status").review
    assert [line.partition("drained since")[2].endswith(": new disk") for line in status.splitlines()[2:5]] == [
        True,
        False,
        False,
    ]
    assert controller.call("mailproxy.verify").status == 0

    # What was queued gets out, and waiting for that ends with it.
    host.run(["ip", "route", "del", "unreachable", "10.1.0.2"])
    assert controller.call("mailproxy.queue", "do=flush", "--limit", host.name, "-y").status == 0
    emptied = controller.call("mailproxy.drain", "wait=1m", "--limit", host.name, "-y")
    assert emptied.status == 0, emptied.everything
    assert f"[{host.name}] its queue is empty" in emptied.log
    assert arrived(fleet, "queued", "user@example.org")

    controller.declare(relay_domains=GUIDE)
    undrained = controller.call("mailproxy.undrain", "-y", "--data", "approve=removals")
    assert undrained.status == 0, undrained.everything
    assert live(host) == before
    assert private_names(host) == AT_REST
    assert reply_to(fleet, host, "user@example.org")[0] == 250
    assert_mail_flows(fleet, host, "example.com")
    controller.assert_converged()


def test_the_whole_fleet_is_not_drained_by_chance(controller: Controller) -> None:
    refused = controller.call("mailproxy.drain", "-y")
    assert refused.status == 1
    assert "approval is needed for drain; to go on: --data approve=drain" in refused.log
    assert greeting(controller.fleet, controller.fleet.hosts[0]) == 220


def test_a_way_back_brings_a_drained_host_into_service(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    before = live(host)
    arguments = ("--limit", host.name, "-y")
    # A hand on it is put back, by the next rollout.
    assert controller.call("mailproxy.drain", *arguments).status == 0
    host.run(["sed", "-i", "/Drained/,$d", "/etc/postfix/main.cf"])
    host.run(["postfix", "reload"])
    assert "+ drained = maintenance (removed by hand)" in controller.roll_out(*arguments[:2]).said
    assert greeting(controller.fleet, host) == 421
    back = controller.call("mailproxy.rollback", "generation=1", *arguments, "--data", "approve=networks,removals")
    assert back.status == 0, back.everything
    assert "the host is drained: with generation 1 it takes mail again" in back.said
    assert live(host) == before
    assert greeting(controller.fleet, host) == 220
