"""What main.cf says otherwise, or not at all, where a host's Postfix is older."""

from functools import lru_cache

from mailproxy.entries import Entries
from mailproxy.host_postfix import HostPostfix
from mailproxy.relaying import in_recipient_restrictions
from mailproxy.restrictions import RECIPIENT, RELAY

# Parameters that are rendered where the host's own Postfix knows them, and else left out: without them it does what it
# can. What a declared relay rule says is in smtpd_recipient_restrictions then.
WHERE_KNOWN = ("compatibility_level", "maillog_file", "smtpd_forbid_bare_newline", "smtpd_relay_restrictions")


@lru_cache(maxsize=1024)
def parameters_on(postfix: HostPostfix, main_cf: Entries) -> Entries:
    """Return main_cf as a host's Postfix can have it: what it would ignore must not hold the relay rule."""
    further = {name: value for name, value in main_cf.items() if name not in WHERE_KNOWN or postfix.knows(name)}
    if not postfix.knows(RELAY) and (RELAY in main_cf or RECIPIENT in main_cf):
        further[RECIPIENT] = in_recipient_restrictions(main_cf)
    return Entries(further)


def left_out(postfix: HostPostfix, main_cf: Entries) -> list[str]:
    """Return the declared parameters that a host has to do without."""
    lost = set(WHERE_KNOWN) - {"compatibility_level", RELAY}
    return [name for name in main_cf if name in lost and not postfix.knows(name)]


def compatibility_level(postfix: HostPostfix) -> str | None:
    """Return the level of today's defaults that a host knows (COMPATIBILITY_README), None where there are none."""
    if not postfix.knows("compatibility_level"):
        return None
    return "3.6" if postfix.version >= (3, 6) else "2"


def bare_newline(postfix: HostPostfix) -> str | None:
    """Return what keeps a message from smuggling another one past this host to the servers behind it, None where
    Postfix does by itself, from 3.9 on, or cannot at all.

    "normalize" takes mail with bare newlines as what it is to Postfix. The first four releases that got the parameter
    know only "yes", which refuses such mail, but of clients in mynetworks (postconf(5), smtpd_forbid_bare_newline).
    """
    if postfix.defaults.get("smtpd_forbid_bare_newline") != "no":
        return None
    return "normalize" if postfix.knows("smtpd_forbid_bare_newline_reject_code") else "yes"
