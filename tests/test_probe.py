"""What a host is asked after a change, and what its answers prove."""

import pytest

from mailproxy.changes import Difference, difference
from mailproxy.judging import Kind, Outcome, Reply, Verdict, outcomes, verdict
from mailproxy.model import DesiredState, Entries
from mailproxy.observed import ObservedState
from mailproxy.plan import Plan, planned
from mailproxy.probe import FOREIGN, SAMPLE, Probes, all_probes, next_hops, probes
from mailproxy.render import rendered
from tests.states import GUIDE, desired, hand_made, observed, postfix

MANY = {f"d{number:02}.example": "smtp:[10.1.0.2]" for number in range(20)}
ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
OUTSIDE, INSIDE = "198.18.0.1", "10.1.0.2"
PASSES = Outcome("pass", "")


def change(state: DesiredState, host: ObservedState) -> Difference:
    return difference(rendered(state, postfix()), host)


def asked(state: DesiredState, host: ObservedState, is_unproven: bool = False) -> Probes:
    return probes(change(state, host), {}, is_unproven)


def judged(
    reply: Reply, networks: tuple[str, ...] = ("127.0.0.0/8",), client: str = OUTSIDE, was_reachable: bool = True
) -> Outcome:
    """Return what one reply proves; of several things said about it there is never more than one."""
    host = Probes(networks=Entries(dict.fromkeys(networks, "")))
    found = list(outcomes(host, [reply], client, was_reachable))
    assert len(found) <= 1
    return found[0] if found else PASSES


def to_declared(code: int, text: str, domain: str = "example.com") -> Outcome:
    return judged(Reply("accepted", code, text, domain))


def to_foreign(code: int, text: str, domain: str = FOREIGN) -> Verdict:
    return judged(Reply("refused", code, text, domain)).verdict


@pytest.mark.parametrize("code", [250, 251])
def test_a_declared_domain_is_to_be_accepted(code: int) -> None:
    assert to_declared(code, "2.1.5 Ok") == PASSES


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (554, "5.7.1 <postmaster@example.com>: Relay access denied"),
        # With defer_unauth_destination, the built-in rule of Postfix 2.10 and later.
        (454, "4.7.1 <postmaster@example.com>: Relay access denied"),
        (451, "4.3.0 <postmaster@example.com>: Temporary lookup failure"),
        (451, "4.3.5 Server configuration error"),
        (550, "5.1.1 <postmaster@example.com>: Recipient address rejected: User unknown in local recipient table"),
        (552, "5.2.2 mailbox full"),
    ],
)
def test_a_refusal_that_is_about_the_domain_fails(code: int, text: str) -> None:
    found = to_declared(code, text)
    assert found == Outcome("fail", f"postmaster@example.com is refused: {code} {text}; expected 250")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (450, "4.2.0 <postmaster@example.com>: Recipient address rejected: Greylisted, try again in 300 seconds"),
        (451, "4.7.1 Greylisting in action, please come back in 00:04:59"),
        (421, "4.7.0 mx1.example.com Error: too many connections from 198.18.0.1"),
        (450, "4.7.1 Error: too many recipients from 198.18.0.1"),
        (452, "4.3.1 Insufficient system storage"),
        (554, "5.7.1 <unknown[198.18.0.1]>: Client host rejected: Access denied"),
        (554, "5.7.1 Service unavailable; Client host [198.18.0.1] blocked using zen.example"),
        (504, "5.5.2 <[198.18.0.1]>: Helo command rejected: need fully-qualified hostname"),
    ],
)
def test_a_refusal_that_is_about_who_asks_proves_nothing(code: int, text: str) -> None:
    assert to_declared(code, text).verdict == "inconclusive"


@pytest.mark.parametrize(
    "reason",
    [
        "User unknown in relay recipient table",
        "undeliverable address: host 10.1.0.2[10.1.0.2] said: 550 5.1.1 unknown",
    ],
)
def test_a_relay_domain_that_does_not_know_its_postmaster_is_one_and_is_warned_of(reason: str) -> None:
    text = f"5.1.1 <postmaster@example.com>: Recipient address rejected: {reason}"
    found = to_declared(550, text)
    assert found.verdict == "pass"
    assert found.text == f"postmaster@example.com is not known there, and has to be (RFC 5321): 550 {text}"


