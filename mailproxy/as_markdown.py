"""A review as Markdown that fits a comment of a pull request."""

import re
from collections.abc import Iterator, Sequence

from mailproxy.as_text import CAUSE_TITLES, heading, hosts_text, order, summary, visible
from mailproxy.review import Finding, Review, file_lines

# GitHub takes comments of 65,536 characters, GitLab of 1,000,000.
LIMIT = 60_000
# More lines than these are folded.
MOST_OPEN = 25
_CUT = "**Cut at 60,000 characters.** What is left out is in the review as .html or .json."
# A longer line is cut, so that one cannot take the place of all others.
LONGEST_LINE = 1000


def as_markdown(review: Review) -> str:
    """Return the review in at most 60,000 characters; what is cut off is said to be."""
    head = f"### {summary(review)}\n\ndigest: `{review.digest}`\n\n"
    left, is_cut = LIMIT - len(head) - len(_CUT) - 2, False
    parts = [head]
    for part in _parts(review):
        if len(part) > left:
            is_cut = True
            continue
        parts.append(part)
        left -= len(part)
    return "".join(parts) + (f"\n{_CUT}\n" if is_cut else "")


def problem_as_markdown(problem: str) -> str:
    """Return what kept a review from being made, in at most 60,000 characters."""
    return f"### mailproxy: no review could be made\n\n{_fenced(problem[: LIMIT // 2].splitlines())}"


def _parts(review: Review) -> Iterator[str]:
    """Yield pieces that stand for themselves, what matters most first."""
    for finding in review.of("blocked", "gate", "warning"):
        yield _finding(finding, review)
    if review.closed_gates:
        yield f"\nTo go on: `--data approve={','.join(review.gates)}`\n"
    for block in review.blocks:
        count = f"{len(block.changes)} change{'s' * (len(block.changes) != 1)}"
        changes = [str(change) for change in block.changes]
        yield from _section(CAUSE_TITLES[block.cause], hosts_text(block.hosts, review), count, changes)
    effects = review.of("repair", "effect")
    if effects:
        yield "\n#### effects\n\n"
    for finding in effects:
        yield _finding(finding, review)
    if order(review):
        yield f"\norder: {_code(order(review))}\n"
    for file in review.files:
        lines = file_lines(file.change)
        hosts = f"{hosts_text(file.hosts, review)}; {file.change.reason}"
        yield from _section(file.change.desired.name, hosts, f"{len(lines)} lines", lines, file.is_explained)


def _finding(finding: Finding, review: Review) -> str:
    head = f"**{heading(finding)}**" + (f" `{finding.gate}`" if finding.gate else "")
    head = f"{head}: " if heading(finding) else ""
    return f"- {head}{_code(_shortened(finding.text))} {_code(f'[{hosts_text(finding.hosts, review)}]')}\n"


def _section(title: str, hosts: str, count: str, lines: Sequence[str], is_folded: bool | None = None) -> Iterator[str]:
    """Yield a titled list of lines, folded where it is long; a very long one in pieces, so that a cut loses little."""
    folds = len(lines) > MOST_OPEN if is_folded is None else is_folded
    for start in range(0, len(lines), MOST_OPEN * 10):
        piece = _fenced(lines[start : start + MOST_OPEN * 10])
        head = f"\n#### {title}: {_code(hosts)}\n\n" if start == 0 else f"\nfrom {start + 1} on:\n\n"
        if folds:
            piece = f"<details><summary>{count}</summary>\n\n{piece}\n</details>\n"
        yield head + piece


def _fenced(lines: Sequence[str]) -> str:
    fence = "`" * max(3, _longest_run(lines) + 1)
    return "\n".join([f"{fence}diff", *map(_shortened, lines), fence]) + "\n"


def _shortened(line: str) -> str:
    shown = visible(line)
    return shown if len(shown) <= LONGEST_LINE else f"{shown[:LONGEST_LINE]}... (cut)"


def _code(text: str) -> str:
    """Return a code span: nothing in it is markup, and nobody is mentioned by it."""
    marks = "`" * (_longest_run([text]) + 1)
    pad = " " if "`" in text else ""
    return f"{marks}{pad}{visible(text)}{pad}{marks}"


def _longest_run(lines: Sequence[str]) -> int:
    return max((len(run) for line in lines for run in re.findall("`+", line)), default=0)
