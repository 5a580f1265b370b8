"""What is rendered, for the Postfix a host has."""

from pathlib import Path

import pytest

from mailproxy.render import FILES, rendered
from tests.states import desired, postfix

GOLDEN = Path(__file__).parent / "golden"


def test_the_guides_proxy_is_rendered_as_the_golden_files() -> None:
    contents = rendered(desired(mynetworks=["127.0.0.0/8", "10.1.0.2/32"]), postfix())
    for name in FILES:
        assert contents[name].text == (GOLDEN / "guide" / name).read_text(), name


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
