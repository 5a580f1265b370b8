"""How the hosts of a run are known: by files of host keys that are read to their end."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from pyinfra.api import Host
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.sshuserclient.client import get_ssh_config

from mailproxy.known_hosts import Reached, problems_of_known_hosts
from mailproxy.stop import StopError

_USERS_OWN = "~/.ssh/known_hosts"


def refuse_lost_keys(hosts: Iterable[Host]) -> None:
    """Raise StopError where a file of host keys is not read to its end.

    pyinfra has connected by then, and nothing was sent: it gives nobody a place before that.
    """
    found = list(problems_of_known_hosts(reached(hosts)))
    stopping = "".join(f"\n      {one.place}: {one.problem}" for one in found if not one.is_warning)
    if stopping:
        raise StopError(f"host keys would not be read, and hosts not known by them; nothing was touched:{stopping}")


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
