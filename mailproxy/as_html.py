"""A review as one self-contained HTML page that loads nothing; all text in it is from hosts and people, so hostile."""

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from mailproxy.as_text import CAUSE_TITLES, MOST_CHANGES, heading, hosts_text, summary, visible
from mailproxy.changes import SECRET
from mailproxy.render import TEMPLATES
from mailproxy.review import Finding, Review, Status, file_lines
from mailproxy.rollout import Wave

# How many changes stand open in all when the page is opened: a screen or two.
MOST_OPEN = 100
# A line of names of hosts may be so long, in characters; of more only some are named, and all can be unfolded.
LONGEST_LINE = 120
MOST_NAMES = 3
# The width of the widest label in the grid of hosts, in characters; what is longer is cut off there.
WIDEST_LABEL = 24


@dataclass(frozen=True)
class Look:
    """How a status is marked without colour, named in words, and called in the style sheet."""

    mark: str
    words: str
    style: str


# In the order in which somebody wants to hear of them.
LOOKS: Mapping[Status, Look] = {
    "failed": Look("×", "not possible", "failed"),  # noqa: RUF001
    "by hand": Look("≠", "edited by hand", "edited"),
    "adopting": Look("»", "taken over", "adopted"),
    "change": Look("~", "to change", "changed"),
    "same": Look("=", "as declared", "same"),
}


def as_html(review: Review) -> str:
    """Return the page. It is readable without its script and without its style sheet, which a host may forbid."""
    place = {host.name: number for number, host in enumerate(review.hosts, 1)}
    labels = short_names([host.name for host in review.hosts])
    return (
        _environment()
        .get_template("review.html.j2")
        .render(
            review=review,
            summary=summary(review).removeprefix("mailproxy: "),
            verdict=verdict(review),
            findings=_findings_by_head(review),
            closed=review.gates if review.closed_gates else [],
            open_blocks=_open_blocks(review),
            blocks_of=_blocks_of(review),
            waves=_changing_by_wave(review),
            labels=labels,
            label_width=min(max(map(len, labels), default=0), WIDEST_LABEL),
            looks=LOOKS,
            cause_titles=CAUSE_TITLES,
            secret=SECRET,
            file_lines=file_lines,
            names=cache(lambda hosts: hosts_text(hosts, review)),
            few_names=cache(lambda hosts: _few_names(hosts, review)),
            places=cache(lambda hosts: ranges(place[name] for name in hosts)),
        )
    )


def verdict(review: Review) -> str:
    """Return in a sentence whether the change can go on."""
    blocked, closed = review.of("blocked"), {finding.gate for finding in review.closed_gates}
    if blocked:
        return "Cannot go on: nothing goes live on any host until what is named below is resolved."
    if closed:
        return f"Needs approval of {len(closed)} {'gate' if len(closed) == 1 else 'gates'} before it can go on."
    if not review.count("change", "by hand", "adopting", "failed"):
        return f"Every host is {review.settled}: there is nothing to do."
    return "Nothing stops it."


def short_names(names: Sequence[str]) -> list[str]:
    """Return host names less the domain that all of them are in."""
    if len(names) < 2:
        return list(names)
    parts = [name.split(".") for name in names]
    common = 0
    while all(len(labels) > common + 1 for labels in parts) and len({labels[-common - 1] for labels in parts}) == 1:
        common += 1
    return [".".join(labels[: len(labels) - common]) for labels in parts]


def ranges(numbers: Iterable[int]) -> str:
    """Return numbers as words such as "1-3 7": a set of hosts for the script, short even where it is large."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def _findings_by_head(review: Review) -> dict[str, list[Finding]]:
    """Return the findings under what is said of each kind of them, those that stop something first."""
    found: dict[str, list[Finding]] = {}
    for finding in sorted(review.findings, key=_urgency):
        found.setdefault(_head(finding), []).append(finding)
    return found


def _urgency(finding: Finding) -> int:
    return 2 * ("blocked", "gate", "warning", "repair", "effect").index(finding.kind) + finding.approved


def _head(finding: Finding) -> str:
    return (heading(finding) or finding.kind) + (f": {finding.gate}" if finding.gate else "")


def _few_names(hosts: tuple[str, ...], review: Review) -> str:
    """Return what names hosts in a line: in full where that fits."""
    names = hosts_text(hosts, review)
    return names if len(names) <= LONGEST_LINE else hosts_text(hosts, review, MOST_NAMES)


def _open_blocks(review: Review) -> set[int]:
    """Return the numbers of the blocks that stand open at first: short ones, and not too many of them."""
    found, left = set(), MOST_OPEN
    for number, block in enumerate(review.blocks, 1):
        if len(block.changes) <= min(MOST_CHANGES, left):
            found.add(number)
            left -= len(block.changes)
    return found


def _blocks_of(review: Review) -> dict[str, list[int]]:
    """Return the numbers of the blocks that are for each host."""
    found: dict[str, list[int]] = {host.name: [] for host in review.hosts}
    for number, block in enumerate(review.blocks, 1):
        for name in block.hosts:
            found[name].append(number)
    return found


def _changing_by_wave(review: Review) -> list[tuple[Wave, tuple[str, ...]]]:
    """Return the waves with those of their hosts that something is activated on; empty where that is none."""
    changing = {host.name for host in review.hosts if host.status not in ("same", "failed")}
    found = [(wave, tuple(name for name in wave.hosts if name in changing)) for wave in review.waves]
    return found if changing else []


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["csp_hash"] = _csp_hash
    return environment


def _shown(value: object) -> object:
    """Return what Jinja is to escape: every text of the review with its hidden characters spelled out."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _csp_hash(text: str) -> str:
    """Return what allows exactly this inline style sheet or script (CSP 3, 2.3.1); attributes stay forbidden."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def problem_as_html(problem: str) -> str:
    """Return a page that says what kept a review from being made."""
    return Markup(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">\n'
        "<title>{title}</title>\n</head>\n<body>\n<h1>{title}</h1>\n<pre>{problem}</pre>\n</body>\n</html>\n"
    ).format(title="mailproxy: no review could be made", problem=visible(problem))
