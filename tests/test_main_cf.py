"""Every mistake in main_cf that Postfix would ignore, or notice when mail comes, is refused with what to write."""

import dataclasses
from typing import Any

import pytest

from mailproxy.check import checked, validated
from mailproxy.inputs import expectation
from mailproxy.parameters import asked_parameters
from mailproxy.plan import Plan, Refusal, planned
from tests.states import GUIDE, desired, observed, postfix

NAMES = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com"}
RELAY, RECIPIENT = "smtpd_relay_restrictions", "smtpd_recipient_restrictions"
SAFE = "permit_mynetworks, reject_unauth_destination"


def problems(main_cf: dict[str, Any], **keys: Any) -> list[str]:
    _, found = validated({**NAMES, "main_cf": main_cf, **keys})
    return [str(problem) for problem in found]


def warnings(main_cf: dict[str, Any], **keys: Any) -> list[str]:
    found = checked({**NAMES, "main_cf": main_cf, **keys})
    assert found.problems == ()
    return [str(warning) for warning in found.warnings if warning.key.startswith("main_cf")]


@pytest.mark.parametrize(
    ("main_cf", "expected"),
    [
        ({"message_size-limit": 1}, "is no parameter of Postfix; declare message_size_limit instead"),
        ({"smtpd_baner": "x"}, "main_cf['smtpd_baner'] = 'x': is no parameter of Postfix; did you mean smtpd_banner?"),
        ({"Smtpd_Banner": "x"}, "did you mean smtpd_banner?"),
        ({"smtp_destination_concurency_limit": 1}, "did you mean smtp_destination_concurrency_limit?"),
        ({"colour": "red"}, "is no parameter of Postfix up to 3.11, and nothing refers to it: Postfix would ignore it"),
        ({"mynetworks": "10.0.0.0/8"}, "is set by mailproxy; declare mynetworks instead"),
        ({"disable_vrfy_command": "maybe"}, "= 'maybe': expected yes or no"),
        ({"disable_vrfy_command": "true"}, "expected yes or no"),
        ({"smtpd_helo_required": ""}, "= '': expected yes or no"),
        ({"smtputf8_enable": "on"}, "expected yes or no"),
        ({"default_process_limit": "many"}, "expected a number"),
        ({"default_process_limit": "3000000000"}, "expected a number of 2147483647 at most"),
        ({"default_process_limit": "9" * 5000}, "of 2147483647 at most"),
        ({"smtpd_hard_error_limit": "-1"}, "expected a number"),
        ({"maximal_queue_lifetime": "5 days"}, "expected a time such as 5d: a number and s, m, h, d or w"),
        ({"maximal_queue_lifetime": "1h30m"}, "expected a time such as 5d"),
        ({"smtp_destination_rate_delay": "soon"}, "expected a time"),
        ({"mailbox_size_limit": "20M"}, "expected a number of bytes"),
        ({"smtpd_tls_security_level": "maybe"}, "expected none, may or encrypt"),
        ({"smtp_tls_security_level": "verified"}, "fingerprint, verify or secure"),
        ({"postscreen_greet_action": "deny"}, "expected ignore, enforce or drop"),
        ({"smtpd_banner": "$myhostnme ESMTP"}, "refers to $myhostnme, which is no parameter and reads as nothing; did"),
        ({"smtpd_banner": "${{7*7}}"}, "holds '${{7*7}}', which is no reference to a parameter"),
        ({"smtpd_banner": "${{a} == b}"}, "holds '${{a} == b}', which is no reference to a parameter"),
        ({"smtpd_banner": "${stress?{a} b}"}, "holds '${stress?{a} b}', which is no reference to a parameter"),
        ({"smtpd_banner": "${mail_nam}"}, "did you mean $mail_name?"),
        (
            {"limit": "x", "default_process_limit": "$limit"},
            "main_cf['default_process_limit'] = '$limit': expected a n",
        ),
        ({"mailbox_size_limit": 1000}, "is below message_size_limit = 20480000, so nothing can be delivered"),
        ({"virtual_mailbox_limit": 1000, "virtual_mailbox_domains": "a.example"}, "is below message_size_limit"),
        (
            {"smtpd_client_restrictions": "reject_unkown_client_hostname"},
            "did you mean reject_unknown_client_hostname?",
        ),
        ({"smtpd_client_restrictions": "colour"}, "colour is no restriction of Postfix, which answers 451 to all"),
        (
            {"smtpd_client_restrictions": "check_client_access"},
            "check_client_access needs type:table behind it, found not",
        ),
        (
            {"smtpd_client_restrictions": "check_client_access /etc/x, reject"},
            "needs type:table behind it, found /etc/x",
        ),
        (
            {"smtpd_client_restrictions": "reject_rbl_client, reject"},
            "needs rbl_domain=d.d.d.d behind it, found reject",
        ),
        ({"smtpd_restriction_classes": "mine"}, "names mine, which main_cf does not declare: smtpd does not start"),
        ({"smtpd_restriction_classes": "mine", "mine": "rejct"}, "main_cf['mine'] = 'rejct': rejct is no restriction"),
        ({RELAY: "permit_mynetworks"}, "has no rule that refuses strangers, nor in smtpd_recipient_restrictions"),
        (
            {RELAY: ""},
            "expected one of reject_unauth_destination, defer, defer_if_permit, defer_unauth_destination, reje",
        ),
        ({RELAY: f"permit, {SAFE}"}, "is an open relay: permit in smtpd_relay_restrictions comes before the rule"),
        ({RELAY: f"permit_dnswl_client list.example, {SAFE}"}, "is an open relay: permit_dnswl_client in"),
        ({RELAY: "$mine", "mine": f"permit, {SAFE}"}, "is an open relay: permit"),
        ({RELAY: "c", "smtpd_restriction_classes": "c", "c": f"permit, {SAFE}"}, "is an open relay: permit"),
        ({RELAY: "c", "smtpd_restriction_classes": "c", "c": "c"}, "has no rule that refuses strangers"),
        ({RELAY: "warn_if_reject reject_unauth_destination"}, "has no rule that refuses strangers"),
        (
            {RELAY: "permit", RECIPIENT: f"permit, {SAFE}"},
            "permit in smtpd_relay_restrictions and permit in smtpd_recip",
        ),
    ],
)
def test_a_mistake_in_main_cf_is_refused_with_what_to_write_instead(main_cf: dict[str, Any], expected: str) -> None:
    assert any(expected in problem for problem in problems(main_cf)), problems(main_cf)


