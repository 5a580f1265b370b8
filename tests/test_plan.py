"""What has to happen follows from the state of the host."""

import dataclasses
from typing import Any

import pytest

from mailproxy.lock import Lock
from mailproxy.observed import BEFORE_MAIN_CF, LiveFile, Manifest, ObservedState
from mailproxy.plan import Plan, Refusal, planned
from mailproxy.render import INDEXED_FROM
from tests.states import GUIDE, desired, empty_host, observed, other_warnings, postfix

ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}


def plan_of(state: Any, host: ObservedState) -> Plan:
    plan = planned(state, host)
    assert isinstance(plan, Plan)
    return plan


def swapped(plan: Plan) -> list[str]:
    """Return the live names in the order of their renames, with the action between."""
    return [
        *(live for _, live in plan.swaps),
        plan.service.action,
        *(live for _, live in plan.late_swaps),
    ]


def with_live(host: ObservedState, name: str, **changes: Any) -> ObservedState:
    return dataclasses.replace(host, live={**host.live, name: dataclasses.replace(host.live[name], **changes)})


def test_a_host_that_is_as_declared_has_nothing_to_do() -> None:
    plan = plan_of(desired(), observed(desired()))
    assert plan.is_empty
    assert swapped(plan) == ["none"]


def test_a_fresh_host_gets_everything_routes_first_and_main_cf_last() -> None:
    plan = plan_of(desired(), empty_host())
    assert swapped(plan) == [
        *("transport.db", "transport", "aliases.db", "aliases", "mynetworks", "relaydomains", "main.cf"),
        "reload",
    ]


def test_an_added_domain_is_routed_before_it_is_accepted() -> None:
    plan = plan_of(desired(relay_domains=ADDED), observed(desired()))
    assert swapped(plan) == ["transport.db", "transport", "relaydomains", "reload"]
    assert plan.bridge is None


def test_a_removed_domain_is_refused_before_its_route_goes() -> None:
    plan = plan_of(desired(), observed(desired(relay_domains=ADDED)))
    assert swapped(plan) == ["relaydomains", "reload", "transport.db", "transport"]
    assert plan.bridge is None


def test_between_adding_and_removing_at_once_both_are_routed() -> None:
    wanted = {"example.com": "smtp:[10.1.0.3]", "added.example": "smtp:[10.1.0.2]"}
    plan = plan_of(desired(relay_domains=wanted), observed(desired()))
    # With its source: when mail in the queue keeps the removed route, the file says what the table does.
    assert plan.swaps[:2] == (("bridge.db", "transport.db"), ("bridge", "transport"))
    assert swapped(plan) == ["transport.db", "transport", "relaydomains", "reload", "transport.db", "transport"]
    assert dict(plan.bridge or {}) == {**GUIDE, **wanted}


def test_a_moved_domain_leaves_postfix_alone() -> None:
    moved = {**GUIDE, "example.org": "smtp:[10.1.0.3]"}
    plan = plan_of(desired(relay_domains=moved), observed(desired()))
    assert swapped(plan) == ["transport.db", "transport", "none"]
    assert ("transport", "example.org", "smtp:[10.1.0.3]") in [
        (q.table, q.key, q.value) for asked in plan.queries for q in asked
    ]


def test_live_tables_are_asked_for_what_came_and_for_what_went() -> None:
    plan = plan_of(desired(), observed(desired(relay_domains=ADDED)))
    asked = {(query.key, query.value) for of_table in plan.queries for query in of_table if query.table == "transport"}
    assert asked == {("example.com", "smtp:[10.1.0.2]"), ("added.example", None)}


@pytest.mark.parametrize(
    ("changes", "reason", "action"),
    [
        ({"digest": "0" * 64}, "transport.db is not the table that was indexed from transport", "reload"),
        ({"mode": "-rw-------"}, "transport.db has mode -rw------- and owner 0:0", "none"),
        ({"owner": "0:5"}, "transport.db has mode -rw-r--r-- and owner 0:5", "none"),
    ],
)
def test_a_table_that_is_not_the_recorded_one_is_indexed_anew(
    changes: dict[str, str], reason: str, action: str
) -> None:
    plan = plan_of(desired(), with_live(observed(desired()), "transport.db", **changes))
    assert [(index.table, index.reason) for index in plan.indexes] == [("transport", reason)]
    assert swapped(plan) == ["transport.db", action]


def test_postfix_reads_a_damaged_table_anew_also_where_the_table_changes() -> None:
    # It may have found it damaged a moment ago, and looks again only after 10 s.
    moved = {**GUIDE, "example.org": "smtp:[10.1.0.3]"}
    host = with_live(observed(desired()), "transport.db", digest="0" * 64)
    assert plan_of(desired(relay_domains=moved), host).service.reason.startswith("the table of transport was damaged")


def test_a_missing_table_is_indexed_anew() -> None:
    host = observed(desired())
    live = {name: file for name, file in host.live.items() if name != "aliases.db"}
    plan = plan_of(desired(), dataclasses.replace(host, live=live))
    assert [index.reason for index in plan.indexes] == ["aliases.db is missing"]


