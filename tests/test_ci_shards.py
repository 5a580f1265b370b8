"""The pipelines for several controllers under docs/ci: what can be known of them without GitLab and Kubernetes.

tests/fleet/test_shards.py runs the Jobs of Kubernetes on a lab. What is fake here stands for the hosts.
"""

import itertools
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from pyinfra_cli.cli import cli

from mailproxy.as_json import problem_as_json
from mailproxy.digest import digest
from mailproxy.options import options

CI = Path(__file__).resolve().parent.parent / "docs" / "ci"
GITLAB = yaml.safe_load((CI / "gitlab-shards.yml").read_text())
SHARDED = {name: job for name, job in GITLAB.items() if isinstance(job, dict) and job.get("extends") == ".shard"}
JOB = yaml.safe_load((CI / "kubernetes" / "job.yml").read_text())
DIGEST = digest({})


def script_of(name: str) -> str:
    return "\n".join([*GITLAB[".shard"]["before_script"], *SHARDED[name]["script"]])


@pytest.mark.parametrize("name", SHARDED)
def test_every_shell_block_is_clean(name: str) -> None:
    found = subprocess.run(["shellcheck", "-s", "bash", "-"], input=script_of(name), capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_shell_program_is_clean() -> None:
    found = subprocess.run(["shellcheck", CI / "kubernetes" / "rollout"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def run(name: str, place: Path) -> list[str]:
    """Run a job of GitLab in a directory, and return how pyinfra was called."""
    programs = {
        "docs/ci/prepare": f'mkdir -p "$1/venv/bin" && cp {place}/pyinfra "$1/venv/bin/pyinfra"',
        "pyinfra": f'printf "%s\\n" "$@" >{place}/arguments',
    }
    for path, text in programs.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_text(f"#!/bin/sh\n{text}\n")
        (place / path).chmod(0o755)
    (place / "arguments").unlink(missing_ok=True)
    environment = {"PATH": "/usr/bin:/bin", "CI_BUILDS_DIR": str(place), "CI_JOB_ID": "7", "CI_NODE_INDEX": "2"}
    subprocess.run(["bash", "-eo", "pipefail", "-c", script_of(name)], cwd=place, env=environment, check=True)
    return (place / "arguments").read_text().splitlines() if (place / "arguments").exists() else []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stage-all", {"phase": "stage", "review": "review-2.md,review-2.html,review-2.json"}),
        ("canary", {"phase": "activate", "waves": 1, "reviewed": DIGEST}),
        ("rest", {"phase": "activate", "reviewed": DIGEST}),
    ],
)
def test_each_job_of_gitlab_runs_its_phase_in_its_shard(name: str, expected: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "review-2.json").write_text(f'{{\n "digest": "{DIGEST}",\n "waves": []\n}}\n')
    arguments = run(name, tmp_path)
    assert arguments[:5] == ["--limit", "shard", "inventories/production.py", "deploy.py", "-y"]
    given = dict(each.split("=", 1) for before, each in itertools.pairwise(arguments) if before == "--data")
    assert given.pop("ssh_known_hosts_file") == f"{tmp_path}/mailproxy-7/known_hosts"
    assert given == {key: str(value) for key, value in expected.items()}
    assert options({**expected, "review": ""}).phase == expected["phase"]


@pytest.mark.parametrize("name", ["release", "give-up"])
def test_only_what_this_pipeline_staged_is_given_up(name: str, tmp_path: Path) -> None:
    (tmp_path / "review-2.json").write_text(f'{{\n "digest": "{DIGEST}"\n}}\n')
    assert run(name, tmp_path)[:5] == [
        *("--limit", "shard", "inventories/production.py"),
        "mailproxy.release",
        f"reviewed={DIGEST}",
    ]
    # Where there was no review nothing was staged.
    for text in (problem_as_json("x"), ""):
        (tmp_path / "review-2.json").write_text(text)
        assert run(name, tmp_path) == []


def test_every_option_exists() -> None:
    known = {option for parameter in cli.params for option in parameter.opts}
    (command,) = JOB["spec"]["template"]["spec"]["containers"][0]["args"]
    for text in (command, *map(script_of, SHARDED)):
        called = text[text.index("pyinfra") :]
        assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", called)) <= known


def test_a_stage_of_gitlab_begins_when_every_shard_has_ended_the_one_before() -> None:
    order = GITLAB["stages"]
    stages = [GITLAB[name]["stage"] for name in ("stage-all", "consent", "canary", "rest", "release")]
    assert stages == order
    # By needs a job would begin sooner.
    assert not [name for name, job in GITLAB.items() if isinstance(job, dict) and "needs" in job]
    assert GITLAB["consent"]["allow_failure"] is False
    assert GITLAB["release"]["when"] == "on_failure"
    assert all("parallel" not in job for job in SHARDED.values())


def test_a_pod_that_failed_neither_comes_again_nor_ends_the_others() -> None:
    spec = JOB["spec"]
    assert (spec["completionMode"], spec["backoffLimitPerIndex"]) == ("Indexed", 0)
    assert "backoffLimit" not in spec
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (container,) = spec["template"]["spec"]["containers"]
    total = {each["name"]: each["value"] for each in container["env"]}["SHARD_TOTAL"]
    assert int(total) == spec["completions"] == spec["parallelism"]
