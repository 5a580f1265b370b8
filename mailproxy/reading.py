"""What is read of the hosts of one pyinfra run."""

from collections.abc import Mapping
from typing import Any

import gevent
import gevent.lock
from paramiko import SSHException
from pyinfra.api import FactBase, Host, State
from pyinfra.api.facts import get_fact

from mailproxy.bare import Survey
from mailproxy.condensed import condense
from mailproxy.contents import Contents
from mailproxy.declaration import config_directory
from mailproxy.facts import Installation, MailQueue, MailService, Observation
from mailproxy.inputs import BRIEFLY
from mailproxy.observed import ObservedState, Unread
from mailproxy.privilege import as_root, left_to_us, refuse_what_is_seen
from mailproxy.program import command, kept_name
from mailproxy.remote import time_limit
from mailproxy.shard import refuse_other_shards
from mailproxy.ssh import refuse_unsafe_connections
from mailproxy.waiting import Queue


class Reading:
    """The observed state of each host of a run, as far as it has come: hosts that cannot be reached are unread.

    Raises StopError where connections would be unsafe, or give a password away, or a host is another controller's.
    """

    def __init__(self, state: State):
        condense()
        refuse_what_is_seen(state)
        self.hosts = tuple(host for host in state.inventory if state.is_host_in_limit(host))
        refuse_other_shards(host.name for host in self.hosts)
        refuse_unsafe_connections(self.hosts)
        active = set(state.inventory.get_active_hosts())
        self._contents = Contents()
        self._asking: dict[frozenset[str], gevent.lock.RLock] = {}
        self._found: dict[str, ObservedState | Unread] = {
            host.name: Unread("it could not be connected to") for host in self.hosts if host not in active
        }
        for host in self.hosts:
            if host not in active:
                state.failed_hosts.add(host)

    def read(self, host: Host, expected: str) -> ObservedState | Unread:
        """Read a host in one round trip; expected is the input of observe.sh (mailproxy.inputs.expectation).

        Large files that many hosts have alike are sent by one of them alone, which takes a second round trip.
        """
        found = self._observed(host, f"{BRIEFLY}{expected}")
        if isinstance(found, ObservedState):
            found = self._with_contents(host, expected, found)
        self._found[host.name] = found
        return found

    def _observed(self, host: Host, expected: str) -> ObservedState | Unread:
        program = command("observe", config_directory(host))
        found: ObservedState | Unread | None = None
        for by_name in (True, False):
            found = self._fact(host, Observation, as_root(host, program, expected, by_name=by_name, as_record=True))
            if not _is_to_be_sent_whole(found):
                break
        return found or Unread("it could not be read (the reason stands above)")

    def _with_contents(self, host: Host, expected: str, found: ObservedState) -> ObservedState | Unread:
        missing = self._contents.missing(found, expected)
        if not missing:
            return self._contents.shared(found)
        # Who comes later waits for the one that asks.
        with self._asking.setdefault(missing, gevent.lock.RLock()):
            if not self._contents.missing(found, expected):
                return self._contents.shared(found)
            again = self._observed(host, expected)
            return self._contents.shared(again) if isinstance(again, ObservedState) else again

    def ask(self, host: Host, directory: str, questions: str) -> list[str]:
        """Ask a host about its own mail service (files/probe.sh); empty where it does not answer."""
        program = command("probe", directory)
        inputs = (as_root(host, program, questions, by_name=by_name) for by_name in (True, False))
        return next(filter(None, (self._fact(host, MailService, stdin) for stdin in inputs)), [])

    def survey(self, host: Host) -> Survey | Unread:
        """Look at what an installation of Postfix would meet on a host (files/install.sh)."""
        found: Survey | None = self._fact(host, Installation, as_root(host, command("install", "survey")))
        return found or Unread("it could not be read (the reason stands above)")

    def queue(self, host: Host, filters: str) -> Queue | Unread:
        """Look at what waits on a host (files/queue.sh), as far as filters choose it (mailproxy.selection)."""
        program = command("queue", config_directory(host), "list")
        found: Queue | Unread | None = self._fact(host, MailQueue, as_root(host, program, filters, as_record=True))
        return found or Unread("it could not be read (the reason stands above)")

    @staticmethod
    def _fact(host: Host, fact: type[FactBase[Any]], stdin: str) -> Any:
        """Return a fact of a host, None where it is lost on the way."""
        try:
            with gevent.Timeout(time_limit(host.data.get("_timeout")), TimeoutError):
                # get_fact of the host would drop it from the run when it fails, and with it the reason from the review.
                return get_fact(
                    host.state, host, fact, kwargs={**left_to_us(), "_stdin": stdin}, apply_failed_hosts=False
                )
        except (OSError, EOFError, SSHException):
            return None

    def keeps_programs(self, host: Host) -> bool:
        """Whether a host that was read keeps the programs of this version."""
        found = self._found.get(host.name)
        return isinstance(found, ObservedState) and found.programs == kept_name()

    @property
    def is_complete(self) -> bool:
        """Whether every host was read, or cannot be: true once, for the host that comes last."""
        return len(self._found) == len(self.hosts)

    @property
    def observed(self) -> Mapping[str, ObservedState | Unread]:
        """What was found, in the inventory's order."""
        return {host.name: self._found[host.name] for host in self.hosts if host.name in self._found}


def _is_to_be_sent_whole(found: ObservedState | Unread | None) -> bool:
    """Whether a host does not keep what was to read it, or not as it was sent."""
    if isinstance(found, Unread):
        return found.is_garbled
    return found is not None and found.programs != kept_name()
