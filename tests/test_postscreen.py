"""The key postscreen: what it declares, where it cannot be, and that master.cf stays its host's own."""

import dataclasses
from typing import Any

import pytest

from mailproxy.check import checked
from mailproxy.contents import Contents
from mailproxy.feature import Needed
from mailproxy.host_postfix import HostPostfix
from mailproxy.inputs import change as change_of
from mailproxy.inputs import expectation
from mailproxy.main_cf import refusal
from mailproxy.master_cf import our_services
from mailproxy.model import DesiredState
from mailproxy.needed import needed_outcomes
from mailproxy.observed import LiveFile, ObservedState, Saved
from mailproxy.plan import Plan, Refusal, planned
from mailproxy.render import Content, rendered
from mailproxy.returning import returned
from tests.states import GUIDE, desired, observed
from tests.test_render import GOLDEN, POSTFIXES

MASTER_CF = (GOLDEN / "postscreen/master.cf").read_text()
SITES = {"zen.spamhaus.org": 3, "bl.example": 1, "list.dnswl.org=127.0.[0..255].[1..3]": -2}
ALL = {
    "dnsbl": SITES,
    "threshold": 3,
    "allow_threshold": -2,
    "greet_wait": "4s",
    "deep": True,
    "allow": ["198.51.100.0/24", "2001:db8::/32"],
    "deny": ["198.51.100.7/32"],
    "trusted_port": "10.1.0.1:2525",
}
RENAMED = {"postscreen_denylist_action", "postscreen_dnsbl_allowlist_threshold"}


def on(tree: str, *lacking: str, master_cf: str = MASTER_CF) -> HostPostfix:
    """Return the Postfix of a golden tree that was asked for what postscreen sets."""
    return dataclasses.replace(POSTFIXES[tree], lacking=frozenset(lacking), master_cf=master_cf)


@pytest.mark.parametrize("tree", ["3.5", "3.10"])
def test_it_is_rendered_as_the_golden_tree_of_each_postfix(tree: str) -> None:
    contents = rendered(desired(postscreen=ALL), on(tree, *(RENAMED if tree == "3.5" else ())))
    for name in ("main.cf", "master.cf", "postscreenaccess"):
        assert contents[name].text == (GOLDEN / "postscreen" / tree / name).read_text()


def test_what_is_off_leaves_no_trace() -> None:
    plain = desired()
    for off in (False, {"on": False, **ALL}):
        state = desired(postscreen=off)
        assert state.digest == plain.digest
        assert rendered(state, on("3.10")) == rendered(plain, on("3.10"))
        assert "master.cf" not in rendered(state, on("3.10"))
        assert expectation(state) == expectation(plain)
    assert desired(postscreen=True) == desired(postscreen={}) != plain


def told(value: Any) -> list[str]:
    """Return what is wrong with a value of the key, and what may not be meant."""
    names = {"myhostname": "mx1.example.com", "mydomain": "example.com"}
    found = checked({"relay_domains": GUIDE, **names, "postscreen": value})
    return [str(one) for one in (*found.problems, *found.warnings)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("yes", "postscreen = 'yes': expected True, False, or a dict such as"),
        ({"dnsbls": {}}, "postscreen['dnsbls'] = {}: no such key"),
        ({"dnsbl": {"bl example": 1}}, "postscreen['dnsbl']['bl example'] = 'bl example': expected a domain name"),
        ({"dnsbl": {"bl.example=127": 1}}, "expected answers as in list.dnswl.org=127.0.[0..255].[1..3]"),
        ({"dnsbl": {"bl.example": 0}}, "postscreen['dnsbl']['bl.example'] = 0: expected what an answer counts"),
        ({"dnsbl": {"bl.example": 1, "BL.example": 2}}, "names one twice, as 'bl.example' and as 'BL.example'"),
        ({"threshold": 2}, "postscreen['threshold'] = 2: there is no dnsbl that would count"),
        ({"dnsbl": SITES, "threshold": 0}, "postscreen['threshold'] = 0: expected greater than or equal to 1"),
        ({"dnsbl": SITES, "threshold": 5}, "is above what all of dnsbl count together, 4: nobody is ever refused"),
        ({"dnsbl": SITES, "allow_threshold": -3}, "is below what all of dnsbl count together, -2: no client ever"),
        ({"greet": "reject"}, "postscreen['greet'] = 'reject': expected 'ignore', 'enforce' or 'drop'"),
        ({"greet_wait": "6"}, "postscreen['greet_wait'] = '6': "),
        ({"deny": ["10.0.0.1/8"]}, "postscreen['deny'][0] = '10.0.0.1/8': expected a network"),
        ({"deny": ["10.0.0.0/8"], "allow": ["10.0.0.0/8"]}, "is in allow as well; expected it in one"),
        ({"trusted_port": 25}, "postscreen['trusted_port'] = 25: is the port that postscreen listens on"),
        ({"trusted_port": "mx:2525"}, "expected a port such as 2525, or an address and a port"),
    ],
)
def test_what_cannot_be_or_may_not_be_meant_is_told(value: Any, expected: str) -> None:
    (found,) = told(value)
    assert expected in found


