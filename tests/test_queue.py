"""What files/queue.sh makes of a queue, under every shell that a host may have, and what it does to it.

postqueue(1) and postsuper(1) are stand-ins over a directory with a file for each message; what they print was seen of
Postfix 3.5 to 3.10. Real ones are in tests/fleet/test_queue.py.
"""

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailproxy.observed import Unread
from mailproxy.program import parts
from mailproxy.waiting import Queue, parsed

HEAD = "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------"
NOW = "1796000000 2026 11 30 00:53:20"
STAND_INS = r"""
date() { echo "$NOW"; }
postconf() {
    case $* in *-x*) return 1 ;; esac
    printf '%s\n' 'transport_maps = hash:/t, hash:/u' 'relayhost = ' 'myhostname = mx1.here.example' \
        'mydestination = $myhostname, localhost.$mydomain' 'mydomain = here.example'
}
postmap() { while read -r key; do grep "^$key	" "${5#hash:/}" || :; done; }
postqueue() {
    case $3 in
        -p)
            echo "$HEAD"
            for message in deferred/* active/* hold/*; do
                [ ! -f "$message" ] || { listed "$message" && echo; }
            done
            echo '-- 1 Kbytes in 3 Requests.'
            ;;
        *) echo "postqueue $3 ${4:-}" >>calls ;;
    esac
}
listed() {
    case $1 in active/*) mark='*' ;; hold/*) mark='!' ;; *) mark='' ;; esac
    sed "1s/MARK/$mark/" "$1"
}
postsuper() {
    case $3 in
        -h) from='deferred active' to=hold ;;
        -H) from=hold to=deferred ;;
        -d) from=${5:-'deferred active hold'} to='' ;;
    esac
    count=0
    while read -r id; do
        for place in $from; do
            [ -f "$place/$id" ] || continue
            count=$((count + 1))
            if [ -n "$to" ]; then mv "$place/$id" "$to/$id"; else rm "$place/$id"; fi
        done
    done
    [ "$count" = 0 ] || echo "postsuper: Done with it: $count message" >&2
    meanwhile
}
meanwhile() { :; }
"""


@dataclass
class Host:
    """A directory that stands for a queue, and a shell."""

    place: Path
    shell: list[str]
    meanwhile: str = ":"

    def add(self, queue: str, name: str, sender: str, *recipients: str, when: str = "Mon Nov 30 00:00:00") -> None:
        """Put a message there; recipients are lines as postqueue prints them, reasons too."""
        lines = [f"{name}MARK     241 {when}  {sender}", *(line.rjust(60) for line in recipients)]
        (self.place / queue / name).write_text("".join(f"{line}\n" for line in lines))

    def run(self, action: str, *filters: str) -> "subprocess.CompletedProcess[str]":
        """Run queue.sh."""
        common, queue = (path.read_text() for path in parts()["queue"])
        given = f"NOW='{NOW}' HEAD='{HEAD}'\n"
        if self.shell[0] == "busybox":
            # Where that is the shell, its awk is the only one.
            given += 'awk() { busybox awk "$@"; }\n'
        text = f"{common}{STAND_INS}{given}meanwhile() {{ {self.meanwhile}; }}\nset -- '{self.place}' {action}\n{queue}"
        asked = "".join(f"{line}\n" for line in (*filters, "end"))
        return subprocess.run(
            [*self.shell, "-c", text], input=asked, capture_output=True, text=True, cwd=self.place, timeout=60
        )

    def list(self, *filters: str) -> Queue:
        """Return what it lists."""
        found = parsed(self.run("list", *filters).stdout.splitlines())
        assert isinstance(found, Queue), found
        return found

    def ids(self, queue: str) -> set[str]:
        """Return the ids of the messages that are in a queue."""
        return {path.name for path in (self.place / queue).iterdir()}


@pytest.fixture
def host(shell: list[str], tmp_path: Path) -> Host:
    """A host with six messages."""
    for name in ("deferred", "active", "hold"):
        (tmp_path / name).mkdir()
    (tmp_path / "t").write_text("a.example\tsmtp:[10.1.0.2]\n.b.example\tsmtp:[10.1.0.3]:2525\n")
    (tmp_path / "u").write_text("a.example\tsmtp:[10.9.9.9]\n")
    host = Host(tmp_path, shell)
    refused = "(connect to 10.1.0.{}[10.1.0.{}]:25: Connection refused)"
    host.add("deferred", "A1", "s@x.example", refused.format(2, 2), "u@a.example", "v@A.example")
    host.add("deferred", "A2", "t@x.example", refused.format(3, 3), "u@a.example", "(other)", "w@sub.b.example")
    host.add("deferred", "A3", "MAILER-DAEMON", "(greylisted)", "w@c.example", when="Thu Dec 31 23:59:59")
    host.add("active", "B1", "s@y.example", "u@a.example", when="Sun Nov 29 00:53:20")
    host.add("hold", "C1", "odd sender@x.example", "root@mx1.here.example", when="Mon Nov 30 00:53:00")
    host.add("hold", "3XYZabc9", "s@x.example", "u@a.example")
    return host