@pytest.mark.parametrize("domain", ["clients.example", "blocked.example"])
def test_a_domain_with_a_telling_name_is_not_taken_for_who_asks(domain: str) -> None:
    text = f"5.1.1 <postmaster@{domain}>: Recipient address rejected: User unknown in local recipient table"
    assert to_declared(550, text, domain).verdict == "fail"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (554, f"5.7.1 <postmaster@{FOREIGN}>: Relay access denied"),
        (454, f"4.7.1 <postmaster@{FOREIGN}>: Relay access denied"),
        (550, "5.1.2 Domain not found"),
    ],
)
def test_a_foreign_domain_is_to_be_refused(code: int, text: str) -> None:
    assert to_foreign(code, text) == "pass"


def test_a_foreign_domain_that_is_accepted_is_an_open_relay() -> None:
    found = judged(Reply("refused", 250, "2.1.5 Ok", FOREIGN))
    text = f"postmaster@{FOREIGN}, a foreign domain, is accepted: 250 2.1.5 Ok; expected a refusal"
    assert found == Outcome("fail", text)


def test_a_removed_domain_that_is_still_accepted_fails() -> None:
    found = judged(Reply("refused", 250, "2.1.5 Ok", "removed.example"))
    assert found.verdict == "fail"
    assert "postmaster@removed.example, a removed domain, is accepted" in found.text


def test_a_deferral_before_relaying_is_looked_at_does_not_prove_that_a_foreign_domain_is_refused() -> None:
    assert to_foreign(450, "4.2.0 Greylisted") == "inconclusive"
    assert to_foreign(451, "4.3.5 Server configuration error") == "fail"


@pytest.mark.parametrize(
    ("client", "networks", "expected"),
    [
        (OUTSIDE, ("127.0.0.0/8", "10.1.0.0/16"), "fail"),
        (INSIDE, ("127.0.0.0/8", "10.1.0.0/16"), "inconclusive"),
        (INSIDE, ("!10.1.0.2", "10.1.0.0/16"), "fail"),
        ("10.1.0.3", ("!10.1.0.2", "10.1.0.0/16"), "inconclusive"),
        ("2001:db8::7", ("[2001:db8::]/32",), "inconclusive"),
        ("2001:db9::7", ("[2001:db8::]/32",), "fail"),
        ("2001:db8::7", ("![2001:db8::7]", "[2001:db8::]/32"), "fail"),
        ("2001:db8::7", ("10.0.0.0/8",), "fail"),
        # There was no connection, so nobody knows who asked.
        ("", ("0.0.0.0/0",), "fail"),
    ],
)
def test_what_a_trusted_client_is_allowed_proves_nothing(
    client: str, networks: tuple[str, ...], expected: Verdict
) -> None:
    for domain in (FOREIGN, "removed.example"):
        assert judged(Reply("refused", 250, "2.1.5 Ok", domain), networks, client).verdict == expected


@pytest.mark.parametrize(
    ("code", "text"), [(0, "EHLO does not list it"), (454, "4.7.0 TLS not available due to local problem")]
)
def test_a_declared_starttls_that_cannot_be_had_fails(code: int, text: str) -> None:
    found = judged(Reply("starttls", code, text))
    assert found.verdict == "fail"
    assert "STARTTLS is to be offered, and is not" in found.text
    assert judged(Reply("starttls", 220, "2.0.0 Ready to start TLS")) == PASSES


@pytest.mark.parametrize(
    ("code", "text", "was_reachable", "expected"),
    [
        (250, "mx1.example.com", True, "pass"),
        (0, "Connection refused", True, "fail"),
        # It was so before: a firewall in between, and nothing the change did.
        (0, "Connection refused", False, "inconclusive"),
        (421, "4.3.2 All server ports are busy", True, "inconclusive"),
        (554, "5.7.1 Service unavailable; client [198.18.0.1] blocked", True, "inconclusive"),
        (554, "mx1.example.com", False, "fail"),
    ],
)
def test_a_host_that_does_not_greet_fails_where_it_did_before(
    code: int, text: str, was_reachable: bool, expected: Verdict
) -> None:
    assert judged(Reply("greeting", code, text), was_reachable=was_reachable).verdict == expected


