"""Values that nobody may see."""

import re

# Parameters that hold secrets, by their names (password, passwd, secret, ...).
_WORD = re.compile(r"pass|secret|key_material|_pw", re.IGNORECASE)
# A value that only names tables is none: what is secret stands in them.
_TABLES = re.compile(r"((proxy:)?[a-z]+:/[^\s,]+([\s,]+|$))*")
# A parameter of main.cf, or one that was commented out, with its continuation lines (postconf(5)).
_LINE = re.compile(
    r"^([ \t]*#?[ \t]*[\w.-]{1,200})([ \t]*=[ \t]*)(.*(?:(?:\n[ \t]*(?:#.*)?)*\n[ \t]+[^\s#].*)*)$", re.MULTILINE
)


def names_secret(name: str) -> bool:
    """Whether what goes by that name may be shown to nobody, whatever it looks like."""
    return bool(_WORD.search(name))


def is_secret(name: str, value: str) -> bool:
    """Whether the value of a parameter is to be shown to nobody."""
    return names_secret(name) and not _TABLES.fullmatch(value)


def without_secrets(text: str) -> str:
    """Return a main.cf with the values of its secrets replaced."""
    return _LINE.sub(_shown, text)


def _shown(found: re.Match[str]) -> str:
    name, equals, value = found.groups()
    return f"{name}{equals}(not shown)" if is_secret(name, value) else found[0]
