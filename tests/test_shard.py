"""Which controller has which hosts: each host one, whoever comes and goes, whatever engine says who is who."""

import sys
from collections.abc import Mapping

import pyinfra
import pytest

from mailproxy import shard as module
from mailproxy.shard import Shard, shard, shard_of
from mailproxy.stop import StopError

HOSTS = [f"mx{number}.example.com" for number in range(1, 1001)]
VARIABLES = ("SHARD", "SHARD_TOTAL", "CI_NODE_INDEX", "CI_NODE_TOTAL", "JOB_COMPLETION_INDEX")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_each_host_is_in_one_shard_and_shards_are_about_as_large() -> None:
    parts = [[host for host in HOSTS if Shard(number, 4).holds(host)] for number in (1, 2, 3, 4)]
    assert sorted(host for part in parts for host in part) == sorted(HOSTS)
    assert all(200 < len(part) < 300 for part in parts)


def test_a_host_stays_in_its_shard_for_good() -> None:
    # Of another version of this project, too: two controllers may be upgraded one after the other.
    assert [name for name in HOSTS[:8] if Shard(2, 4).holds(name)] == [
        "mx2.example.com",
        "mx3.example.com",
        "mx6.example.com",
    ]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"SHARD": ""}, None),
        ({"CI_NODE_TOTAL": "1"}, None),
        ({"SHARD": "2/4"}, Shard(2, 4)),
        ({"CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "4"}, Shard(2, 4)),
        ({"JOB_COMPLETION_INDEX": "1", "SHARD_TOTAL": "4"}, Shard(2, 4)),
        ({"JOB_COMPLETION_INDEX": "0", "SHARD_TOTAL": "1"}, Shard(1, 1)),
        ({"JOB_COMPLETION_INDEX": "1", "SHARD": "2/4"}, Shard(2, 4)),
        ({"SHARD": "2/4", "CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "4"}, Shard(2, 4)),
    ],
)
def test_what_each_engine_says_is_understood(environment: Mapping[str, str], expected: Shard | None) -> None:
    assert shard_of(environment) == expected


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"SHARD": "2"}, "SHARD=2: expected SHARD=2/4 for the second of four"),
        ({"SHARD": "0/4"}, "SHARD=0/4: there is no such shard"),
        ({"SHARD": "5/4"}, "SHARD=5/4: there is no such shard"),
        ({"SHARD": "-1/4"}, "SHARD=-1/4: expected"),
        ({"SHARD": "1/4/2"}, "SHARD=1/4/2: expected"),
        ({"SHARD": "two/4"}, "SHARD=two/4: expected"),
        ({"SHARD": "1/0"}, "there is no such shard"),
        ({"CI_NODE_INDEX": "2"}, "CI_NODE_INDEX=2 with CI_NODE_TOTAL=: expected numbers"),
        ({"CI_NODE_INDEX": "0", "CI_NODE_TOTAL": "4"}, "there is no such shard"),
        ({"JOB_COMPLETION_INDEX": "1"}, "JOB_COMPLETION_INDEX=1 with SHARD_TOTAL=: expected numbers"),
        ({"JOB_COMPLETION_INDEX": "4", "SHARD_TOTAL": "4"}, "there is no such shard"),
        ({"JOB_COMPLETION_INDEX": "x", "SHARD_TOTAL": "4"}, "JOB_COMPLETION_INDEX=x with SHARD_TOTAL=4: expected"),
        ({"SHARD_TOTAL": "4"}, "SHARD_TOTAL=4: expected JOB_COMPLETION_INDEX beside it"),
        (
            {"SHARD": "1/4", "CI_NODE_INDEX": "2", "CI_NODE_TOTAL": "4"},
            "SHARD says 1/4 and CI_NODE_INDEX says 2/4; expected one shard",
        ),
        (
            {"SHARD": "1/4", "JOB_COMPLETION_INDEX": "0", "SHARD_TOTAL": "5"},
            "SHARD says 1/4 and JOB_COMPLETION_INDEX says 1/5",
        ),
    ],
)
def test_what_cannot_be_a_shard_is_refused(environment: Mapping[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        shard_of(environment)
    assert reason in str(error.value)


def test_the_group_of_an_inventory_is_all_hosts_without_a_shard_and_its_part_with_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert shard(HOSTS) == HOSTS
    monkeypatch.setenv("SHARD", "2/4")
    assert shard(HOSTS) == [host for host in HOSTS if Shard(2, 4).holds(host)]


def test_a_run_of_pyinfra_that_forgets_the_limit_is_refused_before_it_connects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SHARD", "2/4")
    monkeypatch.setattr(pyinfra, "is_cli", True)
    monkeypatch.setattr(sys, "argv", ["pyinfra", "inventory.py", "deploy.py"])
    with pytest.raises(StopError, match="this is shard 2/4: expected --limit shard; nothing was touched"):
        shard(HOSTS)
    for limit in (["--limit", "shard"], ["--limit=shard"]):
        monkeypatch.setattr(sys, "argv", ["pyinfra", *limit, "inventory.py", "deploy.py"])
        assert len(shard(HOSTS)) < len(HOSTS)


def test_a_shard_goes_live_with_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    module.refuse_alone()
    monkeypatch.setenv("SHARD", "1/1")
    module.refuse_alone()
    monkeypatch.setenv("SHARD", "2/4")
    with pytest.raises(StopError, match=r"this is shard 2/4, .*: expected --data phase=stage"):
        module.refuse_alone()


def test_a_host_of_another_shard_is_refused_whoever_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARD", "2/4")
    module.refuse_other_shards(shard(HOSTS))
    with pytest.raises(StopError, match=r"mx1\.example\.com and \d+ more of this run is in another"):
        module.refuse_other_shards(HOSTS)
