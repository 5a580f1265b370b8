"""What needs approval by name: each gate closed by one case, and open for the nearest that is harmless."""

import dataclasses

import pytest

from mailproxy.gates import trusted
from mailproxy.model import DesiredState
from mailproxy.observed import Foreign, ObservedState
from mailproxy.plan import Plan, planned
from tests.states import GUIDE, desired, edited, empty_host, hand_made, observed

TEN = {f"d{number}.example": "smtp:[10.1.0.2]" for number in range(10)}
HUNDRED = {f"d{number}.example": "smtp:[10.1.0.2]" for number in range(100)}


def closed(state: DesiredState, host: ObservedState) -> dict[str, str]:
    """Return the gates of a plan by name, with their reasons."""
    plan = planned(state, host)
    assert isinstance(plan, Plan)
    return {gate.name: gate.reason for gate in plan.gates}


def without(domains: dict[str, str], count: int) -> dict[str, str]:
    return dict(list(domains.items())[count:])


def rerouted(domains: dict[str, str], count: int) -> dict[str, str]:
    return {**domains, **dict.fromkeys(list(domains)[:count], "smtp:[10.1.0.9]")}


@pytest.mark.parametrize(
    ("before", "after", "is_closed"),
    [
        (TEN, without(TEN, 3), False),
        (TEN, without(TEN, 4), True),
        (TEN, rerouted(TEN, 3), False),
        (TEN, rerouted(TEN, 4), True),
        (TEN, rerouted(without(TEN, 2), 2), True),
        (HUNDRED, without(HUNDRED, 10), False),
        (HUNDRED, without(HUNDRED, 11), True),
        (HUNDRED, rerouted(HUNDRED, 11), True),
        (TEN, HUNDRED, False),
        (GUIDE, {**GUIDE, **HUNDRED}, False),
    ],
)
def test_many_removals_and_reroutes_need_approval(
    before: dict[str, str], after: dict[str, str], is_closed: bool
) -> None:
    found = closed(desired(relay_domains=after), observed(desired(relay_domains=before)))
    assert ("removals" in found) is is_closed


def test_the_reason_counts_what_goes() -> None:
    found = closed(desired(relay_domains=rerouted(without(TEN, 2), 3)), observed(desired(relay_domains=TEN)))
    assert found["removals"].startswith("2 removed and 3 rerouted of 10 relay domains")


@pytest.mark.parametrize(("queued", "is_closed"), [({"d1.example": 2}, True), ({"d9.example": 2}, False), ({}, False)])
def test_a_domain_with_queued_mail_is_not_removed_or_moved_unasked(queued: dict[str, int], is_closed: bool) -> None:
    host = observed(desired(relay_domains=TEN), queued=queued)
    assert ("queued" in closed(desired(relay_domains=without(TEN, 2)), host)) is is_closed
    moved = {**TEN, "d1.example": "smtp:[10.1.0.9]"}
    assert ("moved to another next hop" in closed(desired(relay_domains=moved), host).get("queued", "")) is is_closed


@pytest.mark.parametrize(
    ("before", "after", "wider"),
    [
        (["127.0.0.0/8"], ["127.0.0.0/8", "10.1.0.2/32"], "10.1.0.2/32"),
        (["127.0.0.0/8", "10.0.0.0/8"], ["127.0.0.0/8", "10.1.0.0/16"], ""),
        (["10.0.0.0/25", "10.0.0.128/25"], ["10.0.0.0/24"], ""),
        (["10.0.0.0/25"], ["10.0.0.0/24"], "10.0.0.128/25"),
        (["!10.0.0.1", "10.0.0.0/30"], ["10.0.0.0/30"], "10.0.0.1/32"),
        (["10.0.0.0/30"], ["!10.0.0.1", "10.0.0.0/30"], ""),
        (["127.0.0.0/8"], ["127.0.0.0/8", "2001:db8::/32"], "2001:db8::/32"),
        (["2001:db8::/32"], ["2001:db8:1::/48"], ""),
    ],
)
def test_only_networks_that_are_wider_need_approval(before: list[str], after: list[str], wider: str) -> None:
    found = closed(desired(mynetworks=after), observed(desired(mynetworks=before)))
    assert found == ({"networks": f"{wider} is trusted from now on"} if wider else {})


def test_of_items_that_match_the_first_decides() -> None:
    assert [str(network) for network in trusted(["10.0.0.1", "!10.0.0.0/24", "10.0.0.0/23"])] == [
        "10.0.1.0/24",
        "10.0.0.1/32",
    ]