def test_a_table_indexed_from_another_source_is_indexed_anew() -> None:
    # The source was swapped, the table was not: what an interruption between the two leaves.
    host = observed(desired())
    assert host.manifest is not None
    older = Manifest({**host.manifest.digests, "transport": "0" * 64}, host.manifest.loaded)
    plan = plan_of(desired(), dataclasses.replace(host, manifest=older))
    assert [index.reason for index in plan.indexes] == ["transport.db was indexed from another transport"]


def test_without_a_manifest_tables_are_not_trusted_and_postfix_reloads() -> None:
    plan = plan_of(desired(), observed(desired(), manifest=None))
    assert [index.table for index in plan.indexes] == ["aliases", "transport"]
    assert plan.service.reason == "nothing says that Postfix has loaded these files"


def test_a_reload_that_did_not_happen_is_made_up_for() -> None:
    host = observed(desired())
    assert host.manifest is not None
    older = Manifest({**host.manifest.digests, "relaydomains": "0" * 64}, host.manifest.loaded)
    plan = plan_of(desired(), dataclasses.replace(host, manifest=older))
    assert (plan.service.action, plan.service.reason) == (
        "reload",
        "Postfix has not loaded the relaydomains on the disk",
    )


def test_an_interrupted_change_is_finished_with_a_reload() -> None:
    plan = plan_of(desired(), observed(desired(), journal={"generation": "4"}))
    assert plan.service.action == "reload"
    assert plan.repairs == ("finishes an interrupted change (what was live before it is generation 4)",)


def test_a_stopped_postfix_is_started() -> None:
    plan = plan_of(desired(), observed(desired(), running=False))
    assert (plan.service.action, plan.service.reason) == ("start", "Postfix is not running")


def test_what_a_reload_does_not_apply_gets_a_restart() -> None:
    plan = plan_of(desired(main_cf={"inet_interfaces": "10.1.0.1"}), observed(desired()))
    assert (plan.service.action, plan.service.reason) == (
        "restart",
        "inet_interfaces changes from all to 10.1.0.1",
    )


def test_a_restart_is_due_when_the_disk_is_right_but_something_else_is_loaded() -> None:
    state = desired(main_cf={"inet_protocols": "ipv4"})
    plan = plan_of(state, observed(state))
    assert plan.service.reason == "inet_protocols changes from all to ipv4"


def test_a_default_spelled_out_on_a_host_is_no_reason_to_restart() -> None:
    assert plan_of(desired(), empty_host()).service.action == "reload"


def test_a_file_edited_by_hand_is_told_from_a_declared_change() -> None:
    host = observed(desired())
    texts = {**host.texts, "relaydomains": "mine.example\n"}
    edited = dataclasses.replace(with_live(host, "relaydomains", digest="1" * 64), texts=texts)
    (change,) = plan_of(desired(), edited).files
    assert change.reason == "edited on the host since the last rollout"
    (change,) = plan_of(desired(aliases={"root": "a@example.com"}), host).files
    assert change.reason == "declared"


def test_a_wrong_mode_is_mended_by_replacing_the_file() -> None:
    plan = plan_of(desired(), with_live(observed(desired()), "mynetworks", mode="-rw-rw-r--"))
    assert swapped(plan) == ["mynetworks", "reload"]


def test_tables_of_an_earlier_type_that_we_made_are_removed() -> None:
    host = observed(desired())
    assert host.manifest is not None
    types = frozenset({"hash", "lmdb"})
    plan = plan_of(desired(database_type="lmdb"), dataclasses.replace(host, table_types=types))
    assert plan.drops == ("aliases.db", "transport.db")
    assert swapped(plan) == ["transport.lmdb", "aliases.lmdb", "main.cf", "reload"]
    foreign = dataclasses.replace(host, live={**host.live, "transport.cdb": LiveFile("9" * 64, "-rw-r--r--", "0:0")})
    assert plan_of(desired(), foreign).drops == ()


def test_a_type_that_shares_file_names_is_indexed_anew() -> None:
    plan = plan_of(desired(database_type="btree"), observed(desired()))
    assert [index.reason for index in plan.indexes] == [
        "aliases.db was indexed as hash",
        "transport.db was indexed as hash",
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"database_type": "btree"}, ("hash", "btree")),
        ({"database_type": "lmdb"}, None),
        ({"relay_domains": ADDED}, None),
    ],
)
def test_tables_that_keep_their_names_and_change_their_type_are_read_from_elsewhere_meanwhile(
    change: dict[str, Any], expected: tuple[str, str] | None
) -> None:
    host = observed(desired(), table_types=frozenset({"hash", "btree", "lmdb"}))
    assert plan_of(desired(**change), host).crossing == expected
    assert plan_of(desired(**change), dataclasses.replace(host, running=False)).crossing is None


