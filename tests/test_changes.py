"""What a plan changes in the language of domains, and whose doing that is."""

import dataclasses

import pytest

from mailproxy.changes import Change, difference
from mailproxy.model import DesiredState
from mailproxy.observed import Foreign, ObservedState
from mailproxy.render import rendered
from tests.states import GUIDE, desired, edited, empty_host, hand_made, observed


def changes(state: DesiredState, host: ObservedState) -> list[Change]:
    return [change for part in difference(rendered(state, host.postfix), host).changes for change in part]


def said(state: DesiredState, host: ObservedState) -> list[str]:
    return [str(change) for change in changes(state, host)]


def test_every_subject_is_said_in_its_own_words() -> None:
    before = desired(
        relay_domains={**GUIDE, "old.example": "smtp:[10.1.0.2]"}, aliases={"postmaster": "root", "a": "b"}
    )
    after = desired(
        relay_domains={**GUIDE, "new.example": "smtp:[10.1.0.2]", "example.net": "smtp:[10.1.0.3]"},
        mynetworks=["10.1.0.2/32"],
        aliases={"postmaster": "ops@example.com"},
        message_size_limit=10240000,
        main_cf={"smtpd_banner": "hello"},
    )
    assert said(after, observed(before)) == [
        "~ example.net: smtp:[10.1.0.2] -> smtp:[10.1.0.3]",
        "+ new.example -> smtp:[10.1.0.2]",
        "- old.example",
        "+ network 10.1.0.2",
        "- network 127.0.0.0/8",
        "- alias a: b",
        "~ alias postmaster: root -> ops@example.com",
        "~ message_size_limit: 20480000 -> 10240000",
        "+ smtpd_banner = hello",
    ]


def test_a_host_as_declared_has_no_changes() -> None:
    assert not changes(desired(), observed(desired()))


def test_relaying_subdomains_is_one_change_whatever_the_number_of_domains() -> None:
    assert said(desired(relay_subdomains=True), observed(desired())) == [
        "~ relay_subdomains: refused -> routed as their parent"
    ]


def test_of_subdomains_only_the_domain_that_differs_is_named() -> None:
    state = desired(relay_subdomains=True)
    routes = rendered(state, observed(state).postfix)["transport"].text.replace(".example.com smtp:[10.1.0.2]\n", "")
    assert said(state, edited(state, transport=routes)) == [
        "~ relay_subdomains: routed as their parent, but for example.com -> routed as their parent"
        " (by hand, from routed as their parent)"
    ]


def test_relaying_subdomains_is_declared_also_where_something_else_was_edited() -> None:
    main_cf = observed(desired()).texts["main.cf"].replace("20480000", "1")
    found = changes(desired(relay_subdomains=True), edited(desired(), main_cf=main_cf))
    assert [(change.key, change.cause) for change in found] == [
        ("message_size_limit", "by hand"),
        ("relay_subdomains", "declared"),
    ]


def test_a_source_edited_but_not_indexed_changes_nothing_that_is_live() -> None:
    host = edited(desired(), transport="example.com smtp:[10.9.9.9]\n")
    untouched = dataclasses.replace(host, live={**host.live, "transport.db": observed(desired()).live["transport.db"]})
    assert said(desired(), host) != []
    assert said(desired(), untouched) == []


def test_without_a_manifest_nobody_is_blamed() -> None:
    host = dataclasses.replace(edited(desired(), mynetworks="10.0.0.0/8\n"), manifest=None)
    assert {change.cause for change in changes(desired(), host)} == {"declared"}
    assert all("what was loaded is not known" in line for line in said(desired(), host))


def test_a_change_on_a_host_never_managed_is_taking_over() -> None:
    assert {change.cause for change in changes(desired(), empty_host())} == {"adopting"}


def test_a_parameter_that_comes_or_goes_with_its_default_is_no_change() -> None:
    host = hand_made("biff = yes\nappend_dot_mydomain = no\n", {"biff": "yes", "append_dot_mydomain": "yes"})
    found = said(desired(), host)
    assert "- append_dot_mydomain = no" in found
    assert not any("biff" in line for line in found)


ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
GUIDE_LIST = "".join(f"{domain}\n" for domain in GUIDE)


