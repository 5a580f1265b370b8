"""What was adopted, as files of group_data: declarations by host -> what goes into which file -> Python text."""

import ast
import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from mailproxy.adoption import Adopted, implied

# The keys that adopting decides, in the order in which they are written.
KEYS = (
    "myhostname",
    "mydomain",
    "relay_domains",
    "relay_subdomains",
    "mynetworks",
    "aliases",
    "alias_programs",
    "message_size_limit",
    "main_cf",
)
COMMON = "all"
# What group_data/all.py comes with, and its SHA-256: nobody's declaration as long as it is so.
_EXAMPLE = re.compile(r"^# The example of the guide:.*?^# End of the example\.\n\n?", re.DOTALL | re.MULTILINE)
_EXAMPLE_DIGEST = "cd2ba0e857b8187974f5150e390b122dc7a43a00800377619c3f8bbcffb801c6"
_UNITS = {"message_size_limit": "bytes"}


def by_file(found: Mapping[str, Adopted], said: Collection[str] = ()) -> dict[str, dict[str, Any]]:
    """Return what to declare in which file of group_data, by its name without .py: all, or the name of a host.

    The value that most hosts have is for all, a host with another one has the whole key to itself. What holds without
    being declared is left out, unless said names the key: then something else may stand for all already.
    """
    files: dict[str, dict[str, Any]] = {COMMON: {}, **{host: {} for host in found}}
    for key in KEYS:
        values = {host: _written(host, one.declared, key, said) for host, one in found.items()}
        # A host's own name is no matter of the fleet, however many hosts there are.
        common = None if key == "myhostname" else _most_common(list(values.values()))
        if common is not None:
            files[COMMON][key] = common
        for host, value in values.items():
            if value != common:
                files[host][key] = found[host].declared[key]
    return {name: keys for name, keys in files.items() if keys}


def _written(host: str, declared: Mapping[str, Any], key: str, said: Collection[str]) -> Any:
    """Return the value of a key, None where it need not be written."""
    value = declared[key]
    return None if key not in said and implied(host, declared).get(key) == value else value


def _most_common(values: list[Any]) -> Any:
    """Return the value that more than half of the hosts have, None where there is none."""
    spelled = [json.dumps(value, sort_keys=True) for value in values]
    common, count = Counter(spelled).most_common(1)[0]
    return values[spelled.index(common)] if 2 * count > len(values) else None


def text_of(keys: Mapping[str, Any]) -> str:
    """Return keys of group_data as Python literals, an entry a line."""
    return "\n".join(_assignment(key, value) for key, value in keys.items())


def header_of(name: str) -> str:
    """Return what a file of group_data begins with that did not exist."""
    whom = "what the hosts have in common" if name == COMMON else f"what {name} has for itself"
    return f"# Adopted from hosts as they were: {whom}. docs/group_data.md describes the keys.\n\n"


def without_example(text: str) -> str:
    """Return the text of a file of group_data less the example that came with it, unless somebody edited that."""
    found = _EXAMPLE.search(text)
    if found is None or hashlib.sha256(found[0].encode()).hexdigest() != _EXAMPLE_DIGEST:
        return text
    return text[: found.start()] + text[found.end() :]


def declared_in(text: str) -> set[str]:
    """Return those of KEYS that a file of group_data declares already; SyntaxError where it is no Python."""
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name))
    return {node.id for node in nodes if node.id in KEYS}


def _assignment(key: str, value: Any) -> str:
    unit = f"  # {_UNITS[key]}" if key in _UNITS else ""
    if isinstance(value, (dict, list)) and value:
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        return "\n".join([f"{key} = {opening}", *_entries(value), closing, ""])
    return f"{key} = {_literal(value)}{unit}\n"


def _entries(value: dict[str, str] | list[str]) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"    {_literal(name)}: {_literal(value[name])}," for name in sorted(value))
    else:
        yield from (f"    {_literal(item)}," for item in value)


def _literal(value: Any) -> str:
    """Return a literal of Python; text in double quotes, whose escapes are those of JSON."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
