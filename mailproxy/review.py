"""The plans of all hosts as one text in which each change stands once, with the hosts it applies to."""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mailproxy.observed import Unread
from mailproxy.plan import FileChange, Plan, Refusal
from mailproxy.render import FILES, Content

Outcome = Plan | Refusal | Unread

# Values that no review may show, by the name of their main.cf parameter.
_SECRET = re.compile(r"^(\w*(?:pass|secret|_pw)\w*\s*=\s*).+(?:\n[ \t].*)*$", re.MULTILINE)
_NAMED_HOSTS = 4
# Stands for a host's own name in main.cf, so that a change of many hosts is one.
_OWN_NAME = "<the host's name>"


@dataclass(frozen=True)
class Block:
    """One thing that is so on some hosts: a headline and the lines below it; the lowest rank stands first."""

    rank: int
    headline: str
    lines: tuple[str, ...] = ()


def review(outcomes: Mapping[str, Outcome]) -> str:
    """Return the review of a fleet, by host name in the inventory's order."""
    hosts_of: dict[Block, list[str]] = {}
    for host, outcome in outcomes.items():
        for block in _blocks(host, outcome):
            hosts_of.setdefault(block, []).append(host)
    lines = [_summary(outcomes)]
    for block in sorted(hosts_of, key=lambda block: block.rank):
        hosts = hosts_of[block]
        lines += ["", f"{block.headline}  [{_hosts(hosts, len(outcomes))}]"]
        own_name = hosts[0] if len(hosts) == 1 else _OWN_NAME
        lines += [f"    {line.replace(_OWN_NAME, own_name)}".rstrip() for line in block.lines]
    return "\n".join(lines) + "\n"


def _summary(outcomes: Mapping[str, Outcome]) -> str:
    changing = sum(isinstance(outcome, Plan) and not outcome.is_empty for outcome in outcomes.values())
    same = sum(isinstance(outcome, Plan) and outcome.is_empty for outcome in outcomes.values())
    stopped = len(outcomes) - changing - same
    parts = [f"{changing} to change", f"{same} as declared"] + ([f"{stopped} NOT POSSIBLE"] if stopped else [])
    return f"mailproxy: {len(outcomes)} host{'s' if len(outcomes) != 1 else ''}: {', '.join(parts)}"


def _hosts(names: Sequence[str], total: int) -> str:
    if len(names) == total and total > 1:
        return f"all {total} hosts"
    shown = ", ".join(names[:_NAMED_HOSTS])
    more = len(names) - _NAMED_HOSTS
    return f"{len(names)} of {total} hosts: {shown}, and {more} more" if more > 0 else shown


def _blocks(host: str, outcome: Outcome) -> Iterator[Block]:
    if isinstance(outcome, (Refusal, Unread)):
        yield Block(0, f"cannot go on: {outcome.reason}", ("nothing goes live on any host while this is so",))
        return
    for warning in outcome.warnings:
        yield Block(1, f"warning: {warning}")
    for repair in outcome.repairs:
        yield Block(2, f"repair: {repair}")
    for change in outcome.files:
        yield _file_block(_without_own_name(change, host) if change.desired.name == "main.cf" else change)
    for index in outcome.indexes:
        entries = f"{len(index.entries)} {'entry' if len(index.entries) == 1 else 'entries'}"
        yield Block(20, f"index {index.table} as {index.type} ({entries}): {index.reason}")
    for name in outcome.drops:
        yield Block(21, f"remove {name}: nothing reads it any more")
    if not outcome.is_empty:
        action = {"none": "leave Postfix alone"}.get(outcome.service.action, f"{outcome.service.action} Postfix")
        yield Block(22, f"{action}: {outcome.service.reason}")


def _without_own_name(change: FileChange, host: str) -> FileChange:
    observed = change.observed and Content("main.cf", change.observed.text.replace(host, _OWN_NAME))
    return FileChange(Content("main.cf", change.desired.text.replace(host, _OWN_NAME)), observed, change.reason)


@lru_cache(maxsize=4096)
def _file_block(change: FileChange) -> Block:
    name = change.desired.name
    before = _shown(change.observed.text) if change.observed else ""
    after = _shown(change.desired.text)
    # One line of context: enough to find the place, and the review stays short.
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"live {name}", f"declared {name}", lineterm="", n=1
    )
    shown = tuple(line.rstrip() for line in lines)
    secret = change.observed is not None and change.observed.text != change.desired.text and not shown
    return Block(10 + FILES.index(name), f"{name}: {change.reason}", ("changed, not shown",) if secret else shown)


def _shown(text: str) -> str:
    return _SECRET.sub(r"\1(not shown)", text)
