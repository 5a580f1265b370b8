"""What group_data declares, read through pyinfra's own inventory and checked for the fleet as a whole."""

from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import Inventory

from mailproxy.declaration import DeclarationError, declared, declared_rollout, source_of
from mailproxy.goal import Declared
from mailproxy.group_data import nearer
from mailproxy.mail_exchangers import mail_hosts
from mailproxy.plan import Plan
from mailproxy.rollout import Rollout
from tests.name_server import name_server
from tests.states import GUIDE, observed


def inventory(hosts: dict[str, dict[str, Any]], override: dict[str, Any] | None = None, **groups: Any) -> Inventory:
    """Return an inventory of hosts with data; a group is a pair of host names and data, all included."""
    everywhere = groups.pop("all", {"relay_domains": GUIDE})
    return Inventory((list(hosts.items()), everywhere), override_data=override or {}, **groups)


def message(fleet: Inventory) -> str:
    with pytest.raises(DeclarationError) as raised:
        declared(fleet, list(fleet))
    return str(raised.value)


def test_names_default_to_the_inventorys() -> None:
    fleet = inventory({"mx1.example.com": {}, "mx2.example.com": {"myhostname": "mail.other.example"}})
    states = declared(fleet, list(fleet)).desired
    assert (states["mx1.example.com"].myhostname, states["mx1.example.com"].mydomain) == (
        "mx1.example.com",
        "example.com",
    )
    assert states["mx2.example.com"].mydomain == "other.example"


def test_host_data_wins_over_groups_and_groups_over_all() -> None:
    fleet = inventory(
        {"mx1.example.com": {"message_size_limit": 3}, "mx2.example.com": {}, "mx3.example.com": {}},
        east=(["mx1.example.com", "mx2.example.com"], {"message_size_limit": 2}),
        all={"relay_domains": GUIDE, "message_size_limit": 1},
    )
    states = declared(fleet, list(fleet)).desired
    assert [state.message_size_limit for state in states.values()] == [3, 2, 1]


def test_a_file_named_after_a_host_wins_over_groups_and_host_data_over_it() -> None:
    # pyinfra makes a group without hosts of it.
    own: Any = {"mx1.example.com": ([], {"message_size_limit": 3, "mydomain": "b.example"})}
    fleet = inventory(
        {"mx1.example.com": {"mydomain": "a.example"}, "mx2.example.com": {}},
        east=(["mx1.example.com", "mx2.example.com"], {"message_size_limit": 2}),
        **own,
    )
    states = declared(fleet, list(fleet)).desired
    assert [state.message_size_limit for state in states.values()] == [3, 2]
    assert states["mx1.example.com"].mydomain == "a.example"
    assert source_of(fleet.get_host("mx1.example.com"), "message_size_limit").endswith("of the host mx1.example.com")
    assert nearer(fleet.get_host("mx1.example.com")) == {"message_size_limit": 3, "mydomain": "a.example"}
    assert nearer(fleet.get_host("mx2.example.com")) == {"message_size_limit": 2}


def test_a_file_named_after_a_host_is_checked_for_what_would_be_ignored() -> None:
    own: Any = {"mx1.example.com": ([], {"mynetwork": [], "ssh_user": "x", "_sudo": True, "_private": 1, "motd": ""})}
    text = message(inventory({"mx1.example.com": {}}, **own))
    assert "group_data of the host mx1.example.com: mynetwork = []: no such key; did you mean mynetworks?" in text
    assert "ssh_user = 'x': pyinfra does not look for it in a file named after a host" in text
    assert "_sudo = True: pyinfra does not look for it" in text
    assert "_private" not in text
    assert "motd" not in text


def test_a_problem_of_many_hosts_is_told_once_and_one_of_some_with_their_names() -> None:
    fleet = inventory(
        {f"mx{number}.example.com": {"database_type": "x"} if number > 8 else {} for number in range(1, 11)},
        all={"relay_domains": {"example.com": "smtp:10.1.0.2"}},
    )
    text = message(fleet)
    assert "the desired state has 3 problems; nothing was touched on any host" in text
    assert text.count("relay_domains['example.com'] = 'smtp:10.1.0.2'") == 1
    assert "the inventory, host mx9.example.com: database_type = 'x': expected 'hash'" in text
    assert "for mx9.example.com" in text