def test_a_dialogue_that_is_cut_off_fails() -> None:
    text = "the connection was closed in the middle of the dialogue"
    assert judged(Reply("end", 0, text)) == Outcome("fail", text)


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (250, "2.1.0 Ok", "pass"),
        (450, "4.7.1 Error: too much mail from 198.18.0.1", "inconclusive"),
        (451, "4.3.0 Error: queue file write error", "fail"),
    ],
)
def test_a_host_that_takes_no_sender_is_judged_by_its_reason(code: int, text: str, expected: Verdict) -> None:
    assert judged(Reply("sender", code, text)).verdict == expected


def test_of_many_refusals_the_first_are_named_and_the_rest_counted_by_what_they_prove() -> None:
    greylisted = [Reply("accepted", 450, "4.2.0 Greylisted", f"d{number}.example") for number in range(5)]
    denied = Reply("accepted", 554, "5.7.1 Relay access denied", "other.example")
    found = {one.verdict: one.text for one in outcomes(Probes(), [*greylisted, denied], OUTSIDE, True)}
    assert set(found) == {"inconclusive", "fail"}
    assert "d2.example" in found["inconclusive"]
    assert "d3.example" not in found["inconclusive"]
    assert found["inconclusive"].endswith("; and 2 more")
    assert found["fail"].startswith("postmaster@other.example is refused: ")
    assert " more" not in found["fail"]


def test_what_several_sessions_say_alike_is_said_once() -> None:
    replies = [Reply("starttls", 0, "EHLO does not list it")] * 2
    (found,) = outcomes(Probes(), replies, OUTSIDE, True)
    assert found.text.count("STARTTLS is to be offered") == 1


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ((), "pass"),
        (("pass", "inconclusive"), "inconclusive"),
        (("inconclusive", "fail", "pass"), "fail"),
    ],
)
def test_one_failure_is_a_failure_and_one_open_question_leaves_it_open(
    verdicts: tuple[Verdict, ...], expected: Verdict
) -> None:
    assert verdict(Outcome(one, "") for one in verdicts) == expected


def test_every_changed_domain_is_asked_for_and_of_the_others_a_few_from_first_to_last() -> None:
    host = observed(desired(relay_domains=MANY))
    added = {
        **MANY,
        **{f"a{number}.example": "smtp:[10.1.0.2]" for number in range(30)},
        "d07.example": "smtp:[10.9.9.9]",
    }
    found = asked(desired(relay_domains=added), host)
    assert {f"a{number}.example" for number in range(30)} | {"d07.example"} <= set(found.accepted)
    others = [domain for domain in found.accepted if domain.startswith("d") and domain != "d07.example"]
    # Of the nineteen that stay: the first, and then every fourth or so.
    assert others == ["d00.example", "d03.example", "d08.example", "d12.example", "d16.example"]
    assert len(others) == SAMPLE


def test_of_very_many_changed_domains_a_hundred_are_asked_for_from_first_to_last_and_each_next_hop() -> None:
    many = {f"d{number:04}.example": f"smtp:[10.1.0.{number % 3}]" for number in range(3000)}
    coming = asked(desired(relay_domains=many), observed(desired()))
    assert len(coming.accepted) == 100
    assert (coming.accepted[0], coming.accepted[-1]) == ("d0000.example", "d2970.example")
    assert len(coming.hops) == 3
    going = asked(desired(), observed(desired(relay_domains={**GUIDE, **many})))
    assert len(going.refused) == 101
    assert going.refused[-1] == FOREIGN


def test_with_few_domains_all_are_asked_for_once() -> None:
    found = asked(desired(relay_domains=ADDED), observed(desired()))
    assert sorted(found.accepted) == sorted(ADDED)
    assert found.refused == (FOREIGN,)


def test_a_removed_domain_is_to_be_refused_from_then_on() -> None:
    found = asked(desired(), observed(desired(relay_domains=ADDED)))
    assert found.refused == ("added.example", FOREIGN)
    assert "added.example" not in found.accepted


def test_a_removed_domain_below_one_that_stays_is_accepted_with_it_where_subdomains_are_relayed() -> None:
    below = {**GUIDE, "mail.example.com": "smtp:[10.1.0.2]", "deep.mail.example.com": "smtp:[10.1.0.2]"}
    for relay_subdomains, refused in ((True, set()), (False, {"mail.example.com", "deep.mail.example.com"})):
        state = desired(relay_subdomains=relay_subdomains)
        before = observed(desired(relay_domains=below, relay_subdomains=relay_subdomains))
        assert set(asked(state, before).refused) == {*refused, FOREIGN}


