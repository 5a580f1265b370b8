"""The account of a soak: what was offered, accepted, refused and filed -> figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from lab.rollouts import Kind

Fate = Literal["arrived", "returned"]
Expected = Literal["accepted", "refused", "added or removed", "moved"]

ID_DOMAIN = "soak.example"
ID_HEADER = "X-Soak-Id"
_FILED_ID = re.compile(rb"^X-Soak-Id: *(\S+)", re.MULTILINE | re.IGNORECASE)
_LOGGED_ID = re.compile(r"/cleanup\[\d+\]: (\w+): message-id=<(.*)>")
_LOGGED_STATUS = re.compile(r"\]: (\w+): to=<.* status=(\w+)")


class Reply(NamedTuple):
    """What a host answered to connect, ehlo, mail, rcpt or data; code 0 and the reason where there was no answer."""

    step: str
    code: int
    text: str


@dataclass(frozen=True)
class Attempt:
    """One message that was offered: when (seconds since 1970; session is the start of its session), and the answers."""

    id: str
    host: str
    domain: str
    session: float
    began: float
    ended: float
    replies: tuple[Reply, ...]

    @property
    def is_accepted(self) -> bool:
        """Whether the host took the message, and with it the duty to deliver it."""
        return self.replies[-1].step == "data" and self.replies[-1].code == 250

    @property
    def is_unanswered(self) -> bool:
        """Whether there was no SMTP server to refuse it: no connection, no greeting, or a session that broke off."""
        return self.replies[-1].code == 0 or self.replies[-1].step in ("connect", "ehlo")


@dataclass(frozen=True)
class Span:
    """A rollout that was made: from since to until (seconds since 1970) its domains may be served either way."""

    changes: Mapping[str, Kind]
    declared: Collection[str]  # all relay domains afterwards
    since: float
    until: float


@dataclass(frozen=True)
class Course:
    """How the rollouts went; stale counts those after which a host was not as declared, though pyinfra said done."""

    first_declared: Collection[str]
    spans: Sequence[Span]
    killed: int = 0
    failed: int = 0
    stale: int = 0
    stale_at_end: int = 0  # hosts


@dataclass(frozen=True)
class Mail:
    """Where the messages are that were accepted: ids at the internal mail server (each as often as it arrived), ids of
    those that came back to their senders, ids that the hosts' logs call bounced, ids that were last seen deferred."""

    arrived: Counter[str]
    returned: frozenset[str]
    bounced: frozenset[str]
    deferred: frozenset[str]


@dataclass(frozen=True)
class Figures:
    """What a soak came to. Every offered message is accepted, unanswered, or one of those that were refused."""

    rollouts: int
    killed: int
    failed: int
    offered: int
    accepted: int
    arrived_once: int
    lost: int
    waiting: int
    duplicated: int
    bounced: int
    unchanged_5xx: int
    unchanged_4xx: int
    unanswered: int
    refused_changing: int
    refused_moving: int
    refused_undeclared: int
    taken_undeclared: int
    stale: int
    stale_at_end: int

    @property
    def is_clean(self) -> bool:
        """Whether the rollouts were made, every accepted message arrived once, and no domain at rest was refused."""
        return not (self.failed or self.lost or self.waiting or self.duplicated or self.bounced or self.unchanged_5xx)


def filed(message: bytes) -> tuple[Fate, str] | None:
    """Return what a filed message tells: a soak's message itself, or a notice that returns one; None for any other."""
    header, _, body = message.replace(b"\r\n", b"\n").partition(b"\n\n")
    if found := _FILED_ID.search(header):
        return "arrived", found[1].decode()
    if found := _FILED_ID.search(body):
        return "returned", found[1].decode()
    return None


def logged(lines: Iterable[str]) -> dict[str, set[str]]:
    """Return the ids of a soak's messages by the status of each of their deliveries, from the log of one host.

    Postfix uses a queue name again: it means the message whose id was logged last.
    """
    names: dict[str, str] = {}
    statuses: dict[str, set[str]] = {}
    for line in lines:
        if found := _LOGGED_ID.search(line):
            names[found[1]] = found[2]
        elif found := _LOGGED_STATUS.search(line):
            id, _, domain = names.get(found[1], "").rpartition("@")
            if domain == ID_DOMAIN:
                statuses.setdefault(found[2], set()).add(id)
    return statuses


def where(messages: Iterable[bytes], logs: Iterable[Iterable[str]]) -> Mail:
    """Return where messages are, from the files at the internal mail server and the lines of each host's mail log."""
    found = [fate for message in messages if (fate := filed(message))]
    statuses = [logged(lines) for lines in logs]
    return Mail(
        arrived=Counter(id for fate, id in found if fate == "arrived"),
        returned=frozenset(id for fate, id in found if fate == "returned"),
        bounced=frozenset().union(*(status.get("bounced", ()) for status in statuses)),
        deferred=frozenset().union(*(status.get("deferred", ()) for status in statuses)),
    )


