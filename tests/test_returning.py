"""The way back to an earlier generation is a change like any other, in an order in which every moment is safe."""

import dataclasses
from typing import Any

import pytest

from mailproxy.lock import Lock
from mailproxy.model import DesiredState
from mailproxy.observed import MODE, Foreign, LiveFile, ObservedState, Saved
from mailproxy.plan import Plan, Refusal
from mailproxy.probe import FOREIGN
from mailproxy.returning import returned
from tests.states import GUIDE, desired, observed

ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
PACKAGE = "myhostname = mx1.example.com\ninet_interfaces = all\nsmtpd_tls_security_level = may\n"
# What Postfix 3.6 and later does with such a main.cf.
PACKAGE_RULE = {"smtpd_relay_restrictions": "permit_mynetworks, defer_unauth_destination"}


def saved(state: DesiredState, number: int = 4, **changes: Any) -> Saved:
    """Return a generation that was as some declaration; its transport.db is one of its own."""
    host = observed(state)
    assert host.manifest is not None
    index = LiveFile(state.digest, MODE, "0:0")
    found = Saved(
        numbers=(0, number),
        number=number,
        files={**host.live, "transport.db": index},
        texts=host.texts,
        manifest=dataclasses.replace(host.manifest, digests={**host.manifest.digests, "transport.db": index.digest}),
    )
    return dataclasses.replace(found, **changes)


def by_hand(**effective: str) -> Saved:
    """Return generation 0, a main.cf as the package makes it."""
    foreign = Foreign({"myhostname": "mx1.example.com", **(effective or PACKAGE_RULE)}, {})
    files = {"main.cf": LiveFile("c" * 64, MODE, "0:0")}
    return Saved((0, 4), 0, files, {"main.cf": PACKAGE}, None, foreign)


def live(state: DesiredState, back_to: Saved, **changes: Any) -> ObservedState:
    """Return a host that is as declared, its transport.db one of its own, and what it keeps."""
    host = observed(state, saved=back_to, **changes)
    return dataclasses.replace(host, live={**host.live, "transport.db": LiveFile(state.digest, MODE, "0:0")})


def plan_of(host: ObservedState) -> Plan:
    plan = returned(host)
    assert isinstance(plan, Plan)
    return plan


def swapped(plan: Plan) -> list[str]:
    return [*(name for _, name in plan.swaps), plan.service.action, *(name for _, name in plan.late_swaps)]


def changes(plan: Plan) -> list[str]:
    return [str(change) for together in plan.changes for change in together]


def test_routes_come_back_before_their_domains_are_accepted() -> None:
    plan = plan_of(live(desired(), saved(desired(relay_domains=ADDED))))
    assert swapped(plan) == ["transport.db", "transport", "relaydomains", "reload"]
    assert changes(plan) == ["+ added.example -> smtp:[10.1.0.2]"]
    assert plan.probes.accepted[0] == "added.example"
    assert plan.probes.hops == ("[10.1.0.2]",)


def test_domains_that_came_since_are_refused_before_their_routes_go() -> None:
    plan = plan_of(live(desired(relay_domains=ADDED), saved(desired())))
    assert swapped(plan)[-4:] == ["relaydomains", "reload", "transport.db", "transport"]
    assert plan.gone == ("added.example",)
    assert plan.probes.refused == ("added.example", FOREIGN)


def test_where_domains_come_and_go_the_routes_of_both_sides_stand_between() -> None:
    swap = {"example.com": "smtp:[10.1.0.2]", "other.example": "smtp:[10.1.0.2]"}
    plan = plan_of(live(desired(relay_domains=swap), saved(desired())))
    assert plan.swaps[:2] == (("bridge.db", "transport.db"), ("bridge", "transport"))
    assert swapped(plan) == ["transport.db", "transport", "relaydomains", "reload", "transport.db", "transport"]
    assert dict(plan.bridge or {}) == {**GUIDE, **swap}


def test_files_are_taken_from_the_host_itself_and_nothing_is_indexed() -> None:
    plan = plan_of(live(desired(), saved(desired(relay_domains=ADDED), number=7)))
    assert set(plan.copies) == {"relaydomains", "transport", "transport.db"}
    assert plan.generation == 7
    assert plan.indexes == ()
    assert {file.reason for file in plan.files} == {"as of generation 7"}


def test_every_change_comes_of_the_way_back_and_a_hand_on_the_host_stays_one() -> None:
    state = desired()
    host = live(state, saved(desired(relay_domains=ADDED)))
    assert {change.cause for together in plan_of(host).changes for change in together} == {"returning"}
    mine = f"{host.texts['relaydomains']}mine.example\n"
    edited = dataclasses.replace(
        host,
        live={**host.live, "relaydomains": LiveFile("e" * 64, MODE, "0:0")},
        texts={**host.texts, "relaydomains": mine},
        loaded_texts={"relaydomains": host.texts["relaydomains"]},
    )
    causes = {change.key: change.cause for together in plan_of(edited).changes for change in together}
    assert causes == {"added.example": "returning", "mine.example": "by hand"}