def test_what_a_hand_made_host_only_routes_is_not_asked_for_as_removed() -> None:
    main_cf = "relay_domains = gone.example\ntransport_maps = hash:/etc/postfix/routes\n"
    routes = "gone.example smtp:[10.1.0.2]\nrouted.example smtp:[10.1.0.2]\n"
    found = asked(desired(), hand_made(main_cf, texts={"/etc/postfix/routes": routes}))
    assert found.refused == ("gone.example", FOREIGN)


def test_where_an_earlier_change_was_never_proven_every_domain_counts_as_changed() -> None:
    state = desired(relay_domains=MANY)
    assert len(asked(state, observed(state)).accepted) == SAMPLE
    assert set(asked(state, observed(state), is_unproven=True).accepted) == set(MANY)


def test_where_an_earlier_change_was_never_proven_a_domain_removed_now_is_asked_for_too() -> None:
    found = asked(desired(), observed(desired(relay_domains=ADDED)), is_unproven=True)
    assert found.refused == ("added.example", FOREIGN)
    assert set(found.accepted) == set(GUIDE)


def test_a_journal_makes_a_change_unproven() -> None:
    state = desired(relay_domains=MANY)
    journal = {"generation": "3", "applied": "yes", "verdict": "inconclusive"}
    plan = planned(state, observed(state, journal=journal))
    assert isinstance(plan, Plan)
    assert set(plan.probes.accepted) == set(MANY)
    assert plan.probes.hops == ("[10.1.0.2]",)


@pytest.mark.parametrize(
    ("main_cf", "expected"),
    [
        ({}, False),
        ({"smtpd_tls_security_level": "may"}, True),
        ({"smtpd_tls_security_level": "encrypt"}, True),
        ({"smtpd_tls_security_level": "none"}, False),
        ({"smtpd_tls_security_level": "none", "smtpd_use_tls": True}, False),
        ({"smtpd_use_tls": True}, True),
        ({"smtpd_use_tls": False}, False),
    ],
)
def test_starttls_is_asked_for_where_main_cf_says_that_it_is_offered(
    main_cf: dict[str, object], expected: bool
) -> None:
    plan = planned(desired(main_cf=main_cf), observed(desired()))
    assert isinstance(plan, Plan)
    assert plan.probes.starttls is expected


def test_the_networks_of_the_change_count_and_not_those_before() -> None:
    found = asked(desired(mynetworks=["127.0.0.0/8", "198.18.0.0/15"]), observed(desired()))
    assert set(found.networks) == {"127.0.0.0/8", "198.18.0.0/15"}


def test_only_next_hops_of_changed_domains_are_asked_each_once() -> None:
    wanted = {**GUIDE, "a.example": "smtp:[10.1.0.3]:2525", "b.example": "smtp:[10.1.0.3]:2525"}
    assert asked(desired(relay_domains=wanted), observed(desired())).hops == ("[10.1.0.3]:2525",)


def test_next_hops_are_what_a_mail_client_connects_to() -> None:
    values = [
        "smtp:[10.1.0.2]",
        "relay:[10.1.0.2]",
        ":[10.1.0.4]",
        "smtp:mail.example.com:587",
        "lmtp:unix:/run/lmtp",
        "lmtp:[10.1.0.5]:24",
        "smtp:",
        "discard:",
        "error:5.1.1 no",
        "pipe:dovecot",
    ]
    assert next_hops(values) == (
        "[10.1.0.2]",
        "[10.1.0.4]",
        "mail.example.com:587",
        "lmtp:unix:/run/lmtp",
        "lmtp:[10.1.0.5]:24",
    )


def test_of_a_host_as_it_is_so_many_domains_are_asked_for_or_all() -> None:
    state = desired(relay_domains=MANY)
    found = change(state, observed(state))
    assert len(all_probes(found, {}, 7).accepted) == 7
    assert set(all_probes(found, {}, None).accepted) == set(MANY)
    assert set(all_probes(found, {}, 500).accepted) == set(MANY)
    assert all_probes(found, {}, 7).refused == (FOREIGN,)
    assert all_probes(found, {}, 7).hops == ("[10.1.0.2]",)


@pytest.mark.parametrize("kind", ["greeting", "starttls", "sender", "accepted", "refused"])
def test_no_answer_at_all_is_never_a_pass(kind: Kind) -> None:
    assert judged(Reply(kind, 0, "no answer within 20 s", "example.com")).verdict == "fail"
