"""Several instances of Postfix on a host: what they would take from each other, and what becomes of a disabled one."""

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest
from pyinfra.api import Inventory

from mailproxy import proving
from mailproxy.answer import parsed
from mailproxy.declaration import DeclarationError, config_directory, declared, declared_rollout
from mailproxy.instances import interfaces, plain_directory
from mailproxy.model import Entries
from mailproxy.observed import ObservedState
from mailproxy.plan import Plan, planned
from mailproxy.probe import Probes
from mailproxy.render import rendered
from mailproxy.returning import returned
from tests.states import GUIDE, desired, observed, other_warnings
from tests.test_declaration import message
from tests.test_observed import ANSWER
from tests.test_returning import saved

OUT = "/etc/postfix-out"
PRIMARY = {"ssh_hostname": "192.0.2.11", "main_cf": {"inet_interfaces": "192.0.2.11"}}
SECOND = {"ssh_hostname": "192.0.2.11", "main_cf": {"inet_interfaces": "192.0.2.12"}, "config_directory": OUT}


def fleet(first: dict[str, Any], second: dict[str, Any]) -> Inventory:
    """Return an inventory of two entries."""
    names = ["mx1.example.com", "mx1-out.example.com"]
    return Inventory((list(zip(names, (first, second), strict=True)), {"relay_domains": GUIDE}))


@pytest.mark.parametrize(
    "directory",
    ["postfix-out", "/", "/etc/../etc/postfix", "/etc/postfix out", "/etc//postfix", "/etc/$x", "", 5, OUT + "/"],
)
def test_a_configuration_directory_is_a_plain_absolute_path(directory: Any) -> None:
    inventory = fleet(PRIMARY, {**SECOND, "config_directory": directory})
    expected = f"the inventory, host mx1-out.example.com: config_directory = {directory!r}: expected the absolute path"
    assert expected in message(inventory)
    # Also where a command needs no declaration.
    with pytest.raises(DeclarationError, match="expected the absolute path of a directory in plain letters"):
        config_directory(inventory.get_host("mx1-out.example.com"))


def test_each_instance_of_a_host_is_declared_by_itself() -> None:
    assert plain_directory(OUT) == OUT
    inventory = fleet(PRIMARY, {**SECOND, "relay_domains": {"out.example": "smtp:[10.1.0.2]"}})
    states = declared(inventory, list(inventory)).desired
    assert states["mx1.example.com"].relay_domains == Entries(GUIDE)
    assert states["mx1-out.example.com"].relay_domains == Entries({"out.example": "smtp:[10.1.0.2]"})
    assert [config_directory(host) for host in inventory] == ["", OUT]
    declared_rollout(inventory, list(inventory))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (
            {**PRIMARY, "main_cf": {}},
            SECOND,
            "main_cf['inet_interfaces'] = nothing: shares its host with mx1-out.example.com; expected the addresses",
        ),
        (
            PRIMARY,
            {**SECOND, "main_cf": {"inet_interfaces": "all"}},
            "main_cf['inet_interfaces'] = 'all': shares its host with mx1.example.com; expected the addresses",
        ),
        (
            {**PRIMARY, "main_cf": {"inet_interfaces": "192.0.2.11, 192.0.2.12"}},
            SECOND,
            "'192.0.2.12': mx1.example.com, on the same host, listens on 192.0.2.12 too; expected other addresses",
        ),
        (
            {**PRIMARY, "config_directory": OUT},
            SECOND,
            f"config_directory = '{OUT}': is that of mx1.example.com too, which is reached at the same address",
        ),
    ],
)
def test_what_instances_would_take_from_each_other_is_refused(
    first: dict[str, Any], second: dict[str, Any], expected: str
) -> None:
    assert expected in message(fleet(first, second))


def test_an_instance_that_does_not_listen_takes_nothing() -> None:
    inventory = fleet({**PRIMARY, "main_cf": {"master_service_disable": "inet"}}, SECOND)
    declared(inventory, list(inventory))


def test_instances_may_listen_on_the_addresses_of_their_names() -> None:
    by_name = {"main_cf": {"inet_interfaces": "$myhostname"}}
    inventory = fleet({**PRIMARY, **by_name}, {**SECOND, **by_name})
    declared(inventory, list(inventory))
    assert interfaces({"inet_interfaces": "${myhostname}, $x", "myhostname": "a.example"}) == ("a.example",)
    same = message(fleet({**PRIMARY, **by_name, "myhostname": "mx1-out.example.com"}, {**SECOND, **by_name}))
    assert "mx1.example.com, on the same host, listens on mx1-out.example.com too" in same


def test_an_almost_right_key_is_told() -> None:
    assert "config_directry = '/x': no such key; did you mean config_directory?" in message(
        fleet(PRIMARY, {**PRIMARY, "ssh_hostname": "192.0.2.12", "config_directry": "/x"})
    )


