"""master.cf as a text of which only marked lines are ours: services are added and replaced, and all else stays.

Our services stand in one block between marks; one that they replace stays where it is, each of its lines behind a mark
that makes a comment of it. So the text without our marks is the one from before, byte for byte (but for a newline at
its end), whatever else was edited in between.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mailproxy.entries import Entries

BEGIN = "# mailproxy: begin"
END = "# mailproxy: end"
# Before each line of a service that is replaced.
REPLACED = "#mailproxy# "
_FIRST = f"{BEGIN} (declare changes in group_data: what is edited down to the end is put back)"
# Names of services(5) for the port of SMTP (master(5), "service name").
_SMTP = {"smtp", "25"}
_LOCAL = {"localhost": "127.0.0.1"}


@dataclass(frozen=True)
class Service:
    """A service of master.cf by its eight fields (master(5)); command has its arguments behind it."""

    name: str
    type: str
    private: str
    unprivileged: str
    chroot: str
    wakeup: str
    processes: str
    command: str

    @property
    def key(self) -> tuple[str, str]:
        """What no two services have alike."""
        return self.name, self.type

    @property
    def program(self) -> str:
        """The daemon that it is served by."""
        return self.command.partition(" ")[0]

    @property
    def port(self) -> str:
        """The port that one of type inet listens on, as a number where it is that of SMTP; '' for others."""
        port = self.name.rpartition(":")[2] if self.type == "inet" else ""
        return "25" if port in _SMTP else port

    @property
    def settings(self) -> str:
        """All but its name and type, with one blank between fields."""
        fields = (self.private, self.unprivileged, self.chroot, self.wakeup, self.processes, self.command)
        return " ".join(fields)

    @property
    def lines(self) -> list[str]:
        """It as master.cf has it, each option on a line of its own."""
        first, *options = re.split(r" (?=-o )", self.command)
        fields = (self.private, self.unprivileged, self.chroot, self.wakeup, self.processes)
        columns = "".join(f"{field:<7} " for field in fields)
        return [f"{self.name:<9} {self.type:<5} {columns}{first}", *(f"  {option}" for option in options)]

    def with_options(self, options: Iterable[str]) -> "Service":
        """Return the service with further parameters of main.cf set otherwise, "name=value" without blanks."""
        return replace(self, command=" ".join([self.command, *(f"-o {option}" for option in options)]))


@lru_cache(maxsize=1024)
def services_of(text: str) -> tuple[Service, ...]:
    """Return the services of a master.cf without ours: those that are replaced as they would be without us."""
    lines, _ = _unmarked(text)
    return tuple(service for service, _ in _with_places(lines))


def merged(present: Sequence[Service], ours: Iterable[Service]) -> tuple[Service, ...]:
    """Return services with some replaced by, and added, what has their keys."""
    by_key = {service.key: service for service in present}
    return tuple({**by_key, **{service.key: service for service in ours}}.values())


def taken(present: Sequence[Service], wanted: Iterable[Service]) -> list[str]:
    """Return the names of services that others have, and have otherwise, or that listen where one of ours is to."""
    ours = list(wanted)
    by_key = {service.key: service for service in present}
    named = [one for one in ours if by_key.get(one.key, one) != one]
    listening = {there.name for one in ours for there in present if one.key != there.key and _meet(one, there)}
    return [*(one.name for one in named), *sorted(listening)]


def _meet(one: Service, other: Service) -> bool:
    """Whether two services listen on one port of one address, as far as their names tell: the master ends of it."""
    if not one.port or one.port != other.port:
        return False
    addresses = {_LOCAL.get(host := service.name.rpartition(":")[0], host) for service in (one, other)}
    return "" in addresses or len(addresses) == 1


def edited(text: str, wanted: Sequence[Service]) -> str:
    """Return a master.cf in which these services are so; what is so without us is left alone."""
    lines, place = _unmarked(text)
    present = list(_with_places(lines))
    ours = [service for service in wanted if [service] != [one for one, _ in present if one.key == service.key]]
    if not ours and place is None:
        return text
    keys = {service.key for service in ours}
    out = {number for service, places in present if service.key in keys for number in places}
    result = [f"{REPLACED}{line}" if number in out else line for number, line in enumerate(lines)]
    block = [_FIRST, *(line for service in ours for line in service.lines), END] if ours else []
    at = len(result) if place is None else place
    return "".join(f"{line}\n" for line in (*result[:at], *block, *result[at:]))


def returned(text: str, saved: str) -> str:
    """Return a master.cf with those services of ours that another one has."""
    return edited(text, _ours(saved))


def is_marked(text: str) -> bool:
    """Whether anything in a master.cf is ours."""
    return _unmarked(text)[1] is not None


@lru_cache(maxsize=1024)
def our_services(text: str) -> Entries:
    """Return our services in a master.cf, "name type" -> the rest of its fields, and of the one that it replaces."""
    replaced = {service.key: service for service in services_of(text)}
    return Entries({" ".join(one.key): _told(one, replaced.get(one.key)) for one in _ours(text)})


def _told(service: Service, replaced: Service | None) -> str:
    return f"{service.settings}, in place of {replaced.settings}" if replaced else service.settings


def _ours(text: str) -> tuple[Service, ...]:
    inside = [line for line, is_ours in _told_apart(text) if is_ours]
    return tuple(service for service, _ in _with_places(inside))


@lru_cache(maxsize=1024)
def _unmarked(text: str) -> tuple[tuple[str, ...], int | None]:
    """Return the lines without our marks, and before which of them our block was, None where nothing was ours."""
    lines: list[str] = []
    place: int | None = None
    is_touched = False
    for line, is_ours in _told_apart(text):
        if is_ours:
            place = len(lines) if place is None else place
        else:
            is_touched = is_touched or line.startswith(REPLACED)
            lines.append(line.removeprefix(REPLACED))
    return tuple(lines), len(lines) if place is None and is_touched else place


def _told_apart(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line, and whether it belongs to our block: so does what continues its last service."""
    state = "outside"
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith(BEGIN):
            state = "inside"
        elif state == "behind" and not _continues(line):
            state = "outside"
        yield line, state != "outside"
        if line.startswith(END) and state == "inside":
            state = "behind"


def _continues(line: str) -> bool:
    return line[:1].isspace() and bool(line.strip()) and not line.lstrip().startswith("#")


def _with_places(lines: Sequence[str]) -> Iterator[tuple[Service, tuple[int, ...]]]:
    """Yield the services that lines have, each with the numbers of its lines, from 0."""
    found: list[list[int]] = []
    for number, line in enumerate(lines):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if _continues(line) and found:
            found[-1].append(number)
        else:
            found.append([number])
    for places in found:
        name, type_, private, unprivileged, chroot, wakeup, processes, *command = (
            " ".join(lines[number] for number in places).split() + [""] * 7
        )
        if any(command):
            words = " ".join(command).rstrip()
            yield Service(name, type_, private, unprivileged, chroot, wakeup, processes, words), tuple(places)
