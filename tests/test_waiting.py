"""The queues of a fleet as one table."""

from mailproxy.observed import Unread
from mailproxy.waiting import Queue, Row, age, loss, merged, parsed, summary, words_of

LINES = """\
now	1796000000
total	5	7	2	3	90061	2
to	4	a.example	b.example	c.example
row	4	90061	deferred	a.example	smtp:[10.1.0.2]	connect to #: Connection refused
row	1	3	hold	b.example	MX
end
""".splitlines()


def queue() -> Queue:
    found = parsed(LINES)
    assert isinstance(found, Queue)
    return found


def test_what_a_host_says_is_read() -> None:
    found = queue()
    assert (found.messages, found.recipients, found.others, found.senders) == (5, 7, 2, 3)
    assert found.rows[1] == Row(1, 3, "hold", "b.example", "MX", "")


def test_an_answer_that_is_none_is_no_empty_queue() -> None:
    assert parsed([]) == Unread("its answer came incomplete")
    assert parsed(LINES[:-1]) == Unread("its answer came incomplete")
    assert isinstance(parsed(["end"]), Unread)
    assert parsed(["unreadable logged in as a, expected root", "end"]) == Unread("logged in as a, expected root")
    assert parsed(["now\t1", "unreadable\tmail system is down", "end"]) == Unread("mail system is down")


def test_the_same_on_several_hosts_is_one_row() -> None:
    first, second = merged({"mx1": queue(), "mx2": Unread("it timed out"), "mx3": queue()})
    assert (first.messages, first.hosts) == (8, {"mx1": 4, "mx3": 4})
    assert words_of(first, 3)[:-1] == ["8", "25 h", "deferred", "a.example", "smtp:[10.1.0.2]", "mx1, mx3"]
    assert words_of(second, 2)[5] == "all 2 hosts"


def test_what_is_not_in_the_table_is_said_above_it() -> None:
    cut = parsed([line for line in LINES if not line.startswith("row\t1")])
    assert isinstance(cut, Queue)
    assert list(summary({"mx1": cut, "mx2": Unread("it timed out")}, "put on hold")) == [
        "mailproxy: 5 messages on 1 of 2 hosts, the oldest 25 h old, to put on hold",
        "they are taken whole: 2 recipients of theirs are not meant by the filters",
        "1 smaller row left out  [mx1]",
        "NOT READ: it timed out  [mx2]",
    ]
    assert list(summary({"mx1": Queue(1)}, "")) == ["mailproxy: no message on 1 host"]


def test_a_loss_is_told_in_full() -> None:
    assert loss(queue()) == (
        "5 messages from 3 senders, to 9 recipients at a.example, b.example, c.example and 1 further domain, are lost"
    )


def test_ages_are_in_a_unit_that_says_enough() -> None:
    assert [age(seconds) for seconds in (0, 119, 120, 7200, 172800)] == ["0 s", "119 s", "2 min", "2 h", "2 d"]