def test_the_place_of_a_key_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "group_data").mkdir()
    (tmp_path / "group_data/all.py").write_text('mynetworks = ["10.0.0.0/8"]\nmessage_size_limit = 1\n')
    fleet = inventory(
        {"mx1.example.com": {"mydomain": "example.com"}},
        override={"database_type": "hash"},
        east=(["mx1.example.com"], {"aliases": {}}),
        all={"mynetworks": ["10.0.0.0/8"], "message_size_limit": 2},
    )
    (host,) = list(fleet)
    assert source_of(host, "database_type") == "--data"
    assert source_of(host, "mydomain") == "the inventory, host mx1.example.com"
    assert source_of(host, "aliases['root']") == "group_data of the group east"
    assert source_of(host, "mynetworks[0]") == "group_data/all.py"
    # The file says something else: it is not where this comes from.
    assert source_of(host, "message_size_limit") == "group_data of the group all"


def test_a_host_without_a_full_name_is_refused() -> None:
    assert "myhostname = 'mx1': expected a fully qualified name" in message(inventory({"mx1": {}}))


def test_what_declares_nothing_is_told_what_is_required() -> None:
    assert "relay_domains = nothing: required" in message(inventory({"mx1.example.com": {}}, all={}))


def test_a_fleet_has_one_order_of_activation() -> None:
    fleet = inventory({"mx1.example.com": {}, "mx2.example.com": {"rollout": {"waves": [1]}}})
    assert "differs from that of mx1.example.com; a fleet has one order of activation" in message(fleet)


def test_a_file_of_domains_that_is_not_there_is_a_problem_and_no_traceback() -> None:
    fleet = inventory({"mx1.example.com": {}}, all={"relay_domains": "no/such/file"})
    assert "relay_domains = 'no/such/file': cannot be read as a file of domains" in message(fleet)


def test_an_empty_file_of_domains_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "domains").write_text("# the export went wrong\n")
    fleet = inventory({"mx1.example.com": {}}, all={"relay_domains": str(tmp_path / "domains")})
    assert "holds no domain; to relay none, declare {}" in message(fleet)


def test_a_key_that_is_nearly_one_of_ours_is_not_ignored() -> None:
    fleet = inventory({"mx1.example.com": {}}, all={"relay_domains": GUIDE, "mynetwork": ["10.0.0.0/8"], "motd": "x"})
    text = message(fleet)
    assert "mynetwork = ['10.0.0.0/8']: no such key; did you mean mynetworks?" in text
    assert "motd" not in text


def test_of_two_groups_the_one_that_counts_is_named() -> None:
    fleet = inventory(
        {"mx1.example.com": {}},
        east=(["mx1.example.com"], {"database_type": "x"}),
        west=(["mx1.example.com"], {"database_type": "y"}),
    )
    text = message(fleet)
    counts = "west" if "'y'" in text else "east"
    assert f"group_data of the group {counts}: database_type" in text


def test_the_entries_of_a_file_are_checked_like_any_others(tmp_path: Path) -> None:
    path = tmp_path / "domains"
    path.write_text("# comment\n\nExample.com smtp:[10.1.0.2]\nexample.net\tsmtp:10.1.0.2\n")
    fleet = inventory({"mx1.example.com": {}}, all={"relay_domains": str(path)})
    assert "relay_domains['example.net'] = 'smtp:10.1.0.2': expected brackets" in message(fleet)


def test_what_is_wrong_with_the_order_of_activation_is_told_with_its_key() -> None:
    rollout = {"bake_seconds": 300, "next_hop": "fail", "next_hops": "never"}
    text = message(inventory({"mx1.example.com": {}}, all={"relay_domains": GUIDE, "rollout": rollout}))
    assert "rollout['next_hop'] = 'fail': no such key" in text
    assert "rollout['next_hops'] = 'never': expected 'warn' or 'fail'" in text
    text = message(inventory({"mx1.example.com": {}}, all={"relay_domains": GUIDE, "rollout": {"bake_seconds": 300}}))
    assert "hosts would go back while they bake: expected longer confirm_seconds, found 300" in text


def rollout_message(fleet: Inventory) -> str:
    with pytest.raises(DeclarationError) as raised:
        declared_rollout(fleet, list(fleet))
    return str(raised.value)


def test_the_way_back_needs_nothing_of_a_declaration_but_its_order() -> None:
    wrong = {"relay_domains": {"example.com": "smtp:10.1.0.2"}, "mynetworks": ["0.0.0.0/0"], "rollout": {"waves": [1]}}
    fleet = inventory({"mx1.example.com": {}, "mx2.example.com": {}}, all=wrong)
    assert declared_rollout(fleet, list(fleet)) == Rollout(waves=(1,))
    nothing = inventory({"mx1.example.com": {}}, all={})
    assert declared_rollout(nothing, list(nothing)) == Rollout()


