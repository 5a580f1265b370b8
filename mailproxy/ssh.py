"""How hosts are reached: what of it would be unsafe, refused before anything is sent to one of them.

pyinfra has connected by then; it asks nobody before.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pyinfra.api import Host, State
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.sshuserclient.client import SSHClient
from pyinfra.connectors.sshuserclient.config import SSHConfig

from mailproxy.stop import StopError


class _Unexpanded(SSHConfig):
    """An ssh_config as it is written: paramiko would ask the DNS for the name of this machine, to put it in for %l.

    Meanwhile gevent would go on with other hosts, each of which would begin a run of its own.
    """

    def _tokenize(self, config: Any, target_hostname: str, key: str, value: str) -> str:
        return value


def refuse_unsafe_connections(state: State) -> None:
    """Raise StopError with all that makes it uncertain who a host is, or gives it more than it needs."""
    found: dict[str, list[str]] = {}
    for host in state.inventory:
        if isinstance(host.connector, SSHConnector):
            for problem in (*_problems(host), *_problems_on_the_way(host)):
                found.setdefault(problem, []).append(host.name)
    if found:
        listed = "".join(f"\n    {text} [{', '.join(names)}]" for text, names in found.items())
        raise StopError(f"the hosts would not be reached safely; nothing was touched (docs/ssh.md):{listed}")


def _problems(host: Host) -> Iterator[str]:
    config = _ssh_config(host).get
    if host.data.get("ssh_strict_host_key_checking") is None:
        yield 'ssh_strict_host_key_checking is not set, so unknown keys are accepted; expected "yes"'
    if not host.data.get("ssh_known_hosts_file") and not config("userknownhostsfile"):
        yield "ssh_known_hosts_file is not set, so your own known_hosts counts; expected the file of this project"
    if host.data.get("ssh_forward_agent"):
        yield "ssh_forward_agent is set, which lends your keys to the host; expected it unset"


def _problems_on_the_way(host: Host) -> Iterator[str]:
    """Yield what is wrong with the jump hosts, of whom pyinfra knows only what ssh_config says."""
    jump = _ssh_config(host).get("proxyjump", "none")
    known = _ssh_config_of(_file(host))
    for hop in jump.split(",") if jump != "none" else ():
        name, _ = SSHClient.derive_shorthand(known, hop)
        config = known.lookup(name)
        where = f"jump host {name} in {_file(host)}"
        if config.get("stricthostkeychecking") != "yes":
            yield f"{where}: expected StrictHostKeyChecking yes"
        if config.get("forwardagent", "no") != "no":
            yield f"{where}: ForwardAgent lends your keys to it; expected no"
        if "userknownhostsfile" not in config:
            yield f"{where}: your own known_hosts counts; expected UserKnownHostsFile with the file of this project"


def _ssh_config(host: Host) -> dict[str, Any]:
    """Return what the ssh_config that pyinfra reads for a host says of it."""
    return dict(_ssh_config_of(_file(host)).lookup(host.data.get("ssh_hostname") or host.name))


def _file(host: Host) -> str:
    return host.data.get("ssh_config_file") or "~/.ssh/config"


@cache
def _ssh_config_of(file: str) -> SSHConfig:
    config, path = _Unexpanded(), Path(file).expanduser()
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            config.parse(lines)  # type: ignore[no-untyped-call]
    return config
