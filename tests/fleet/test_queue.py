"""What waits on real hosts: shown, held, released, flushed and deleted, and nothing else touched."""

import json
import time

from lab.hosts import Host
from tests.fleet.controller import Controller, send


def waiting(controller: Controller, *arguments: str) -> dict[tuple[str, str], dict[str, int]]:
    """Return how many messages each host has, by domain and queue."""
    result = controller.call("--json", "mailproxy.queue", *arguments)
    assert result.status == 0, result.everything
    return {(row["domain"], row["queue"]): row["hosts"] for row in json.loads(result.review)["rows"]}


def host_of_hold(controller: Controller) -> dict[str, int]:
    """Return how many messages each host has on hold."""
    return next(iter(waiting(controller, "queue=hold").values()), {})


def wait_until_deferred(host: Host, messages: int) -> None:
    """Wait until so many messages of a host were tried in vain."""
    deadline = time.monotonic() + 30
    while host.run(["postqueue", "-p"]).stdout.count("(connect to") < messages:
        assert time.monotonic() < deadline, host.run(["postqueue", "-p"]).stdout
        time.sleep(0.1)


def test_what_waits_is_shown_and_acted_on_as_chosen(controller: Controller) -> None:
    fleet = controller.fleet
    hosts = fleet.hosts[:2]
    first, second = (host.name for host in hosts)
    for host in hosts:
        host.run(["ip", "route", "add", "unreachable", "10.1.0.2"])
        send(fleet, host, "user@example.org", "kept")
        send(fleet, host, "user@example.net", "lost")
    for host in hosts:
        wait_until_deferred(host, 2)

    shown = controller.call("mailproxy.queue")
    assert shown.status == 0
    assert "mailproxy: 4 messages on 2 of 3 hosts, the oldest" in shown.review
    (row,) = (line for line in shown.review.splitlines() if "example.org" in line)
    assert row.endswith(f"smtp:[10.1.0.2]  {first}, {second}  connect to #: No route to host")

    # Held: on the host that is meant, and not by --dry.
    arguments = ("mailproxy.queue", "domain=example.org", "do=hold", "--limit", first)
    assert "1 message on 1 of 1 host" in controller.call(*arguments, "--dry").review
    assert host_of_hold(controller) == {}
    assert f"[{first}] 1 put on hold" in controller.call(*arguments, "-y").log
    assert host_of_hold(controller) == {first: 1}

    # Deleted: with approval alone, and nothing but what was chosen.
    arguments = ("mailproxy.queue", "domain=example.net", "next_hop=10.1.0.2", "do=delete", "-y")
    refused = controller.call(*arguments)
    assert refused.status == 1
    lost = "needs approval (delete): 1 message from 1 sender, to 1 recipient at example.net, is lost"
    assert f"{lost}  [{first}]" in refused.review
    assert "approval is needed for delete; to go on: --data approve=delete" in refused.log
    assert ("example.net", "deferred") in waiting(controller)
    deleted = controller.call(*arguments, "--data", "approve=delete")
    assert deleted.status == 0, deleted.everything
    assert waiting(controller) == {("example.org", "hold"): {first: 1}, ("example.org", "deferred"): {second: 1}}

    # Released and flushed, it arrives.
    for host in hosts:
        host.run(["ip", "route", "del", "unreachable", "10.1.0.2"])
    assert controller.call("mailproxy.queue", "do=release", "-y").status == 0
    assert (
        f"[{first}] 1 told to be tried at once"
        in controller.call("mailproxy.queue", "do=flush", "sender=someone@outside.example", "-y").log
    )
    deadline = time.monotonic() + 30
    while waiting(controller):
        assert time.monotonic() < deadline
    assert sorted(str(message["Subject"]) for message in fleet.messages()) == ["kept", "kept"]


def test_what_is_not_understood_touches_nothing(controller: Controller) -> None:
    for arguments in (("do=delete", "domian=example.net"), ("do=delete", "--data", "domian=example.net")):
        result = controller.call("mailproxy.queue", *arguments, "-y", "--data", "approve=delete")
        assert result.status == 1
        assert "nothing was read" in result.log
        assert "domian" in result.log
