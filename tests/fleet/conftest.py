"""A lab of three hosts for the fleet tests of each worker; made anew after a test that failed on it."""

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from lab import fleet as lab
from lab.fleet import Fleet
from tests.fleet.controller import TRUSTED, Controller

HOSTS = 3
GUIDE = {f"example.{suffix}": "smtp:[10.1.0.2]" for suffix in ("com", "net", "org")}

spoilt = pytest.StashKey[bool]()


def lab_name(purpose: str) -> str:
    """Return the name of this worker's lab for a purpose: of its own with pytest -n, as all workers run at once."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return f"{purpose}-{worker}" if worker else purpose


@contextlib.contextmanager
def lab_of(count: int, purpose: str) -> Iterator[Fleet]:
    """Inside, a lab of fresh hosts is up, under this worker's name for a purpose.

    Modules that want another lab than the one below keep it in a fixture of session scope: pytest -n deals the tests of
    a module out to all workers, between those of others.
    """
    name = lab_name(purpose)
    try:
        yield lab.up(count, name)
    finally:
        lab.down(name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a test failed: what it left on the hosts is not to decide about the next one."""
    report = yield
    if report.failed:
        item.session.stash[spoilt] = True
    return report


@pytest.fixture(scope="session")
def _lab() -> Iterator[list[Fleet]]:
    with lab_of(HOSTS, "tests") as fleet:
        yield [fleet]


@pytest.fixture
def fleet(_lab: list[Fleet], request: pytest.FixtureRequest) -> Fleet:
    """Three hosts in whatever state earlier tests left them, all up."""
    if request.session.stash.get(spoilt, False):
        request.session.stash[spoilt] = False
        _lab[0] = lab.up(HOSTS, lab_name("tests"))
    return _lab[0]


@pytest.fixture
def fresh_fleet(_lab: list[Fleet]) -> Fleet:
    """Three hosts with Postfix as the package left it."""
    _lab[0] = lab.up(HOSTS, lab_name("tests"))
    return _lab[0]


def _controller(fleet: Fleet, directory: Path) -> Controller:
    controller = Controller(fleet, directory)
    controller.declare(relay_domains=GUIDE, mynetworks=TRUSTED, aliases={"postmaster": "root"})
    return controller


@pytest.fixture
def newcomer(fresh_fleet: Fleet, tmp_path: Path) -> Controller:
    """An administrator who has declared the guide's proxy and rolled out nothing yet."""
    return _controller(fresh_fleet, tmp_path)


@pytest.fixture
def controller(fleet: Fleet, tmp_path: Path) -> Controller:
    """An administrator whose fleet is the guide's proxy."""
    controller = _controller(fleet, tmp_path)
    controller.roll_out()
    return controller
