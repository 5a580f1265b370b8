"""How our programs come to be root on a host: files/enter.sh finds the way, and pyinfra looks for none of its own.

pyinfra would put a password for sudo into a script in /tmp, and into the arguments of a process.
"""

from typing import Any

from pyinfra.api import Host, State

from mailproxy.program import Command, sent, sent_to_root
from mailproxy.stop import StopError

_PASSWORD = "_sudo_password"


def left_to_us() -> dict[str, Any]:
    """Return what pyinfra is told for every program of ours, whatever is set: its own sudo and doas stay out of it."""
    return {"_sudo": False, _PASSWORD: "", "_doas": False}


def sudo_password(host: Host) -> str | None:
    """Return the password that sudo on a host may ask for: as declared, or as typed for --same-sudo-password."""
    given = host.data.get(_PASSWORD) or host.state.config.SUDO_PASSWORD
    return None if given in (None, "") else str(given)


def as_root(host: Host, program: Command, stdin: str = "", *, by_name: bool = False, as_record: bool = False) -> str:
    """Return the input of LOADER that runs a program as root on a host, whole or by the name under which it keeps it.

    as_record says that observe.sh is sent, whose reader expects records.
    """
    if by_name and _is_root(host):
        return sent_to_root(program.by_name, stdin)
    text = f"{program.by_name}\n" if by_name else program.whole
    return sent(text, stdin, sudo_password(host), as_record=as_record)


def _is_root(host: Host) -> bool:
    """Whether pyinfra is logged in as root; a name is enough, as another root by that name keeps nothing for us."""
    if host.data.get("_su_user") or host.state.config.SU_USER:
        return False
    client = getattr(host.connector, "client", None)
    transport = client.get_transport() if client else None
    return transport is not None and transport.get_username() == "root"


def refuse_what_is_seen(state: State) -> None:
    """Raise StopError for a password that pyinfra would show to others: in the arguments of a process, or in a file."""
    if _PASSWORD in state.inventory.get_override_data():
        raise StopError(
            f"--data {_PASSWORD}=...: everybody on this machine sees it in the list of processes; nothing was touched. "
            "Expected --same-sudo-password, which asks for it, or an inventory that has it from elsewhere (docs/ssh.md)"
        )
    for host in state.inventory:
        if host.data.get("_su_password") or state.config.SU_PASSWORD:
            raise StopError(
                f"_su_password for {host.name}: pyinfra would put it into a file in /tmp and into the list of "
                "processes there; nothing was touched. Expected doas, or sudo with or without a password (docs/ssh.md)"
            )
        if "\n" in (sudo_password(host) or ""):
            raise StopError(f"{_PASSWORD} for {host.name}: found several lines, expected one; nothing was touched")
