"""What an installation of Postfix would meet on each host: what files/install.sh found, and what to say of it."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from mailproxy.model import DesiredState
from mailproxy.observed import Unread
from mailproxy.review import hosts_of

# begun and installed were left half-way by an earlier bootstrap: before Postfix was installed, or after.
State = Literal["bare", "begun", "installed", "present"]
_NONE = "none"


@dataclass(frozen=True)
class Survey:
    """A host before an installation: candidate is the version of Postfix that there is, '' where none is known.

    removes are the packages, or services of the base system, that have to make room for it; refusals say why it cannot
    be installed.
    """

    system: str
    manager: str
    state: State
    candidate: str = ""
    removes: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()

    @property
    def is_bare(self) -> bool:
        """Whether a bootstrap has something to do there."""
        return self.state != "present"


def surveyed(lines: Sequence[str]) -> Survey | None:
    """Return what the records of "install.sh survey" say, None where they came incomplete."""
    if not lines or lines[-1] != "end":
        return None
    records: dict[str, list[str]] = {}
    for line in lines[:-1]:
        word, _, rest = line.partition(" ")
        records.setdefault(word, []).append(rest)
    try:
        (system,), (manager,), (state,) = records["system"], records["manager"], records["state"]
        (candidate,) = records.get("candidate", [""])
    except (KeyError, ValueError):
        return None
    if state not in get_args(State):
        return None
    return Survey(
        system=system,
        manager=manager,
        state=cast(State, state),
        candidate="" if candidate == _NONE else candidate,
        removes=tuple(records.get("removes", [])),
        refusals=tuple(records.get("refused", [])),
    )


def to_replace(found: Mapping[str, Survey | Unread], agreed: Collection[str]) -> list[str]:
    """Return all that has to make room on the bare hosts, where not all of it was agreed to; else nothing."""
    names = [name for one in found.values() if isinstance(one, Survey) and one.is_bare for name in one.removes]
    return list(dict.fromkeys(names)) if set(names) - set(agreed) else []


def refused(found: Mapping[str, Survey | Unread]) -> list[str]:
    """Return why Postfix cannot be installed on some hosts, a line each."""
    surveys = {name: one for name, one in found.items() if isinstance(one, Survey)}
    return [f"{name}: {reason}" for name, one in surveys.items() for reason in one.refusals]


def report(
    found: Mapping[str, Survey | Unread], desired: Mapping[str, DesiredState], agreed: Collection[str]
) -> Iterator[str]:
    """Yield the lines that say what a bootstrap would do, each thing once with the hosts it is for."""
    bare = [name for name, one in found.items() if isinstance(one, Survey) and one.is_bare]
    away = sum(isinstance(one, Unread) for one in found.values())
    counts = f"{len(bare)} to bootstrap, {len(found) - len(bare) - away} with Postfix already"
    yield f"mailproxy: {_many(len(found), 'host')}: {counts}" + (f", {away} could not be read" if away else "")
    for title, names in hosts_of({name: [_title(one)] for name, one in found.items()}).items():
        yield ""
        yield f"{title}  [{', '.join(names)}]"
        details = {name: list(_details(found[name], desired[name], agreed)) for name in names}
        for text, those in hosts_of(details).items():
            yield f"    {text}" + (f"  [{', '.join(those)}]" if len(those) < len(names) else "")


def _title(one: Survey | Unread) -> str:
    if isinstance(one, Unread):
        return f"not read: {one.reason}"
    match one.state:
        case "present":
            return "has Postfix already, and is left alone: pyinfra INVENTORY deploy.py"
        case "installed":
            return "go on: Postfix was installed by an earlier run, and nothing was confirmed since"
        case "begun":
            return "go on with an installation of Postfix that was stopped"
        case "bare":
            return "install Postfix"


def _details(one: Survey | Unread, desired: DesiredState, agreed: Collection[str]) -> Iterator[str]:
    if isinstance(one, Unread) or not one.is_bare:
        return
    for reason in one.refusals:
        yield f"REFUSED: {reason}"
    version = one.candidate or "of a version that is not known before its lists are fetched, with the installation"
    yield f"{one.system}, {one.manager}: postfix {version}"
    if one.removes:
        is_agreed = set(one.removes) <= set(agreed)
        what = "removes or turns off" + ("" if is_agreed else ", and needs approval for,")
        yield f"{what} {', '.join(one.removes)}; mail in its queue stays there, undelivered"
    yield (
        f"declared: {_many(len(desired.relay_domains), 'domain')}, {_many(len(desired.mynetworks), 'network')}, "
        f"{_many(len(desired.aliases), 'alias', 'aliases')}"
    )
    yield "first started with that, asked by SMTP, and enabled at boot when it is confirmed"


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or f'{one}s'}"
