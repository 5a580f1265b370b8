"""What all tests begin with."""

import shutil
from unittest import mock

import pytest
from gevent import monkey

# It makes greenlets of all threads, which pyinfra's own process wants, and the fleet tests start that. In the tests'
# process pytest -n waits in one thread for what another one hears.
with mock.patch.object(monkey, "patch_all"):
    import pyinfra_cli  # noqa: F401


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the matrix of faults (tests/fleet/test_faults.py), as far as it was tried."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    words = {
        tuple(value[:2]): value[2]
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name == "fault"
    }
    if not words:
        return
    faults, steps = (list(dict.fromkeys(key[part] for key in words)) for part in (0, 1))
    terminalreporter.section("faults")
    rows = [["", *steps], ["---"] * (len(steps) + 1)]
    rows += [[fault, *(words.get((fault, step), "") for step in steps)] for fault in faults]
    for row in rows:
        terminalreporter.line(f"| {' | '.join(row)} |")


@pytest.fixture(params=["dash", "bash --posix", "mksh", "busybox sh"])
def shell(request: pytest.FixtureRequest) -> list[str]:
    """Each shell that a host may have as sh, as the words of its command."""
    words: list[str] = request.param.split()
    if shutil.which(words[0]) is None:
        pytest.skip(f"there is no {words[0]} here")
    return words