def test_with_another_type_a_domain_is_accepted_when_the_main_cf_is_live_that_knows_its_route() -> None:
    host = observed(desired(), table_types=frozenset({"hash", "lmdb"}))
    plan = plan_of(desired(database_type="lmdb", relay_domains=ADDED), host)
    names = swapped(plan)
    assert names.index("transport.lmdb") < names.index("main.cf") < names.index("relaydomains")


MANY = {f"d{number:04}.example": "smtp:[10.1.0.2]" for number in range(INDEXED_FROM)}
FEW = dict(list(MANY.items())[1:])


def test_a_list_of_relay_domains_becomes_a_table_before_it_has_the_form_of_one() -> None:
    plan = plan_of(desired(relay_domains=MANY), observed(desired(relay_domains=FEW)))
    names = ["transport.db", "transport", "relaydomains.db", "main.cf", "relaydomains", "reload"]
    assert swapped(plan) == names
    assert [str(change) for changes in plan.changes for change in changes] == ["+ d0000.example -> smtp:[10.1.0.2]"]
    asked = {
        (query.key, query.value) for of_table in plan.queries for query in of_table if query.table == "relaydomains"
    }
    assert ("d0000.example", "OK") in asked


def test_a_table_of_relay_domains_has_the_form_of_a_list_before_it_becomes_one_and_goes_last() -> None:
    plan = plan_of(desired(relay_domains=FEW), observed(desired(relay_domains=MANY)))
    assert swapped(plan) == ["relaydomains", "main.cf", "reload", "transport.db", "transport"]
    assert plan.drops == ("relaydomains.db",)
    assert [str(change) for changes in plan.changes for change in changes] == ["- d0000.example"]


def test_a_table_of_relay_domains_that_is_not_the_recorded_one_is_indexed_and_read_anew() -> None:
    state = desired(relay_domains=MANY)
    plan = plan_of(state, with_live(observed(state), "relaydomains.db", digest="0" * 64))
    assert swapped(plan) == ["relaydomains.db", "reload"]


@pytest.mark.parametrize(("live", "wanted"), [(FEW, MANY), (MANY, FEW)])
def test_what_an_interrupted_change_of_form_left_is_still_read_as_the_domains_that_are_live(
    live: dict[str, str], wanted: dict[str, str]
) -> None:
    # main.cf and relaydomains are of different sides, the one that calls it a table coming first and going last.
    host = observed(desired(relay_domains=live))
    other = observed(desired(relay_domains=wanted))
    of_other = "main.cf" if wanted is MANY else "relaydomains"
    half = dataclasses.replace(
        host,
        live={**host.live, of_other: other.live[of_other]},
        texts={**host.texts, of_other: other.texts[of_other]},
        journal={"generation": "1"},
    )
    changes = [str(change) for changes in plan_of(desired(relay_domains=wanted), half).changes for change in changes]
    assert len(changes) <= 1


def test_what_is_declared_and_a_host_does_not_know_is_warned_of() -> None:
    host = dataclasses.replace(empty_host(), postfix=postfix((3, 3)))
    plan = plan_of(desired(main_cf={"maillog_file": "/var/log/mail.log"}), host)
    assert other_warnings(plan) == ["maillog_file is declared, and left out: Postfix 3.3 does not know it"]


def test_a_type_the_host_cannot_index_is_refused_with_those_it_can() -> None:
    plan = planned(desired(database_type="cdb"), observed(desired()))
    assert plan == Refusal("database_type cdb is not one that its Postfix can index; it has btree, hash")


def test_aliases_that_lead_nowhere_are_warned_of() -> None:
    state = desired(aliases={"root": "postmaster"})
    plan = plan_of(state, observed(state, missing_users=frozenset({"postmaster"})))
    assert other_warnings(plan) == [
        "alias root: postmaster is neither an account on the host nor an alias, so its mail bounces"
    ]


def test_a_lock_is_told_and_changes_nothing_else() -> None:
    plan = plan_of(desired(), observed(desired(), lock=Lock("t", "alice@ci", age=10, busy=True)))
    assert other_warnings(plan) == ["locked by alice@ci, 0 min ago, and at work now"]
    assert plan.is_empty


def test_after_an_interrupted_first_run_what_postfix_was_started_with_counts() -> None:
    host = observed(desired(), manifest=None, journal={"generation": "0"})
    before = dataclasses.replace(host, texts={**host.texts, BEFORE_MAIN_CF: "inet_interfaces = loopback-only\n"})
    assert plan_of(desired(), host).service.action == "reload"
    assert plan_of(desired(), before).service.action == "restart"


def test_a_host_that_keeps_a_content_to_itself_is_refused() -> None:
    host = observed(desired())
    live = {**host.live, "transport": dataclasses.replace(host.live["transport"], digest="0" * 64)}
    texts = {name: text for name, text in host.texts.items() if name != "transport"}
    outcome = planned(desired(), dataclasses.replace(host, live=live, texts=texts))
    assert isinstance(outcome, Refusal)
    assert "lacks the content of transport" in outcome.reason
