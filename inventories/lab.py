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

proxies = [(_host["name"], {"ssh_hostname": _host["address"]}) for _host in _fleet["hosts"]]
canary = [_host["name"] for _host in _fleet["hosts"][:1]]

all = (
    [_host["name"] for _host in _fleet["hosts"]],
    {
        "ssh_user": "root",
        "ssh_key": _fleet["ssh_key"],
        "ssh_known_hosts_file": _fleet["known_hosts"],
    },
)
