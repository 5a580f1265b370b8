"""What a run costs, counted: round trips, processes on a host, bytes to and from it; none grows with the tables."""

import sys
from dataclasses import dataclass
from pathlib import Path

from lab.contenders import bytes_sent_to
from lab.hosts import Host
from lab.root import DEBIAN12
from tests.fleet.controller import FORKED, Controller, assert_mail_flows, bytes_sent_by, live, replaced

# As lab/bench: Postfix of one kind, so that the limits are of one.
KINDS = (DEBIAN12, DEBIAN12, DEBIAN12)
FEW, MANY = 3000, 30_000


@dataclass(frozen=True)
class Counted:
    """A run: round trips of all hosts; of the last host processes, and KiB that it was sent and has sent."""

    round_trips: int
    processes: int
    received: float
    sent: float


def last_process(host: Host) -> int:
    """Return the number of the youngest process: each one, thread or process, has the next."""
    return int(host.run(["cat", "/proc/sys/kernel/ns_last_pid"]).stdout)


def counted(controller: Controller, place: Path, *arguments: str) -> Counted:
    """Run a rollout, which has to succeed, and count."""
    host = controller.fleet.hosts[-1]
    controller.pyinfra = (sys.executable, "-m", "lab.counted", str(place / "round-trips"))
    before = last_process(host), bytes_sent_to(controller.fleet)[host.short_name], bytes_sent_by(host)
    result = controller.run("-y", *arguments)
    assert result.status == 0, result.everything
    after = last_process(host), bytes_sent_to(controller.fleet)[host.short_name], bytes_sent_by(host)
    processes, received, sent = (now - then for now, then in zip(after, before, strict=True))
    return Counted(int((place / "round-trips").read_text()), processes, received / 1024, sent / 1024)


def declare(controller: Controller, domains: int) -> None:
    controller.declare(relay_domains={f"customer-{number:05}.example": "smtp:[10.1.0.2]" for number in range(domains)})


def test_no_cost_creeps_back_and_none_grows_with_the_tables(controller: Controller, tmp_path: Path) -> None:
    nothing: dict[int, Counted] = {}
    reviewed: dict[int, Counted] = {}
    added: dict[int, Counted] = {}
    for size in (FEW, MANY):
        declare(controller, size)
        controller.pyinfra = FORKED
        controller.roll_out()
        nothing[size] = counted(controller, tmp_path)
        declare(controller, size + 1)
        reviewed[size] = counted(controller, tmp_path, "--dry")
        added[size] = counted(controller, tmp_path)
    for size in (FEW, MANY):
        assert nothing[size].round_trips == 3
        # One host alone sends the tables that all have alike.
        assert reviewed[size].round_trips == 4
        assert added[size].round_trips == 3 * 4 + 1
        assert nothing[size].processes <= 24
        # It may be this one, which then is read twice.
        assert reviewed[size].processes <= 45
        # Those that a reload of Postfix starts anew among them.
        assert added[size].processes <= 160
        # Three of it are the connection. How many packets it comes in, with their headers, and how many acknowledge
        # what the host sends are a matter of moments.
        assert nothing[size].received <= 8
        assert reviewed[size].received <= 16
        assert added[size].received <= 24
        # Of the tables, which are a megabyte, nothing.
        assert nothing[size].sent <= 16
    # Nothing of the tables, but perhaps the message that reads it once more.
    assert added[MANY].received < added[FEW].received + 10
    assert nothing[MANY].processes <= nothing[FEW].processes + 5


def test_where_an_edit_does_not_lead_to_what_was_meant_the_whole_is_sent(controller: Controller) -> None:
    host = controller.fleet.hosts[0]
    declare(controller, 100)
    controller.roll_out()
    declare(controller, 101)
    with replaced(host, "/usr/bin/awk", 'case $* in *edit=*) exit 1 ;; esac; exec $real "$@"'):
        controller.roll_out()
    assert "customer-00100.example" in live(host)["transport entries"]
    controller.assert_converged()
    assert_mail_flows(controller.fleet, host, "customer-00100.example")
