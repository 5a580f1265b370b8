"""What all tests begin with."""

# It patches the standard library, which has to come before anything imports ssl, as selenium does.
import pyinfra_cli  # noqa: F401
import pytest


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
