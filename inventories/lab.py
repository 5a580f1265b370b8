"""The disposable fleet that lab/lab up starts on this machine; see lab/."""

import json as _json
import os as _os
from pathlib import Path as _Path

from pyinfra.api.exceptions import InventoryError as _InventoryError

_directory = _Path(__file__).resolve().parent.parent / "lab" / "run" / _os.environ.get("LAB", "default")
try:
    _fleet = _json.loads((_directory / "fleet.json").read_text())
except FileNotFoundError:
    raise _InventoryError(f"the lab {_directory.name} is not up: lab/lab up") from None

# Of hosts of one kind root is logged in to; where kinds are mixed each is reached in its own way.
_REACHED = {
    "debian11": {"ssh_user": "root"},
    "debian12": {"ssh_user": "deploy", "_sudo": True},
    "debian13": {"ssh_user": "deploy", "_sudo": True},
    "openbsd": {"ssh_user": "deploy", "_doas": True},
    "alpine": {"ssh_user": "deploy", "_doas": True},
}
_is_mixed = len({_host["kind"] for _host in _fleet["hosts"]}) > 1

proxies = [
    (_host["name"], {"ssh_hostname": _host["address"], **(_REACHED[_host["kind"]] if _is_mixed else {})})
    for _host in _fleet["hosts"]
]
# A group for each kind, for what is declared for one system alone.
for _kind in {_host["kind"] for _host in _fleet["hosts"]}:
    globals()[_kind] = [_host["name"] for _host in _fleet["hosts"] if _host["kind"] == _kind]

canary = [_host["name"] for _host in _fleet["hosts"][:1]]

all = (
    [_host["name"] for _host in _fleet["hosts"]],
    {
        "ssh_user": "root",
        "ssh_key": _fleet["ssh_key"],
        "ssh_known_hosts_file": _fleet["known_hosts"],
    },
)