def test_what_it_sets_main_cf_cannot_set_as_well() -> None:
    names = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com"}
    (found,) = checked({**names, "postscreen": True, "main_cf": {"postscreen_greet_action": "drop"}}).problems
    assert "is what postscreen sets; expected it in one of the two" in str(found)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (on("2.7", "postscreen_greet_action"), "there is no postscreen before Postfix 2.8 (its Postfix is 2.7)"),
        (
            on("2.10", *RENAMED, "postscreen_dnsbl_whitelist_threshold"),
            "allow_threshold came with Postfix 2.11 (its Postfix is 2.10)",
        ),
        (on("3.10", master_cf=""), "postscreen: it has no master.cf that services could be added to"),
        (on("3.10", master_cf="#smtp inet n - y - - smtpd\n"), "has no service smtpd on port 25 that postscreen"),
        (
            on("3.10", master_cf=f"{MASTER_CF}10.1.0.1:25 inet n - y - - smtpd -o smtpd_tls_security_level=may\n"),
            "its master.cf has several services on port 25; postscreen can stand before one",
        ),
        (
            on("3.10", master_cf=f"{MASTER_CF}10.1.0.1:2525 inet n - y - - smtpd\n"),
            "trusted_port: its master.cf has another service 10.1.0.1:2525 already",
        ),
    ],
)
def test_a_host_where_it_cannot_be_is_refused_with_the_reason(host: HostPostfix, expected: str) -> None:
    reason = refusal(desired(postscreen=ALL), host)
    assert reason is not None
    assert expected in reason


def test_options_of_smtpd_stay_with_it_and_every_address_is_screened() -> None:
    services = "10.1.0.1:smtp inet n - n - 20 smtpd -o smtpd_banner=x\n25 inet n - n - 20 smtpd -o smtpd_banner=x\n"
    text = rendered(desired(postscreen=True), on("3.10", master_cf=services))["master.cf"].text
    ours = our_services(text)
    assert ours["10.1.0.1:smtp inet"].startswith("n - n - 1 postscreen -o smtpd_banner=x, in place of ")
    assert ours["25 inet"].startswith("n - n - 1 postscreen -o smtpd_banner=x, in place of ")
    assert ours["smtpd pass"] == "- - n - 20 smtpd -o smtpd_banner=x"


def host_with(text: str, state: DesiredState, loaded: str | None = None) -> ObservedState:
    """Return a host that is as declared, and has this master.cf, of which another one may have been loaded."""
    host = observed(state)
    assert host.manifest is not None
    contents = rendered(state, dataclasses.replace(host.postfix, master_cf=text))
    contents["master.cf"] = Content("master.cf", text)
    live = {name: LiveFile(content.digest, "-rw-r-----", "0:0") for name, content in contents.items()}
    digests = {name: content.digest for name, content in contents.items()}
    digests["master.cf"] = Content("master.cf", loaded or text).digest
    is_managed = bool(state.features) or "# mailproxy" in text
    if not is_managed:
        del digests["master.cf"]
    return dataclasses.replace(
        host,
        postfix=dataclasses.replace(host.postfix, master_cf=text),
        live={**host.live, **{name: live[name] for name in ("master.cf", "main.cf")}},
        texts={name: content.text for name, content in contents.items()},
        loaded_texts={"master.cf": loaded} if loaded else {},
        manifest=dataclasses.replace(host.manifest, digests={**host.manifest.digests, **digests}),
    )