def test_a_queue_that_cannot_be_read_is_not_taken_for_an_empty_one() -> None:
    host = observed(desired(relay_domains=TEN), queued=None)
    assert "cannot be read" in closed(desired(relay_domains=without(TEN, 1)), host)["queued"]
    assert "cannot be read" in closed(desired(relay_domains={**TEN, "d1.example": "smtp:[10.1.0.9]"}), host)["queued"]
    assert "queued" not in closed(desired(relay_domains={**TEN, "x.example": "smtp:[10.1.0.2]"}), host)


@pytest.mark.parametrize("mydestination", ["$myhostname, $mydomain", "example.com"])
def test_a_domain_that_becomes_the_hosts_own_is_removed(mydestination: str) -> None:
    after = desired(main_cf={"mydestination": mydestination})
    found = closed(after, observed(desired(), queued={"example.com": 1}))
    assert found["removals"].startswith("1 removed of 3")
    assert "mail is queued for example.com" in found["queued"]


@pytest.mark.parametrize("relay_domains", ["$mydestination", "/etc/postfix/local-names"])
def test_the_old_default_of_relay_domains_relays_nothing(relay_domains: str) -> None:
    main_cf = f"mydestination = /etc/postfix/local-names\nrelay_domains = {relay_domains}\n"
    host = hand_made(main_cf, texts={"/etc/postfix/local-names": "mx1.example.com\nlocalhost\n"})
    assert not closed(desired(), host)


def test_a_restart_needs_approval_and_a_start_does_not() -> None:
    state = desired(main_cf={"inet_protocols": "ipv4"})
    assert list(closed(state, observed(desired()))) == ["restart"]
    assert not closed(state, observed(desired(), running=False))


def test_a_host_that_relays_nothing_yet_meets_no_gate() -> None:
    fresh = "mynetworks = 127.0.0.0/8 [::ffff:127.0.0.0]/104 [::1]/128\ninet_interfaces = loopback-only\n"
    wide = desired(mynetworks=["127.0.0.0/8", "10.1.0.2/32"])
    assert not closed(wide, hand_made(fresh))
    assert not closed(wide, empty_host())


@pytest.mark.parametrize(
    "main_cf",
    [
        "relay_domains = a.example\n",
        "transport_maps = ldap:/etc/postfix/routes.cf\n",
        "mynetworks = 127.0.0.0/8, 192.0.2.0/24\n",
        "mynetworks = cidr:/etc/postfix/nets\n",
        "virtual_alias_domains = a.example\n",
    ],
)
def test_a_hand_made_host_that_relays_is_not_taken_over_unasked(main_cf: str) -> None:
    assert "takeover" in closed(desired(), hand_made(main_cf))


def test_taking_a_relaying_host_over_meets_the_other_gates_too() -> None:
    host = hand_made("relay_domains = a.example b.example\nmynetworks = 127.0.0.0/8\n", queued={"a.example": 1})
    assert set(closed(desired(mynetworks=["10.0.0.0/8"]), host)) == {"takeover", "removals", "queued", "networks"}


def test_a_host_whose_manifest_was_lost_is_not_taken_for_a_hand_made_one() -> None:
    assert not closed(desired(), observed(desired(), manifest=None))


def test_putting_back_what_a_hand_removed_from_the_trusted_is_wider_too() -> None:
    assert list(closed(desired(), edited(desired(), mynetworks="10.1.0.2\n"))) == ["networks"]


def test_a_main_cf_that_postfix_cannot_read_is_put_back_without_approval() -> None:
    host = edited(desired(), main_cf=f"{observed(desired()).texts['main.cf']}no equals sign\n")
    broken = dataclasses.replace(host, foreign=Foreign({}, {}, is_broken=True))
    plan = planned(desired(), broken)
    assert isinstance(plan, Plan)
    assert (plan.service.action, plan.gates) == ("restart", ())
    assert any("cannot read main.cf" in warning for warning in plan.warnings)


def test_a_lost_main_cf_is_put_back_without_approval() -> None:
    host = observed(desired())
    live = {name: file for name, file in host.live.items() if name != "main.cf"}
    gone = dataclasses.replace(host, live=live, texts={}, loaded_texts={"main.cf": host.texts["main.cf"]})
    plan = planned(desired(), gone)
    assert isinstance(plan, Plan)
    assert plan.service.action == "restart"
    assert not {gate.name for gate in plan.gates} - {"networks"}
