"""A host that is taken out of service: it stays so, says so, and is asked for that."""

import dataclasses
from typing import Any

import pytest

from mailproxy.answer import parsed
from mailproxy.drained import PARAMETERS, is_of_drained, reason_in
from mailproxy.judging import Reply, outcomes, verdict
from mailproxy.ledger import row
from mailproxy.observed import Manifest, ObservedState
from mailproxy.plan import Plan, planned
from mailproxy.probe import Probes
from mailproxy.render import rendered
from mailproxy.review import file_lines
from mailproxy.syntax import main_cf_parameters
from tests.states import GUIDE, desired, observed, other_warnings, postfix
from tests.test_observed import ANSWER

DRAINED = dataclasses.replace(postfix(), drained="kernel update")
RECORD = {"drained": "1795394284 alice@ci process 7 of x"}


def drained_host(**declared: Any) -> ObservedState:
    """Return a host that was rolled out with a declaration, and drained."""
    host = observed(desired(**declared))
    contents = rendered(desired(**declared), DRAINED)
    digests = {name: content.digest for name, content in contents.items()}
    live = {**host.live, "main.cf": dataclasses.replace(host.live["main.cf"], digest=digests["main.cf"])}
    assert host.manifest is not None
    manifest = Manifest({**host.manifest.digests, **digests}, host.manifest.loaded, RECORD)
    texts = {name: content.text for name, content in contents.items()}
    return dataclasses.replace(host, postfix=DRAINED, live=live, texts=texts, manifest=manifest)


def plan_of(host: ObservedState, **declared: Any) -> Plan:
    plan = planned(desired(**declared), host)
    assert isinstance(plan, Plan)
    return plan


def changes(plan: Plan) -> list[str]:
    return [str(change) for together in plan.changes for change in together]


@pytest.mark.parametrize("version", [(2, 7), (3, 10)])
def test_main_cf_says_it_and_nothing_else_does(version: tuple[int, int]) -> None:
    host = postfix(version)
    serving = rendered(desired(), host)
    out = rendered(desired(), dataclasses.replace(host, drained="kernel update"))
    assert out["main.cf"].text == serving["main.cf"].text + (
        "\n# Drained by mailproxy: kernel update\n"
        "smtpd_client_restrictions = defer\ndefer_code = 421\nsmtpd_delay_reject = no\n"
    )
    assert reason_in(out["main.cf"].text) == "kernel update"
    assert reason_in(serving["main.cf"].text) == ""
    assert {name for name in out if out[name] != serving[name]} == {"main.cf"}


def test_what_is_declared_of_these_parameters_comes_back_with_the_service() -> None:
    main_cf = {"smtpd_client_restrictions": "permit_mynetworks, reject_unknown_client_hostname", "defer_code": "451"}
    found = main_cf_parameters(rendered(desired(main_cf=main_cf), DRAINED)["main.cf"].text)
    assert {name: found[name] for name in PARAMETERS} == dict(PARAMETERS)
    back = dataclasses.replace(drained_host(main_cf=main_cf), postfix=postfix())
    assert changes(plan_of(back, main_cf=main_cf)) == [
        "+ defer_code = 451",
        "- drained = kernel update",
        "+ smtpd_client_restrictions = permit_mynetworks, reject_unknown_client_hostname",
    ]


def test_a_rollout_keeps_it_and_says_so() -> None:
    host = drained_host()
    plan = plan_of(host)
    assert plan.is_empty
    assert other_warnings(plan) == [
        "drained since 2026-11-23 00:38 by alice@ci: kernel update; it answers 421 until mailproxy.undrain",
    ]
    more = plan_of(dataclasses.replace(host, queue=3), relay_domains={**GUIDE, "added.example": "smtp:[10.1.0.2]"})
    assert changes(more) == ["+ added.example -> smtp:[10.1.0.2]"]
    assert more.probes.is_drained
    assert any("messages left in its queue: 3" in warning for warning in more.warnings)


def test_taking_it_out_is_one_line_of_a_review() -> None:
    plan = plan_of(dataclasses.replace(observed(desired()), postfix=DRAINED))
    assert changes(plan) == ["+ drained = kernel update"]
    assert plan.service.action == "reload"


def test_a_hand_on_it_is_put_back() -> None:
    host = drained_host()
    text = rendered(desired(), postfix())["main.cf"].text
    live = {**host.live, "main.cf": dataclasses.replace(host.live["main.cf"], digest="f" * 64)}
    loaded = {"main.cf": host.texts["main.cf"]}
    edited = dataclasses.replace(host, live=live, texts={**host.texts, "main.cf": text}, loaded_texts=loaded)
    plan = plan_of(edited)
    assert changes(plan) == ["+ drained = kernel update (removed by hand)"]
    assert "+defer_code = 421" in file_lines(plan.files[0])


@pytest.mark.parametrize(
    ("live", "loaded", "journal", "expected"),
    [
        ("|# Drained by mailproxy: disk\n", "", "", "disk"),
        ("|myhostname = b\n", "content loaded/main.cf text\n|# Drained by mailproxy: disk\n", "", "disk"),
        ("|# Drained by mailproxy: disk\n", "content loaded/main.cf text\n|myhostname = b\n", "", ""),
        # Of a change that was interrupted, what is live.
        (
            "|# Drained by mailproxy: disk\n",
            "content loaded/main.cf text\n|myhostname = b\n",
            "journal generation 3\n",
            "disk",
        ),
    ],
)
def test_whether_a_host_is_drained_is_what_it_loaded_last(live: str, loaded: str, journal: str, expected: str) -> None:
    answer = ANSWER.replace("journal generation 3\n", journal).replace("|# a comment\n", live + "|# a comment\n")
    host = parsed(answer.replace("nouser", f"{loaded}nouser").splitlines())
    assert isinstance(host, ObservedState)
    assert host.postfix.drained == expected


def test_status_says_it_first() -> None:
    host = drained_host()
    found = row("mx1.example.com", desired(), host, "example.org")
    assert found.state == "drained since 2026-11-23 00:38 by alice@ci: kernel update"
    assert found.domain == "-> smtp:[10.1.0.2], but drained"


def judged(reply: Reply, *, is_drained: bool, was_reachable: bool = True) -> str:
    found = list(outcomes(Probes(is_drained=is_drained), [reply], "192.0.2.1", was_reachable))
    return verdict(found)


def test_a_drained_host_is_to_answer_421_and_one_in_service_is_not() -> None:
    ours = Reply("greeting", 421, "4.3.2 <unknown[192.0.2.1]>: Client host rejected: Try again later")
    greets = Reply("greeting", 250, "mx1.example.com")
    gone = Reply("greeting", 0, "Connection refused")
    screened = "mx1.example.com ESMTP Postfix 4.3.2 <unknown[192.0.2.1]>: Client host rejected: Try again later"
    assert is_of_drained(421, screened)
    busy = Reply("greeting", 421, "4.7.0 Too many connections")
    assert [judged(reply, is_drained=True) for reply in (ours, busy, greets, gone)] == ["pass", "pass", "fail", "fail"]
    assert [judged(reply, is_drained=False) for reply in (ours, busy, greets)] == ["fail", "inconclusive", "pass"]
    assert judged(gone, is_drained=True, was_reachable=False) == "inconclusive"
