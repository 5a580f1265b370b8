"""Where a key is declared: host and key -> file and line, as far as they can be known."""

import ast
import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyinfra
from pyinfra.api import Host, Inventory

DEFAULT = Path("group_data")


@dataclass(frozen=True)
class Places:
    """The folders that pyinfra reads group_data from, the last one winning, and the file of the inventory."""

    folders: tuple[Path, ...] = (DEFAULT,)
    inventory: Path | None = None
    _known: dict[tuple[str, int, str], str] = field(default_factory=dict, repr=False, compare=False)

    def of(self, host: Host, key: str) -> str:
        """Return where a key, such as "mynetworks[0]", was declared for a host, in the order of precedence."""
        name = key.partition("[")[0]
        inventory = host.inventory
        if name in inventory.get_override_data():
            return "--data"
        if name in inventory.get_host_data(host.name):
            return self._of_host(host.name)
        # Of several groups that declare a key pyinfra takes the last.
        for group in (host.name, *reversed(host.groups), "all"):
            data = data_of_group(inventory, group)
            if name in data:
                return self.of_group(group, key, data[name], "host" if group == host.name else "group")
        return self._of_host(host.name) if name in ("myhostname", "mydomain", "inventory") else "group_data"

    def _of_host(self, name: str) -> str:
        line = _line_of_host(self.inventory, name) if self.inventory else 0
        return f"{self.inventory}:{line}" if line else f"the inventory, host {name}"

    def of_group(self, group: str, key: str, value: Any, whose: str = "group") -> str:
        """Return where a group, or a file named after a host, gives a key its value."""
        identity = (group, id(value), key)
        if identity not in self._known:
            self._known[identity] = next(self._found(group, key, value), f"group_data of the {whose} {group}")
        return self._known[identity]

    def _found(self, group: str, key: str, value: Any) -> Iterator[str]:
        name, _, entry = key.removesuffix("]").partition("[")
        for folder in reversed(self.folders):
            path = folder / f"{group}.py"
            given = [node for assigned, node in _assigned(path) if assigned == name]
            if not given or not _is_value(given, value):
                continue
            if isinstance(value, str) and entry:
                # The value is the path of a file of domains, or of addresses.
                named = entry.partition("]")[0]
                yield f"{value}:{_line_of_domain(value, named)}"
            yield f"{path}:{_line(given, entry)}"
        line = _line_of_group(self.inventory, group, name) if self.inventory else 0
        if line:
            yield f"{self.inventory}:{line}"


def of_command_line() -> Places:
    """Return the places of the run of pyinfra that this is."""
    words = sys.argv[1:] if pyinfra.is_cli else []
    inventory = next((Path(word) for word in words if word.endswith(".py") and Path(word).is_file()), None)
    return places_of(inventory, named_folders())


def places_of(inventory: Path | None, folders: Sequence[str]) -> Places:
    """Return the places of an inventory with the folders that --group-data names, as pyinfra looks for them."""
    beside = inventory.parent / DEFAULT if inventory else DEFAULT
    return Places(
        (DEFAULT, *([beside] if beside.resolve() != DEFAULT.resolve() else []), *map(Path, folders)), inventory
    )


def named_folders() -> list[str]:
    """Return what --group-data names on the command line of pyinfra."""
    given, named = sys.argv[1:], []
    for argument, value in itertools.pairwise([*given, ""]):
        if argument.startswith("--group-data="):
            named.append(argument.partition("=")[2])
        elif argument == "--group-data":
            named.append(value)
    return named


def data_of_group(inventory: Inventory, group: str) -> Mapping[str, Any]:
    """Return what is declared for a group of the inventory."""
    return dict(inventory.get_data() if group == "all" else inventory.get_group_data(group))


def listed_twice(inventory: Path) -> Iterator[tuple[int, str, int]]:
    """Yield line and name of each host that a list of an inventory names again, and the line of the first.

    pyinfra takes both for one host and the later data for that of both.
    """
    for _, node in _assigned(inventory):
        lists = [node, *(node.elts[:1] if isinstance(node, ast.Tuple) else [])]
        for found in lists:
            first: dict[str, int] = {}
            for item in found.elts if isinstance(found, ast.List) else []:
                name = _host_of(item)
                if name is not None and first.setdefault(name, item.lineno) != item.lineno:
                    yield item.lineno, name, first[name]


