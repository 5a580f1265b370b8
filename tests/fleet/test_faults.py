"""Every fault at every step of a change: old or new configuration, mail that flows, a next run that finishes.

docs/faults.md keeps the matrix of what each one leads to; the tests hold the hosts to it.
"""

import queue
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fleet.conftest import lab_of
from tests.fleet.controller import TRUSTED, Controller, live
from tests.fleet.faults import (
    CONFIRM_SECONDS,
    FAULTS,
    STEPS,
    Fault,
    Outcome,
    Site,
    declared,
    prepare,
    strike,
    use_small_disk,
)

HOSTS = 8
SMALL_DISKS = 2
DOCS = Path(__file__).parent.parent.parent / "docs/faults.md"
CELLS = [(fault, step) for fault in FAULTS for step in STEPS]

Matrix = dict[tuple[str, str], Outcome]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Matrix]:
    """What every fault at every step led to: several hosts at a time, each with one after the other."""
    with lab_of(HOSTS, "tests-faults") as fleet:
        sites = []
        for host in fleet.hosts:
            controller = Controller(fleet, tmp_path_factory.mktemp(host.short_name))
            controller.declare(mynetworks=TRUSTED, rollout={"confirm_seconds": CONFIRM_SECONDS})
            sites.append(Site(fleet, host, controller, {}))
        for side in ("red", "blue"):
            sites[0].controller.declare(**declared(side))
            sites[0].controller.roll_out()
            for site in sites:
                site.expected[side] = live(site.host)
        small = sites[:SMALL_DISKS]
        for site in sites:
            prepare(site)
        for site in small:
            use_small_disk(site)
        chosen = {(fault.name, step) for fault, step in _selected(request)}
        found: Matrix = {}
        cells = [cell for cell in CELLS if (cell[0].name, cell[1]) in chosen]
        workers = [
            threading.Thread(target=_work, args=(site, todo, found))
            for part, todo in (
                (small, _queue(cell for cell in cells if cell[0].on_small_disk)),
                (sites[SMALL_DISKS:], _queue(cell for cell in cells if not cell[0].on_small_disk)),
            )
            for site in part
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        yield found


def _selected(request: pytest.FixtureRequest) -> Iterator[tuple[Fault, str]]:
    """Yield the cells that tests of this session ask for."""
    for item in request.session.items:
        parameters = getattr(item, "callspec", None)
        if parameters is not None and {"fault", "step"} <= set(parameters.params):
            yield parameters.params["fault"], parameters.params["step"]


def _queue(cells: Iterator[tuple[Fault, str]]) -> "queue.SimpleQueue[tuple[Fault, str]]":
    todo: queue.SimpleQueue[tuple[Fault, str]] = queue.SimpleQueue()
    for cell in cells:
        todo.put(cell)
    return todo


def _work(site: Site, todo: "queue.SimpleQueue[tuple[Fault, str]]", found: Matrix) -> None:
    while True:
        try:
            fault, step = todo.get_nowait()
        except queue.Empty:
            return
        found[fault.name, step] = strike(site, fault, step)


def documented() -> dict[tuple[str, str], str]:
    """Return the matrix of docs/faults.md."""
    rows = [re.findall(r"[^|]+", line) for line in DOCS.read_text().splitlines() if line.startswith("|")]
    header, _, *body = [[cell.strip() for cell in row] for row in rows if len(row) == len(STEPS) + 1]
    return {(row[0], step): word for row in body for step, word in zip(header[1:], row[1:], strict=True)}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_at_a_step_leads_to(
    fault: Fault, step: str, matrix: Matrix, record_property: Callable[[str, object], None]
) -> None:
    outcome = matrix[fault.name, step]
    record_property("fault", [fault.name, step, outcome.word])
    assert outcome.problem == ""
    assert outcome.word in documented()[fault.name, step].split(" or ")
