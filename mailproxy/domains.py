"""Relay domains: what a host is itself, and what nobody can relay for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

from mailproxy.entries import Entries
from mailproxy.names import folded, is_public_suffix
from mailproxy.problem import Problem
from mailproxy.syntax import expanded

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

# What Postfix delivers on the host where main.cf does not say (postconf(5)).
_MYDESTINATION = "$myhostname, localhost.$mydomain, localhost"


def own_names(desired: DesiredState) -> frozenset[str]:
    """Return the domains that are delivered on the host (mydestination), tables and files left out."""
    known = {**desired.main_cf, "myhostname": desired.myhostname, "mydomain": desired.mydomain}
    value = expanded(desired.main_cf.get("mydestination", _MYDESTINATION), known)
    named = {word for word in value.replace(",", " ").split() if not word.startswith("/") and ":" not in word}
    return frozenset({desired.myhostname, *map(folded, named)})


def problems_of_domains(desired: DesiredState) -> Iterator[Problem]:
    """Yield the relay domains that cannot be."""
    for name in sorted(own_names(desired)):
        if name in desired.relay_domains:
            what = "this host's own name" if name == desired.myhostname else "a name of this host"
            reason = f"is {what}, which is delivered here (mydestination) and not relayed"
            yield Problem(f"relay_domains[{name!r}]", repr(desired.relay_domains[name]), reason)
    for domain in _public_suffixes(desired.relay_domains):
        reason = "is a public suffix, below which anybody registers domains; expected yours, such as example"
        yield Problem(f"relay_domains[{domain!r}]", repr(desired.relay_domains[domain]), f"{reason}.{domain}")


@lru_cache(maxsize=256)
def _public_suffixes(relay_domains: Entries) -> tuple[str, ...]:
    return tuple(filter(is_public_suffix, relay_domains))