def test_the_way_back_is_not_begun_in_an_order_that_cannot_be() -> None:
    unknown = inventory({"mx1.example.com": {}}, all={"rollout": {"waves": ["canery"]}})
    assert "wave 'canery': expected a group of the inventory" in rollout_message(unknown)
    misshapen = inventory({"mx1.example.com": {}}, all={"rollout": {"bake_second": 3}})
    assert "rollout = {'bake_second': 3}: " in rollout_message(misshapen)
    assert "nothing was touched on any host" in rollout_message(misshapen)
    other = inventory({"mx1.example.com": {}, "mx2.example.com": {"rollout": {"waves": [1]}}})
    assert "a fleet has one order of activation" in rollout_message(other)


def test_all_mistakes_between_hosts_are_told_along_with_the_rest() -> None:
    text = message(
        inventory(
            {"mx1.example.com": {"ssh_hostname": "192.0.2.1"}, "mx2.example.com": {"ssh_hostname": "192.0.2.1"}},
            all={"relay_domains": {"a.example": "smtp:[192.0.2.1]", "b.example": "smtp:10.1.0.2"}},
        )
    )
    assert "the desired state has 3 problems" in text
    assert "relay_domains['b.example'] = 'smtp:10.1.0.2': expected brackets" in text
    assert "relay_domains['a.example'] = 'smtp:[192.0.2.1]': is mx1.example.com, a host of this fleet: a loop" in text
    assert "the inventory, host mx2.example.com: ssh_hostname = '192.0.2.1': is the address of mx1.example.com" in text


def test_two_instances_of_a_host_share_its_address() -> None:
    instances = {
        f"mx1-{name}.example.com": {
            "ssh_hostname": "192.0.2.1",
            "config_directory": f"/etc/postfix-{name}",
            "main_cf": {"inet_interfaces": address},
        }
        for name, address in (("in", "192.0.2.1"), ("out", "192.0.2.2"))
    }
    fleet = inventory(instances)
    assert len(declared(fleet, list(fleet)).desired) == 2


def test_the_dns_is_asked_once_and_what_it_says_is_told() -> None:
    with name_server({("inside.example.org", "MX"): ["10 mx2.example.com."]}) as (resolver, asked):
        fleet = inventory(
            {"mx1.example.com": {}, "mx2.example.com": {}},
            all={"relay_domains": {"a.example": "smtp:inside.example.org", "b.example": "smtp:unknown.example"}},
        )
        with pytest.raises(DeclarationError) as raised:
            declared(fleet, list(fleet), lambda names: mail_hosts(names, resolver))
    assert "leads by the MX of inside.example.org to mx2.example.com, which is mx2.example.com" in str(raised.value)
    assert "unknown.example" not in str(raised.value)
    assert asked.count(("inside.example.org", "MX")) == 1


def test_warnings_are_told_of_the_hosts_they_are_for_and_stop_nothing() -> None:
    fleet = inventory(
        {"mx1.example.com": {}, "mx2.example.com": {"mynetworks": ["8.8.8.0/24"]}},
        override={},
    )
    found = declared(fleet, list(fleet))
    assert found.warnings_of("mx1.example.com") == ()
    (warning,) = found.warnings_of("mx2.example.com")
    assert "is a public range" in warning
    goal = Declared(fleet, list(fleet))
    state = goal.desired["mx2.example.com"]
    plan = goal.plan("mx2.example.com", observed(state))
    assert isinstance(plan, Plan)
    assert plan.is_empty
    assert plan.warnings[-1] == warning


def test_a_nearly_key_is_told_wherever_it_stands() -> None:
    text = message(
        inventory(
            {"mx1.example.com": {"alias": {}, "alias_program": []}},
            override={"mynetwork": []},
            nobody=([], {"relay_domain": {}}),
        )
    )
    assert "--data: mynetwork = []: no such key; did you mean mynetworks?" in text
    assert "the inventory, host mx1.example.com: alias_program = []: no such key; did you mean alias_programs?" in text
    assert "group_data of the group nobody: relay_domain = {}: no such key; did you mean relay_domains?" in text


def test_a_host_that_is_not_in_the_run_is_one_of_the_fleet_all_the_same() -> None:
    fleet = inventory(
        {"mx1.example.com": {}, "mx2.example.com": {"mynetworks": ["0.0.0.0/0"]}},
        all={"relay_domains": {"a.example": "smtp:[mx2.example.com]"}},
    )
    with pytest.raises(DeclarationError) as raised:
        declared(fleet, [fleet.get_host("mx1.example.com")])
    assert "has 1 problem;" in str(raised.value)
    assert "is mx2.example.com, a host of this fleet: a loop" in str(raised.value)
