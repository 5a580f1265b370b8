"""What pyinfra logs of a thousand hosts can be read: once what many say alike, and each that failed by its name."""

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from mailproxy.condensed import FEW, Condensed

REPOSITORY = Path(__file__).parent.parent


class Log:
    """A log behind the filter, as the lines that are told."""

    def __init__(self, size: int, is_watched: bool = False):
        self.lines: list[str] = []
        self.filter = Condensed(lambda: size, lambda level, text: self.lines.append(text), is_watched)

    def says(self, text: str, level: int = logging.INFO) -> None:
        """Log a line."""
        record = logging.LogRecord("pyinfra", level, "", 0, text, (), None)
        if self.filter.filter(record):
            self.lines.append(click.unstyle(text))

    def of_host(self, number: int, text: str, level: int = logging.INFO) -> None:
        """Log a line as pyinfra does of a host."""
        self.says(f"{click.style('')}[{click.style(f'mx{number}', bold=True)}]  {click.style(text, 'green')}", level)


def test_what_a_thousand_hosts_say_alike_is_one_line() -> None:
    log = Log(1000)
    log.says("--> Starting operation: Activate wave 2")
    for number in range(1000):
        log.of_host(number, "activated: reload; generation 7 is what was live before" if number else "Skipped")
        log.of_host(number, "Success")
    log.says("--> Results:")
    assert log.lines == [
        "--> Starting operation: Activate wave 2",
        "[mx0] Skipped",
        "[1000 hosts] Success",
        "[999 hosts] activated: reload; generation 7 is what was live before",
        "--> Results:",
    ]


def test_who_failed_is_told_at_once_by_name_and_all_are_when_many_failed_alike() -> None:
    log = Log(1000)
    for number in range(FEW):
        log.of_host(number, "locked", logging.ERROR)
    assert log.lines == [f"[mx{number}]  locked" for number in range(FEW)]
    log.of_host(20, "locked", logging.ERROR)
    log.of_host(21, "locked", logging.ERROR)
    log.of_host(22, "the disk is full", logging.ERROR)
    log.says("--> Results:")
    assert log.lines[FEW:] == ["[mx22]  the disk is full", "[2 more: mx20, mx21] locked", "--> Results:"]


def test_of_a_few_hosts_all_is_told_as_it_comes() -> None:
    log = Log(FEW)
    for number in range(FEW):
        log.of_host(number, "Success")
    log.says("--> Results:")
    assert len(log.lines) == FEW + 1


def test_what_is_of_no_host_is_told_as_it_is() -> None:
    log = Log(1000)
    log.says("Loading: deploy.py")
    assert log.lines == ["Loading: deploy.py"]


def test_now_and_then_a_line_says_how_far_it_is_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    log, watched = Log(1000), Log(1000, is_watched=True)
    for number in range(30):
        now += 1
        log.of_host(number, "Success")
        watched.of_host(number, "Success")
    assert log.lines == [f"... {count} of 1000 hosts so far" for count in (10, 20, 30)]
    assert watched.lines == []


def test_pyinfra_itself_logs_so_where_the_inventory_asks_for_it(tmp_path: Path) -> None:
    names = [f"mx{number}" for number in range(FEW + 2)]
    # Nobody listens there.
    (tmp_path / "away.py").write_text(
        "from mailproxy.condensed import condense as _condense\n_condense()\n"
        f"all = ({names}, {{'ssh_hostname': '127.0.0.1', 'ssh_port': 1}})\n"
    )
    pyinfra = Path(sys.executable).with_name("pyinfra")
    command = [str(pyinfra), "-y", str(tmp_path / "away.py"), "exec", "--", "true"]
    found = subprocess.run(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert re.search(r"\[2 more: mx\d+, mx\d+\] ", found.stderr), found.stderr
