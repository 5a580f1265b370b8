"""What Prometheus is told of a fleet, in its text format: what was observed x what is declared -> lines.

https://prometheus.io/docs/instrumenting/exposition_formats/ has the format, and
https://prometheus.io/docs/practices/naming/ how metrics are named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mailproxy import drift
from mailproxy.model import DesiredState
from mailproxy.observed import ObservedState, Unread
from mailproxy.plan import Plan, Refusal, planned

# What is told of a host by one metric: a value for each set of further labels, none where it is not known.
Samples = Iterator[tuple[Mapping[str, str], int]]


@dataclass(frozen=True)
class Metric:
    """A metric of hosts that were read: its name, its meaning in a line, and what it is for one of them."""

    name: str
    meaning: str
    samples: Callable[[DesiredState, ObservedState, Plan | Refusal], Samples]


def _running(_desired: DesiredState, observed: ObservedState, _: Plan | Refusal) -> Samples:
    yield {}, int(observed.running)


def _as_declared(_desired: DesiredState, _: ObservedState, outcome: Plan | Refusal) -> Samples:
    yield {}, int(isinstance(outcome, Plan) and outcome.is_managed and outcome.is_empty)


def _differing_files(_desired: DesiredState, _: ObservedState, outcome: Plan | Refusal) -> Samples:
    if isinstance(outcome, Plan):
        yield {"cause": "edited"}, len(drift.edited(outcome)) + len(drift.unlike(outcome))
        yield {"cause": "declared"}, len(drift.behind(outcome))


def _stale_tables(_desired: DesiredState, _: ObservedState, outcome: Plan | Refusal) -> Samples:
    if isinstance(outcome, Plan):
        yield {}, len(drift.stale(outcome))


def _reload_pending(_desired: DesiredState, _: ObservedState, outcome: Plan | Refusal) -> Samples:
    if isinstance(outcome, Plan):
        yield {}, int(drift.is_pending(outcome))


def _recorded(key: str) -> Callable[[DesiredState, ObservedState, Plan | Refusal], Samples]:
    def samples(_desired: DesiredState, observed: ObservedState, _: Plan | Refusal) -> Samples:
        value = observed.manifest.record.get(key, "") if observed.manifest else ""
        if value.isascii() and value.isdigit():
            yield {}, int(value)

    return samples


def _queue_messages(_desired: DesiredState, observed: ObservedState, _: Plan | Refusal) -> Samples:
    yield from (({"queue": name}, messages) for name, messages in sorted((observed.queues or {}).items()))


def _drained(_desired: DesiredState, observed: ObservedState, _: Plan | Refusal) -> Samples:
    yield {}, int(bool(observed.postfix.drained))


def _certificate(desired: DesiredState, observed: ObservedState, _: Plan | Refusal) -> Samples:
    if desired.tls.certificate and (found := desired.tls.certificate_on(observed)):
        yield {}, int(found.until.timestamp())


METRICS = (
    Metric("mailproxy_host_running", "Whether Postfix runs on the host.", _running),
    Metric(
        "mailproxy_host_as_declared",
        "Whether a rollout would find nothing to do on the host; 0 also where it is not managed.",
        _as_declared,
    ),
    Metric(
        "mailproxy_host_differing_files",
        "Managed files that are not as declared: edited on the host since the last rollout, or declared otherwise.",
        _differing_files,
    ),
    Metric(
        "mailproxy_host_stale_tables",
        "Indexed tables that do not hold what their source says, which is itself as declared.",
        _stale_tables,
    ),
    Metric(
        "mailproxy_host_reload_pending",
        "Whether Postfix has to be reloaded or restarted, and nothing else, to be as declared.",
        _reload_pending,
    ),
    Metric("mailproxy_host_generation", "The generation that is live.", _recorded("generation")),
    Metric(
        "mailproxy_host_last_change_timestamp_seconds",
        "When the generation that is live was activated, in seconds since 1970.",
        _recorded("activated"),
    ),
    Metric("mailproxy_host_drained", "Whether the host is out of service (mailproxy.drain).", _drained),
    Metric(
        "mailproxy_host_certificate_expiry_timestamp_seconds",
        "Until when the certificate holds that the host shows to senders, in seconds since 1970.",
        _certificate,
    ),
    Metric("mailproxy_host_queue_messages", "Messages that wait, by the queue they are in.", _queue_messages),
)


def exposition(desired: Mapping[str, DesiredState], observed: Mapping[str, ObservedState | Unread], now: int) -> str:
    """Return the text for hosts by name; now is in seconds since 1970. Of one that was not read it says only that."""
    read = {name: state for name, state in observed.items() if isinstance(state, ObservedState)}
    outcomes = {name: planned(desired[name], state) for name, state in read.items()}
    families = [
        _family("mailproxy_run_timestamp_seconds", "When the hosts were read, in seconds since 1970.", [({}, now)]),
        _family(
            "mailproxy_host_up",
            "Whether the host could be reached and read.",
            [({"host": name}, int(name in read)) for name in observed],
        ),
    ]
    for metric in METRICS:
        samples = [
            ({"host": name, **labels}, value)
            for name, state in read.items()
            for labels, value in metric.samples(desired[name], state, outcomes[name])
        ]
        families.append(_family(metric.name, metric.meaning, samples))
    return "".join(families)


def _family(name: str, meaning: str, samples: Sequence[tuple[Mapping[str, str], int]]) -> str:
    """Return the lines of one metric, '' where nothing is known of any host; all of them are gauges."""
    if not samples:
        return ""
    lines = [f"# HELP {name} {meaning}", f"# TYPE {name} gauge"]
    for labels, value in samples:
        listed = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
        lines.append(f"{name}{{{listed}}} {value}" if listed else f"{name} {value}")
    return "".join(f"{line}\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
