"""A lab of three hosts for the fleet tests of each worker; made anew after a test that failed on it.

They are of the kinds that a module names in KINDS, by default of Debian 11, 12 and 13.
"""

import concurrent.futures
import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import fleet as lab
from lab.fleet import Fleet
from lab.root import DEBIAN11, DEBIAN12, DEBIAN13, Kind
from tests.fleet.controller import TRUSTED, Controller
from tests.fleet.saved import Saved, save

STANDARD = (DEBIAN11, DEBIAN12, DEBIAN13)
GUIDE = {f"example.{suffix}": "smtp:[10.1.0.2]" for suffix in ("com", "net", "org")}

spoilt = pytest.StashKey[bool]()


def lab_name(purpose: str) -> str:
    """Return the name of this worker's lab for a purpose: of its own with pytest -n, as all workers run at once."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    return f"{purpose}-{worker}" if worker else purpose


@contextlib.contextmanager
def lab_of(wanted: int | Sequence[Kind], purpose: str) -> Iterator[Fleet]:
    """Inside, a lab of fresh hosts is up, under this worker's name for a purpose.

    Modules that want another lab than the one below keep it in a fixture of their own.
    """
    name = lab_name(purpose)
    try:
        yield lab.up(wanted, name)
    finally:
        lab.down(name)


@dataclass
class Restorable:
    """A lab whose hosts can be given back states they were in before, by the names of these states."""

    fleet: Fleet
    states: dict[str, list[Saved]] = field(default_factory=dict)

    @classmethod
    def fresh(cls, fleet: Fleet) -> "Restorable":
        """Of hosts that are as the package left them, which is the first state to go back to."""
        restorable = cls(fleet)
        restorable._save("package")
        return restorable

    def bring_to(self, state: str, make: Callable[[], object] = lambda: None) -> None:
        """Bring all hosts to a state: the first time by making it of the package's, from then on as it was then."""
        if state in self.states:
            self._put_back(state)
        else:
            self._put_back("package")
            make()
            self._save(state)

    def _save(self, state: str) -> None:
        hosts = (*self.fleet.hosts, self.fleet.mail_server)
        self.states[state] = [save(host, self.fleet.directory / "saved" / state / host.short_name) for host in hosts]

    def _put_back(self, state: str) -> None:
        *hosts, mail_server = self.states[state]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            list(pool.map(Saved.put_back, hosts))
        # Last, when nothing is on its way to it any more.
        mail_server.put_back()


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
def _labs() -> Iterator[list[Restorable]]:
    """The lab of this worker, once one was asked for, as the only element: another one can take its place."""
    try:
        yield []
    finally:
        lab.down(lab_name("tests"))


@pytest.fixture
def restorable(_labs: list[Restorable], request: pytest.FixtureRequest) -> Restorable:
    """Three hosts in whatever state earlier tests left them, all up."""
    kinds = getattr(request.module, "KINDS", STANDARD)
    is_other = [tuple(host.kind for host in each.fleet.hosts) for each in _labs] != [kinds]
    if is_other or request.session.stash.get(spoilt, False):
        request.session.stash[spoilt] = False
        _labs[:] = [Restorable.fresh(lab.up(kinds, lab_name("tests")))]
    return _labs[0]


@pytest.fixture
def fresh_fleet(restorable: Restorable) -> Fleet:
    """Three hosts with Postfix as the package left it."""
    restorable.bring_to("package")
    return restorable.fleet


def administrator(fleet: Fleet, directory: Path) -> Controller:
    """Return an administrator of a fleet who has declared the guide's proxy."""
    controller = Controller(fleet, directory)
    controller.declare(relay_domains=GUIDE, mynetworks=TRUSTED, aliases={"postmaster": "root"})
    return controller


@pytest.fixture
def newcomer(fresh_fleet: Fleet, tmp_path: Path) -> Controller:
    """An administrator who has declared the guide's proxy and rolled out nothing yet."""
    return administrator(fresh_fleet, tmp_path)


@pytest.fixture
def controller(restorable: Restorable, tmp_path: Path) -> Controller:
    """An administrator whose fleet is the guide's proxy."""
    controller = administrator(restorable.fleet, tmp_path)
    restorable.bring_to("guide", controller.roll_out)
    return controller
