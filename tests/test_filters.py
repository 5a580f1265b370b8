"""The key filters: what it declares, what cannot be, and that nobody but the filter gives mail back."""

import dataclasses
from typing import Any

import pytest

from mailproxy.check import checked
from mailproxy.feature import Needed
from mailproxy.inputs import expectation
from mailproxy.main_cf import refusal
from mailproxy.master_cf import our_services
from mailproxy.needed import needed_of
from mailproxy.render import rendered
from tests.states import GUIDE, desired
from tests.test_postscreen import MASTER_CF, on
from tests.test_render import GOLDEN

TEMPFAIL = {"address": "inet:127.0.0.1:8891", "when_away": "tempfail"}
ACCEPT = {"address": "unix:rspamd/milter.sock", "when_away": "accept"}
FILTER = {"address": "smtp:[127.0.0.1]:10024", "return_to": "127.0.0.1:10025"}
REMOTE = {"address": "smtp:[10.1.0.9]:10024", "return_to": "10.1.0.1:10025"}


@pytest.mark.parametrize("tree", ["2.7", "3.5", "3.10"])
def test_a_milter_and_a_filter_are_rendered_as_the_golden_tree_of_each_postfix(tree: str) -> None:
    contents = rendered(desired(filters={"milters": [TEMPFAIL], "after_queue": FILTER}), on(tree))
    for name in ("main.cf", "master.cf"):
        assert contents[name].text == (GOLDEN / "filters" / tree / name).read_text()


def test_milters_that_differ_in_the_choice_have_it_each_or_are_refused_before_3_0() -> None:
    state = desired(filters={"milters": [TEMPFAIL, ACCEPT], "local_mail": True})
    contents = rendered(state, on("3.10"))
    lines = contents["main.cf"].text.splitlines()
    first, second = (f"{{ {one['address']}, default_action={one['when_away']} }}" for one in (TEMPFAIL, ACCEPT))
    assert f"smtpd_milters = {first}, {second}" in lines
    assert "non_smtpd_milters = $smtpd_milters" in lines
    assert not any(line.startswith("milter_default_action") for line in lines)
    assert "master.cf" not in contents
    assert "want master.cf" not in expectation(state)
    reason = refusal(state, on("2.10"))
    assert reason is not None
    assert "milters that differ in when_away came with Postfix 3.0" in reason


def test_nobody_but_the_filter_may_give_mail_back() -> None:
    for found, clients in ((FILTER, "127.0.0.0/8"), (REMOTE, "10.1.0.9/32")):
        ours = our_services(rendered(desired(filters={"after_queue": found}), on("3.10"))["master.cf"].text)
        words = ours[f"{found['return_to']} inet"].split()
        assert f"mynetworks={clients}" in words
        assert "smtpd_recipient_restrictions=permit_mynetworks,reject" in words
        assert ("smtpd_tls_security_level=none" in words) == (found is FILTER)


def test_a_filter_before_the_queue_stands_behind_postscreen() -> None:
    alone = our_services(rendered(desired(filters={"before_queue": FILTER}), on("3.10"))["master.cf"].text)
    assert alone["smtp inet"] == "n - y - - smtpd -o smtpd_proxy_filter=127.0.0.1:10024, in place of n - y - - smtpd"
    state = desired(filters={"before_queue": FILTER}, postscreen={"trusted_port": 2525})
    screened = our_services(rendered(state, on("3.10"))["master.cf"].text)
    assert screened["smtp inet"] == "n - y - 1 postscreen, in place of n - y - - smtpd"
    assert screened["smtpd pass"] == "- - y - - smtpd -o smtpd_proxy_filter=127.0.0.1:10024"
    assert "smtpd_proxy_filter" not in screened["2525 inet"]


