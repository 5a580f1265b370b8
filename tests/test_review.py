"""The review: each change once, with the hosts it applies to."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from mailproxy.as_html import as_html
from mailproxy.as_json import as_json
from mailproxy.as_markdown import LIMIT, as_markdown
from mailproxy.as_text import WIDTH, hosts_text, lines, text
from mailproxy.changes import Change
from mailproxy.model import DesiredState
from mailproxy.observed import ObservedState, Unread
from mailproxy.render import Content
from mailproxy.review import Block, Review
from tests.states import GUIDE, desired, edited, empty_host, hand_made, observed, reviewed

GOLDEN = Path(__file__).parent / "golden" / "reviews"
ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
Fleet = dict[str, tuple[DesiredState, ObservedState | Unread]]
DEBIAN = (
    "biff = no\nmynetworks = 127.0.0.0/8 [::1]/128\nalias_maps = hash:/etc/aliases\nsmtpd_banner = $myhostname ESMTP\n"
)


def one_added(name: str) -> tuple[DesiredState, ObservedState]:
    return desired(relay_domains=ADDED, myhostname=name), observed(desired(myhostname=name))


def added_on(count: int) -> Fleet:
    """Return hosts to which one domain is added."""
    return {f"mx{number}.example.com": one_added(f"mx{number}.example.com") for number in range(1, count + 1)}


def edited_by_hand(name: str, **texts: str) -> tuple[DesiredState, ObservedState]:
    return desired(relay_domains=ADDED, myhostname=name), edited(desired(myhostname=name), **texts)


def two_of_200_edited() -> Fleet:
    relaydomains = "".join(f"{domain}\n" for domain in (*GUIDE, "hand.example"))
    return {
        **added_on(200),
        "mx7.example.com": edited_by_hand("mx7.example.com", mynetworks="10.0.0.0/8\n"),
        "mx90.example.com": edited_by_hand("mx90.example.com", relaydomains=relaydomains),
    }


def first_runs() -> Fleet:
    fresh = hand_made(DEBIAN, {"biff": "yes"}, {"/etc/aliases": "postmaster: root\n"})
    return {name: (desired(myhostname=name), with_name(fresh, name)) for name in ("mx1.example.com", "mx2.example.com")}


def with_name(host: ObservedState, name: str) -> ObservedState:
    return dataclasses.replace(
        host, texts={**host.texts, "main.cf": host.texts["main.cf"].replace("mx1.example.com", name)}
    )


def past_a_limit() -> Fleet:
    before = {f"d{number}.example": "smtp:[10.1.0.2]" for number in range(40)}
    after = {domain: hop for domain, hop in before.items() if domain not in ("d1.example", "d2.example")}
    after = {domain: "smtp:[10.1.0.3]" if domain < "d2" else hop for domain, hop in after.items()}
    return {
        name: (desired(relay_domains=after, myhostname=name), observed(desired(relay_domains=before, myhostname=name)))
        for name in ("mx1.example.com", "mx2.example.com")
    }


REVIEWS: dict[str, Callable[[], Review]] = {
    "first-run": lambda: reviewed(first_runs()),
    "one-domain-added-on-200-hosts-two-edited": lambda: reviewed(
        two_of_200_edited(), groups={"canary": ["mx1.example.com"]}
    ),
    "removal-past-a-limit": lambda: reviewed(past_a_limit()),
    "unreachable-host": lambda: reviewed({**added_on(2), "mx3.example.com": (desired(), Unread("it timed out"))}),
    "nothing-to-do": lambda: reviewed({"mx1.example.com": (desired(), observed(desired()))}),
}
VIEWS: dict[str, Callable[[Review], str]] = {"txt": text, "md": as_markdown, "html": as_html, "json": as_json}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", REVIEWS)
def test_a_review_reads_as_its_golden_file(name: str, view: str) -> None:
    assert VIEWS[view](REVIEWS[name]()) == (GOLDEN / f"{name}.{view}").read_text()


def test_the_length_of_a_review_does_not_grow_with_the_hosts() -> None:
    assert len(text(reviewed(added_on(200))).splitlines()) == len(text(reviewed(added_on(3))).splitlines())


def test_one_of_10000_domains_added_on_200_hosts_reviews_in_under_40_lines() -> None:
    many = {f"d{number}.example": "smtp:[10.1.0.2]" for number in range(10_000)}
    before, after = desired(relay_domains=many), desired(relay_domains={**many, "added.example": "smtp:[10.1.0.3]"})
    names = [f"mx{number}.example.com" for number in range(200)]
    fleet: Fleet = {
        name: (after.model_copy(update={"myhostname": name}), observed(before.model_copy(update={"myhostname": name})))
        for name in names
    }
    found = text(reviewed(fleet))
    assert len(found.splitlines()) < 40
    assert "+ added.example -> smtp:[10.1.0.3]" in found


def test_no_line_is_wider_than_80_columns_unless_a_word_is() -> None:
    for make in REVIEWS.values():
        for line in lines(make()):
            assert len(line.text) <= WIDTH or " " not in line.text.strip()


def test_a_change_of_many_hosts_own_names_is_one_change() -> None:
    fleet: Fleet = {
        name: (desired(myhostname=name), empty_host(texts={"main.cf": "inet_interfaces = all\n"}))
        for name in ("mx1.example.com", "mx2.example.com")
    }
    assert text(reviewed(fleet)).count("+ myhostname = <the host's name>") == 1
    alone = text(reviewed({"mx2.example.com": fleet["mx2.example.com"]}))
    assert "+ myhostname = mx2.example.com" in alone


def test_a_host_with_the_same_change_and_one_of_its_own_stands_in_both_blocks() -> None:
    blocks = reviewed(two_of_200_edited()).blocks
    assert [(block.cause, len(block.hosts)) for block in blocks] == [("declared", 200), ("by hand", 1), ("by hand", 1)]


def test_an_edit_that_says_nothing_is_shown_by_line() -> None:
    host = edited(desired(), mynetworks="# a note\n127.0.0.0/8\n")
    found = text(reviewed({"mx1.example.com": (desired(), host)}))
    assert "mynetworks: edited on the host since the last rollout, to no effect" in found
    assert "    -# a note" in found


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("with_files", [False, True])
def test_a_secret_is_changed_but_not_shown(view: str, with_files: bool) -> None:
    before = observed(desired(main_cf={"smtp_sasl_password": "old-one", "relay_secret": "was"}))
    after = desired(main_cf={"smtp_sasl_password": "new-one"})
    found = reviewed({"mx1.example.com": (after, before)})
    shown = text(found, with_files) if view == "txt" else VIEWS[view](found)
    assert "changed, not shown" in shown
    for secret in ("old-one", "new-one", "was\n"):
        assert secret not in shown


def test_a_secret_edited_by_hand_is_not_shown_as_what_it_was() -> None:
    declared = desired(main_cf={"smtp_sasl_password": "right-one"})
    main_cf = observed(declared).texts["main.cf"].replace("right-one", "wrong-one")
    found = as_json(reviewed({"mx1.example.com": (declared, edited(declared, main_cf=main_cf))}))
    assert "wrong-one" not in found
    assert "right-one" not in found


def test_only_a_terminal_is_spared_a_long_list() -> None:
    many = {f"d{number}.example": "smtp:[10.1.0.2]" for number in range(100)}
    found = reviewed({"mx1.example.com": (desired(relay_domains={**GUIDE, **many}), observed(desired()))})
    shortened = [line.text for line in lines(found, shortened=True)]
    assert "    ... and 80 more: pipe this, or --data review=FILE.html, to see all" in shortened
    for domain in many:
        assert f"+ {domain} -> smtp:[10.1.0.2]" in text(found)


def test_hosts_are_named_in_the_fewest_words() -> None:
    found = dataclasses.replace(
        reviewed(added_on(20)), groups={"south": [f"mx{number}.example.com" for number in range(1, 11)]}
    )
    names = [host.name for host in found.hosts]
    assert hosts_text(names, found) == "all 20 hosts"
    assert hosts_text(names[:1], found) == "mx1.example.com"
    assert hosts_text(names[1:], found) == "19 of 20 hosts: all but mx1.example.com"
    assert hosts_text([*names[:10], "mx15.example.com"], found) == "11 of 20 hosts: group south, mx15.example.com"
    assert hosts_text(names[12:15], found) == "3 of 20 hosts: mx13.example.com, mx14.example.com, mx15.example.com"


def huge() -> Review:
    many = {f"domain{number}.example": f"smtp:[mail{number}.internal.example]" for number in range(3000)}
    return reviewed({"mx1.example.com": (desired(relay_domains={**GUIDE, **many}), observed(desired()))})


def test_markdown_fits_a_comment_and_says_what_was_cut() -> None:
    found = as_markdown(huge())
    assert len(found) <= LIMIT
    assert "Cut at 60,000 characters" in found
    assert huge().digest in found
    assert found.count("<details>") == found.count("</details>")
    assert found.count("```") % 2 == 0


def test_one_endless_line_does_not_take_the_place_of_all_others() -> None:
    changes = (Change("parameter", "a", None, "x" * 70_000), Change("domain", "b.example", None, "smtp:[10.1.0.2]"))
    found = dataclasses.replace(reviewed(added_on(1)), blocks=(Block("declared", ("mx1.example.com",), changes),))
    shown = as_markdown(found)
    assert "+ b.example -> smtp:[10.1.0.2]" in shown
    assert "... (cut)" in shown
    assert "reload Postfix" in shown


def test_relaying_subdomains_is_explained_in_one_line() -> None:
    fleet: Fleet = {"mx1.example.com": (desired(relay_subdomains=True), observed(desired()))}
    found = text(reviewed(fleet))
    assert "~ relay_subdomains: refused -> routed as their parent" in found
    assert "@@" not in found


def test_a_lost_newline_is_no_secret() -> None:
    texts = observed(desired()).texts
    found = text(reviewed({"mx1.example.com": (desired(), edited(desired(), mynetworks=texts["mynetworks"].rstrip()))}))
    assert "line ends, or the one at the end of the file, differ" in found


def test_a_comment_in_main_cf_is_shown_also_where_a_domain_was_edited_too() -> None:
    texts = observed(desired()).texts
    host = edited(
        desired(), main_cf=f"{texts['main.cf']}# a note\n", relaydomains=f"{texts['relaydomains']}x.example\n"
    )
    found = text(reviewed({"mx1.example.com": (desired(), host)}))
    assert "- x.example (added by hand)" in found
    assert "-# a note" in found


def test_one_host_alone_is_named() -> None:
    assert "[mx1.example.com]" in text(reviewed(added_on(1)))


@pytest.mark.parametrize("hostile", ["```\n# title", "</details><b>", "@everyone `rm`", "a | b"])
def test_markdown_shows_what_is_in_it_as_code(hostile: str) -> None:
    change = Change("parameter", "smtpd_banner", None, hostile.replace("\n", " "))
    found = dataclasses.replace(
        reviewed(added_on(1)), blocks=(Block("declared", ("mx1.example.com",), (change,)),), files=()
    )
    shown = as_markdown(found)
    fence = next(line for line in shown.splitlines() if line.endswith("diff") and line.startswith("```"))
    assert fence.count("`") > change.after.count("`") if change.after else False


def test_contents_are_compared_by_what_they_say() -> None:
    assert hash(Content("a", "x")) == hash(Content("a", "x"))
    assert Content("a", "x") != Content("a", "y")
