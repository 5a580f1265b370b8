"""The key checks of group_data: what is looked for in headers and bodies, and what becomes of mail that has it.

Each pattern comes with examples, and every host's own postmap tries them before anything goes live.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from mailproxy.feature import Example, Feature, Place
from mailproxy.names import domain_name, single_line
from mailproxy.problem import Problem, refuse_unless

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

# The tables: the field, the file, the parameter.
TABLES = (
    ("header", "headerchecks", "header_checks"),
    ("mime", "mimechecks", "mime_header_checks"),
    ("body", "bodychecks", "body_checks"),
)
# The actions of header_checks(5) that Postfix 2.7 knows, and whether a text follows them.
_TEXTS: Mapping[str, Literal["none", "may", "has to"]] = {
    "REJECT": "may",
    "HOLD": "may",
    "WARN": "may",
    "DISCARD": "may",
    "IGNORE": "none",
    "DUNNO": "none",
    "PREPEND": "has to",
    "REPLACE": "has to",
    "REDIRECT": "has to",
}
_PAST_ROUTES = "sends mail past the routes of relay_domains; declare a next hop there"
# A line of a reply has 512 octets (RFC 5321, 4.5.3.1.5).
_LONGEST_TEXT = 200
# What smtpd looks at of a line of a header or body (line_length_limit).
_LONGEST_LINE = 2048
_HEADER = re.compile(r"[!-9;-~]+:")
_DELIMITER = re.compile(r"[^\w\s\\#\"'{}()\[\]<>,;]", re.ASCII)


def pattern(value: str) -> str:
    """Return a pattern as regexp_table(5) and pcre_table(5) have it, /pattern/flags, or refuse what is none."""
    text = single_line(value)
    found = text.removeprefix("!").lstrip(" ")
    delimiter = found[:1]
    refuse_unless(bool(_DELIMITER.fullmatch(delimiter)), "expected a pattern such as /^Subject: .*lottery/")
    end = _end(found, delimiter)
    refuse_unless(end > 1, f"expected a pattern between two {delimiter}, one within it as \\{delimiter}")
    rest = found[end + 1 :]
    refuse_unless(
        bool(re.fullmatch("[A-Za-z]*", rest)), f"expected nothing but flags behind the pattern, found {rest!r}"
    )
    return ("!" if text.startswith("!") else "") + found


def _end(text: str, delimiter: str) -> int:
    """Return where the delimiter comes again, -1 where it does not (dict_regexp.c, dict_regexp_get_pat)."""
    place = 1
    while place < len(text) and text[place] != delimiter:
        place += 2 if text[place] == "\\" else 1
    return place if place < len(text) else -1


def action(value: str) -> str:
    """Return an action of header_checks(5), or refuse it."""
    word, _, text = single_line(value).partition(" ")
    word, text = word.upper(), text.strip(" ")
    refuse_unless(word != "FILTER", _PAST_ROUTES)
    refuse_unless(word in _TEXTS, f"expected one of {', '.join(_TEXTS)}")
    refuse_unless(_TEXTS[word] != "none" or not text, f"expected no text behind {word}")
    refuse_unless(_TEXTS[word] != "has to" or bool(text), f"expected a text behind {word}")
    refuse_unless(text.isascii(), "expected a text in ASCII, as headers and the replies of SMTP are")
    refuse_unless(len(text) <= _LONGEST_TEXT, f"expected a text of {_LONGEST_TEXT} characters at most")
    if word == "REJECT" and re.match(r"[0-9]{3}(?![0-9.])", text):
        raise ValueError("expected no code before the text: Postfix puts its own there, 550")
    if word == "REDIRECT":
        local, at, domain = text.rpartition("@")
        refuse_unless(bool(re.fullmatch(r"[^\s@<>\"]+", local)) and bool(at), "expected an address behind REDIRECT")
        text = f"{local}@{domain_name(domain)}"
    return f"{word} {text}".strip()


def line(value: str) -> str:
    """Return a line of a header or body as it is, or refuse what is no line."""
    single_line(value)
    refuse_unless(bool(value.strip(" ")), "expected a line of text")
    refuse_unless(len(value) <= _LONGEST_LINE, f"expected a line of {_LONGEST_LINE} characters at most")
    return value


def examples(value: tuple[str, ...]) -> tuple[str, ...]:
    """Return the examples that a pattern is to match: without one nobody knows whether it ever does."""
    refuse_unless(bool(value), "expected at least one line that the pattern is to match")
    return value


Line = Annotated[str, AfterValidator(line)]


class Check(BaseModel):
    """A pattern, what becomes of mail with a line that it matches, and lines that it does, and does not, match."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pattern: Annotated[str, AfterValidator(pattern)]
    action: Annotated[str, AfterValidator(action)]
    match: Annotated[tuple[Line, ...], AfterValidator(examples)]
    no_match: tuple[Line, ...] = ()


class Checks(Feature):
    """What is looked for, in the order in which it is; docs/checks.md describes it."""

    comment = "What is looked for in headers and bodies (header_checks(5))."

    type: Literal["regexp", "pcre"] = "regexp"
    header: tuple[Check, ...] = ()
    mime: tuple[Check, ...] = ()
    body: tuple[Check, ...] = ()

    def problems(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield patterns that are there twice, and examples that no header looks like."""
        if not self._declared():
            yield Problem("checks['type']", repr(self.type), "nothing is looked for; expected header, mime or body")
        for name, _, _ in self._declared():
            seen: dict[str, int] = {}
            for index, check in enumerate(getattr(self, name)):
                first = seen.setdefault(check.pattern, index)
                if first != index:
                    reason = f"is the pattern of [{first}] already, which comes first"
                    yield Problem(f"checks[{name!r}][{index}]['pattern']", repr(check.pattern), reason)
                for kind, texts in (("match", check.match), ("no_match", check.no_match)):
                    for place, text in enumerate(texts):
                        if name != "body" and not _HEADER.match(text):
                            key = f"checks[{name!r}][{index}][{kind!r}][{place}]"
                            yield Problem(key, repr(text), "expected a whole header, such as Subject: hello")

    def warnings(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield what loses mail."""
        for name, _, _ in self._declared():
            for index, check in enumerate(getattr(self, name)):
                if check.action.startswith("DISCARD"):
                    reason = "throws mail away and tells nobody; REJECT tells the sender, HOLD keeps it"
                    yield Problem(f"checks[{name!r}][{index}]['action']", repr(check.action), reason)

    def own_parameters(self) -> Sequence[str]:
        """Return the parameters that name the tables which are there."""
        return tuple(parameter for _, _, parameter in self._declared())

    def parameters(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return those of the tables that are there."""
        return {parameter: f"{self.type}:{place.file(file)}" for _, file, parameter in self._declared()}

    def lists(self, desired: DesiredState) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Return the patterns with their actions."""
        return {
            file: [(check.pattern, check.action) for check in getattr(self, name)] for name, file, _ in self._declared()
        }

    def types(self) -> Sequence[str]:
        """Return the type of the tables: unlike regexp, pcre is not everywhere."""
        return (self.type,) if self.type == "pcre" else ()

    def examples(self) -> Iterator[Example]:
        """Yield the lines, each with the pattern that is to match it first, or is not to."""
        for name, file, _ in self._declared():
            for number, check in enumerate(getattr(self, name), start=1):
                yield from (Example(self.type, file, number, text) for text in check.match)
                yield from (Example(self.type, file, number, text, is_match=False) for text in check.no_match)

    def _declared(self) -> list[tuple[str, str, str]]:
        return [table for table in TABLES if getattr(self, table[0])]
