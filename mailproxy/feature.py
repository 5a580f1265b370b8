"""What a key of group_data beyond the guide's proxy adds to a host: files, parameters, restrictions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict

from mailproxy.entries import Entries
from mailproxy.host_postfix import HostPostfix
from mailproxy.master_cf import Service
from mailproxy.problem import Problem

if TYPE_CHECKING:
    from mailproxy.model import DesiredState
    from mailproxy.observed import ObservedState


# The field of a key whose value is not made of fields, which no problem is to name.
VALUE = "[value]"


@dataclass(frozen=True)
class Place:
    """Where files stand on a host, and the type of its indexed tables."""

    postfix: HostPostfix
    type: str

    def file(self, name: str) -> str:
        """Return the path of a managed file."""
        return f"{self.postfix.config_directory}/{name}"

    def table(self, name: str) -> str:
        """Return an indexed table as main.cf names it."""
        return f"{self.type}:{self.file(name)}"


@dataclass(frozen=True)
class Example:
    """A text that a table of lists() is asked for before it goes live, by the host's own Postfix.

    The entry of that number, 1 being the first, is to be the one that finds it, or is not to be.
    """

    type: str
    file: str
    entry: int
    text: str
    is_match: bool = True


@dataclass(frozen=True)
class Needed:
    """Something else than a next hop that has to answer a host, in a form of files/needing.sh.

    Mail waits while something vital is silent, and goes without it otherwise.
    """

    name: str
    is_vital: bool


class Feature(BaseModel):
    """The value of such a key, as group_data has it. One that was not declared adds nothing anywhere.

    It is all that is known of the key: model, check, rendering, plan and review ask every feature the same questions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    # What main.cf says above its parameters.
    comment: ClassVar[str] = ""

    def problems(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield what stops a rollout, and no field can tell by itself."""
        yield from ()

    def warnings(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield what may not be meant and stops nothing."""
        yield from ()

    def refusal(self, desired: DesiredState, postfix: HostPostfix) -> str:
        """Return why a host's Postfix cannot do it, '' where it can."""
        return ""

    def asks(self, desired: DesiredState) -> Sequence[str]:
        """Return what a host is asked for besides, as lines of the input of files/observe.sh."""
        return ()

    def problem_on(self, desired: DesiredState, observed: ObservedState) -> str:
        """Return why a host as it was found cannot do it, '' where it can."""
        return ""

    def warnings_on(self, desired: DesiredState, observed: ObservedState) -> Iterator[str]:
        """Yield what may not be meant on a host as it was found."""
        yield from ()

    def own_parameters(self) -> Sequence[str]:
        """Return the names of all parameters that it may set, on any host: main_cf cannot declare these as well."""
        return ()

    def parameters(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return what it sets in main.cf, but the restriction lists."""
        return {}

    def restrictions(self, desired: DesiredState, place: Place) -> Mapping[str, Sequence[str]]:
        """Return what it puts before everything else in restriction lists, by their parameters.

        Only what refuses or goes on may stand before the relay rule, which is in smtpd_recipient_restrictions of
        Postfix before 2.10: what may answer OK has to be in another list.
        """
        return {}

    def tables(self, desired: DesiredState) -> Mapping[str, Entries]:
        """Return the entries of its indexed tables, by the names of their sources."""
        return {}

    def lists(self, desired: DesiredState) -> Mapping[str, Sequence[tuple[str, str]]]:
        """Return the entries of its other tables, in the order in which Postfix tries them, by the names of the files.

        They are of types such as cidr and regexp, which Postfix reads as they are, and the same on every host.
        """
        return {}

    def types(self) -> Sequence[str]:
        """Return the types of these tables that not every Postfix has."""
        return ()

    def examples(self) -> Iterator[Example]:
        """Yield what these tables are to find."""
        yield from ()

    def texts(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return the texts of its other files, by name."""
        return {}

    @property
    def edits_master_cf(self) -> bool:
        """Whether it adds or replaces services of master.cf: only then a host is asked for that."""
        return False

    def services(self, desired: DesiredState, place: Place, present: Sequence[Service]) -> Sequence[Service]:
        """Return the services of master.cf that it adds, or has otherwise than they are present."""
        return ()

    def needed(self, desired: DesiredState) -> Sequence[Needed]:
        """Return what else has to answer a host."""
        return ()