def test_live_tables_are_asked_for_what_came_back_and_for_what_went() -> None:
    plan = plan_of(live(desired(relay_domains=ADDED), saved(desired())))
    asked = {(query.table, query.key, query.value) for of_table in plan.queries for query in of_table}
    assert ("transport", "added.example", None) in asked
    assert ("transport", "example.com", "smtp:[10.1.0.2]") in asked


def test_a_host_that_is_as_it_was_then_has_nothing_to_do() -> None:
    plan = plan_of(live(desired(), saved(desired())))
    assert plan.is_empty


def test_what_was_loaded_then_is_what_is_recorded() -> None:
    plan = plan_of(live(desired(), saved(desired(relay_domains=ADDED))))
    assert plan.loaded["table_type"] == "hash"
    assert not plan.is_by_hand


def test_a_restart_is_due_where_the_interfaces_were_others_then() -> None:
    plan = plan_of(live(desired(), saved(desired(main_cf={"inet_protocols": "ipv4"}))))
    assert (plan.service.action, plan.service.reason) == ("restart", "inet_protocols changes from all to ipv4")
    assert "restart" in {gate.name for gate in plan.gates}


def test_gates_apply_to_the_way_back_too() -> None:
    wider = saved(desired(mynetworks=["127.0.0.0/8", "10.0.0.0/8"]))
    assert [gate.name for gate in plan_of(live(desired(), wider)).gates] == ["networks"]
    fewer = saved(desired(relay_domains={"example.com": "smtp:[10.1.0.2]"}))
    plan = plan_of(live(desired(), fewer, queued={"example.org": 2}))
    assert [gate.name for gate in plan.gates] == ["removals", "queued"]


def test_back_to_what_was_made_by_hand_everything_of_ours_goes_and_the_host_is_not_managed() -> None:
    plan = plan_of(live(desired(), by_hand()))
    assert plan.copies == ("main.cf",)
    assert plan.drops == ("aliases", "aliases.db", "mynetworks", "relaydomains", "transport", "transport.db")
    assert swapped(plan) == ["main.cf", "reload"]
    assert plan.is_by_hand
    assert plan.queries == ()
    assert set(plan.probes.refused) == {*GUIDE, FOREIGN}
    assert plan.probes.starttls
    assert "generation 0 was made by hand: the host is not managed any more when it is live" in plan.warnings


def test_a_generation_with_which_smtpd_would_not_start_is_warned_of() -> None:
    plan = plan_of(live(desired(), by_hand(smtpd_relay_restrictions="", smtpd_recipient_restrictions="")))
    assert "with generation 0 smtpd does not start, as no restriction refuses strangers" in plan.warnings
    assert not any("smtpd does not start" in warning for warning in plan_of(live(desired(), by_hand())).warnings)


def test_everybody_is_told_that_the_declaration_stays_as_it_is() -> None:
    warnings = plan_of(live(desired(), saved(desired(relay_domains=ADDED)))).warnings
    assert any(
        warning.startswith("what is declared stays as it is: the next rollout goes forward") for warning in warnings
    )


def test_tables_that_were_not_there_then_are_dropped() -> None:
    host = live(desired(), saved(desired(relay_domains=ADDED)))
    more = dataclasses.replace(host, live={**host.live, "transport.lmdb": LiveFile("9" * 64, MODE, "0:0")})
    assert plan_of(more).drops == ("transport.lmdb",)


def test_a_change_that_was_never_proven_is_proven_with_the_way_back() -> None:
    journal = {"generation": "4", "applied": "yes", "verdict": "inconclusive"}
    plan = plan_of(live(desired(relay_domains=ADDED), saved(desired()), journal=journal))
    assert plan.repairs == (
        "proves a change that is live and was never proven (what was live before it is generation 4)",
    )
    assert set(plan.probes.accepted) == set(GUIDE)
    assert plan.probes.refused == ("added.example", FOREIGN)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (Saved((0, 3, 4)), "it does not keep that generation; it keeps 0, 3, 4"),
        (Saved(()), "it keeps no generation"),
        (None, "it keeps no generation"),
        (
            dataclasses.replace(by_hand(), texts={}),
            "generation 0 has no main.cf: nothing served there then; to end the service, stop Postfix",
        ),
    ],
)
def test_a_generation_that_is_not_kept_is_refused_with_those_that_are(found: Saved | None, reason: str) -> None:
    assert returned(observed(desired(), saved=found)) == Refusal(reason)


def test_a_lock_on_the_host_is_told() -> None:
    host = live(desired(), saved(desired(relay_domains=ADDED)), lock=Lock("t", "alice@ci", age=10, busy=True))
    assert "locked by alice@ci, 0 min ago, and at work now" in plan_of(host).warnings


def test_a_file_that_was_somebody_elses_then_is_so_again() -> None:
    before = desired()
    own = LiveFile("f" * 64, MODE, "0:0")
    generation = saved(before)
    generation = dataclasses.replace(
        generation,
        files={**generation.files, "clientaccess": own},
        texts={**generation.texts, "clientaccess": "192.0.2.0/24 REJECT\n"},
    )
    host = live(desired(access={"clients": {"203.0.113.0/24": "reject"}}), generation)
    plan = returned(host)
    assert isinstance(plan, Plan)
    assert "clientaccess" in plan.copies
    assert plan.releases == ("clientaccess",)
