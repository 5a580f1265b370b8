"""What has to hold before a run connects: host keys that are all read."""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path

import pyinfra_cli.cli
from pyinfra import logger
from pyinfra.api import Host, State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.sshuserclient.client import get_ssh_config

from mailproxy.known_hosts import Reached, problems_of_known_hosts
from mailproxy.stop import StopError

_USERS_OWN = "~/.ssh/known_hosts"


def check_before_connecting() -> None:
    """Make this run of pyinfra check the keys of its hosts before it connects to them.

    pyinfra has no place for that: its callbacks of a host begin when others are being connected to already.
    """
    connect_all = pyinfra_cli.cli.connect_all

    @functools.wraps(connect_all)
    def checked(state: State) -> None:
        refuse_lost_keys(state.inventory.hosts.values(), logs=True)
        connect_all(state)

    pyinfra_cli.cli.connect_all = checked


def refuse_lost_keys(hosts: Iterable[Host], logs: bool = False) -> None:
    """Raise StopError where a file of host keys is not read to its end; what else is wrong with it may be logged."""
    found = list(problems_of_known_hosts(reached(hosts)))
    stopping = "".join(f"\n      {one.place}: {one.problem}" for one in found if not one.is_warning)
    if stopping:
        raise StopError(f"host keys would not be read, and hosts not known by them; nothing was touched:{stopping}")
    for one in found if logs else ():
        logger.warning("%s", one.problem)


def reached(hosts: Iterable[Host]) -> Mapping[str, Reached]:
    """Return how each host that is reached by SSH is, as pyinfra does it: by its data and ssh_config."""
    return {host.name: _reached(host) for host in hosts if host.connector_cls is SSHConnector}


def _reached(host: Host) -> Reached:
    data = host.data
    config_file = data.get("ssh_config_file")
    address = data.get("ssh_hostname") or host.name
    config = get_ssh_config(config_file)
    options = config.lookup(address) if config else {}
    file = data.get("ssh_known_hosts_file") or options.get("userknownhostsfile", _USERS_OWN).split()[0]
    return Reached(
        address=options.get("hostname", address),
        port=int(data.get("ssh_port") or options.get("port", 22)),
        file=str(Path(file).expanduser()),
        is_own=bool(data.get("ssh_known_hosts_file")),
        is_strict=data.get("ssh_strict_host_key_checking") == "yes",
    )
