"""Where things stand in the files of a host that somebody wrote by hand: texts -> entries with file and line."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from mailproxy.managed import FILES
from mailproxy.meaning import lacks_relay_rule
from mailproxy.observed import Foreign
from mailproxy.restrictions import RELAY_RULES
from mailproxy.secret import is_secret
from mailproxy.syntax import alias_entry, list_items, numbered_lines, table_entry, words

_LONGEST = 100


@dataclass(frozen=True)
class Place:
    """A line of a file on a host; number is 0 where something is said by no line."""

    file: str
    number: int
    line: str

    def __str__(self) -> str:
        line = self.line if len(self.line) <= _LONGEST else f"{self.line[: _LONGEST - 3]}..."
        return f"{self.file} line {self.number}: {line}" if self.number else f"{self.file}: {line}"


@dataclass(frozen=True)
class Found:
    """An entry of a file: winner is the place of another that Postfix takes in its stead, None where it counts."""

    key: str
    value: str
    place: Place
    winner: Place | None = None


class HandMade:
    """The files of a host, texts by path or by name in the configuration directory, and what they come to."""

    def __init__(self, texts: Mapping[str, str], directory: str, foreign: Foreign | None):
        own = {f"{directory}/{name}": texts[name] for name in FILES if name in texts}
        self._texts = {**{name: text for name, text in texts.items() if name.startswith("/")}, **own}
        self._main_cf = f"{directory}/main.cf"
        self._foreign = foreign or Foreign({}, {})
        self.unused, self.unindexed = self._foreign.unused, self._foreign.unindexed

    @cached_property
    def parameters(self) -> tuple[Found, ...]:
        """The parameters of main.cf in its order, the last of a name counting; a line without = has no name."""
        found: list[Found] = []
        for number, line in numbered_lines(self._texts.get(self._main_cf, "")):
            name, equals, value = (part.strip() for part in line.partition("="))
            shown = f"{name} = <not shown>" if is_secret(name, value) else line
            found.append(Found(name if equals else "", value.replace("\t", " "), Place(self._main_cf, number, shown)))
        last = {one.key: one.place for one in found}
        return tuple(
            replace(one, winner=last[one.key]) if one.key and last[one.key] != one.place else one for one in found
        )

    @cached_property
    def counting(self) -> dict[str, Found]:
        """The parameters that count, by name."""
        return {one.key: one for one in self.parameters if one.key and not one.winner}

    def place_of(self, parameter: str) -> Place:
        """Return where a parameter is set, or that it is not."""
        if parameter in self.counting:
            return self.counting[parameter].place
        return Place("Postfix's default", 0, f"{parameter} = {self.holding(parameter)}")

    def holding(self, parameter: str) -> str | None:
        """Return what a parameter comes to, None where that was not read."""
        effective = self._foreign.effective.get(parameter)
        if effective is None and parameter in self.counting:
            return self.counting[parameter].value
        return self.builtin(parameter) if effective is None else effective

    def words(self, parameter: str) -> list[str]:
        """Return the words of a list that a parameter comes to."""
        return words(self.holding(parameter) or "")

    @property
    def lacks_relay_rule(self) -> bool:
        """Whether smtpd does not even start: by default nothing refuses strangers at compatibility_level 0."""
        named = (*RELAY_RULES, "smtpd_restriction_classes")
        return lacks_relay_rule({name: value for name in named if (value := self.holding(name)) is not None})

    def builtin(self, parameter: str) -> str | None:
        """Return what a parameter is where nothing sets it, None where that was not read or there is none."""
        return self._foreign.builtin.get(parameter)

    def items(self, parameter: str) -> Iterator[Found]:
        """Yield the items of a list such as mynetworks in their order, those of the files it names included."""
        for word in self.words(parameter):
            if word.startswith("/"):
                for number, line in enumerate(self._texts.get(word, "").split("\n"), start=1):
                    for item in list_items(line):
                        yield Found(item, "", Place(word, number, line.strip()))
            elif ":/" in word:
                yield from self._table(word, is_alias=False)
            else:
                yield Found(word, "", self.place_of(parameter))

    def entries(self, parameter: str) -> Iterator[Found]:
        """Yield the entries of a list of tables such as transport_maps; of those with one key the first counts."""
        first: dict[str, Place] = {}
        for word in self.words(parameter):
            for found in self._table(word, is_alias=parameter == "alias_maps"):
                if found.value:
                    first.setdefault(found.key, found.place)
                winner = first.get(found.key)
                yield found if winner == found.place else replace(found, winner=winner)

    def _table(self, word: str, is_alias: bool) -> Iterator[Found]:
        path = word.removeprefix("proxy:").partition(":")[2]
        for number, line in numbered_lines(self._texts.get(path, "")):
            key, value = (alias_entry if is_alias else table_entry)(re.sub(r"\s+", " ", line))
            yield Found(key, value, Place(path, number, re.sub(r"\s+", " ", line)))
