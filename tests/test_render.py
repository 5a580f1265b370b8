"""What is rendered, for the Postfix a host has."""

from pathlib import Path

import pytest

from mailproxy.managed import BASIC_FILES
from mailproxy.render import INDEXED_FROM, rendered
from tests.states import desired, postfix

GOLDEN = Path(__file__).parent / "golden"
KNOWS_YES = {"smtpd_forbid_bare_newline": "no"}
BACKPORT = {**KNOWS_YES, "smtpd_forbid_bare_newline_reject_code": "550"}
# The golden trees, each with the Postfix it is for. Debian's 3.5 and 3.7 have the backport, and 3.9 the better default.
POSTFIXES = {
    "2.7": postfix((2, 7)),
    "2.10": postfix((2, 10)),
    "3.5": postfix((3, 5)),
    "3.5-backport": postfix((3, 5), BACKPORT),
    "3.7": postfix((3, 7), BACKPORT),
    "3.10": postfix((3, 10), {**BACKPORT, "smtpd_forbid_bare_newline": "normalize"}),
}


@pytest.mark.parametrize("tree", POSTFIXES)
def test_the_guides_proxy_is_rendered_as_the_golden_tree_of_each_postfix(tree: str) -> None:
    state = desired(mynetworks=["127.0.0.0/8", "10.1.0.2/32"], main_cf={"maillog_file": "/var/log/mail.log"})
    contents = rendered(state, POSTFIXES[tree])
    for name in BASIC_FILES:
        assert contents[name].text == (GOLDEN / "postfix" / tree / name).read_text(), name


@pytest.mark.parametrize(
    ("version", "level", "rule"),
    [
        ((2, 7), None, "smtpd_recipient_restrictions"),
        ((2, 9), None, "smtpd_recipient_restrictions"),
        ((2, 10), None, "smtpd_relay_restrictions"),
        ((3, 0), "2", "smtpd_relay_restrictions"),
        ((3, 5), "2", "smtpd_relay_restrictions"),
        ((3, 6), "3.6", "smtpd_relay_restrictions"),
        ((3, 10), "3.6", "smtpd_relay_restrictions"),
    ],
)
def test_the_relay_rule_and_the_level_follow_the_version(
    version: tuple[int, int], level: str | None, rule: str
) -> None:
    lines = rendered(desired(), postfix(version))["main.cf"].text.splitlines()
    assert f"{rule} = permit_mynetworks, reject_unauth_destination" in lines
    assert [line for line in lines if line.startswith("compatibility_level")] == (
        [f"compatibility_level = {level}"] if level else []
    )


def test_a_relay_rule_of_main_cf_takes_the_place_of_ours() -> None:
    state = desired(main_cf={"smtpd_relay_restrictions": ["permit_mynetworks", "reject"]})
    lines = rendered(state, postfix())["main.cf"].text.splitlines()
    assert [line for line in lines if line.startswith("smtpd_")] == [
        "smtpd_relay_restrictions = permit_mynetworks, reject"
    ]


OWN_RULE = "permit_mynetworks, reject_unauth_destination"
SUBMITTERS = "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"


@pytest.mark.parametrize(
    ("main_cf", "expected"),
    [
        ({}, OWN_RULE),
        ({"smtpd_relay_restrictions": SUBMITTERS}, SUBMITTERS),
        ({"smtpd_recipient_restrictions": "reject_unknown_sender_domain"}, f"{OWN_RULE}, reject_unknown_sender_domain"),
        ({"smtpd_recipient_restrictions": f"{SUBMITTERS}, reject_rbl_client x"}, f"{SUBMITTERS}, reject_rbl_client x"),
        (
            {"smtpd_relay_restrictions": SUBMITTERS, "smtpd_recipient_restrictions": "reject_rbl_client rbl.example"},
            f"{SUBMITTERS}, reject_rbl_client rbl.example",
        ),
        ({"smtpd_relay_restrictions": "$rule", "rule": SUBMITTERS}, SUBMITTERS),
        ({"smtpd_relay_restrictions": "$nothing"}, f"{OWN_RULE}, $nothing"),
        ({"smtpd_relay_restrictions": ""}, OWN_RULE),
        (
            {"smtpd_relay_restrictions": "$smtpd_recipient_restrictions", "smtpd_recipient_restrictions": SUBMITTERS},
            SUBMITTERS,
        ),
        (
            {"smtpd_recipient_restrictions": "${smtpd_relay_restrictions}, reject_rbl_client x"},
            f"{OWN_RULE}, reject_rbl_client x",
        ),
        (
            {"smtpd_recipient_restrictions": "permit_mynetworks, permit, reject"},
            f"{OWN_RULE}, permit_mynetworks, permit, reject",
        ),
        (
            {"smtpd_recipient_restrictions": "warn_if_reject reject_unauth_destination"},
            f"{OWN_RULE}, warn_if_reject reject_unauth_destination",
        ),
    ],
)
def test_a_postfix_before_2_10_never_relays_for_strangers(main_cf: dict[str, str], expected: str) -> None:
    text = rendered(desired(main_cf=main_cf), postfix((2, 7)))["main.cf"].text
    assert parameter(text, "smtpd_recipient_restrictions") == expected
    assert "smtpd_relay_restrictions =" not in text