def told(value: Any) -> list[str]:
    names = {"myhostname": "mx1.example.com", "mydomain": "example.com"}
    return [str(one) for one in checked({"relay_domains": GUIDE, **names, "filters": value}).problems]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"milter": []}, "filters['milter'] = []: no such key"),
        ({"milters": [{"address": "inet:127.0.0.1:8891"}]}, 'when_away is missing; expected "tempfail"'),
        ({"milters": [{**TEMPFAIL, "when_away": "drop"}]}, "['when_away'] = 'drop': expected 'tempfail' or 'accept'"),
        ({"milters": [{**TEMPFAIL, "address": "127.0.0.1:8891"}]}, 'expected "inet:127.0.0.1:8891", "inet:[::1]:8891"'),
        ({"milters": [{**TEMPFAIL, "address": "inet:127.0.0.256:8891"}]}, 'expected "inet:127.0.0.1:8891"'),
        ({"milters": [{**TEMPFAIL, "address": "inet:127.0.0.1:70000"}]}, 'expected "inet:127.0.0.1:8891"'),
        ({"milters": [{**TEMPFAIL, "address": "unix:a, inet:x:1"}]}, 'expected "inet:127.0.0.1:8891"'),
        ({"after_queue": {**FILTER, "address": "smtp:filter.example"}}, 'expected "smtp:[127.0.0.1]:10024"'),
        ({"after_queue": {**FILTER, "address": "smtp:[127.0.0.1]"}}, 'expected "smtp:[127.0.0.1]:10024"'),
        ({"after_queue": {**FILTER, "address": "smtp:[filter.example]:10024"}}, "is a name; expected an address"),
        ({"after_queue": {**FILTER, "return_to": "10025"}}, "expected an address and a port such as"),
        ({"after_queue": {**FILTER, "return_to": "0.0.0.0:10025"}}, "is every address of the host; expected the one"),
        ({"after_queue": {**FILTER, "return_to": "10.1.0.1:10025"}}, "only the filter is on the loopback; expected"),
        ({"after_queue": {**REMOTE, "return_to": "127.0.0.1:10025"}}, "only return_to is on the loopback; expected"),
        ({"after_queue": {**FILTER, "return_to": "127.0.0.1:10024"}}, "is where the filter gives mail back as well"),
        ({"before_queue": FILTER, "milters": [TEMPFAIL]}, "does not go with milters or after_queue: expected it alone"),
        ({"before_queue": {**FILTER, "address": "lmtp:[127.0.0.1]:10024"}}, "smtpd talks SMTP to a filter before"),
        ({"local_mail": True}, "filters['local_mail'] = True: there is no milter that local mail would pass"),
    ],
)
def test_what_cannot_be_is_told(value: Any, expected: str) -> None:
    (found,) = told(value)
    assert expected in found


@pytest.mark.parametrize(
    ("value", "line", "expected"),
    [
        (
            {"after_queue": FILTER},
            "filter unix - n n - - pipe argv=/x\n",
            "other services of these names already: filter",
        ),
        ({"after_queue": FILTER}, "127.0.0.1:10025 inet n - n - - smtpd\n", "these names already: 127.0.0.1:10025"),
    ],
)
def test_services_that_others_have_are_not_taken_from_them(value: Any, line: str, expected: str) -> None:
    reason = refusal(desired(filters=value), on("3.10", master_cf=MASTER_CF + line))
    assert reason is not None
    assert expected in reason


def test_a_host_is_asked_for_what_mail_passes_and_fails_only_by_what_mail_waits_for() -> None:
    state = desired(filters={"milters": [TEMPFAIL, ACCEPT], "after_queue": FILTER})
    assert needed_of(state) == (
        Needed("inet:127.0.0.1:8891", is_vital=True),
        Needed("unix:rspamd/milter.sock", is_vital=False),
        Needed("inet:127.0.0.1:10024", is_vital=True),
    )
    assert not needed_of(desired(filters={}))
    assert desired(filters={}).digest == desired().digest


def test_the_services_are_the_same_once_they_are_there() -> None:
    state = desired(filters={"before_queue": FILTER}, postscreen=True)
    host = on("3.10")
    there = rendered(state, host)["master.cf"].text
    assert rendered(state, dataclasses.replace(host, master_cf=there))["master.cf"].text == there
    assert rendered(desired(), dataclasses.replace(host, master_cf=there))["master.cf"].text == MASTER_CF


AFTER_QUEUE = {"address": "smtp:[127.0.0.1]:10024", "return_to": "127.0.0.1:10025"}


def test_limits_of_next_hops_are_none_of_the_filter() -> None:
    state = desired(filters={"after_queue": AFTER_QUEUE}, limits={"destination_rate_delay": "1s"})
    text = rendered(state, on("3.10"))["main.cf"].text
    assert "filter_destination_rate_delay = 0s\n" in text
    assert (
        "filter_destination" not in rendered(desired(filters={"after_queue": AFTER_QUEUE}), on("3.10"))["main.cf"].text
    )


def test_a_port_that_is_taken_by_another_name_is_refused() -> None:
    for name in ("10025", "localhost:10025"):
        host = on("3.10", master_cf=f"{MASTER_CF}{name} inet n - y - - smtpd\n")
        assert f"other services of these names already: {name}" in str(
            refusal(desired(filters={"after_queue": AFTER_QUEUE}), host)
        )
