"""Four controllers for one fleet: what one of them cannot stage goes live for none, and canaries go first in all.

The engine that runs them is docs/ci/kubernetes/rollout, with a stand-in for kubectl that runs the pods as processes.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mailproxy.shard import Shard
from tests.fleet.conftest import GUIDE, administrator, lab_of
from tests.fleet.controller import (
    AT_REST,
    PYINFRA,
    REPOSITORY,
    Controller,
    Result,
    assert_mail_flows,
    live,
    private_names,
    replaced,
    tree,
)

ADDED = {**GUIDE, "added.example": "smtp:[10.1.0.2]"}
# So many hosts that no shard of four is empty; the canary is mx1.
HOSTS = 6
# What pods have as pyinfra: that of this lab, which has its own inventory and keys.
STAND_IN = """#!{python}
import os, sys
given = sys.argv[1:]
assert given[:3] == ["-y", "--limit", "shard"] and "/keys/id" in given and "inventories/production.py" in given
asked = given[given.index("inventories/production.py") + 1 :]
os.chdir({repository!r})
os.execvp("nsenter", [*{command!r}, "-y", "--limit", "shard", *asked])
"""


@dataclass
class Cluster:
    """Where docs/ci/kubernetes/rollout runs its Jobs, on behalf of an administrator."""

    controller: Controller
    directory: Path

    def __post_init__(self) -> None:
        pyinfra = [*PYINFRA, self.controller.inventory, "--group-data", str(self.controller.group_data)]
        command = self.controller.fleet.controller_command(pyinfra)
        text = STAND_IN.format(python=sys.executable, repository=str(REPOSITORY), command=command)
        kubectl = f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("kubectl.py")} "$@"\n'
        for path, content in {"image/.venv/bin/pyinfra": text, "bin/kubectl": kubectl, "jobs/none": ""}.items():
            file = self.directory / path
            file.parent.mkdir(parents=True)
            file.write_text(content)
            file.chmod(0o755)

    def rollout(self, *arguments: str) -> Result:
        """Run a phase of the rollout in all shards to its end."""
        known = {"CLUSTER": str(self.directory / "jobs"), "PLACE": str(self.directory / "image")}
        path = f"{self.directory / 'bin'}:{os.environ['PATH']}"
        environment = {**os.environ, **known, "PATH": path, "LAB": self.controller.fleet.directory.name}
        program = [str(REPOSITORY / "docs/ci/kubernetes/rollout"), *arguments]
        ended = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300)
        return Result(ended.returncode, ended.stdout, ended.stderr)

    def alone(self, shard: str) -> Result:
        """Run the phase activate in one shard, as who does not wait for the others."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SHARD", shard)
            return self.controller.run("-y", "--limit", "shard", "--data", "phase=activate")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Six hosts that are the guide's proxy, and a cluster for four controllers."""
    with lab_of(HOSTS, "tests-shards") as fleet:
        controller = administrator(fleet, tmp_path_factory.mktemp("group_data"))
        controller.roll_out()
        yield Cluster(controller, tmp_path_factory.mktemp("cluster"))


def test_one_host_that_cannot_stage_and_nothing_goes_live_in_any_shard(cluster: Cluster) -> None:
    hosts = cluster.controller.fleet.hosts
    assert all(any(Shard(number, 4).holds(host.name) for host in hosts) for number in (1, 2, 3, 4))
    before = {host.name: tree(host) for host in hosts}
    cluster.controller.declare(relay_domains=ADDED)
    with replaced(hosts[-1], "/usr/sbin/postmap", "echo broken >&2; exit 1"):
        result = cluster.rollout("stage")
    assert result.status == 1, result.everything
    assert f"[{hosts[-1].name}] postmap could not index transport: broken" in result.review
    assert "not every host could stage, so nothing went live; what was still staged is given up" in result.log
    assert {host.name: tree(host) for host in hosts} == before
    assert all(private_names(host) == AT_REST for host in hosts)
    # Whoever does not wait for the others finds nothing to take live.
    alone = cluster.alone("3/4")
    assert alone.status == 1
    assert f"nothing was activated:\n    {hosts[1].name}: nothing is staged there" in alone.log
    assert {host.name: tree(host) for host in hosts} == before


def test_what_is_staged_in_all_shards_goes_live_by_the_canaries_first(cluster: Cluster) -> None:
    canary, *others = cluster.controller.fleet.hosts
    before = {host.name: live(host) for host in (canary, *others)}
    cluster.controller.declare(relay_domains=ADDED)
    result = cluster.rollout("stage")
    assert result.status == 0, result.everything
    assert result.review.count("+ added.example -> smtp:[10.1.0.2]") == 4
    assert {host.name: live(host) for host in (canary, *others)} == before
    # It waits, and keeps others away: also those of this machine, where who staged it is gone.
    other = cluster.controller.run("-y")
    assert other.status == 1
    assert f"[{canary.name}] locked: held by" in other.log
    again = cluster.rollout("stage")
    assert again.status == 1
    assert "mailproxy-stage already exists" in again.log
    # What is declared has changed since: that was not staged.
    cluster.controller.declare(relay_domains=GUIDE | {"other.example": "smtp:[10.1.0.2]"})
    alone = cluster.alone("3/4")
    assert alone.status == 1
    assert f"{others[0].name}: it, or what is declared for it, is not as it was when that was staged" in alone.log
    cluster.controller.declare(relay_domains=ADDED)
    assert {host.name: live(host) for host in (canary, *others)} == before

    result = cluster.rollout("activate")
    assert result.status == 0, result.everything
    first, rest = result.review.split("jobs.batch/mailproxy-rest")
    assert first.count(" activated: ") == 1
    assert f"[{canary.name}] activated: " in first
    assert rest.count(" activated: ") == len(others)
    assert f"[{canary.name}] activated: " not in rest
    assert all(private_names(host) == AT_REST for host in (canary, *others))
    cluster.controller.assert_converged()
    assert_mail_flows(cluster.controller.fleet, others[-1], "added.example")
