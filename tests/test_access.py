"""The key access: what it sets, what cannot be, what may not be meant, and what a review and a rollout make of it."""

import itertools
from typing import Any

import pytest

from mailproxy.access import LISTS, is_kept_out
from mailproxy.changes import difference
from mailproxy.check import checked, validated
from mailproxy.inputs import expectation
from mailproxy.model import Entries
from mailproxy.plan import Plan, planned
from mailproxy.probe import FOREIGN, probes
from mailproxy.render import rendered
from mailproxy.syntax import main_cf_parameters
from tests.states import GUIDE, desired, observed, postfix
from tests.test_render import GOLDEN, POSTFIXES

ALL: dict[str, dict[str, str]] = {
    "clients": {
        "192.0.2.0/24": "reject no mail from there",
        "192.0.2.7": "allow",
        "2001:DB8::/32": "defer",
        "[2001:db8:1::]/48": "reject 5.7.1 see https://example.com/postmaster",
    },
    "helo": {"ylmf-pc": "reject", "[192.0.2.9]": "reject", "Bulk.Example": "defer come back later"},
    "senders": {"Spammer@Example.ORG": "reject", "bücher.example": "reject", "bulk@": "defer", "<>": "allow"},
    "recipients": {"old@example.com": "reject moved to new@example.com", "example.net": "defer 4.2.1  back at noon"},
}
NAMES = ("clientaccess", "heloaccess", "senderaccess", "recipientaccess")


@pytest.mark.parametrize("tree", ["2.7", "3.5", "3.10"])
def test_access_is_rendered_as_the_golden_tree_of_each_postfix(tree: str) -> None:
    contents = rendered(desired(access=ALL), POSTFIXES[tree])
    for name in ("main.cf", *NAMES):
        assert contents[name].text == (GOLDEN / "access" / tree / name).read_text(), name


def test_what_is_not_asked_for_leaves_no_trace() -> None:
    plain, empty = desired(), desired(access={"senders": {}})
    assert empty.digest == plain.digest != desired(access=ALL).digest
    assert rendered(empty, postfix()) == rendered(plain, postfix())
    assert expectation(empty) == expectation(plain)


@pytest.mark.parametrize("names", [each for n in range(1, 4) for each in itertools.combinations(range(4), n)])
def test_only_what_is_declared_is_asked(names: tuple[int, ...]) -> None:
    declared = {LISTS[index][0]: ALL[LISTS[index][0]] for index in names}
    contents = rendered(desired(access=declared), postfix())
    checks = main_cf_parameters(contents["main.cf"].text)["smtpd_client_restrictions"].split(", ")
    assert checks[0] == "permit_mynetworks"
    assert [check.split()[0] for check in checks[1:]] == [LISTS[index][2] for index in names]
    assert [name for name in NAMES if name in contents] == [LISTS[index][1] for index in names]


def problems(**keys: Any) -> list[str]:
    declared = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com", **keys}
    return [str(problem) for problem in validated(declared)[1]]


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        ({"client": {}}, "access['client'] = {}: no such key"),
        ("strict", "access = 'strict': expected a dict"),
        ({"clients": ["10.0.0.1"]}, "access['clients'] = ['10.0.0.1']: expected a valid dictionary"),
        ({"clients": {"192.0.2.1/24": "allow"}}, "so Postfix would skip it; did you mean 192.0.2.0/24?"),
        ({"clients": {"mail.example": "allow"}}, "['mail.example'] = 'mail.example': expected a network"),
        ({"clients": {"!192.0.2.1": "allow"}}, "expected a network"),
        ({"clients": {"192.0.2.1": "allow", "192.0.2.1/32": "reject"}}, "names 192.0.2.1/32 twice, as '192.0.2.1' and"),
        ({"clients": {"::1": "allow", "[0::1]": "reject"}}, "names ::1/128 twice"),
        ({"senders": {"bücher.example": "allow", "XN--Bcher-kva.example.": "reject"}}, "names xn--bcher"),
        ({"senders": {"a@example.org": "OK"}}, "access['senders']['a@example.org'] = 'OK': expected \"allow\""),
        ({"senders": {"a@example.org": "permit_mynetworks"}}, 'expected "allow"'),
        ({"senders": {"a@example.org": "allow so"}}, "expected no text behind allow"),
        ({"senders": {"a@example.org": "rejected"}}, 'expected "allow"'),
        ({"senders": {"a@example.org": True}}, "expected a valid string"),
        ({"senders": {"a@example.org": "reject café"}}, "expected a text in ASCII"),
        ({"senders": {"a@example.org": "reject no\nb@example.org OK"}}, "holds the control character '\\n'"),
        ({"senders": {"a@example.org": f"reject {'x' * 201}"}}, "expected a text of 200 characters at most"),
        ({"senders": {"a@example.org": "reject 550 no"}}, "expected no code before the text"),
        ({"senders": {"a@example.org": "reject 4.7.1 no"}}, "expected a status 5.x.x for reject, found 4.7.1"),
        ({"senders": {"a@example.org": "defer 5.7.1 no"}}, "expected a status 4.x.x for defer, found 5.7.1"),
        ({"senders": {"@example.org": "reject"}}, "expected the domain without @"),
        ({"senders": {".example.org": "reject"}}, "expected the domain without a dot: its subdomains"),
        ({"senders": {"#a@example.org": "reject"}}, "expected user@example.com, user@ or example.com"),
        ({"senders": {"a b@example.org": "reject"}}, "expected user@example.com, user@ or example.com"),
        ({"senders": {"a@exa mple.org": "reject"}}, "expected a domain name"),
        ({"senders": {"<>": "reject"}}, "access['senders']['<>'] = 'REJECT': keeps out every bounce"),
        ({"recipients": {"<>": "allow"}}, "expected a domain name"),
        ({"helo": {"[192.0.2.300]": "reject"}}, "expected a network"),
        ({"helo": {"[2001:db8::1]": "reject"}}, "expected IPv6:, and only before such an address"),
        ({"helo": {"a@b.example": "reject"}}, "expected a domain name"),
    ],
)
def test_what_cannot_be_is_refused_with_what_was_expected(access: Any, expected: str) -> None:
    (problem,) = problems(access=access)
    assert expected in problem


