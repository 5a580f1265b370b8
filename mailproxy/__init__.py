"""Keeps a fleet of perimeter Postfix hosts as declared; see README.md."""

from importlib import import_module
from typing import Any

# What pyinfra can call by name, as in "pyinfra INVENTORY mailproxy.status", and where it is. Looked up when it is
# asked for: the modules that decide import nothing of pyinfra.
_COMMANDS = {
    "adopt": "mailproxy.adopting",
    "bootstrap": "mailproxy.bootstrapping",
    "generations": "mailproxy.history",
    "release": "mailproxy.releasing",
    "rollback": "mailproxy.rolling_back",
    "status": "mailproxy.ledger",
    "verify": "mailproxy.verifying",
}


def __getattr__(name: str) -> Any:
    """Return a command of the package."""
    if name not in _COMMANDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_COMMANDS[name]), name)
