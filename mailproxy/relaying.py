"""The rule that keeps strangers from relaying, in the parameter that a host's Postfix reads it from."""

from collections.abc import Mapping
from functools import lru_cache

from mailproxy.model import Entries
from mailproxy.restrictions import RECIPIENT, RELAY, refuses_strangers
from mailproxy.syntax import expanded

# A stranger's mail to a foreign domain is refused for good (554), not deferred.
OWN_RULE = "permit_mynetworks, reject_unauth_destination"


@lru_cache(maxsize=1024)
def in_recipient_restrictions(main_cf: Entries) -> str:
    """Return smtpd_recipient_restrictions of a Postfix before 2.10, which ignores smtpd_relay_restrictions.

    What is declared there comes first, as later versions ask it first. Without it a rule of ours does, unless what is
    declared for recipients refuses strangers by itself. References are followed, as one to a parameter that is not
    rendered, or to the one it stands in, would come to nothing.
    """
    named = {**main_cf, RELAY: main_cf.get(RELAY, OWN_RULE)}
    relay = _followed(named[RELAY], {**named, RECIPIENT: ""})
    recipient = _followed(main_cf.get(RECIPIENT, ""), {**named, RELAY: relay})
    rules = [recipient] if RELAY not in main_cf and refuses_strangers(recipient, main_cf) else [relay, recipient]
    found = ", ".join(rule for rule in rules if rule)
    return found if refuses_strangers(found, main_cf) else f"{OWN_RULE}, {found}".removesuffix(", ")


def _followed(value: str, parameters: Mapping[str, str]) -> str:
    parts = (part.strip() for part in expanded(value, parameters).split(","))
    return ", ".join(part for part in parts if part)