@pytest.mark.parametrize(
    ("main_cf", "expected"),
    [
        (
            {"smtpd_client_restrictions": "reject_unknown_client_hostname"},
            "main_cf['smtpd_client_restrictions'] = 'reject_unknown_client_hostname': is what access sets;",
        ),
        ({"smtpd_delay_reject": False}, "main_cf['smtpd_delay_reject'] = 'no': lets smtpd ask before it knows"),
        (
            {"smtpd_relay_restrictions": "$smtpd_client_restrictions, permit_mynetworks, reject_unauth_destination"},
            "refers to what access sets, whose OK is for smtpd_client_restrictions alone",
        ),
        (
            {"smtpd_relay_restrictions": "$mine, reject_unauth_destination", "mine": "${smtpd_client_restrictions}"},
            "main_cf['mine'] = '${smtpd_client_restrictions}': refers to what access sets",
        ),
    ],
)
def test_a_main_cf_that_would_have_an_allow_mean_more_is_refused(main_cf: dict[str, Any], expected: str) -> None:
    (problem,) = problems(access={"senders": {"a@example.org": "allow"}}, main_cf=main_cf)
    assert expected in problem


@pytest.mark.parametrize(
    ("access", "expected"),
    [
        ({key: value for key, value in ALL.items() if key != "recipients"}, []),
        ({"clients": {"0.0.0.0/0": "allow"}}, ["is every client: nobody is asked for HELO, sender and recipient"]),
        ({"clients": {"::/0": "reject"}}, ["access['clients']['::/0'] = 'REJECT': is every client: mail"]),
        ({"clients": {"0.0.0.0/0": "reject", "192.0.2.7": "allow"}}, []),
        ({"clients": {"127.0.0.1": "reject"}}, ["is in mynetworks, which access does not ask for"]),
        ({"recipients": {"a@other.example": "reject"}}, ["is in no relay domain: mail for it is refused in any case"]),
        ({"recipients": {"a@sub.example.com": "reject"}}, ["is in no relay domain"]),
        ({"recipients": {"com": "reject", "a@example.com": "allow", "a@": "reject"}}, []),
        ({"recipients": {"example.com": "reject", "a@mx1.example.com": "reject"}}, []),
        ({"recipients": {"postmaster@example.com": "reject"}}, ["keeps out mail for postmaster, whom every"]),
        ({"recipients": {"abuse@": "defer"}}, ["keeps out mail for abuse"]),
    ],
)
def test_what_may_not_be_meant_is_a_warning(access: dict[str, Any], expected: list[str]) -> None:
    keys = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com"}
    found = checked({**keys, "access": access})
    texts = [str(warning) for warning in found.warnings if "access" in warning.key]
    assert (found.problems, len(texts)) == ((), len(expected))
    assert all(part in text for part, text in zip(expected, texts, strict=True))


def test_a_review_says_who_is_kept_out_in_the_words_of_the_key() -> None:
    before = desired(access={"clients": {"192.0.2.0/24": "reject"}, "senders": {"a@example.org": "reject"}})
    after = desired(access={"clients": {"198.51.100.0/24": "reject no"}, "senders": {"a@example.org": "reject no"}})
    plan = planned(after, observed(before))
    assert isinstance(plan, Plan)
    assert [str(change) for changes in plan.changes for change in changes] == [
        "- client access 192.0.2.0/24: REJECT",
        "+ client access 198.51.100.0/24: REJECT no",
        "~ sender access a@example.org: REJECT -> REJECT no",
    ]
    assert plan.service.action == "reload"


def test_a_domain_that_is_kept_out_is_not_asked_for_as_one_that_has_to_be_taken() -> None:
    access = {"recipients": {"example.com": "reject", "postmaster@": "defer", "postmaster@example.org": "allow"}}
    contents = rendered(desired(access=access), postfix())
    found = difference(contents, observed(desired(relay_domains={})))
    asked = probes(found, main_cf_parameters(contents["main.cf"].text), is_unproven=True)
    assert (asked.accepted, asked.refused) == (("example.org",), (FOREIGN,))


def test_of_listed_recipients_one_is_asked_for_that_is_not_kept_out() -> None:
    listed = {"example.com": ["alice", "bob"], "example.net": "any", "example.org": "any"}
    contents = rendered(desired(relay_recipients=listed, access={"recipients": {"alice@": "reject"}}), postfix())
    asked = probes(difference(contents, observed(desired())), {}, is_unproven=True)
    assert dict(asked.known) == {"example.com": "bob"}


@pytest.mark.parametrize(
    ("entries", "address", "expected"),
    [
        ({}, "a@example.com", False),
        ({"example.com": "REJECT"}, "a@sub.Example.com", True),
        ({"example.com": "REJECT", "a@example.com": "OK"}, "a@example.com", False),
        ({"example.com": "OK", "a@": "REJECT"}, "a@example.com", False),
        ({"a@": "DEFER later"}, "a@example.com", True),
    ],
)
def test_recipients_are_looked_up_in_the_order_of_access_5(
    entries: dict[str, str], address: str, expected: bool
) -> None:
    assert is_kept_out(address, Entries(entries)) == expected