def test_what_waits_is_counted_by_where_it_goes_and_why(host: Host) -> None:
    found = host.list()
    assert (found.messages, found.recipients, found.senders, found.all_rows) == (6, 8, 5, 6)
    assert found.now == 1796000000
    # Of December, as it is November: of the year before.
    assert found.oldest == 334 * 86400 - 86400 + 3600 - 400 + 1
    assert (found.domains, found.largest[0]) == (4, "a.example")
    rows = {(row.messages, row.queue, row.domain, row.next_hop, row.reason) for row in found.rows}
    assert rows == {
        (2, "deferred", "a.example", "smtp:[10.1.0.2]", "connect to #: Connection refused"),
        (1, "deferred", "sub.b.example", "smtp:[10.1.0.3]:2525", "other"),
        (1, "deferred", "c.example", "MX", "greylisted"),
        (1, "active", "a.example", "smtp:[10.1.0.2]", ""),
        (1, "hold", "mx1.here.example", "local", ""),
        (1, "hold", "a.example", "smtp:[10.1.0.2]", ""),
    }
    assert next(row for row in found.rows if row.queue == "active").oldest == 86400
    fewer = host.list("rows 1")
    assert (len(fewer.rows), fewer.rows[0].messages, fewer.all_rows) == (1, 2, 6)


@pytest.mark.parametrize(
    ("filters", "chosen", "others"),
    [
        (("domain a.example",), {"A1", "A2", "B1", "3XYZabc9"}, 1),
        (("domain sub.b.example",), {"A2"}, 1),
        (("next_hop 10.1.0.3",), {"A2"}, 1),
        (("next_hop smtp:[10.1.0.3]:2525",), {"A2"}, 1),
        (("next_hop [10.1.0.3]",), set(), 0),
        (("next_hop mx",), {"A3"}, 0),
        (("sender x.example",), {"A1", "A2", "C1", "3XYZabc9"}, 0),
        (("sender S@x.example",), {"A1", "3XYZabc9"}, 0),
        (("sender MAILER-DAEMON",), {"A3"}, 0),
        (("older 7200",), {"A3", "B1"}, 0),
        (("until 1795999990",), {"A1", "A2", "A3", "B1", "C1", "3XYZabc9"}, 0),
        (("until 1795999970",), {"A1", "A2", "A3", "B1", "3XYZabc9"}, 0),
        (("queue hold",), {"C1", "3XYZabc9"}, 0),
        (("queue deferred active", "domain a.example"), {"A1", "A2", "B1"}, 1),
        (("reason connect to 10.1.0.3[",), {"A2"}, 1),
        (("reason #: connection REFUSED",), {"A1", "A2"}, 1),
        (("reason .*",), set(), 0),
    ],
)
def test_all_filters_have_to_be_met_by_a_message(
    host: Host, filters: tuple[str, ...], chosen: set[str], others: int
) -> None:
    found = host.list(*filters)
    assert (found.messages, found.others) == (len(chosen), others)
    before = host.ids("deferred") | host.ids("active") | host.ids("hold")
    result = host.run("delete", *filters)
    assert (result.stdout, result.stderr) == (f"acted {len(chosen)} {len(chosen)}\n", "")
    assert host.ids("deferred") | host.ids("active") | host.ids("hold") == before - chosen


def test_reasons_that_differ_in_numbers_and_addresses_are_one(host: Host) -> None:
    host.run("delete")
    said = "(host mx{0}.a.example[192.0.2.{0}] said: 450 4.2.0 <u{0}@a.example>: Greylisted for {0} s, id 4fx{0}bQ7c8d9"
    said += " (in reply to RCPT TO))"
    for number in (1, 22, 333):
        host.add("deferred", f"D{number}", "s@x.example", said.format(number), f"u{number}@a.example")
    (row,) = host.list().rows
    assert row.messages == 3
    assert row.reason == "host mx#.a.example said: 450 4.2.0 <#>: Greylisted for # s, id # (in reply to RCPT TO)"


def test_what_left_meanwhile_is_no_mistake(host: Host) -> None:
    host.meanwhile = "rm -f hold/A1"
    result = host.run("delete", "domain a.example", "queue deferred")
    assert (result.returncode, result.stdout) == (0, "acted 1 2\n")


def test_a_message_that_came_to_have_the_id_of_another_is_not_deleted(host: Host) -> None:
    host.meanwhile = "[ ! -f hold/A1 ] || sed -i '1s/241/242/' hold/A1"
    result = host.run("delete", "domain a.example", "queue deferred")
    assert (result.returncode, result.stdout) == (0, "acted 1 2\n")
    assert host.ids("deferred") == {"A1", "A3"}


def test_messages_are_held_released_and_flushed_by_their_ids(host: Host) -> None:
    assert host.run("hold", "domain a.example", "queue deferred active").stdout == "acted 3 3\n"
    assert host.ids("hold") == {"A1", "A2", "B1", "C1", "3XYZabc9"}
    assert host.run("release", "sender y.example", "queue hold").stdout == "acted 1 1\n"
    assert host.ids("deferred") == {"A3", "B1"}
    assert host.run("flush", "domain a.example", "queue deferred").stdout == "acted 1 1\n"
    assert host.run("flush", "queue deferred").stdout == "acted 2 2\n"
    assert (host.place / "calls").read_text() == "postqueue -i B1\npostqueue -f \n"
    assert host.run("hold", "domain nobody.example").stdout == "acted 0 0\n"


def test_a_queue_that_cannot_be_listed_to_its_end_is_unread(host: Host) -> None:
    host.meanwhile = ":; }; postqueue() { echo 'postqueue: fatal: no such thing' >&2; return 69"
    assert parsed(host.run("list").stdout.splitlines()) == Unread("postqueue: fatal: no such thing")
    result = host.run("delete")
    assert result.returncode == 69
    assert "the queue cannot be read: postqueue: fatal: no such thing; nothing was touched" in result.stderr
