"""Asks hosts by SMTP whether they serve as declared, as often as it takes to be sure."""

import itertools
import time

from pyinfra.api import Host

from mailproxy import smtp
from mailproxy.declaration import config_directory
from mailproxy.judging import Outcome, is_put_off, outcomes, verdict
from mailproxy.probe import Probes

# A process of Postfix that was idle when it was told to reload may take one more connection, and the one that knows
# the routes looks at its tables every 10 s (trivial-rewrite(8)): only what is wrong for so long is wrong. Where one
# question takes longer than that, as of a host that does not answer at all, it is not asked again.
_PAUSES = (1, 2, 3, 5)  # seconds
# A host that served nobody before the change may need longer: master(8) starts a daemon that died of its configuration
# again after 60 s (service_throttle_time), reloads or not.
_PATIENCE = 75  # seconds


def smtp_address(host: Host, asked: Probes) -> str:
    """Return where the SMTP port of a host is: host data smtp_hostname, or else where SSH goes.

    An instance of its own configuration directory shares that with others, so it is asked where it listens itself.
    """
    own = asked.interface if asked.interface and config_directory(host) else ""
    return str(host.data.get("smtp_hostname") or own or host.data.get("ssh_hostname") or host.name)


def is_reachable(host: Host, asked: Probes) -> bool:
    """Whether the SMTP port of a host greets this machine."""
    return asked.serves and smtp.is_reachable(smtp_address(host, asked))


def proven(host: Host, asked: Probes, was_reachable: bool) -> list[Outcome]:
    """Return what a host's answers prove against it, or leave open: nothing where all of them are as expected.

    An instance that is disabled is not asked: nobody is to answer.
    """
    if not asked.serves:
        return []
    started = time.monotonic()
    patience = sum(_PAUSES) if was_reachable else _PATIENCE
    found = _asked_once(host, asked, was_reachable)
    for pause in itertools.chain(_PAUSES, itertools.repeat(_PAUSES[-1])):
        if verdict(found) != "fail" or time.monotonic() - started >= patience:
            break
        time.sleep(pause)
        found = _asked_once(host, asked, was_reachable)
    return found


def _asked_once(host: Host, asked: Probes, was_reachable: bool) -> list[Outcome]:
    replies, client = smtp.dialogue(smtp_address(host, asked), asked)
    if any(map(is_put_off, replies)):
        replies, client = smtp.dialogue(smtp_address(host, asked), asked)
    return list(outcomes(asked, replies, client, was_reachable))
