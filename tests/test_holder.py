"""Who holds a lock, and whether they still do."""

import subprocess
import sys

from mailproxy.holder import LEASE_SECONDS, for_another_process, is_stale, this_process
from mailproxy.lock import Lock


def lock(holder: str, age: int = 10) -> Lock:
    return Lock("token", holder, age, busy=False)


def of_process(pid: int) -> str:
    words = this_process().split()
    return " ".join([*words[:-3], str(pid), *words[-2:]])


def test_a_running_process_of_this_machine_holds_its_lock() -> None:
    assert not is_stale(lock(this_process()))


def test_a_process_of_this_machine_that_is_gone_does_not() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert is_stale(lock(of_process(process.pid)))


def test_a_process_elsewhere_holds_it_for_its_lease() -> None:
    holder = "alice@elsewhere process 1 of another-machine"
    assert not is_stale(lock(holder, LEASE_SECONDS))
    assert is_stale(lock(holder, LEASE_SECONDS + 1))


def test_a_holder_of_unknown_form_holds_it_for_its_lease() -> None:
    assert not is_stale(lock("somebody"))
    assert not is_stale(lock(this_process().rpartition(" process ")[0]))


def test_a_process_number_that_cannot_be_one_is_gone() -> None:
    assert is_stale(lock(of_process(2**70)))


def test_what_is_staged_for_another_process_is_kept_for_a_lease_whoever_is_gone() -> None:
    assert this_process().startswith(for_another_process().partition(" for ")[0])
    assert not is_stale(lock(for_another_process()))
    assert is_stale(lock(for_another_process(), age=LEASE_SECONDS + 1))