def test_later_versions_have_both_lists_as_they_are_declared() -> None:
    main_cf = {"smtpd_relay_restrictions": SUBMITTERS, "smtpd_recipient_restrictions": "reject_rbl_client rbl.example"}
    text = rendered(desired(main_cf=main_cf), postfix((2, 10)))["main.cf"].text
    assert {name: parameter(text, name) for name in main_cf} == main_cf


@pytest.mark.parametrize(
    ("defaults", "declared", "expected"),
    [
        ({}, {}, None),
        (KNOWS_YES, {}, "yes"),
        (BACKPORT, {}, "normalize"),
        ({**BACKPORT, "smtpd_forbid_bare_newline": "normalize"}, {}, None),
        (BACKPORT, {"smtpd_forbid_bare_newline": "reject"}, "reject"),
        ({}, {"smtpd_forbid_bare_newline": "reject"}, None),
    ],
)
def test_bare_newlines_are_forbidden_where_the_host_can_and_does_not_by_itself(
    defaults: dict[str, str], declared: dict[str, str], expected: str | None
) -> None:
    text = rendered(desired(main_cf=declared), postfix((3, 7), defaults))["main.cf"].text
    lines = [line for line in text.splitlines() if line.startswith("smtpd_forbid_bare_newline")]
    assert lines == ([f"smtpd_forbid_bare_newline = {expected}"] if expected else [])


def test_from_so_many_domains_on_they_are_a_table_and_their_number_alone_decides() -> None:
    domains = {f"d{number}.example": "smtp:[10.1.0.2]" for number in range(INDEXED_FROM)}
    indexed = rendered(desired(relay_domains=domains, database_type="lmdb"), postfix())
    assert parameter(indexed["main.cf"].text, "relay_domains") == "lmdb:/etc/postfix/relaydomains"
    assert "\nd7.example OK\n" in indexed["relaydomains"].text
    fewer = {domain: hop for domain, hop in domains.items() if domain != "d7.example"}
    plain = rendered(desired(relay_domains=fewer), postfix())
    assert parameter(plain["main.cf"].text, "relay_domains") == "/etc/postfix/relaydomains"
    assert " OK" not in plain["relaydomains"].text


def test_subdomains_are_accepted_exactly_where_they_are_routed() -> None:
    without = rendered(desired(), postfix())
    assert "relay_domains" not in parameter(without["main.cf"].text, "parent_domain_matches_subdomains")
    assert "\n.example.com" not in without["transport"].text
    below = rendered(desired(relay_subdomains=True), postfix())
    assert "relay_domains" in parameter(below["main.cf"].text, "parent_domain_matches_subdomains")
    assert "\n.example.com smtp:[10.1.0.2]\n" in below["transport"].text


def test_the_hosts_own_names_are_delivered_here_also_below_a_relay_domain() -> None:
    lines = rendered(desired(relay_subdomains=True), postfix())["transport"].text.splitlines()
    assert {"mx1.example.com local:", "localhost.example.com local:"} <= set(lines)
    elsewhere = rendered(desired(relay_subdomains=True, relay_domains={"other.example": "smtp:[10.1.0.2]"}), postfix())
    assert "local:" not in elsewhere["transport"].text


def test_the_hosts_own_installation_is_kept_unless_declared() -> None:
    kept = postfix(queue_directory="/var/spool/elsewhere", mail_owner="_postfix")
    assert parameter(rendered(desired(), kept)["main.cf"].text, "queue_directory") == "/var/spool/elsewhere"
    declared = rendered(desired(main_cf={"queue_directory": "/srv/queue"}), kept)["main.cf"].text
    assert parameter(declared, "queue_directory") == "/srv/queue"
    assert declared.count("queue_directory") == 1


def test_literals_are_spelled_as_postfix_reads_them() -> None:
    text = rendered(
        desired(main_cf={"biff": False, "smtpd_helo_required": True, "maximal_queue_lifetime": 3}), postfix()
    )
    lines = text["main.cf"].text.splitlines()
    assert {"biff = no", "smtpd_helo_required = yes", "maximal_queue_lifetime = 3"} <= set(lines)


def test_exclusions_come_before_what_they_exclude() -> None:
    text = rendered(desired(mynetworks=["10.0.0.0/8", "!10.1.0.9"]), postfix())["mynetworks"].text
    assert text.splitlines()[1:] == ["!10.1.0.9", "10.0.0.0/8"]


def parameter(text: str, name: str) -> str:
    (value,) = (line.partition(" = ")[2] for line in text.splitlines() if line.startswith(f"{name} = "))
    return value
