"""What a run brings a fleet to: what is declared, or an earlier generation of each host."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from pyinfra.api import Host, Inventory

from mailproxy.declaration import declared, declared_rollout
from mailproxy.digest import Fingerprint, fingerprint, fingerprint_of_return
from mailproxy.drained import RECORD
from mailproxy.inputs import expectation, expectation_of_return
from mailproxy.mail_exchangers import mail_hosts
from mailproxy.observed import ObservedState, Unread
from mailproxy.plan import Plan, Refusal, planned
from mailproxy.returning import returned
from mailproxy.rollout import Rollout


class Goal(Protocol):
    """What a run brings its hosts to, and how they are asked for what that needs."""

    rollout: Rollout
    # What a host is that has nothing to do.
    settled: str

    def expectation(self, host: str) -> str:
        """Return the input of observe.sh for a host."""

    def plan(self, host: str, observed: ObservedState) -> Plan | Refusal:
        """Return what brings an observed host there."""

    def fingerprint(self, host: str, observed: ObservedState | Unread, how: str) -> Fingerprint:
        """Return what of a host a review depends on; how is as in mailproxy.digest.fingerprint."""

    def record(self, host: str, observed: ObservedState) -> Mapping[str, str]:
        """Return what a host keeps of where its files come from, besides who did it."""


class Declared:
    """What group_data declares; DeclarationError where that cannot be."""

    settled = "as declared"

    def __init__(self, inventory: Inventory, hosts: Sequence[Host]):
        self.declared = declared(inventory, hosts, mail_hosts)
        self.desired = self.declared.desired
        first = next(iter(self.desired.values()), None)
        self.rollout = (first.rollout if first else None) or Rollout()

    def expectation(self, host: str) -> str:
        """Ask for what is not as declared."""
        return expectation(self.desired[host])

    def plan(self, host: str, observed: ObservedState) -> Plan | Refusal:
        """Return what brings a host to its declaration."""
        plan = planned(self.desired[host], observed)
        if isinstance(plan, Refusal):
            return plan
        return replace(plan, warnings=(*plan.warnings, *self.declared.warnings_of(host)))

    def fingerprint(self, host: str, observed: ObservedState | Unread, how: str) -> Fingerprint:
        """Return what the declaration and the host are."""
        return fingerprint(self.desired[host], observed, how)

    def record(self, host: str, observed: ObservedState) -> Mapping[str, str]:
        """The commit is the run's own; a drained host stays so, since when it was."""
        since = observed.manifest.record.get(RECORD) if observed.manifest and observed.postfix.drained else None
        return {RECORD: since} if since else {}


class Earlier:
    """An earlier generation of each host: of that number, or the last one where it is None.

    Of group_data only the order of activation counts: a way back has to be there also where a declaration is wrong.
    """

    settled = "as they were then"

    def __init__(self, inventory: Inventory, hosts: Sequence[Host], number: int | None):
        self.number = number
        self.rollout = declared_rollout(inventory, hosts)

    def expectation(self, host: str) -> str:
        """Ask for the generation and for all that is live."""
        return expectation_of_return(self.number)

    def plan(self, host: str, observed: ObservedState) -> Plan | Refusal:
        """Return what brings a host back."""
        return returned(observed)

    def fingerprint(self, host: str, observed: ObservedState | Unread, how: str) -> Fingerprint:
        """Return what the generation and the host are."""
        return fingerprint_of_return(observed, how)

    def record(self, host: str, observed: ObservedState) -> Mapping[str, str]:
        """Return which generation it is, and the commit that it came from."""
        saved = observed.saved
        commit = saved.manifest.record.get("commit", "") if saved and saved.manifest else ""
        drained = saved.manifest.record.get(RECORD, "") if saved and saved.manifest else ""
        return {"commit": commit, "returned": str(saved and saved.number), RECORD: drained}