def expected(attempt: Attempt, course: Course) -> Expected:
    """Return what a host owes an attempt.

    A domain counts as changing for every session that overlaps with its rollout: smtpd keeps what it knows of a
    recipient to the end of the session.
    """
    declared, kinds = attempt.domain in course.first_declared, set[Kind]()
    for span in course.spans:
        if span.since > attempt.ended:
            break
        if attempt.domain in span.changes:
            declared = attempt.domain in span.declared
            if span.until >= attempt.session:
                kinds.add(span.changes[attempt.domain])
    if kinds:
        return "moved" if kinds == {"moved"} else "added or removed"
    return "accepted" if declared else "refused"


def figures(attempts: Sequence[Attempt], mail: Mail, course: Course) -> Figures:
    """Return what a soak came to."""
    came_back = mail.returned | mail.bounced
    accepted = {attempt.id for attempt in attempts if attempt.is_accepted}
    missing = {id for id in accepted - came_back if not mail.arrived[id]}
    verdicts = Counter(verdict for _, verdict in judged(attempts, course))
    return Figures(
        rollouts=len(course.spans),
        killed=course.killed,
        failed=course.failed,
        offered=len(attempts),
        accepted=len(accepted),
        arrived_once=sum(mail.arrived[id] == 1 for id in accepted - came_back),
        lost=len(missing - mail.deferred),
        waiting=len(missing & mail.deferred),
        duplicated=sum(times > 1 for times in mail.arrived.values()),
        bounced=len(came_back),
        unchanged_5xx=verdicts["unchanged 5xx"],
        unchanged_4xx=verdicts["unchanged 4xx"],
        unanswered=verdicts["unanswered"],
        refused_changing=verdicts["refused while added or removed"],
        refused_moving=verdicts["refused while moved"],
        refused_undeclared=verdicts["refused as not declared"],
        taken_undeclared=verdicts["accepted though not declared"],
        stale=course.stale,
        stale_at_end=course.stale_at_end,
    )


def judged(attempts: Iterable[Attempt], course: Course) -> Iterator[tuple[Attempt, str]]:
    """Yield each attempt with what is to be said of the host's answer."""
    for attempt in attempts:
        yield attempt, _verdict(attempt, expected(attempt, course))


def _verdict(attempt: Attempt, owed: Expected) -> str:
    if attempt.is_accepted:
        return "accepted though not declared" if owed == "refused" else "accepted"
    if attempt.is_unanswered:
        return "unanswered"
    if owed == "accepted":
        return f"unchanged {attempt.replies[-1].code // 100}xx"
    return "refused as not declared" if owed == "refused" else f"refused while {owed}"


def discrepancies(declared: Mapping[str, str], routes: Mapping[str, str], taken: Collection[str]) -> list[str]:
    """Return in what a host differs from what is declared: its routes, and the domains it takes mail for.

    A route of a domain that is refused is none: it may have to stay while mail for it waits in the queue.
    """
    found = [f"{domain} is taken, and not declared" for domain in sorted(set(taken) - set(declared))]
    for domain, hop in declared.items():
        if domain not in taken:
            found.append(f"{domain} is refused")
        if routes.get(domain) != hop:
            found.append(f"{domain} is routed to {routes.get(domain, 'nowhere')}, declared is {hop}")
    return found


ROWS: Mapping[str, str] = {
    "rollouts": "rollouts",
    "killed": "of them killed half-way and run again",
    "failed": "of them not finished by running again",
    "offered": "messages offered",
    "accepted": "messages accepted",
    "arrived_once": "arrived exactly once",
    "lost": "lost",
    "waiting": "never left the queue",
    "duplicated": "arrived more than once",
    "bounced": "bounced",
    "unchanged_5xx": "refused for good (5xx), domain not being changed",
    "unchanged_4xx": "put off (4xx), domain not being changed",
    "unanswered": "connection refused or broken off",
    "refused_changing": "refused, domain being added or removed",
    "refused_moving": "refused, domain being moved",
    "refused_undeclared": "refused, domain not declared",
    "taken_undeclared": "accepted, domain not declared",
    "stale": "rollouts said to be done that left a host not as declared",
    "stale_at_end": "hosts not as declared at the end",
}


def rows(columns: Sequence[Figures]) -> list[list[str]]:
    """Return the lines of a table that has a column for each soak."""
    return [[label, *(f"{getattr(column, name):,}" for column in columns)] for name, label in ROWS.items()]
