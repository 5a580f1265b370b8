"""A review as text: 80 columns, each change once."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from mailproxy.changes import Cause
from mailproxy.review import FileBlock, Finding, Kind, Review, file_lines

WIDTH = 80
# How many changes of a block, and how many hosts, are enough where somebody looks at a terminal.
MOST_CHANGES = 20
MOST_HOSTS = 8

Style = Literal["title", "stop", "warn", "comes", "goes", "changes", "plain"]

CAUSE_TITLES: dict[Cause, str] = {
    "declared": "declared",
    "by hand": "edited on the host since the last rollout, and put back",
    "adopting": "taken over for the first time",
    "returning": "back to an earlier generation",
}
_SIGNS: dict[str, Style] = {"+": "comes", "-": "goes", "~": "changes"}


@dataclass(frozen=True)
class Line:
    """A line of the review, at most 80 columns where its words allow, and how it is to look."""

    text: str
    style: Style = "plain"


def visible(text: str) -> str:
    """Return text with its control and format characters spelled out: they could make it read as something else."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character in "\n\t" else character.encode("unicode_escape").decode()
        for character in text
    )


def text(review: Review, with_files: bool = False) -> str:
    """Return the review in full as plain text."""
    return "".join(f"{line.text}\n" for line in lines(review, with_files))


def lines(review: Review, with_files: bool = False, shortened: bool = False) -> Iterator[Line]:
    """Yield the lines of a review: with the lines of every file, or shortened to what a terminal is looked at for."""
    yield Line(summary(review), "title")
    names = _Names(review, shortened)
    for finding in review.of("blocked", "gate", "warning"):
        yield Line("")
        yield from _finding(finding, names)
    for block in review.blocks:
        yield Line("")
        yield from _wrapped(f"{CAUSE_TITLES[block.cause]}  [{names(block.hosts)}]", "title", "")
        shown = block.changes[:MOST_CHANGES] if shortened else block.changes
        for change in shown:
            yield from _wrapped(str(change), _SIGNS[change.sign], "    ")
        if len(shown) < len(block.changes):
            yield _more(len(block.changes) - len(shown))
    for file in review.files:
        if with_files or not file.is_explained:
            yield from _file(file, names, MOST_CHANGES if shortened else None)
    findings = review.of("repair", "effect")
    if findings:
        yield Line("")
    for finding in findings:
        yield from _finding(finding, names)
    yield from _closing(review)


def summary(review: Review) -> str:
    """Return how many hosts there are and how many change."""
    total, failed = len(review.hosts), review.count("failed")
    changing = review.count("change", "by hand", "adopting")
    parts = [f"{changing} to change", f"{review.count('same')} {review.settled}"] + [f"{failed} NOT POSSIBLE"] * bool(
        failed
    )
    return f"mailproxy: {total} host{'s' * (total != 1)}: {', '.join(parts)}"


def order(review: Review) -> str:
    """Return the waves that something is activated in, with their hosts; '' where there is only one."""
    changing = {host.name for host in review.hosts if host.status not in ("same", "failed")}
    parts = []
    for wave in review.waves:
        hosts = [name for name in wave.hosts if name in changing]
        if hosts:
            parts.append(f"{wave.label} ({hosts[0] if len(hosts) == 1 else f'{len(hosts)} hosts'})")
    return ", then ".join(parts) if len(parts) > 1 else ""


def heading(finding: Finding) -> str:
    """Return in words what a finding is; '' for what is merely done."""
    if finding.gate:
        return "approved" if finding.approved else "needs approval"
    names: dict[Kind, str] = {"blocked": "cannot go on", "warning": "warning", "repair": "repair"}
    return names.get(finding.kind, "")


def hosts_text(names: Sequence[str], review: Review, most: int | None = None) -> str:
    """Return what names hosts in the fewest words: all of them, by group, all but some, or one by one.

    With more than most names only that many are given.
    """
    total = len(review.hosts)
    if len(names) == total and total > 1:
        return "both hosts" if total == 2 else f"all {total} hosts"
    count = f"{len(names)} of {total} hosts: " if len(names) > 1 else ""
    here = set(names)
    others = [host.name for host in review.hosts if host.name not in here]
    ways = [(names, ""), (_by_group(names, review), ""), *([(others, "all but ")] if others else [])]
    whole = [f"{head}{', '.join(words)}" for words, head in ways if most is None or len(words) <= most]
    return count + min(whole or [f"{', '.join(names[:most])} and {len(names) - (most or 0)} more"], key=len)


def _by_group(names: Sequence[str], review: Review) -> list[str]:
    """Return names with whole groups of three hosts or more by the group's name."""
    left, found = list(names), []
    in_run = {host.name for host in review.hosts}
    for group, members in sorted(review.groups.items(), key=lambda item: -len(item[1])):
        present = in_run.intersection(members)
        if len(present) > 2 and present.issubset(left):
            found.append(f"group {group}")
            left = [name for name in left if name not in present]
    return found + left


class _Names:
    """Names the hosts of a review, each set of them once."""

    def __init__(self, review: Review, shortened: bool):
        self.review = review
        self.most = MOST_HOSTS if shortened else None
        self._known: dict[tuple[str, ...], str] = {}

    def __call__(self, hosts: tuple[str, ...]) -> str:
        if hosts not in self._known:
            self._known[hosts] = hosts_text(hosts, self.review, self.most)
        return self._known[hosts]


def _finding(finding: Finding, names: _Names) -> Iterator[Line]:
    head, style = heading(finding) + (f" ({finding.gate})" if finding.gate else ""), _styles(finding)
    head = f"{head}: " if head else ""
    yield from _wrapped(f"{head}{finding.text}  [{names(finding.hosts)}]", style, "")
    if finding.kind == "blocked":
        yield Line("    nothing goes live on any host while this is so", style)


def _styles(finding: Finding) -> Style:
    if finding.kind == "blocked" or (finding.gate and not finding.approved):
        return "stop"
    return "plain" if finding.kind == "effect" else "warn"


def _file(file: FileBlock, names: _Names, most: int | None) -> Iterator[Line]:
    yield Line("")
    reason = f"{file.change.reason}, to no effect" if file.has_no_effect else file.change.reason
    yield from _wrapped(f"{file.change.desired.name}: {reason}  [{names(file.hosts)}]", "title", "")
    found = file_lines(file.change)
    for line in found[:most]:
        yield Line(f"    {visible(line)}".rstrip(), _SIGNS.get(line[:1], "plain"))
    if most is not None and len(found) > most:
        yield _more(len(found) - most)


def _more(count: int) -> Line:
    return Line(f"    ... and {count} more: pipe this, or --data review=FILE.html, to see all")


def _closing(review: Review) -> Iterator[Line]:
    if order(review):
        yield Line("")
        yield from _wrapped(f"order: {order(review)}", "plain", "")
    yield Line("")
    if review.closed_gates:
        yield Line(f"to go on: --data approve={','.join(review.gates)}", "stop")
    yield Line(f"digest: {review.digest}")


def _wrapped(content: str, style: Style, indent: str) -> Iterator[Line]:
    """Yield a text in lines of at most 80 columns; a word that is longer stays whole, to be copied."""
    for part in textwrap.wrap(
        visible(content),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    ):
        yield Line(part, style)
