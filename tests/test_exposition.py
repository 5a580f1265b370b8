"""What Prometheus is told, read by its own client's parser."""

import dataclasses
import re
import textwrap
from datetime import timedelta
from pathlib import Path

import yaml
from prometheus_client.parser import text_string_to_metric_families

from mailproxy.exposition import METRICS, exposition
from mailproxy.model import DesiredState
from mailproxy.observed import ObservedState, Unread
from tests import pairs
from tests.pairs import pair
from tests.states import desired, edited, empty_host, observed

MX1, NOW = "mx1.example.com", 1_795_400_000


def told(
    name: str = MX1, host: ObservedState | Unread | None = None, state: DesiredState | None = None
) -> dict[tuple[str, ...], float]:
    """Return the values by the metric, less its common beginning, and its labels."""
    state = state or desired()
    text = exposition({name: state}, {name: host or observed(state)}, NOW)
    found = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type == "gauge"
        for sample in family.samples:
            found[(sample.name.removeprefix("mailproxy_"), *sample.labels.values())] = sample.value
    return found


def test_a_host_as_declared_in_numbers() -> None:
    host = observed(desired(), queues={"deferred": 7, "active": 0})
    assert host.manifest is not None
    record = {"generation": "7", "activated": "1795394284"}
    host = dataclasses.replace(host, manifest=dataclasses.replace(host.manifest, record=record))
    assert told(host=host) == {
        ("run_timestamp_seconds",): NOW,
        ("host_up", MX1): 1,
        ("host_running", MX1): 1,
        ("host_as_declared", MX1): 1,
        ("host_differing_files", MX1, "edited"): 0,
        ("host_differing_files", MX1, "declared"): 0,
        ("host_stale_tables", MX1): 0,
        ("host_reload_pending", MX1): 0,
        ("host_generation", MX1): 7,
        ("host_last_change_timestamp_seconds", MX1): 1795394284,
        ("host_drained", MX1): 0,
        ("host_queue_messages", MX1, "active"): 0,
        ("host_queue_messages", MX1, "deferred"): 7,
    }


def test_what_is_not_as_declared_counts_by_its_cause() -> None:
    found = told(host=edited(desired(), mynetworks="10.0.0.0/8\n"))
    assert found["host_differing_files", MX1, "edited"] == 1
    assert found["host_differing_files", MX1, "declared"] == 0
    assert found["host_as_declared", MX1] == 0
    behind = told(host=observed(desired(relay_domains={})))
    assert behind["host_differing_files", MX1, "edited"] == 0
    assert behind["host_differing_files", MX1, "declared"] == 2


def test_a_table_and_a_reload_that_wait_are_told() -> None:
    host = observed(desired())
    without_table = {name: file for name, file in host.live.items() if name != "transport.db"}
    assert told(host=dataclasses.replace(host, live=without_table))["host_stale_tables", MX1] == 1
    assert host.manifest is not None
    digests = {**host.manifest.digests, "mynetworks": "0" * 64}
    unloaded = dataclasses.replace(host, manifest=dataclasses.replace(host.manifest, digests=digests))
    assert told(host=unloaded)["host_reload_pending", MX1] == 1


def test_of_a_host_that_was_not_read_nothing_else_is_told() -> None:
    assert told(host=Unread("it timed out")) == {("run_timestamp_seconds",): NOW, ("host_up", MX1): 0}


def test_what_is_not_known_of_a_host_is_left_out() -> None:
    found = told(host=empty_host())
    assert found["host_as_declared", MX1] == 0
    assert not {key for key in found if key[0] in ("host_generation", "host_queue_messages")}


def test_until_when_a_certificate_holds_is_told_where_one_is_declared() -> None:
    state = desired(tls=pair(MX1, days=90).declared())
    expiry = (pairs.NOW + timedelta(days=90)).timestamp()
    assert told(state=state)["host_certificate_expiry_timestamp_seconds", MX1] == expiry
    assert "host_certificate_expiry_timestamp_seconds" not in {name for name, *_ in told()}


def test_a_host_out_of_service_is_told() -> None:
    host = observed(desired())
    drained = dataclasses.replace(host, postfix=dataclasses.replace(host.postfix, drained="new disk"))
    assert told(host=drained)["host_drained", MX1] == 1


def test_a_name_is_told_as_it_is() -> None:
    name = 'back\\slash "quoted"\nsecond line'
    assert told(name)["host_up", name] == 1


def test_the_docs_name_the_metrics_that_there_are() -> None:
    text = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text()
    told = {"mailproxy_run_timestamp_seconds", "mailproxy_host_up", *(metric.name for metric in METRICS)}
    assert set(re.findall(r"\bmailproxy_\w+", text)) == told
    rules = yaml.safe_load(textwrap.dedent(re.findall(r"^    groups:\n(?:(?:    .*)?\n)+", text, re.MULTILINE)[0]))
    assert all({"alert", "expr", "annotations"} <= rule.keys() for rule in rules["groups"][0]["rules"])