@pytest.mark.parametrize(
    ("declared", "edits", "expected"),
    [
        (
            {"relay_domains": ADDED},
            {"relaydomains": f"{GUIDE_LIST}hand.example\n"},
            [
                ("declared", "+ added.example -> smtp:[10.1.0.2]"),
                ("by hand", "- hand.example (added by hand)"),
            ],
        ),
        (
            {},
            {"relaydomains": "example.com\nexample.net\n"},
            [
                (
                    "by hand",
                    "~ example.org: not accepted, routed to smtp:[10.1.0.2] -> smtp:[10.1.0.2]"
                    " (by hand, from smtp:[10.1.0.2])",
                )
            ],
        ),
        ({}, {"mynetworks": ""}, [("by hand", "+ network 127.0.0.0/8 (removed by hand)")]),
        (
            {"aliases": {"postmaster": "ops"}},
            {"aliases": "postmaster: me\n"},
            [("by hand", "~ alias postmaster: me -> ops (by hand, from root; declared otherwise too)")],
        ),
        ({"aliases": {"postmaster": "me"}}, {"aliases": "postmaster: me\n"}, []),
        ({}, {"relaydomains": f"# note\n{GUIDE_LIST}"}, []),
    ],
)
def test_somebodys_hand_is_told_from_what_is_declared(
    declared: dict[str, object], edits: dict[str, str], expected: list[tuple[str, str]]
) -> None:
    found = changes(desired(**declared), edited(desired(), **edits))
    assert [(change.cause, str(change)) for change in found] == expected


def test_a_file_removed_by_hand_is_put_back() -> None:
    host = observed(desired())
    live = {name: file for name, file in host.live.items() if name != "mynetworks"}
    texts = {name: text for name, text in host.texts.items() if name != "mynetworks"}
    gone = dataclasses.replace(host, live=live, texts=texts, loaded_texts={"mynetworks": host.texts["mynetworks"]})
    assert said(desired(), gone) == ["+ network 127.0.0.0/8 (removed by hand)"]


def test_without_what_was_loaded_nobody_is_blamed_for_certain() -> None:
    host = dataclasses.replace(edited(desired(), relaydomains=f"{GUIDE_LIST}x.example\n"), loaded_texts={})
    assert said(desired(), host) == ["- x.example (by hand, or declared: what was loaded is not known)"]


def test_what_an_interrupted_change_left_is_nobodys_hand() -> None:
    host = dataclasses.replace(
        edited(desired(), relaydomains=f"{GUIDE_LIST}half.example\n"), journal={"generation": "3"}
    )
    assert said(desired(), host) == ["- half.example"]


def test_a_copy_that_is_not_what_was_loaded_is_not_believed() -> None:
    host = dataclasses.replace(
        edited(desired(), relaydomains=f"{GUIDE_LIST}x.example\n"), loaded_texts={"relaydomains": "forged.example\n"}
    )
    assert said(desired(), host) == ["- x.example (by hand, or declared: what was loaded is not known)"]


def test_hosts_with_the_same_change_share_it() -> None:
    after = desired(relay_domains=ADDED)
    first, second = (
        difference(rendered(after, host.postfix), host) for host in (observed(desired()), observed(desired()))
    )
    assert first.changes[0] is second.changes[0]


def test_a_parameter_that_nothing_reads_is_no_change_when_it_goes() -> None:
    host = hand_made("message_size-limit = 1\n")
    assert host.foreign is not None
    unused = dataclasses.replace(host.foreign, unused=frozenset({"message_size-limit"}))
    before, after = said(desired(), host), said(desired(), dataclasses.replace(host, foreign=unused))
    assert set(before) - set(after) == {"- message_size-limit = 1"}


def test_a_name_that_was_left_to_postfix_is_no_change_when_it_is_declared() -> None:
    host = empty_host(
        texts={"main.cf": "smtpd_banner = mx1.example.com\n"},
        foreign=Foreign({"myhostname": "MX1.example.com", "mydomain": "example.com"}, {}),
    )
    text = " ".join(said(desired(main_cf={"smtpd_banner": "$myhostname"}), host))
    assert "myhostname" not in text
    assert "mydomain" not in text
