"""What makes Postfix read a change, and why: observed x desired -> Service."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mailproxy.host_postfix import HostPostfix
from mailproxy.managed import READ_ONCE, SHARED
from mailproxy.observed import BEFORE_MAIN_CF, ObservedState
from mailproxy.render import Content
from mailproxy.syntax import main_cf_parameters

Action = Literal["none", "reload", "restart", "start", "stop"]

# Parameters that a reload does not apply (postconf(5): "stop and start").
RESTART_PARAMETERS = ("inet_interfaces", "inet_protocols")


@dataclass(frozen=True)
class Service:
    """What makes Postfix read the change, and why."""

    action: Action
    reason: str

    @property
    def leaves_running(self) -> bool:
        """Whether Postfix is to run afterwards."""
        return self.action != "stop" and self != DISABLED


NOTHING = Service("none", "nothing changes")
DISABLED = Service("none", "this instance is disabled and does not run")


def service(
    contents: Mapping[str, Content],
    changed: Collection[str],
    wanted: Mapping[str, str],
    observed: ObservedState,
    compiled: Mapping[str, Collection[str]],
) -> Service:
    """Return what is to be done.

    changed names the files that are replaced, compiled the tables and the files of each; wanted is what effective()
    returns.
    """
    disabled = is_disabled(main_cf_parameters(contents["main.cf"].text), observed.postfix)
    before = main_cf_parameters(observed.texts.get("main.cf", ""))
    if not observed.running:
        return DISABLED if disabled else Service("start", "Postfix is not running")
    if disabled and not is_disabled(before, observed.postfix):
        return Service("stop", "this instance is disabled from now on (multi_instance_enable = no)")
    if not observed.has_usable_main_cf:
        reason = "its daemons ended for want of a main.cf that can be read, and are not started again for a while"
        return Service("restart", reason)
    live = effective(before, observed)
    recorded = observed.manifest.loaded if observed.manifest else _before(observed)
    for name in RESTART_PARAMETERS:
        # Both, as nobody knows whether what stands in main.cf by somebody else's hand was started with.
        for loaded in (live[name], recorded.get(name, wanted[name])):
            if loaded.replace(",", " ").split() != wanted[name].replace(",", " ").split():
                return Service("restart", f"{name} changes from {loaded} to {wanted[name]}")
    read_once = [name for name in READ_ONCE if name in changed]
    if read_once:
        return Service("reload", f"{', '.join(read_once)} {'changes' if len(read_once) == 1 else 'change'}")
    if compiled.get("relaydomains"):
        return Service("reload", "the table of relaydomains is replaced")
    if observed.journal is not None and not is_applied(observed):
        return Service("reload", "an interrupted change may not have been loaded")
    if observed.manifest is None:
        return Service("reload", "nothing says that Postfix has loaded these files")
    recorded_digests = observed.manifest.digests
    # Of a shared file it is not known whether what stands beside our lines is to be loaded already.
    pending = [
        name
        for name in READ_ONCE
        if name in contents and name not in SHARED and recorded_digests.get(name) != contents[name].digest
    ]
    if pending:
        return Service("reload", f"Postfix has not loaded the {', '.join(pending)} on the disk")
    left = observed.manifest.digests
    healed = [table for table in compiled if any(left.get(name) != observed.digest(name) for name in compiled[table])]
    if healed:
        # A process that could not read a table looks at it again as seldom as at one that it could (READ_ONCE).
        return Service("reload", f"the table of {', '.join(healed)} was damaged or missing, and mail may wait for it")
    return Service("none", "Postfix notices changed tables by itself") if changed else NOTHING


def served_anew(found: Service) -> Service:
    """Return what is to be done where routes go: sessions from before a reload still accept mail for their domains."""
    if found.action != "none" or found == DISABLED:
        return found
    return Service("reload", "routes go, and no session from before may need them")


def is_disabled(parameters: Mapping[str, str], postfix: HostPostfix) -> bool:
    """Whether a main.cf with these parameters is that of one of several instances, and one that is not to be started.

    The primary instance counts as one of several from "postmulti -e init" on (postmulti(1)).
    """
    is_one_of_several = postfix.is_secondary or bool(parameters.get("multi_instance_wrapper"))
    return is_one_of_several and parameters.get("multi_instance_enable", "no").lower() == "no"


def is_applied(observed: ObservedState) -> bool:
    """Whether the journal says that its change went live as a whole, with a manifest, and only waits to be proven."""
    return observed.journal is not None and "applied" in observed.journal and observed.manifest is not None


def warnings_of_instance(found: Service, parameters: Mapping[str, str], observed: ObservedState) -> Iterator[str]:
    """Yield that an instance is disabled by a main.cf with these parameters, where nothing else says so."""
    if found.action != "stop" and is_disabled(parameters, observed.postfix):
        state = "runs all the same until this host starts anew" if observed.running else "is not started"
        yield f"this instance is disabled (multi_instance_enable = no) and {state}"


def _before(observed: ObservedState) -> dict[str, str]:
    """Return what Postfix may have been started with before a change that was interrupted."""
    text = observed.texts.get(BEFORE_MAIN_CF)
    return {} if text is None else effective(main_cf_parameters(text), observed)


def effective(parameters: Mapping[str, str], observed: ObservedState) -> dict[str, str]:
    """Return what the parameters that need a restart are, defaults included."""
    return {name: parameters.get(name, observed.postfix.defaults.get(name, "")) for name in RESTART_PARAMETERS}
