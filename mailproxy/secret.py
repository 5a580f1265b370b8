"""Values that nobody may see."""

import re

# Parameters that hold secrets, by their names (password, passwd, secret, ...).
_NAMES = r"\w*(?:pass|secret|key_material|_pw)\w*"
# A value that only names tables is none: what is secret stands in them.
_TABLES = re.compile(r"((proxy:)?[a-z]+:/[^\s,]+[\s,]*)*")
_LINE = re.compile(rf"^({_NAMES})(\s*=\s*)(.+(?:\n[ \t].*)*)$", re.MULTILINE | re.IGNORECASE)


def is_secret(name: str, value: str) -> bool:
    """Whether the value of a parameter is to be shown to nobody."""
    return bool(re.fullmatch(_NAMES, name, re.IGNORECASE)) and not _TABLES.fullmatch(value)


def without_secrets(text: str) -> str:
    """Return a main.cf with the values of its secrets replaced."""
    return _LINE.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    name, equals, value = found.groups()
    return f"{name}{equals}(not shown)" if is_secret(name, value) else found[0]
