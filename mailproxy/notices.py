"""What a plan tells of a host besides its changes: what it repairs, and what is to be known."""

from collections.abc import Iterator

from mailproxy.by_version import left_out
from mailproxy.changes import Difference
from mailproxy.check import local_accounts
from mailproxy.drained import told
from mailproxy.meaning import UNROUTED, lacks_relay_rule
from mailproxy.model import DesiredState
from mailproxy.observed import ObservedState
from mailproxy.relay_recipients import warning_of_any
from mailproxy.service import is_applied


def repairs_of(observed: ObservedState) -> Iterator[str]:
    """Yield what an earlier run left behind and this one finishes."""
    if observed.is_bootstrapping:
        yield "ends its bootstrap: Postfix is enabled at boot when this is confirmed"
    if observed.journal is None:
        return
    before = f"(what was live before it is generation {observed.journal.get('generation', '?')})"
    if is_applied(observed):
        yield f"proves a change that is live and was never proven {before}"
    else:
        yield f"finishes an interrupted change {before}"


def warnings_of_host(desired: DesiredState, observed: ObservedState) -> Iterator[str]:
    """Yield what of a declaration does not come true on a host, and who else is changing it."""
    for name in left_out(observed.postfix, desired.main_cf):
        version = ".".join(map(str, observed.postfix.version))
        yield f"{name} is declared, and left out: Postfix {version} does not know it"
    leading = local_accounts(desired) if observed.missing_users else {}
    for user in sorted(observed.missing_users):
        names = leading.get(user, [])
        yield f"alias {', '.join(names)}: {user} is neither an account on the host nor an alias, so its mail bounces"
    if taken := warning_of_any(desired.relay_recipients, desired.relay_domains):
        yield taken
    yield from _warnings_of_draining(observed)
    for feature in desired.features.values():
        yield from feature.warnings_on(desired, observed)
    yield from warnings_of_lock(observed)


def _warnings_of_draining(observed: ObservedState) -> Iterator[str]:
    """Yield that a host is out of service, and what is left in its queue where that was asked for."""
    if observed.postfix.drained:
        since = told(observed.postfix.drained, observed.manifest.record if observed.manifest else {})
        yield f"{since}; it answers 421 until mailproxy.undrain{_left(observed)}"


def _left(observed: ObservedState) -> str:
    if observed.queue is None:
        return ""
    return f"; messages left in its queue: {observed.queue}" if observed.queue else "; its queue is empty"


def warnings_of_lock(observed: ObservedState) -> Iterator[str]:
    """Yield who else is changing the host."""
    if observed.lock is not None:
        state = ", and at work now" if observed.lock.busy else "; that run is over" if observed.lock.stale else ""
        yield f"locked by {observed.lock.holder}, {observed.lock.age // 60} min ago{state}"


def warnings_of_taking_over(found: Difference, observed: ObservedState) -> Iterator[str]:
    """Yield what changes on a host where main.cf is not ours, and has no form as a change."""
    if observed.foreign is None:
        return
    if observed.foreign.is_broken:
        yield "Postfix cannot read main.cf as it stands there, and serves nobody"
    if lacks_relay_rule(observed.foreign.effective):
        yield "smtpd does not start there, as no restriction refuses strangers: mailproxy's own rule comes"
    for unread in found.live.unread:
        yield f"{unread} is not read any more, and what it says is not known here"
    if found.live.domains and found.live.subdomains == UNROUTED and found.wanted.subdomains != UNROUTED:
        so_far = "so far accepted and sent to their own MX"
        yield f"mail for subdomains of relay domains, {so_far}, is {found.wanted.subdomains} (relay_subdomains)"