def test_an_instance_is_asked_where_it_listens_and_a_host_where_ssh_goes() -> None:
    asked = Probes(
        interface=interfaces({"inet_interfaces": "127.0.0.1, [::1], $myhostname, [2001:db8::1], 192.0.2.12"})[0]
    )
    assert asked.interface == "2001:db8::1"
    assert interfaces({"inet_interfaces": "all"}) == interfaces({"inet_interfaces": "loopback-only"}) == ()
    first, second = fleet(PRIMARY, SECOND)
    assert proving.smtp_address(first, asked) == "192.0.2.11"
    assert proving.smtp_address(second, asked) == "2001:db8::1"
    assert proving.smtp_address(second, Probes()) == "192.0.2.11"
    (_, translated) = fleet(PRIMARY, {**SECOND, "smtp_hostname": "203.0.113.7"})
    assert proving.smtp_address(translated, asked) == "203.0.113.7"


def test_who_is_not_to_answer_is_not_asked() -> None:
    host = cast(Any, SimpleNamespace())
    assert proving.proven(host, Probes(serves=False), was_reachable=True) == []
    assert not proving.is_reachable(host, Probes(serves=False))


def read(*more: str, main_cf: str = "") -> ObservedState:
    lines = [line for line in ANSWER.splitlines() if line not in ("end", "manifest end")]
    at = lines.index("|myhostname = a")
    found = parsed(
        [*lines[:at], *(f"|{line}" for line in main_cf.splitlines()), *lines[at:], *more, "manifest end", "end"]
    )
    assert isinstance(found, ObservedState)
    return found


def test_an_instance_is_told_from_the_one_that_is_compiled_in() -> None:
    assert not read().postfix.is_secondary
    second = read(f"instance {OUT}").postfix
    assert second.is_secondary
    assert second.config_directory == OUT
    main_cf = rendered(desired(), dataclasses.replace(second, defaults=observed(desired()).postfix.defaults))["main.cf"]
    assert f"relay_domains = {OUT}/relaydomains\n" in main_cf.text


def test_what_postmulti_wrote_since_the_last_rollout_stays() -> None:
    made = "multi_instance_directories = /etc/postfix-out /etc/postfix-new\ninet_interfaces = all"
    host = read("manifest loaded multi_instance_directories /etc/postfix-out", main_cf=made)
    assert host.postfix.kept["multi_instance_directories"] == "/etc/postfix-out /etc/postfix-new"
    lost = read("manifest loaded multi_instance_directories /etc/postfix-out")
    assert lost.postfix.kept["multi_instance_directories"] == "/etc/postfix-out"


def second(running: bool, enabled: str, **changes: Any) -> ObservedState:
    """Return an instance as declared where multi_instance_enable is what it is."""
    kept = Entries({"multi_instance_name": "postfix-out", "multi_instance_enable": enabled})
    base = observed(desired()).postfix
    defaults = Entries({**base.defaults, "config_directory": "/etc/postfix"})
    postfix = dataclasses.replace(base, config_directory=OUT, defaults=defaults, kept=kept)
    texts = {name: content.text for name, content in rendered(desired(), postfix).items()}
    return observed(desired(), postfix=postfix, running=running, texts=texts, **changes)


def plan_of(host: ObservedState, **main_cf: Any) -> Plan:
    plan = planned(desired(main_cf=main_cf), host)
    assert isinstance(plan, Plan)
    return plan


def test_a_disabled_instance_is_not_started_and_said_to_be_so() -> None:
    plan = plan_of(second(running=False, enabled="no"))
    assert (plan.service.action, plan.probes.serves) == ("none", False)
    assert other_warnings(plan) == ["this instance is disabled (multi_instance_enable = no) and is not started"]
    # Somebody started it all the same: that is theirs to end.
    plan = plan_of(second(running=True, enabled="no"))
    assert (plan.service.action, plan.probes.serves) == ("reload", True)
    assert "runs all the same until this host starts anew" in other_warnings(plan)[0]


def test_an_instance_is_started_where_it_is_declared_to_be_enabled() -> None:
    plan = plan_of(second(running=False, enabled="no"), multi_instance_enable=True)
    assert (plan.service.action, plan.probes.serves) == ("start", True)
    assert plan_of(second(running=False, enabled="yes")).service.action == "start"


def test_an_instance_that_is_declared_to_be_disabled_is_stopped_with_approval() -> None:
    plan = plan_of(second(running=True, enabled="yes"), multi_instance_enable=False)
    assert (plan.service.action, plan.probes.serves) == ("stop", False)
    assert [gate.name for gate in plan.gates] == ["restart"]
    assert other_warnings(plan) == []


def test_the_only_postfix_of_a_host_needs_no_enabling() -> None:
    assert plan_of(observed(desired(), running=False)).service.action == "start"


def test_going_back_to_before_an_instance_was_made_is_warned_of() -> None:
    host = observed(desired())
    kept = Entries({"multi_instance_directories": OUT})
    host = dataclasses.replace(host, postfix=dataclasses.replace(host.postfix, kept=kept), saved=saved(desired()))
    plan = returned(host)
    assert isinstance(plan, Plan)
    assert f"with generation 4 postmulti does not know the instance {OUT} any more" in plan.warnings[0]
