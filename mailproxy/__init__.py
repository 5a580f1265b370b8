"""Keeps a fleet of perimeter Postfix hosts as declared; see README.md."""

import sys
from importlib import import_module
from typing import Any

# pyinfra has Python keep nothing that it compiles, for the sake of deploy.py, of which nothing would be kept anyway:
# these modules would be compiled in every run, which takes a fifth of a second. What Python itself was told counts.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

# What pyinfra can call by name, as in "pyinfra INVENTORY mailproxy.status", and where it is. Looked up when it is
# asked for: the modules that decide import nothing of pyinfra.
_COMMANDS = {
    "adopt": "mailproxy.adopting",
    "bootstrap": "mailproxy.bootstrapping",
    "dns": "mailproxy.looking_up",
    "drain": "mailproxy.draining",
    "generations": "mailproxy.history",
    "metrics": "mailproxy.measuring",
    "queue": "mailproxy.queueing",
    "release": "mailproxy.releasing",
    "rollback": "mailproxy.rolling_back",
    "status": "mailproxy.ledger",
    "undrain": "mailproxy.draining",
    "verify": "mailproxy.verifying",
}


def __getattr__(name: str) -> Any:
    """Return a command of the package."""
    if name not in _COMMANDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_COMMANDS[name]), name)