def _assigned(path: Path) -> tuple[tuple[str, ast.expr | None], ...]:
    return _assigned_in(path.resolve())


@cache
def _assigned_in(path: Path) -> tuple[tuple[str, ast.expr | None], ...]:
    """Return the names that a file gives a value, in its order; None for the value of a part, as in x["y"] = "z"."""
    try:
        body = ast.parse(path.read_text(encoding="utf-8")).body
    except (OSError, SyntaxError, ValueError):
        return ()
    found: list[tuple[str, ast.expr | None]] = []
    for node in (node for node in body if isinstance(node, (ast.Assign, ast.AnnAssign))):
        for to in node.targets if isinstance(node, ast.Assign) else [node.target]:
            if isinstance(to, ast.Name):
                found.append((to.id, node.value))
            elif isinstance(to, ast.Subscript) and isinstance(to.value, ast.Name):
                found.append((to.value.id, None))
    return tuple(found)


def _is_value(given: Sequence[ast.expr | None], value: Any) -> bool:
    """Whether what is assigned may be a value: one that is put together, as by x["y"] = "z", is not followed."""
    if None in given:
        return True
    try:
        return any(ast.literal_eval(node) == value for node in given if node is not None)
    except ValueError:
        return False


def _line(given: Sequence[ast.expr | None], entry: str) -> int:
    """Return the line of an entry of a dict or list, or that of the whole."""
    nodes = [node for node in given if node is not None]
    lines = filter(None, (_line_of_entry(node, entry) for node in reversed(nodes)))
    return next(lines, nodes[-1].lineno if nodes else 1)


def _line_of_entry(node: ast.expr, entry: str) -> int:
    """Return the line of an entry, such as "'exceptions']['example.org'" for one of an entry, or 0."""
    first, _, below = entry.partition("][")
    named: list[tuple[ast.expr, ast.expr]] = []
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        named = [(key, value) for key, value in pairs if isinstance(key, ast.Constant) and _is_named(key.value, first)]
    elif isinstance(node, (ast.List, ast.Tuple)):
        named = [(item, item) for index, item in enumerate(node.elts) if str(index) == first]
    for item, value in named:
        return _line_of_entry(value, below) or item.lineno
    return 0


def _is_named(key: object, entry: str) -> bool:
    return repr(key) == entry or (isinstance(key, str) and repr(key.lower().removesuffix(".")) == entry)


@cache
def _lines_of_domains(path: str) -> dict[str, int]:
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    found: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        for word in line.split(maxsplit=1)[:1]:
            found.setdefault(word.rpartition("@")[2], number)
    return found


def _line_of_domain(path: str, entry: str) -> int:
    lines = _lines_of_domains(path)
    return next((number for name, number in lines.items() if _is_named(name, entry)), 1)


def _line_of_host(inventory: Path, name: str) -> int:
    for _, node in _assigned(inventory):
        for item in ast.walk(node) if node is not None else ():
            if isinstance(item, (ast.Tuple, ast.Constant)) and _host_of(item) == name:
                return item.lineno
    return 0


def _line_of_group(inventory: Path, group: str, key: str) -> int:
    """Return the line of a key in the data of a group that an inventory holds as a pair of hosts and data, or 0."""
    for name, node in _assigned(inventory):
        of_group = node.elts[-1] if name == group and isinstance(node, ast.Tuple) and node.elts else None
        for item in of_group.keys if isinstance(of_group, ast.Dict) else ():
            if isinstance(item, ast.Constant) and item.value == key:
                return item.lineno
    return 0


def _host_of(item: ast.AST) -> str | None:
    """Return the name of an item of an inventory's list: text, or text with data."""
    if isinstance(item, ast.Tuple) and item.elts:
        item = item.elts[0]
    return item.value if isinstance(item, ast.Constant) and isinstance(item.value, str) else None
