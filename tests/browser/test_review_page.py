"""The page of a review in a real browser: what is seen, filtered, opened, and what never happens."""

from collections.abc import Callable

import pytest
from selenium.webdriver import Keys
from selenium.webdriver.support.expected_conditions import alert_is_present

from mailproxy.as_html import as_html
from mailproxy.review import Block, Review, ReviewedHost
from tests.browser.conftest import Browser
from tests.test_as_html import a_fleet_with_everything, a_large_fleet, added, fleet, reviewed, with_hostile_text

Opened = Callable[[Review], Browser]

COUNT = "#filter output"
SHOWN_KEYS = ".changes .key"
# Returns the texts whose contrast to what is behind them is below that of WCAG 2.2, 1.4.3, with their ratios.
UNREADABLE = """
const parsed = (colour) => colour.match(/[\\d.]+/g).map(Number);
const light = ([red, green, blue]) => [red, green, blue].map((part) => part / 255)
  .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4)
  .reduce((sum, part, place) => sum + part * [0.2126, 0.7152, 0.0722][place], 0);
const behind = (element) => {
  for (let one = element; one; one = one.parentElement) {
    const colour = parsed(getComputedStyle(one).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
    if (colour[3] !== 0) throw new Error("half transparent: " + one.outerHTML);
  }
  throw new Error("no background");
};
const found = [];
for (const element of document.querySelectorAll("body *:not(script, option)")) {
  const isText = [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!(isText || element.matches("input, select")) || !element.checkVisibility()) continue;
  const [first, second] = [light(parsed(getComputedStyle(element).color)), light(behind(element))];
  const ratio = (Math.max(first, second) + 0.05) / (Math.min(first, second) + 0.05);
  if (ratio < 4.5) found.push([element.className, element.textContent.slice(0, 40), ratio]);
}
return found;
"""
# Counts what is changed in the document from here on: how much, and in how many passes.
COUNTING = """
window.counted = {changes: 0, passes: 0};
new MutationObserver((records) => { counted.changes += records.length; counted.passes += 1; })
  .observe(document.body, {subtree: true, attributes: true, childList: true, characterData: true});
"""


def test_the_grid_shows_every_host_with_its_status(opened: Opened) -> None:
    review = a_fleet_with_everything()
    browser = opened(review)
    cells = browser.all(".grid a")
    words = ["to change", "edited by hand", *["to change"] * 3, "as declared", "taken over", "to change"]
    assert [cell.accessible_name for cell in cells] == [
        f"{host.name}: {word}" for host, word in zip(review.hosts, [*words, "not possible"], strict=True)
    ]
    assert browser.seen(".grid .label") == [f"mx{number}" for number in range(1, 10)]
    colours = {
        host.status: cell.value_of_css_property("background-color")
        for host, cell in zip(review.hosts, cells, strict=True)
    }
    assert len(set(colours.values())) == 5


def test_the_legend_counts_the_hosts_of_each_status(opened: Opened) -> None:
    assert opened(a_fleet_with_everything()).seen(".legend li") == [
        "× 1 not possible",  # noqa: RUF001
        "≠ 1 edited by hand",
        "» 1 taken over",
        "~ 5 to change",
        "= 1 as declared",
    ]


def test_a_filter_by_domain_leaves_only_matching_changes_and_their_hosts(opened: Opened) -> None:
    browser = opened(a_large_fleet())
    browser.one("#by-domain").send_keys("SITE-40-1")
    assert browser.seen(SHOWN_KEYS) == [f"site-40-{number}.example" for number in (1, *range(10, 18))]
    hosts = [f"mx{number}" for number in range(41, 61)]
    assert browser.seen(".grid .label") == hosts
    assert browser.seen("#every-host tbody th") == [f"{host}.example.com" for host in hosts]
    assert browser.one(COUNT).text == "9 of 2000 changes, 20 of 200 hosts"
    assert browser.seen(".block .count") == ["9 of 18 changes"]


@pytest.mark.parametrize("text", ["10.66.6.6", "HELLO"])
def test_a_filter_by_domain_finds_values_that_are_there_now(opened: Opened, text: str) -> None:
    browser = opened(a_fleet_with_everything())
    browser.one("#by-domain").send_keys(text)
    assert len(browser.seen(SHOWN_KEYS)) == 1
    assert browser.seen(".grid .label") == ["mx2"]