@pytest.mark.parametrize(
    "main_cf",
    [
        {"disable_vrfy_command": True, "smtpd_helo_required": "YES", "smtputf8_enable": "no"},
        {"maximal_queue_lifetime": "5d", "smtpd_timeout": "${stress?{10}:{300}}s", "bounce_queue_lifetime": "100"},
        {"postscreen_dnsbl_allowlist_threshold": -1, "smtp_tls_loglevel": "1", "smtp_tcp_port": "submission"},
        {"smtp_tls_security_level": "dane-only", "lmtp_tls_security_level": "", "smtp_destination_rate_delay": "1s"},
        {"slow_destination_rate_delay": "1s", "slow_destination_concurrency_limit": 2},
        {"mine": "x", "smtpd_banner": "$mine $myhostname $$5 ${stress?{a}:{b}}"},
        {"virtual_alias_maps": "ldap:accounts", "accounts_server_host": "ldap.example.com"},
        {"forward_path": "$home/.forward", "default_rbl_reply": "$rbl_code Blocked"},
        {"smtpd_client_restrictions": "check_client_access { cidr:/etc/a, { search_order = x } } sleep 1, REJECT"},
        {"smtpd_sender_restrictions": "hash:/etc/postfix/senders, check_policy_service unix:private/policy"},
        {"smtpd_restriction_classes": "mine", "mine": SAFE, RELAY: "permit_sasl_authenticated mine"},
        {RELAY: "permit", RECIPIENT: SAFE},
        {RELAY: "permit_mynetworks, permit_mx_backup, defer_unauth_destination"},
        {RECIPIENT: "permit"},
        {"mailbox_size_limit": 20480000},
        {"virtual_mailbox_limit": 1000},
    ],
)
def test_what_postfix_reads_as_it_was_meant_is_taken(main_cf: dict[str, Any]) -> None:
    assert problems(main_cf) == []


def test_what_may_open_a_relay_and_what_changes_nothing_are_warned_of() -> None:
    (found,) = warnings({RELAY: f"check_client_access hash:/etc/a, {SAFE}"})
    assert "check_client_access hash:/etc/a comes before the rule that refuses strangers" in found
    assert warnings({RELAY: f"{SAFE}, check_client_access hash:/etc/a"}) == []
    assert warnings({RELAY: f"check_sender_mx_access hash:/etc/a, {SAFE}"}) == []
    (found,) = warnings({"queue_minfree": 1000})
    assert "smtpd wants 1.5 times message_size_limit, 30720000 bytes, free in any case" in found
    assert warnings({"queue_minfree": 50000000}) == []


def refused(main_cf: dict[str, Any], version: tuple[int, int], *lacking: str) -> str:
    state = desired(main_cf=main_cf)
    host = dataclasses.replace(
        observed(state), postfix=dataclasses.replace(postfix(version), lacking=frozenset(lacking))
    )
    plan = planned(state, host)
    assert isinstance(plan, (Refusal, Plan))
    return plan.reason if isinstance(plan, Refusal) else ""


def test_a_parameter_that_the_host_does_not_know_is_refused_with_the_version_that_brought_it_in() -> None:
    assert refused({"smtp_tlsrpt_enable": True}, (3, 7), "smtp_tlsrpt_enable") == (
        "main_cf['smtp_tlsrpt_enable']: its Postfix 3.7 does not know it, it came with 3.10"
    )
    found = refused({"smtpd_forbid_unauth_pipelining": True}, (3, 7), "smtpd_forbid_unauth_pipelining")
    assert found.endswith("it came with 3.9, 3.8.1, 3.7.6, 3.6.10, 3.5.20")
    assert refused({"smtp_tlsrpt_enable": True}, (3, 10)) == ""
    # An old one that newer versions read by way of a default, and one that is somebody's own.
    assert refused({"postscreen_blacklist_action": "drop"}, (3, 10), "postscreen_blacklist_action") == ""
    assert refused({"mine": "x", "smtpd_banner": "$mine"}, (3, 7), "mine") == ""


def test_a_host_is_asked_for_what_the_parameters_of_a_transport_fall_back_to() -> None:
    state = desired(main_cf={"slow_destination_rate_delay": "1s"})
    assert asked_parameters(state.main_cf) == ["default_destination_rate_delay"]
    assert "ask default_destination_rate_delay\n" in expectation(state)
    found = refused({"slow_transport_rate_delay": "1s"}, (2, 7), "default_transport_rate_delay")
    assert "does not know it" in found


def test_a_restriction_that_an_old_host_does_not_know_is_refused() -> None:
    found = refused({RECIPIENT: "permit_mynetworks, defer_unauth_destination, reject"}, (2, 7))
    assert "its Postfix 2.7 does not know defer_unauth_destination, it came with 2.10" in found
