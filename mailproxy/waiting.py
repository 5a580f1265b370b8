"""What waits in the queues of a fleet: what files/queue.sh printed on each host -> rows over all of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mailproxy.observed import Unread

_NAMED = 3


@dataclass(frozen=True)
class Row:
    """Messages that wait for the same, in one of the queues deferred, active and hold. oldest is in seconds.

    A message of several recipients can be in several rows. In a reason "#" stands for numbers and addresses.
    """

    messages: int
    oldest: int
    queue: str
    domain: str
    next_hop: str
    reason: str


@dataclass(frozen=True)
class Queue:
    """What is chosen of one host's queue at a time (seconds since 1970): messages, and recipients that are meant.

    others are further recipients of the same messages. domains is how many all of them have, largest names those of
    the most recipients. all_rows is how many rows there are; rows may lack the smallest.
    """

    now: int
    messages: int = 0
    recipients: int = 0
    others: int = 0
    senders: int = 0
    oldest: int = 0
    all_rows: int = 0
    domains: int = 0
    largest: tuple[str, ...] = ()
    rows: tuple[Row, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Waiting:
    """A row of the fleet: hosts has how many messages each host has of it."""

    messages: int
    oldest: int
    queue: str
    domain: str
    next_hop: str
    hosts: Mapping[str, int]
    reason: str


def parsed(lines: Sequence[str]) -> Queue | Unread:
    """Return what the records of files/queue.sh say; its manual page describes them."""
    if not lines or lines[-1] != "end":
        return Unread("its answer came incomplete")
    records = [line.split("\t") for line in lines[:-1]]
    for word, *rest in records:
        # files/enter.sh has a blank there.
        if word.split(" ")[0] == "unreadable":
            return Unread(rest[0] if rest else word.removeprefix("unreadable "))
    try:
        named = {word: rest for word, *rest in records if word != "row"}
        messages, recipients, others, senders, oldest, all_rows = map(int, named["total"])
        return Queue(
            now=int(named["now"][0]),
            messages=messages,
            recipients=recipients,
            others=others,
            senders=senders,
            oldest=oldest,
            all_rows=all_rows,
            domains=int(named["to"][0]),
            largest=tuple(named["to"][1:]),
            rows=tuple(_rows(rest for word, *rest in records if word == "row")),
        )
    except (KeyError, ValueError, IndexError) as error:
        return Unread(f"its answer could not be understood: {error!r}")


def _rows(records: Iterator[list[str]]) -> Iterator[Row]:
    for record in records:
        # Of an empty reason nothing may have come, not even the tab.
        messages, oldest, queue, domain, next_hop, reason = record if len(record) == 6 else [*record, ""]
        yield Row(int(messages), int(oldest), queue, domain, next_hop, reason)


def merged(found: Mapping[str, Queue | Unread]) -> list[Waiting]:
    """Return the rows of all hosts, what is the same on several of them once, the largest first."""
    rows: dict[tuple[str, str, str, str], dict[str, Row]] = {}
    for name, queue in found.items():
        for row in queue.rows if isinstance(queue, Queue) else ():
            rows.setdefault((row.queue, row.domain, row.next_hop, row.reason), {})[name] = row
    together = [
        Waiting(
            messages=sum(row.messages for row in by_host.values()),
            oldest=max(row.oldest for row in by_host.values()),
            queue=queue,
            domain=domain,
            next_hop=next_hop,
            hosts={name: row.messages for name, row in by_host.items()},
            reason=reason,
        )
        for (queue, domain, next_hop, reason), by_host in rows.items()
    ]
    return sorted(together, key=lambda row: (-row.messages, -row.oldest, row.domain))


def words_of(row: Waiting, hosts: int) -> list[str]:
    """Return a row as words for a table, in the order of its fields; hosts is how many there are."""
    names = list(row.hosts)
    where = f"all {hosts} hosts" if len(names) == hosts > 1 else ", ".join(names)
    if len(names) > _NAMED and len(names) != hosts:
        where = f"{len(names)} of {hosts} hosts"
    return [str(row.messages), age(row.oldest), row.queue, row.domain, row.next_hop, where, row.reason]


def summary(found: Mapping[str, Queue | Unread], doing: str) -> Iterator[str]:
    """Yield what stands above the table, a line each; doing says what is to become of it, '' for nothing."""
    queues = {name: queue for name, queue in found.items() if isinstance(queue, Queue)}
    total = sum(queue.messages for queue in queues.values())
    hosts = sum(queue.messages > 0 for queue in queues.values())
    what = (
        f"{_count(total, 'message')} on {hosts} of {_count(len(found), 'host')}"
        if total
        else f"no message on {_count(len(found), 'host')}"
    )
    oldest = max((queue.oldest for queue in queues.values()), default=0)
    yield f"mailproxy: {what}{f', the oldest {age(oldest)} old' if total else ''}{f', to {doing}' if doing else ''}"
    others = sum(queue.others for queue in queues.values())
    if others and doing:
        are = "is" if others == 1 else "are"
        yield f"they are taken whole: {_count(others, 'recipient')} of theirs {are} not meant by the filters"
    for name, queue in found.items():
        if isinstance(queue, Unread):
            yield f"NOT READ: {queue.reason}  [{name}]"
        elif queue.all_rows > len(queue.rows):
            yield f"{_count(queue.all_rows - len(queue.rows), 'smaller row')} left out  [{name}]"


def loss(queue: Queue) -> str:
    """Return what is lost where all that is chosen is deleted."""
    more = queue.domains - len(queue.largest)
    to = ", ".join(queue.largest) + (f" and {_count(more, 'further domain')}" if more > 0 else "")
    return (
        f"{_count(queue.messages, 'message')} from {_count(queue.senders, 'sender')}, "
        f"to {_count(queue.recipients + queue.others, 'recipient')} at {to or 'no domain'}, "
        f"{'is' if queue.messages == 1 else 'are'} lost"
    )


def age(seconds: int) -> str:
    """Return a time in the largest unit that says enough."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"