def test_a_filter_by_host_leaves_what_is_for_that_host(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    browser.one("#by-host").send_keys("mx2")
    assert browser.seen(".block h3") == ["1. Declared", "2. Edited on the host since the last rollout, and put back"]
    assert browser.seen(".grid .label") == ["mx2"]
    assert browser.one(COUNT).text == "10 of 40 changes, 1 of 9 hosts"
    assert len(browser.seen(".file")) == 2
    assert len(browser.seen("#stops .stop")) == 2


def test_both_filters_together_leave_what_matches_both(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    browser.one("#by-domain").send_keys("customer-1.")
    assert browser.seen(".grid .label") == ["mx1", "mx2", "mx3", "mx4", "mx5", "mx7", "mx8"]
    browser.one("#by-host").send_keys("mx7")
    assert browser.seen(SHOWN_KEYS) == ["customer-1.example"]
    assert browser.one(COUNT).text == "1 of 40 changes, 1 of 9 hosts"


def test_a_filter_that_nothing_matches_leaves_no_change_and_no_host(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    browser.one("#by-domain").send_keys("nowhere")
    assert browser.seen(f"{SHOWN_KEYS}, .grid .label, .block, .file") == []
    assert browser.one(COUNT).text == "0 of 40 changes, 0 of 9 hosts"
    assert len(browser.seen("#stops .stop")) == 2


def test_a_filter_by_status_leaves_the_hosts_that_are_so(opened: Opened) -> None:
    browser = opened(a_large_fleet())
    browser.one("#by-status").send_keys("edited")
    assert browser.seen(".grid .label") == ["mx7", "mx90"]


def test_enter_on_a_cell_filters_by_exactly_that_host_and_again_takes_it_back(opened: Opened) -> None:
    hosts = (*fleet(3), ReviewedHost("mx1.example.com.au", "change", 2))
    browser = opened(reviewed(hosts, tuple(Block("declared", (host.name,), added(1)) for host in hosts)))
    browser.one(".grid a").send_keys(Keys.ENTER)
    assert browser.seen("#every-host tbody th") == ["mx1.example.com"]
    assert browser.one(".grid a").get_attribute("aria-current") == "true"
    browser.one(".grid a").click()
    assert len(browser.seen("#every-host tbody th")) == 4


def test_a_slash_goes_to_the_filter_and_escape_takes_it_back(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    before = browser.seen(".block, .block[open] li")
    browser.type("/")
    browser.type("customer-30")
    assert browser.seen(SHOWN_KEYS) == ["customer-30.example"]
    browser.type(Keys.ESCAPE)
    assert browser.one("#by-domain").get_attribute("value") == ""
    assert browser.seen(".block, .block[open] li") == before
    assert browser.one(COUNT).text == "40 changes, 9 hosts"


def test_a_slash_in_a_filter_is_a_slash(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    browser.one("#by-domain").send_keys("192.0.2.0/2")
    assert browser.seen(SHOWN_KEYS) == ["192.0.2.0/24"]


def test_a_count_of_matches_is_announced(opened: Opened) -> None:
    assert opened(a_fleet_with_everything()).one(COUNT).get_attribute("aria-live") == "polite"


def test_a_block_opens_by_keyboard(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    assert browser.seen("#block-3 .key") == []
    summary = browser.one("#block-3 summary")
    summary.send_keys(Keys.ENTER)
    assert len(browser.seen("#block-3 .key")) == 30
    assert browser.driver.switch_to.active_element == summary
    assert summary.value_of_css_property("outline-style") == "solid"
    summary.send_keys(Keys.SPACE)
    assert browser.seen("#block-3 .key") == []


def test_the_first_key_skips_to_the_changes(opened: Opened) -> None:
    browser = opened(a_large_fleet())
    browser.type(Keys.TAB)
    browser.type(Keys.ENTER)
    assert str(browser.driver.current_url).endswith("#changes")
    browser.type(Keys.TAB)
    assert browser.run("return document.activeElement.closest('#changes') !== null")


def test_all_blocks_open_and_close_at_once(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    browser.one("#open").click()
    assert len(browser.seen(SHOWN_KEYS)) == 40
    browser.one("#close").click()
    assert browser.seen(f"{SHOWN_KEYS}, .file pre") == []


def test_everything_is_there_without_javascript(browser: Browser) -> None:
    browser.emulate("setScriptExecutionDisabled", value=True)
    review = a_fleet_with_everything()
    browser.open(review)
    assert browser.seen("#filter") == []
    assert browser.seen("#every-host tbody th") == [host.name for host in review.hosts]
    browser.one("#block-3 summary").click()
    assert browser.seen(SHOWN_KEYS) == [change.key for block in review.blocks for change in block.changes]
    browser.one(".grid li:nth-child(9) a").click()
    assert "it could not be connected to" in browser.one(":target").text


def test_on_paper_every_change_is_seen(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    browser.prefer("dark")
    browser.emulate("setEmulatedMedia", media="print")
    assert len(browser.seen(SHOWN_KEYS)) == 40
    assert len(browser.seen(".file pre")) == 2
    assert browser.seen("nav, #filter") == []
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize(
    "text",
    [
        '"><script>window.harmed = 1; alert(1)</script>',
        "'\"><img src=x onerror='window.harmed = 1; alert(1)'>",
        "</script></style></title><svg onload=alert(1)>",
        "<b id=filter>&lt;i&gt;</b>",
    ],
)
def test_hostile_content_stays_text(opened: Opened, text: str) -> None:
    browser = opened(with_hostile_text(text))
    browser.one("#by-domain").send_keys(text.upper())
    browser.all(".grid a")[-1].click()
    assert browser.seen(".key") == [text]
    assert browser.seen(".value del") == [f"{text}3"]
    assert not alert_is_present()(browser.driver)
    assert browser.run("return window.harmed") is None
    assert len(browser.all("script, style, img, svg, b")) == 2
    assert browser.complaints() == []


def test_a_script_that_got_into_the_page_would_not_run(browser: Browser) -> None:
    harm = "<script>window.harmed = 1</script><img src=x onerror='window.harmed = 1'>"
    browser.open_text(as_html(a_fleet_with_everything()).replace("<h1>", f"{harm}<h1>"))
    assert len(browser.all("script")) == 2
    assert browser.run("return window.harmed") is None
    assert len(browser.complaints()) == 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read_in_light_and_dark(browser: Browser, scheme: str) -> None:
    browser.prefer(scheme)
    browser.open(a_fleet_with_everything())
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run(UNREADABLE) == []


def test_the_page_is_dark_where_dark_is_preferred(opened: Opened) -> None:
    browser = opened(a_fleet_with_everything())
    colours = []
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        colours.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(255, 255, 255)", "rgb(19, 22, 26)"]


@pytest.mark.parametrize("width", [360, 800, 1280])
def test_the_page_is_never_wider_than_the_window(opened: Opened, width: int) -> None:
    browser = opened(a_fleet_with_everything())
    browser.emulate("setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=True)
    browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert browser.run("return document.documentElement.scrollWidth") == width


def test_a_page_of_200_hosts_and_2000_changes_filters_without_lag(opened: Opened) -> None:
    """Counted, not timed: what a key costs is what it changes on the page, in one pass."""
    browser = opened(a_large_fleet())
    assert browser.one(COUNT).text == "2000 changes, 200 hosts"
    browser.run(COUNTING)
    field = browser.one("#by-domain")
    counted = []
    for key in "customer-182":
        field.send_keys(key)
        counted.append(browser.run("const now = counted; window.counted = {changes: 0, passes: 0}; return now;"))
    changes, passes = zip(*((now["changes"], now["passes"]) for now in counted), strict=True)
    assert max(passes) == 1
    assert max(changes) <= 2000 + 200 * 2
    # A letter that changes nothing of what is shown changes nothing of the page.
    assert changes[1:9] == (0,) * 8
    assert browser.one(COUNT).text == "11 of 2000 changes, 197 of 200 hosts"


def test_a_large_page_has_few_elements_for_each_host_and_change(opened: Opened) -> None:
    small, large = reviewed(fleet(3), (Block("declared", ("mx1.example.com",), added(1)),)), a_large_fleet()
    browser = opened(small)
    count = "return document.querySelectorAll('body *:not(.file, .file *)').length"
    fixed = browser.run(count)
    assert opened(large).run(count) <= fixed + 9 * 2000 + 16 * 200
