"""The programs under files/ do the same under every shell a host may have as sh."""

import pytest

from tests.fleet.conftest import GUIDE
from tests.fleet.controller import (
    ANOTHER_MAIN_CF,
    AT_REST,
    Controller,
    assert_mail_flows,
    assert_tables_match,
    live,
    private_names,
    replaced,
    send,
)

OTHER = {"example.com": "smtp:[10.1.0.2]", "other.example": "smtp:[10.1.0.2]"}


@pytest.fixture(params=["dash", "bash --posix", "mksh", "busybox sh"])
def shell(request: pytest.FixtureRequest, controller: Controller) -> str:
    """A shell, which pyinfra is told to run everything with."""
    name: str = request.param
    controller.declare(_shell_executable=name)
    return name


def test_a_change_is_staged_activated_and_recognised(controller: Controller, shell: str) -> None:
    fleet = controller.fleet
    # Both swaps before and after the reload, and a source that has to be sent back in hexadecimal.
    fleet.hosts[0].run(["sh", "-c", "printf 'caf\\351' >>/etc/postfix/mynetworks"])
    controller.declare(relay_domains=OTHER, aliases={"postmaster": "root", "abuse": ["root", "a@example.com"]})
    controller.roll_out()
    controller.assert_converged()
    for host in fleet.hosts:
        assert_tables_match(host)
        assert private_names(host) == AT_REST
        assert_mail_flows(fleet, host, "other.example")


def test_a_failed_stage_leaves_nothing(controller: Controller, shell: str) -> None:
    before = [live(host) for host in controller.fleet.hosts]
    controller.declare(relay_domains=OTHER)
    with replaced(controller.fleet.hosts[1], "/usr/sbin/postmap", 'echo "no space" >&2; exit 1'):
        result = controller.run("-y")
    assert result.status == 1
    assert "postmap could not index transport: no space" in result.log
    assert [live(host) for host in controller.fleet.hosts] == before
    assert all(private_names(host) == AT_REST for host in controller.fleet.hosts)


def test_a_failed_activation_is_put_back(controller: Controller, shell: str) -> None:
    canary = controller.fleet.hosts[0]
    before = live(canary)
    controller.declare(relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"}, **ANOTHER_MAIN_CF)
    once = (
        "case $* in *reload) rmdir /run/once 2>/dev/null || { mkdir /run/once; echo no reload >&2; exit 1; } ;; esac; "
    )
    with replaced(canary, "/usr/sbin/postfix", once + 'exec $real "$@"'):
        result = controller.run("-y")
    assert result.status == 1
    assert "was put back and is live" in result.log
    assert live(canary) == before
    assert private_names(canary) == AT_REST
    assert_mail_flows(controller.fleet, canary, "example.com")


def test_a_hand_on_the_host_is_followed_to_other_files_and_the_queue_is_counted(
    controller: Controller, shell: str
) -> None:
    host = controller.fleet.hosts[0]
    controller.declare(relay_domains={**GUIDE, "removed.example": "smtp:[10.1.0.77]"})
    controller.roll_out()
    send(controller.fleet, host, "user@removed.example", "waiting")
    write = "printf 'hand.example\\n# caf\\351' >/etc/postfix/more"
    script = f"{write} && postconf -e 'relay_domains=/etc/postfix/more removed.example'"
    host.run(["sh", "-c", script])
    controller.declare(relay_domains=GUIDE)
    controller.approves = ()
    said = controller.run("--dry").said
    assert "- hand.example (added by hand)" in said
    assert f"needs approval (queued): mail is queued for removed.example, which is removed [{host.name}]" in said
    controller.approves = ("queued", "removals")
    controller.roll_out()
    host.run(["postsuper", "-d", "ALL"])
    controller.roll_out()
    controller.assert_converged()
