"""The key limits of group_data: what a client, a message and a next hop may ask for, and how long mail waits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import AfterValidator, Field

from mailproxy.feature import Feature, Place
from mailproxy.problem import Problem

if TYPE_CHECKING:
    from mailproxy.model import DesiredState

# Each limit with the parameter that is set for it, all of them known from Postfix 2.5 on (postconf(5)). A client in
# mynetworks has no limit of its own: smtpd_client_event_limit_exceptions leaves them out unless main_cf says otherwise.
PARAMETERS: Mapping[str, str] = {
    "connections": "smtpd_client_connection_count_limit",
    "connection_rate": "smtpd_client_connection_rate_limit",
    "message_rate": "smtpd_client_message_rate_limit",
    "recipient_rate": "smtpd_client_recipient_rate_limit",
    "recipients": "smtpd_recipient_limit",
    "destination_concurrency": "default_destination_concurrency_limit",
    "destination_rate_delay": "default_destination_rate_delay",
    "queue_lifetime": "maximal_queue_lifetime",
    "bounce_lifetime": "bounce_queue_lifetime",
}
# Of each client within a minute (anvil_rate_time_unit).
_RATES = ("connection_rate", "message_rate", "recipient_rate")
# A client may expect so many to be taken (RFC 5321, 4.5.3.1.8).
_LEAST_RECIPIENTS = 100
# What a rollout may need of a host within a minute, asking it again where an answer is not as it should be.
_OF_A_ROLLOUT = 20
# How long a sender goes on trying (RFC 5321, 4.5.4.1), in seconds.
_LEAST_LIFETIME = 4 * 86400
# The queue manager of Postfix ends at once with a longer lifetime, and postfix check lets it pass (qmgr.c: 8640000).
_LONGEST = 100 * 86400
# What an integer of Postfix holds.
_MOST = 2**31 - 1
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration(value: str) -> str:
    """Return a time as Postfix writes it, or refuse it: without a unit it would be another one for each parameter."""
    if not re.fullmatch(r"(0|[1-9][0-9]{0,9})[smhdw]", value):
        raise ValueError("expected a time such as 5d: a number and s, m, h, d or w")
    if seconds(value) > _LONGEST:
        raise ValueError("expected at most 100d: Postfix does not start with more")
    return value


def seconds(value: str) -> int:
    """Return how long a duration() is."""
    return int(value[:-1]) * _SECONDS[value[-1]]


def number(value: int) -> int:
    """Return how many of something are let through, or refuse it: to Postfix 0 is no limit, and not none at all."""
    if not 1 <= value <= _MOST:
        raise ValueError(f"expected 1 to {_MOST}; left out, it is as Postfix has it")
    return value


Number = Annotated[int, Field(strict=True), AfterValidator(number)]
Duration = Annotated[str, AfterValidator(duration)]


class Limits(Feature):
    """Limits of a client, a message and a next hop; None leaves one to Postfix. docs/limits.md describes them."""

    comment: ClassVar[str] = "What a client, a message and a next hop may ask for, and how long mail waits."

    connections: Number | None = None
    connection_rate: Number | None = None
    message_rate: Number | None = None
    recipient_rate: Number | None = None
    recipients: Number | None = None
    destination_concurrency: Number | None = None
    destination_rate_delay: Duration | None = None
    queue_lifetime: Duration | None = None
    bounce_lifetime: Duration | None = None

    @property
    def declared(self) -> dict[str, str]:
        """The limits that are declared, by name."""
        return {name: str(value) for name in PARAMETERS if (value := getattr(self, name)) is not None}

    def own_parameters(self) -> Sequence[str]:
        """Return the parameters of the limits that are declared."""
        return [PARAMETERS[name] for name in self.declared]

    def parameters(self, desired: DesiredState, place: Place) -> Mapping[str, str]:
        """Return the limits by their parameters."""
        return {PARAMETERS[name]: value for name, value in self.declared.items()}

    def warnings(self, desired: DesiredState) -> Iterator[Problem]:
        """Yield limits that keep mail out which nobody means to keep out."""
        yield from _warnings(self)


def _warnings(limits: Limits) -> Iterator[Problem]:
    """Yield limits that keep mail out which nobody means to keep out."""
    declared = limits.declared

    def warning(name: str, reason: str) -> Problem:
        return Problem(f"limits[{name!r}]", declared[name], reason)

    if limits.recipients is not None and limits.recipients < _LEAST_RECIPIENTS:
        yield warning("recipients", f"is below {_LEAST_RECIPIENTS}, which every server takes (RFC 5321, 4.5.3.1.8)")
    most = limits.recipients or _LEAST_RECIPIENTS
    if limits.recipient_rate is not None and limits.recipient_rate < most:
        reason = f"is below the recipients of one message, {most}, which then gets through in parts only"
        yield warning("recipient_rate", reason)
    for name in _RATES:
        value = getattr(limits, name)
        if value is not None and value < _OF_A_ROLLOUT:
            reason = f"is below {_OF_A_ROLLOUT} a minute: a rollout that asks the host may meet it, and prove nothing"
            yield warning(name, reason)
    queue, bounce = limits.queue_lifetime, limits.bounce_lifetime
    if queue is not None and seconds(queue) < _LEAST_LIFETIME:
        yield warning("queue_lifetime", "is below 4d: others would still try to deliver (RFC 5321, 4.5.4.1)")
    if queue is not None and bounce is not None and seconds(bounce) > seconds(queue):
        yield warning("bounce_lifetime", f"is above queue_lifetime, {queue}: bounces would wait longer than mail")
