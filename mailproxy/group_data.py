"""What group_data and the inventory give a host, read through pyinfra with its precedence."""

from collections.abc import Mapping
from typing import Any

from pyinfra.api import Host, Inventory

from mailproxy.model import DesiredState
from mailproxy.places import data_of_group

# The keys of the interface.
KEYS = tuple(DesiredState.model_fields)


def literals(host: Host) -> dict[str, Any]:
    """Return the keys of the interface that group_data gives a host, names by their defaults."""
    given = {key: value for key in KEYS if (value := value_of(host, key)) is not None}
    given.setdefault("myhostname", host.name)
    if isinstance(given["myhostname"], str):
        given.setdefault("mydomain", given["myhostname"].partition(".")[2] or given["myhostname"])
    return given


def nearer(host: Host) -> dict[str, Any]:
    """Return the keys of the interface that are declared for a host otherwise than for all."""
    inventory = host.inventory
    declared_for_it = {
        *inventory.get_override_data(),
        *inventory.get_host_data(host.name),
        *own_data(host),
        *inventory.get_groups_data(host.groups),
    }
    return {key: value_of(host, key) for key in KEYS if key in declared_for_it}


def value_of(host: Host, key: str) -> Any:
    """Return what is declared under a key for a host, None where nothing is."""
    inventory = host.inventory
    if key in own_data(host) and not {key} & {*inventory.get_override_data(), *inventory.get_host_data(host.name)}:
        return own_data(host)[key]
    return host.data.get(key)


def own_data(host: Host) -> Mapping[str, Any]:
    """Return what the file of group_data named after a host holds: pyinfra reads it, as of a group without hosts."""
    return data_of_group(host.inventory, host.name)


def groups_of(inventory: Inventory) -> dict[str, list[str]]:
    """Return the names of the hosts of each group of the inventory, in its order."""
    groups: dict[str, list[str]] = {}
    for host in inventory:
        for group in host.groups:
            groups.setdefault(group, []).append(host.name)
    return groups