SCREENED = desired(postscreen={"dnsbl": {"bl.example": 1}})
LIVE = rendered(SCREENED, on("3.7"))["master.cf"].text


def plan_of(state: DesiredState, host: ObservedState) -> Plan:
    plan = planned(state, dataclasses.replace(host, live=_owned(host)))
    assert isinstance(plan, Plan)
    return plan


def _owned(host: ObservedState) -> dict[str, LiveFile]:
    """Of all but master.cf the mode is ours."""
    return {
        name: file if name == "master.cf" else dataclasses.replace(file, mode="-rw-r--r--")
        for name, file in host.live.items()
    }


def changes(plan: Plan) -> list[str]:
    return [str(change) for found in plan.changes for change in found if change.subject == "entry"]


def test_a_change_says_which_services_come_and_is_sent_as_an_edit() -> None:
    plan = plan_of(SCREENED, host_with(MASTER_CF, desired()))
    assert changes(plan) == [
        "+ service dnsblog unix: - - y - 0 dnsblog",
        "+ service smtp inet: n - y - 1 postscreen, in place of n - y - - smtpd",
        "+ service smtpd pass: - - y - - smtpd",
        "+ service tlsproxy unix: - - y - 0 tlsproxy",
    ]
    assert {change.desired.name: change.reason for change in plan.files} == dict.fromkeys(
        ("main.cf", "master.cf"), "declared"
    )
    assert plan.service.reason == "main.cf, master.cf change"
    assert [name for _, name in plan.swaps] == ["master.cf", "main.cf"]
    assert "\nedit master.cf master.cf " in change_of(plan, {})
    assert plan.probes.needed == (Needed("dnsbl:bl.example", is_vital=False),)


def test_somebodys_hand_beside_our_services_is_no_drift_and_on_them_it_is() -> None:
    beside = plan_of(SCREENED, host_with(LIVE.replace("pickup", "# Erika\npickup"), SCREENED, loaded=LIVE))
    assert beside.is_empty
    by_hand = LIVE.replace("1       postscreen", "1       smtpd")
    on_it = plan_of(SCREENED, host_with(by_hand, SCREENED, loaded=LIVE))
    assert [change.reason for change in on_it.files] == ["edited on the host since the last rollout"]
    assert changes(on_it) == [
        "~ service smtp inet: n - y - 1 smtpd, in place of n - y - - smtpd -> "
        "n - y - 1 postscreen, in place of n - y - - smtpd (by hand, from n - y - 1 postscreen, "
        "in place of n - y - - smtpd)"
    ]


def test_without_the_key_the_file_stays_and_is_not_managed_any_more() -> None:
    plan = plan_of(desired(), host_with(LIVE, SCREENED))
    assert next(change.desired.text for change in plan.files if change.desired.name == "master.cf") == MASTER_CF
    assert (plan.releases, plan.drops) == (("master.cf",), ())
    assert "\nrelease master.cf\n" in change_of(plan, {})
    assert "- service smtp inet: n - y - 1 postscreen, in place of n - y - - smtpd" in changes(plan)
    assert plan.probes.needed == ()
    # Where somebody took our services out already, only the record goes.
    out = plan_of(
        desired(), dataclasses.replace(host_with(MASTER_CF, desired()), manifest=host_with(LIVE, SCREENED).manifest)
    )
    assert "master.cf" not in [change.desired.name for change in out.files]
    assert out.releases == ("master.cf",)


def test_a_master_cf_that_cannot_be_kept_byte_for_byte_is_refused() -> None:
    host = host_with(MASTER_CF, desired())
    live = {**_owned(host), "master.cf": LiveFile("e" * 64, "-rw-r--r--", "0:0")}
    assert planned(SCREENED, dataclasses.replace(host, live=live)) == Refusal(
        "master.cf is no text in UTF-8: it cannot be edited"
    )


