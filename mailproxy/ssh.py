"""How hosts are reached, by their data and by ssh_config as pyinfra reads it: what of it would be unsafe is refused.

pyinfra has connected by then, and nothing was sent: it gives nobody a place before that.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pyinfra.api import Host
from pyinfra.connectors.ssh import SSHConnector
from pyinfra.connectors.sshuserclient.client import SSHClient
from pyinfra.connectors.sshuserclient.config import SSHConfig

from mailproxy.known_hosts import Reached, problems_of_known_hosts
from mailproxy.stop import StopError

_CONFIG = "~/.ssh/config"
_KNOWN_HOSTS = "~/.ssh/known_hosts"


class _WithoutLookups(SSHConfig):
    """An ssh_config of which IdentityFile and ControlPath stay as they are written.

    paramiko asks the DNS for the name of this machine to put in for a %l in them, host by host, be there one or not.
    """

    def _tokenize(self, config: Any, target_hostname: str, key: str, value: str) -> str:
        if key in ("controlpath", "identityfile"):
            return value
        return str(super()._tokenize(config, target_hostname, key, value))  # type: ignore[misc]


def refuse_unsafe_connections(hosts: Collection[Host]) -> None:
    """Raise StopError with all that makes it uncertain who a host is, or gives it more than it needs."""
    found: dict[str, list[str]] = {}
    for host in _by_ssh(hosts):
        for problem in (*_problems(host), *_problems_on_the_way(host)):
            found.setdefault(problem, []).append(host.name)
    for one in problems_of_known_hosts(reached(hosts)):
        if not one.is_warning:
            found[f"{one.place}: {one.problem}"] = list(one.hosts)
    if found:
        listed = "".join(f"\n    {text} [{', '.join(names)}]" for text, names in found.items())
        raise StopError(f"the hosts would not be reached safely; nothing was touched (docs/ssh.md):{listed}")


def reached(hosts: Iterable[Host]) -> Mapping[str, Reached]:
    """Return how each host that is reached by SSH is, by its name."""
    return {host.name: _reached(host) for host in _by_ssh(hosts)}


def _by_ssh(hosts: Iterable[Host]) -> Iterator[Host]:
    return (host for host in hosts if host.connector_cls is SSHConnector)


def _reached(host: Host) -> Reached:
    data, config = host.data, _ssh_config(host)
    own = data.get("ssh_known_hosts_file")
    files = [own] if own else config.get("userknownhostsfile", _KNOWN_HOSTS).split()
    return Reached(
        address=config.get("hostname", _address(host)),
        port=int(data.get("ssh_port") or config.get("port", 22)),
        files=tuple(str(Path(file).expanduser()) for file in files),
        is_own=bool(own),
        is_strict=data.get("ssh_strict_host_key_checking") == "yes",
    )


def _problems(host: Host) -> Iterator[str]:
    if host.data.get("ssh_strict_host_key_checking") is None:
        yield 'ssh_strict_host_key_checking is not set, so unknown keys are accepted; expected "yes"'
    if not host.data.get("ssh_known_hosts_file") and "userknownhostsfile" not in _ssh_config(host):
        yield "ssh_known_hosts_file is not set, so your own known_hosts counts; expected the file of this project"
    if host.data.get("ssh_forward_agent"):
        yield "ssh_forward_agent is set, which lends your keys to the host; expected it unset"


def _problems_on_the_way(host: Host) -> Iterator[str]:
    """Yield what is wrong with the jump hosts, of whom pyinfra knows only what ssh_config says."""
    jump = _ssh_config(host).get("proxyjump", "none")
    file = _file(host)
    known = _ssh_config_in(file)
    for hop in jump.split(",") if jump != "none" else ():
        name, _ = SSHClient.derive_shorthand(known, hop)
        config = known.lookup(name)
        where = f"jump host {name} in {file}"
        if config.get("stricthostkeychecking") != "yes":
            yield f"{where}: expected StrictHostKeyChecking yes"
        if config.get("forwardagent", "no") != "no":
            yield f"{where}: ForwardAgent lends your keys to it; expected no"
        if "userknownhostsfile" not in config:
            yield f"{where}: your own known_hosts counts; expected UserKnownHostsFile with the file of this project"


def _ssh_config(host: Host) -> Mapping[str, Any]:
    """Return what ssh_config says of a host, by lower-case option."""
    return _options(_file(host), _address(host))


@cache
def _options(file: str, address: str) -> Mapping[str, Any]:
    return dict(_ssh_config_in(file).lookup(address))


@cache
def _ssh_config_in(file: str) -> SSHConfig:
    config, path = _WithoutLookups(), Path(file).expanduser()
    if path.exists():
        with path.open(encoding="utf-8") as lines:
            config.parse(lines)  # type: ignore[no-untyped-call]
    return config


def _file(host: Host) -> str:
    return host.data.get("ssh_config_file") or _CONFIG


def _address(host: Host) -> str:
    return host.data.get("ssh_hostname") or host.name
