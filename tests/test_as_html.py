"""The page of a review: everything in it once, nothing loaded, every text of a host only text."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from mailproxy.as_html import as_html, ranges, short_names, verdict
from mailproxy.changes import Change
from mailproxy.plan import FileChange
from mailproxy.render import Content
from mailproxy.review import Block, FileBlock, Finding, Review, ReviewedHost, Status
from mailproxy.rollout import Wave

HOP = "smtp:[10.1.0.2]"
# Attributes that make a browser load or go to something.
LOADING = ("href", "src", "srcset", "action", "formaction", "data", "poster", "background", "ping", "xlink:href")


def fleet(count: int, **statuses: Status) -> tuple[ReviewedHost, ...]:
    """Return hosts mx1, mx2 ... that change, but for those named; the first two are the first wave."""
    return tuple(
        ReviewedHost(f"mx{number}.example.com", statuses.get(f"mx{number}", "change"), 1 if number < 3 else 2)
        for number in range(1, count + 1)
    )


def names(hosts: Sequence[ReviewedHost]) -> tuple[str, ...]:
    return tuple(host.name for host in hosts)


def reviewed(
    hosts: tuple[ReviewedHost, ...],
    blocks: tuple[Block, ...] = (),
    findings: tuple[Finding, ...] = (),
    files: tuple[FileBlock, ...] = (),
) -> Review:
    waves = (Wave(1, "canary", names(hosts)[:2]), Wave(2, "the rest", names(hosts)[2:]))
    return Review(hosts, findings, blocks, files, waves, {"frankfurt": names(hosts)[2:5]}, "d1ge57" * 10)


def added(count: int) -> tuple[Change, ...]:
    return tuple(Change("domain", f"customer-{number}.example", None, HOP) for number in range(1, count + 1))


def a_fleet_with_everything() -> Review:
    """Return a review that has one of each: statuses, causes, signs, kinds of findings, files of both sorts."""
    hosts = (
        *fleet(8, mx2="by hand", mx6="same", mx7="adopting"),
        ReviewedHost("mx9.example.com", "failed", 2, "it could not be connected to: timed out"),
    )
    managed = tuple(host.name for host in hosts if host.status in ("change", "by hand"))
    declared = (
        *added(3),
        Change("domain", "gone.example", HOP, None),
        Change("domain", "moved.example", HOP, "smtp:[10.1.0.9]:2525"),
        Change("network", "192.0.2.0/24", None, ""),
        Change("alias", "postmaster", "root", "root, mail@example.com"),
        Change("parameter", "smtp_sasl_password", "<secret>", "<secret>"),
    )
    by_hand = (
        Change("domain", "odd.example", "smtp:[10.66.6.6]", HOP, "by hand", f"by hand, from {HOP}"),
        Change("parameter", "smtpd_banner", "hello", None, "by hand", "added by hand"),
    )
    relaydomains = FileChange(
        Content("relaydomains", "added.example\nexample.com\n"), Content("relaydomains", "example.com\n"), "declared"
    )
    transport = FileChange(
        Content("transport", "example.com  smtp:[10.1.0.2]\n"),
        Content("transport", "example.com smtp:[10.1.0.2]\n"),
        "edited on the host since the last rollout",
    )
    return reviewed(
        hosts,
        (
            Block("declared", managed, declared),
            Block("by hand", ("mx2.example.com",), by_hand),
            Block("adopting", ("mx7.example.com",), added(30)),
        ),
        (
            Finding("gate", "it could not be connected to: timed out", ("mx9.example.com",), "unreachable"),
            Finding("gate", "mail is queued for gone.example, which is removed", managed, "queued"),
            Finding("gate", "192.0.2.0/24 is trusted from now on", managed, "networks", approved=True),
            Finding("warning", "relay_domains names a table that cannot be read: ldap:/etc/x", ("mx7.example.com",)),
            Finding("repair", "aliases is absent and made anew", ("mx2.example.com",)),
            Finding("effect", "reload Postfix: main.cf, relaydomains change", managed),
        ),
        (FileBlock(relaydomains, managed, True), FileBlock(transport, ("mx2.example.com",), False, True)),
    )


def a_large_fleet() -> Review:
    """Return a review of 200 hosts and 2,000 changes: one large table for all, and what some hosts have besides."""
    hosts = fleet(200, mx7="by hand", mx90="by hand", mx150="failed", mx151="same", mx152="same")
    changing = tuple(host.name for host in hosts if host.status in ("change", "by hand"))
    of_some = tuple(
        Block(
            "declared",
            changing[start : start + 20],
            tuple(Change("domain", f"site-{start}-{number}.example", HOP, "smtp:[10.2.0.2]") for number in range(18)),
        )
        for start in range(0, 180, 20)
    )
    by_hand = tuple(
        Change("domain", f"edited-{number}.example", "smtp:[10.66.6.6]", HOP, "by hand", f"by hand, from {HOP}")
        for number in range(8)
    )
    text = "".join(f"customer-{number}.example {HOP}\n" for number in range(1, 1831))
    tables = tuple(
        FileChange(Content(name, text), Content(name, ""), "declared") for name in ("transport", "relaydomains")
    )
    return reviewed(
        hosts,
        (
            Block("declared", changing, added(1830)),
            *of_some,
            Block("by hand", ("mx7.example.com", "mx90.example.com"), by_hand),
        ),
        (
            Finding("gate", "it could not be connected to: timed out", ("mx150.example.com",), "unreachable"),
            Finding(
                "gate",
                "180 rerouted of 4000 relay domains; without approval up to 30 % or 10 domains",
                changing,
                "removals",
            ),
            Finding("effect", "index transport as hash (4000 entries): transport changes", changing),
            Finding("effect", "reload Postfix: relaydomains changes", changing),
        ),
        tuple(FileBlock(change, changing, True) for change in tables),
    )


class Page(HTMLParser):
    """The elements of a page, each with its text and all text inside, and the ids of what it stands in."""

    def __init__(self, html: str):
        super().__init__()
        self.elements: list[Element] = []
        self._open: list[Element] = []
        self.feed(html)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = tuple(element.attributes["id"] for element in self._open if "id" in element.attributes)
        element = Element(tag, {name: value or "" for name, value in attrs}, inside)
        self.elements.append(element)
        if tag not in ("meta", "input"):
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop().tag == tag

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data

    def inside(self, name: str, tag: str) -> list["Element"]:
        return [element for element in self.elements if element.tag == tag and name in element.inside]

    def of_class(self, name: str) -> list["Element"]:
        return [element for element in self.elements if name in element.attributes.get("class", "").split()]


@dataclass
class Element:
    tag: str
    attributes: dict[str, str]
    inside: tuple[str, ...]
    text: str = ""


def page(review: Review) -> Page:
    return Page(as_html(review))


def with_hostile_text(text: str) -> Review:
    """Return a review in which every text that comes from outside is this one."""
    hosts = (ReviewedHost(text, "failed", 1, text), ReviewedHost(f"{text}2", "change", 2, text))
    change = Change("domain", text, f"{text}3", f"{text}4", "by hand", text)
    file = FileChange(Content(text, f"# {text}\n"), Content(text, f"# {text}5\n"), text)
    return Review(
        hosts,
        (
            *(Finding(kind, text, (hosts[1].name,)) for kind in ("blocked", "warning", "repair", "effect")),
            Finding("gate", text, (hosts[1].name,), "queued"),
        ),
        (Block("by hand", (hosts[1].name,), (change,)),),
        (FileBlock(file, (hosts[1].name,), False),),
        (Wave(1, text, (hosts[0].name,)), Wave(2, text, (hosts[1].name,))),
        {text: [host.name for host in hosts]},
        text,
    )


@pytest.mark.parametrize(
    "text",
    [
        '"><script>alert(1)</script>',
        "'><img src=x onerror=alert(1)>",
        "</script><img src=x onerror=alert(1)>",
        "</style></title></textarea><svg onload=alert(1)>",
        "--><base href=//evil.example>{{ 7 * 7 }}{% raw %}",
        "&lt;b&gt;&amp;quot;",
        "javascript:alert(1)//https://evil.example",
    ],
)
def test_hostile_text_makes_no_element_and_no_attribute(text: str) -> None:
    harmless, hostile = page(with_hostile_text("harmless.example")), page(with_hostile_text(text))
    assert [(e.tag, list(e.attributes)) for e in hostile.elements] == [
        (e.tag, list(e.attributes)) for e in harmless.elements
    ]
    assert [e.text for e in hostile.of_class("key")] == [text]
    assert [e.text for e in hostile.of_class("value")] == [f"{text}3 → {text}4 {text}"]
    assert f"+# {text}\n" in hostile.inside("files", "pre")[0].text
    assert {text, f"{text}2"} == {e.text for e in hostile.inside("every-host", "code")}


def test_characters_that_hide_or_reorder_text_are_spelled_out() -> None:
    hidden = "example\u202ecom\x1b[2J\x00\u200b\xa0.example"
    found = page(with_hostile_text(hidden))
    assert [e.text for e in found.of_class("key")] == ["example\\u202ecom\\x1b[2J\\x00\\u200b\\xa0.example"]


def test_bytes_that_are_no_text_can_be_written_to_a_file() -> None:
    review = reviewed(fleet(2), findings=(Finding("warning", "a comment in latin-1: \udce9", ("mx1.example.com",)),))
    assert b"latin-1: \\udce9" in as_html(review).encode()


def test_nothing_is_loaded_from_anywhere() -> None:
    found = page(with_hostile_text("https://evil.example/x.js"))
    links = [value for e in found.elements for name, value in e.attributes.items() if name in LOADING]
    assert links
    assert all(link.startswith("#") for link in links)
    assert not {e.tag for e in found.elements} & {"link", "img", "iframe", "object", "embed", "base", "form"}
    for element in found.elements:
        if element.tag in ("style", "script"):
            assert not [
                word for word in ("url(", "@import", "http", "fetch", "XMLHttp", "innerHTML") if word in element.text
            ]


def test_only_the_style_sheet_and_the_script_of_the_page_itself_are_allowed() -> None:
    found = page(a_fleet_with_everything())
    policy = next(e.attributes["content"] for e in found.elements if "http-equiv" in e.attributes)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    for tag in ("style", "script"):
        [element] = [e for e in found.elements if e.tag == tag]
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert not [e for e in found.elements for name in e.attributes if name == "style" or name.startswith("on")]


def test_every_host_is_in_the_grid_and_has_a_row_that_the_grid_leads_to() -> None:
    review = a_fleet_with_everything()
    found = page(review)
    cells, rows = found.inside("fleet", "a"), [e for e in found.inside("every-host", "tr") if "id" in e.attributes]
    assert [cell.attributes["aria-label"].split(":")[0] for cell in cells] == [host.name for host in review.hosts]
    assert [cell.attributes["href"] for cell in cells] == [f"#{row.attributes['id']}" for row in rows]
    assert [row.attributes["data-status"] for row in rows] == [host.status for host in review.hosts]
    assert "it could not be connected to: timed out" in rows[-1].text


def test_a_status_is_marked_by_more_than_its_colour() -> None:
    marks = {cell.attributes["class"]: cell.text[0] for cell in page(a_fleet_with_everything()).inside("fleet", "a")}
    assert len(set(marks.values())) == 5


def test_every_change_is_in_its_block_once_and_a_block_knows_its_hosts() -> None:
    review = a_fleet_with_everything()
    found = page(review)
    for number, block in enumerate(review.blocks, 1):
        keys = [e.text for e in found.of_class("key") if f"block-{number}" in e.inside]
        assert keys == [change.key for change in block.changes]
    assert len(found.of_class("key")) == sum(len(block.changes) for block in review.blocks)
    assert [e.attributes["data-hosts"] for e in found.of_class("block")] == ["1-5 8", "2", "7"]


def test_a_change_says_what_was_and_what_comes() -> None:
    lines = [" ".join(e.text.split()) for e in page(a_fleet_with_everything()).inside("block-1", "li")]
    assert "+ domain customer-1.example → smtp:[10.1.0.2]" in lines
    assert "- domain gone.example smtp:[10.1.0.2]" in lines
    assert "~ domain moved.example smtp:[10.1.0.2] → smtp:[10.1.0.9]:2525" in lines
    assert "~ parameter smtp_sasl_password changed, not shown" in lines


def test_a_short_block_is_open_and_a_long_one_closed() -> None:
    found = page(a_fleet_with_everything())
    assert ["open" in e.attributes for e in found.of_class("block")] == [True, True, False]


def test_many_short_blocks_are_not_all_open() -> None:
    hosts = fleet(50)
    found = page(reviewed(hosts, tuple(Block("declared", (host.name,), added(10)) for host in hosts)))
    assert ["open" in e.attributes for e in found.of_class("block")].count(True) == 10


def test_a_file_is_open_where_no_change_explains_it_and_stands_first() -> None:
    files = page(a_fleet_with_everything()).of_class("file")
    assert ["open" in e.attributes for e in files] == [True, False]
    assert "to no effect" in files[0].text
    assert "+added.example" in files[1].text


def test_what_stops_it_stands_first_with_what_to_type() -> None:
    found = page(a_fleet_with_everything())
    assert [e.text for e in found.inside("stops", "h3")] == [
        "needs approval: unreachable",
        "needs approval: queued",
        "approved: networks",
        "warning",
    ]
    assert "--data approve=unreachable,queued,networks" in [e.text for e in found.of_class("copied")]
    sections = [e.attributes["id"] for e in found.elements if e.tag == "section"]
    assert sections == ["stops", "fleet", "changes", "files", "effects", "order", "every-host"]


def test_a_filter_never_hides_what_stops_the_rollout() -> None:
    stopping = [e for e in page(a_fleet_with_everything()).inside("stops", "li") if "data-item" not in e.attributes]
    assert [e.text.splitlines()[0] for e in stopping] == [
        "it could not be connected to: timed out",
        "mail is queued for gone.example, which is removed",
    ]


def test_headings_do_not_skip_a_level() -> None:
    levels = [int(e.tag[1]) for e in page(a_fleet_with_everything()).elements if e.tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(levels))


def test_waves_stand_in_their_order_with_the_hosts_that_change() -> None:
    waves = [" ".join(e.text.split()) for e in page(a_fleet_with_everything()).inside("order", "li")]
    assert waves == [
        "1 canary 2 of 9 hosts: mx1.example.com, mx2.example.com",
        "2 the rest 5 of 9 hosts: group frankfurt, mx7.example.com, mx8.example.com",
    ]


def test_a_fleet_that_is_as_declared_says_so() -> None:
    review = reviewed(tuple(ReviewedHost(f"mx{number}.example.com", "same", 1) for number in range(4)))
    assert verdict(review) == "Every host is as declared: there is nothing to do."
    assert not [e for e in page(review).elements if e.attributes.get("id") in ("stops", "order", "files", "effects")]


def test_a_review_of_no_hosts_is_a_page_too() -> None:
    assert page(reviewed(())).elements


@pytest.mark.parametrize(
    ("findings", "start"),
    [
        ((), "Nothing stops it"),
        ((Finding("gate", "x", ("mx1.example.com",), "queued", approved=True),), "Nothing stops it"),
        ((Finding("gate", "x", ("mx1.example.com",), "queued"),), "Needs approval of 1 gate before"),
        ((Finding("gate", "x", (), "queued"), Finding("blocked", "y", ())), "Cannot go on"),
    ],
)
def test_the_verdict_is_by_what_stops_it(findings: tuple[Finding, ...], start: str) -> None:
    assert verdict(reviewed(fleet(2), findings=findings)).startswith(start)


def test_names_of_many_hosts_can_be_unfolded() -> None:
    hosts = fleet(200)
    every_other = names(hosts)[::2]
    found = page(reviewed(hosts, findings=(Finding("warning", "x", every_other),)))
    [summary] = found.inside("stops", "summary")
    [details] = found.inside("stops", "details")
    assert summary.text == "100 of 200 hosts: mx1.example.com, mx3.example.com, mx5.example.com and 97 more"
    assert all(name in details.text for name in every_other)


def test_labels_are_without_the_domain_that_all_hosts_are_in() -> None:
    assert short_names(["mx1.fra.example.com", "mx1.ams.example.com"]) == ["mx1.fra", "mx1.ams"]
    assert short_names(["mx1.example.com"]) == ["mx1.example.com"]
    assert short_names(["mx1", "mx1.example.com"]) == ["mx1", "mx1.example.com"]
    assert short_names(["a.example", "a.example"]) == ["a", "a"]


def test_a_set_of_hosts_is_written_as_ranges() -> None:
    assert ranges([]) == ""
    assert ranges([7, 1, 2, 3, 9, 10]) == "1-3 7 9-10"