def saved(host: ObservedState, *without: str) -> Saved:
    files = {name: file for name, file in host.live.items() if name not in without}
    return Saved((0, 1), 1, files, {name: host.texts[name] for name in host.texts if name in files}, host.manifest)


def test_a_generation_from_before_it_takes_our_services_out_and_leaves_the_file() -> None:
    by_hand = LIVE.replace("pickup", "# Erika\npickup")
    host = host_with(by_hand, SCREENED, loaded=LIVE)
    plan = returned(dataclasses.replace(host, saved=saved(host_with(MASTER_CF, desired()), "master.cf")))
    assert isinstance(plan, Plan)
    (text,) = (change.desired.text for change in plan.files if change.desired.name == "master.cf")
    assert text == MASTER_CF.replace("pickup", "# Erika\npickup")
    assert (plan.releases, plan.drops) == (("master.cf",), ())
    assert "master.cf" not in plan.copies


def test_a_generation_with_it_brings_our_services_back_into_what_is_there_now() -> None:
    host = host_with(MASTER_CF.replace("pickup", "# Erika\npickup"), desired())
    plan = returned(dataclasses.replace(host, saved=saved(host_with(LIVE, SCREENED))))
    assert isinstance(plan, Plan)
    (text,) = (change.desired.text for change in plan.files if change.desired.name == "master.cf")
    assert text == LIVE.replace("pickup", "# Erika\npickup")
    assert (plan.releases, plan.copies) == ((), ("main.cf",))
    assert "master.cf" in plan.base


def test_a_return_between_generations_without_it_knows_no_master_cf() -> None:
    before = desired(message_size_limit=10240000)
    host = host_with(MASTER_CF, desired())
    plan = returned(dataclasses.replace(host, saved=saved(host_with(MASTER_CF, before), "master.cf")))
    assert isinstance(plan, Plan)
    assert [change.desired.name for change in plan.files] == ["main.cf"]
    assert (plan.releases, plan.drops) == ((), ())
    assert "master.cf" not in plan.base


def test_hosts_that_have_the_same_send_it_once() -> None:
    contents = Contents()
    host = host_with(LIVE, SCREENED)
    without = dataclasses.replace(
        host,
        texts={name: text for name, text in host.texts.items() if name != "master.cf"},
        postfix=dataclasses.replace(host.postfix, master_cf=""),
    )
    assert "want master.cf -\n" in expectation(SCREENED)
    assert contents.missing(without, expectation(SCREENED)) == {host.live["master.cf"].digest}
    contents.shared(host)
    assert not contents.missing(without, expectation(SCREENED))
    assert contents.shared(without).postfix.master_cf == LIVE


def test_what_is_silent_is_a_warning_and_may_fail_a_host_where_mail_waits_for_it() -> None:
    lines = [
        "needed dnsbl:bl.example silent why",
        "needed dnsbl:x.example answers",
        "needed inet:127.0.0.1:1 silent why",
    ]
    needed = [Needed("dnsbl:bl.example", is_vital=False), Needed("inet:127.0.0.1:1", is_vital=True)]
    texts = [f"{one.name} does not answer the host: why" for one in needed]
    for fails, verdicts in ((True, ["pass", "fail"]), (False, ["pass", "pass"])):
        found = list(needed_outcomes(lines, needed, fails))
        assert [one.verdict for one in found] == verdicts
        assert [one.text for one in found] == texts


def test_a_drained_host_refuses_whoever_is_trusted_too() -> None:
    host = on("3.10")
    state = desired(postscreen={"trusted_port": 2525})
    assert "2525 " in rendered(state, host)["master.cf"].text
    assert "permit_mynetworks,reject" in rendered(state, host)["master.cf"].text
    drained = dataclasses.replace(host, drained="new disk")
    assert "permit_mynetworks,reject" not in rendered(state, drained)["master.cf"].text


def test_a_host_of_lmdb_has_its_cache_there() -> None:
    text = rendered(desired(postscreen=True, database_type="lmdb"), on("3.10"))["main.cf"].text
    assert "postscreen_cache_map = lmdb:$data_directory/postscreen_cache\n" in text
