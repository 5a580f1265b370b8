"""What a declaration means, told from its literals by other means than those that render it."""

import re
from collections.abc import Iterator
from typing import Any

import idna

from mailproxy.model import DesiredState
from mailproxy.render import routes

SUBDOMAINS = "parent_domain_matches_subdomains"
_SEPARATOR = re.compile(r'((?:"(?:[^"\\]|\\.)*"|[^,"])*),?')


def meant_parameters(declared: dict[str, Any], desired: DesiredState, matches: str) -> dict[str, str]:
    """Return the parameters of a main.cf: what was declared as it was declared, the rest as the state says."""
    kept = [name for name in matches.split(",") if name != "relay_domains"]
    table_type = desired.database_type or desired.main_cf.get("default_database_type", "hash")
    own = {
        "compatibility_level": "3.6",
        "myhostname": desired.myhostname,
        "mydomain": desired.mydomain,
        "mynetworks": "/etc/postfix/mynetworks",
        "relay_domains": "/etc/postfix/relaydomains",
        "alias_maps": f"{table_type}:/etc/postfix/aliases",
        "alias_database": f"{table_type}:/etc/postfix/aliases",
        "transport_maps": f"{table_type}:/etc/postfix/transport",
        "message_size_limit": str(declared.get("message_size_limit", 20480000)),
        "mailbox_size_limit": "0",
        SUBDOMAINS: ", ".join([*kept, *["relay_domains"] * desired.relay_subdomains]),
        "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    }
    return {
        **own,
        **{name.strip(" "): _shown(_spelled(value)) for name, value in (declared.get("main_cf") or {}).items()},
    }


def _spelled(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(item.strip(" ") for item in value)
    return (value.decode() if isinstance(value, bytes) else str(value)).strip(" ")


def _shown(value: str) -> str:
    """Return a value as postconf prints it: runs of blanks, which the file keeps, as one."""
    return re.sub(" +", " ", value)


def meant_aliases(declared: dict[str, Any]) -> dict[str, str]:
    """Return the aliases: names in lower case, targets joined as postalias stores them."""
    aliases = declared.get("aliases")
    if aliases is None:
        return {"postmaster": "root"}
    return {name.strip(" ").lower(): ", ".join(_split(_spelled(value))) for name, value in aliases.items()}


def _split(value: str) -> Iterator[str]:
    return (part.strip(" ") for part in _SEPARATOR.findall(value) if part.strip(" "))


def meant_routes(declared: dict[str, Any], desired: DesiredState) -> dict[str, str]:
    """Return the routes: domains and hops as declared, in lower case and ASCII where they are names."""
    hops = {_name(name): hop.strip(" ") for name, hop in declared["relay_domains"].items()}
    found = dict(routes(desired))
    for name, hop in hops.items():
        # A name in a hop may be spelled otherwise; free text may not.
        if not hop.isascii() or not re.match(r"(smtp|relay|lmtp)?:", hop):
            found[name] = hop if re.match(r"(?!(smtp|relay|lmtp)?:)", hop) else found[name]
        elif found.get(name, "").lower() == re.sub(r"\.(?=[\]:]|$)", "", hop.lower()):
            continue
        else:
            found[name] = hop
    return found


def _name(text: str) -> str:
    name = text.strip(" ").lower()
    return (name if name.isascii() else idna.encode(name, uts46=True).decode()).removesuffix(".")
