"""The workflows under docs/ci: what can be known of them without GitHub and GitLab.

Every shell block is run as the service would run it, by bash, and docs/ci/handover.py talks HTTP. What is fake stands
for what cannot be had here: the REST interfaces (a local server with answers of the documented shape), gh, pyinfra
(which would need a fleet) and the making of a venv (which would need the network).
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyinfra_cli.cli import cli

from mailproxy.digest import digest
from mailproxy.gates import GATES

TOP = Path(__file__).resolve().parent.parent
CI = TOP / "docs" / "ci"
GITHUB = {path.stem: yaml.safe_load(path.read_text()) for path in sorted((CI / "github").glob("*.yml"))}
GITLAB = yaml.safe_load((CI / "gitlab-ci.yml").read_text())
JOBS = [(name, job, content) for name, flow in GITHUB.items() for job, content in flow["jobs"].items()]
STEPS = [(f"{name}/{job}", step) for name, job, content in JOBS for step in content["steps"]]
GITLAB_JOBS = {name: job for name, job in GITLAB.items() if isinstance(job, dict) and "script" in job}
DATA_KEYS = {"review", "reviewed", "approve", "expect", "ssh_known_hosts_file"}

BOT = "github-actions[bot]"
MERGE, HEAD, EARLIER = "a" * 40, "b" * 40, "c" * 40
DIGEST, FORGED = "v1-" + "D" * 68, "v1-" + "F" * 68
MARKER = "<!-- mailproxy review: this comment is written anew with each push -->"
HOSTILE = 'approve:removals"; touch pwned; $(touch pwned) `touch pwned` #\n::set-output name=digest::x'


def script_of(job: str) -> str:
    """A GitLab job as its runner puts it together: one shell, so that variables last."""
    base = GITLAB.get(GITLAB_JOBS[job].get("extends", ""), {})
    return "\n".join([*base.get("before_script", []), *GITLAB_JOBS[job]["script"]])


SHELL = {f"{where}: {step.get('name')}": step["run"] for where, step in STEPS if "run" in step} | {
    f"gitlab/{job}": script_of(job) for job in GITLAB_JOBS
}


# --- What can be read off ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", SHELL.values(), ids=SHELL)
def test_every_shell_block_is_clean(block: str) -> None:
    found = subprocess.run(["shellcheck", "-s", "bash", "-"], input=block, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_the_shell_program_is_clean() -> None:
    found = subprocess.run(["shellcheck", CI / "prepare"], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def test_no_text_of_an_event_gets_into_a_shell_but_by_the_environment() -> None:
    assert not [where for where, block in SHELL.items() if "${{" in block]


def test_only_actions_of_github_itself_are_used_at_a_version() -> None:
    uses = {step["uses"] for _, step in STEPS if "uses" in step}
    assert uses == {"actions/checkout@v4", "actions/upload-artifact@v4"}


def test_no_checkout_leaves_a_token_behind() -> None:
    checkouts = [step for _, step in STEPS if step.get("uses", "").startswith("actions/checkout")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_permissions_are_declared_and_no_job_with_a_key_may_write() -> None:
    assert all(flow["permissions"] == {} for flow in GITHUB.values())
    writing = {job for _, job, content in JOBS if "write" in content["permissions"].values()}
    holding = {job for _, job, content in JOBS if "secrets." in json.dumps(content)}
    assert writing == {"publish"}
    assert holding == {"review", "rollout", "drift"}


def test_every_job_ends() -> None:
    assert all(content["timeout-minutes"] <= 120 for _, _, content in JOBS)
    assert all("timeout" in job for job in GITLAB_JOBS.values())


def test_a_stranger_gets_no_secrets() -> None:
    # YAML 1.1 reads the key "on" as true.
    assert all("pull_request_target" not in flow[True] for flow in GITHUB.values())
    assert "head.repo.full_name == github.repository" in GITHUB["review"]["jobs"]["review"]["if"]
    for job in ("review", "comment"):
        for rule in GITLAB_JOBS[job]["rules"]:
            if "merge_request_event" in rule["if"]:
                assert "$CI_MERGE_REQUEST_SOURCE_PROJECT_ID == $CI_PROJECT_ID" in rule["if"]


def test_rollouts_are_one_at_a_time_and_no_review_ends_one() -> None:
    groups = {name: flow["concurrency"]["group"].split("$")[0] for name, flow in GITHUB.items()}
    assert len(set(groups.values())) == len(groups)
    assert GITHUB["rollout"]["concurrency"]["cancel-in-progress"] is False
    assert GITLAB_JOBS["rollout"]["resource_group"]
    assert GITLAB_JOBS["rollout"]["interruptible"] is False


def test_a_rollout_is_for_the_environment_that_is_protected() -> None:
    assert GITHUB["rollout"]["jobs"]["rollout"]["environment"] == "production"
    assert GITLAB_JOBS["rollout"]["environment"] == "production"
    assert "github.event.repository.default_branch" in GITHUB["rollout"]["jobs"]["rollout"]["if"]


def test_the_key_is_removed_whatever_happens() -> None:
    for name, job, content in JOBS:
        if "secrets." in json.dumps(content):
            removal = [step for step in content["steps"] if step.get("run", "").startswith("rm -rf")]
            assert [step["if"] for step in removal] == ["always()"], (name, job)
    assert GITLAB[".reaches-hosts"]["after_script"] == ['rm -rf "$CI_BUILDS_DIR/mailproxy-$CI_JOB_ID"']
    assert all(job.get("extends") for name, job in GITLAB_JOBS.items() if "ssh-key" in script_of(name))


def test_every_command_line_uses_options_that_exist() -> None:
    known = {option for parameter in cli.params for option in parameter.opts}
    commands = {where: block for where, block in SHELL.items() if "pyinfra" in block}
    assert len(commands) == 6
    for where, block in commands.items():
        command = block[block.index("inventories/production.py deploy.py") :]
        assert set(re.findall(r"(?<= )--?[a-z][a-z-]*", command)) <= known, where
        assert set(re.findall(r'--data "?([a-z_]+)=', command)) <= DATA_KEYS, where
        assert command.count("--data") == len(re.findall(r'--data "?[a-z_]+=', command)), where
        is_rollout = "rollout" in where
        assert ("--dry" in command) != is_rollout, where
        assert ("reviewed=" in command) == is_rollout, where
        assert ("expect=no_changes" in command) == ("drift" in where), where


def test_the_gates_are_those_of_mailproxy() -> None:
    spec = importlib.util.spec_from_file_location("handover", CI / "handover.py")
    assert spec is not None
    assert spec.loader is not None
    handover = importlib.util.module_from_spec(spec)
    sys.modules["handover"] = handover  # dataclasses look themselves up there
    spec.loader.exec_module(handover)
    del sys.modules["handover"]
    assert tuple(GATES) == handover.GATES
    assert handover.DIGEST.fullmatch(digest({}))
    assert handover.DIGEST.fullmatch(DIGEST)
    asked = GITHUB["rollout"][True]["workflow_dispatch"]["inputs"]["approve"]["description"]
    assert asked.partition(": ")[2].split(", ") == list(GATES)
    page = (TOP / "docs" / "ci.md").read_text()
    assert set(re.findall(r"`approve:([a-z]+)`", page)) == set(GATES)


def test_the_page_names_what_the_workflows_need() -> None:
    page = (TOP / "docs" / "ci.md").read_text()
    text = "".join(path.read_text() for path in [*CI.glob("github/*.yml"), CI / "gitlab-ci.yml"])
    needed = set(re.findall(r"MAILPROXY_[A-Z_]+", text)) | {"production", "mailproxy-review", "mailproxy-rollout"}
    assert not [name for name in needed if f"`{name}`" not in page]
    assert set(re.findall(r"MAILPROXY_[A-Z_]+", page)) <= needed


# --- A place to run them ----------------------------------------------------------------------------------------------


@dataclass
class Place:
    """A checkout with the commands a runner has, and the fake service it talks to."""

    top: Path
    url: str
    answers: dict[str, Any] = field(default_factory=dict)
    written: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)

    def run(self, block: str, **env: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.top / 'bin'}:{Path(sys.executable).parent}:/usr/bin:/bin"
        given = {"PATH": path, "RUNNER_TEMP": str(self.top / "temp"), "GITHUB_OUTPUT": str(self.top / "output")}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", block],
            cwd=self.top,
            env=given | env,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def command(self, name: str, text: str) -> None:
        program = self.top / "bin" / name
        program.write_text(f"#!/bin/sh\n{text}")
        program.chmod(0o755)

    @property
    def pyinfra_was_run_with(self) -> list[str] | None:
        record = self.top / "arguments"
        return record.read_text().splitlines() if record.exists() else None

    def comments(self) -> list[tuple[str, str, str]]:
        return [(method, path, body["body"]) for method, path, body in self.written if "body" in body]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        path, _, query = handler.path.partition("?")
        here.asked.append((path, handler.headers.get("Authorization") or handler.headers.get("PRIVATE-TOKEN") or ""))
        if length:
            here.written.append((handler.command, path, json.loads(handler.rfile.read(length))))
        page = int(dict(re.findall(r"(\w+)=(\d+)", query)).get("page", 1))
        found = here.answers.get(path, {} if length else None)
        pages = found if isinstance(found, tuple) else (found,)
        handler.send_response(200 if pages[page - 1] is not None else 404)
        if page < len(pages):
            handler.send_header("Link", f'<{here.url}{path}?page={page + 1}>; rel="next", <{here.url}>; rel="last"')
        handler.end_headers()
        handler.wfile.write(json.dumps(pages[page - 1]).encode())

    class Fake(BaseHTTPRequestHandler):
        do_GET = do_POST = do_PUT = do_PATCH = answer  # noqa: N815, the names that http.server calls

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Fake)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    here = Place(tmp_path, f"http://127.0.0.1:{server.server_port}")
    shutil.copytree(CI, tmp_path / "docs" / "ci")
    for name in ("bin", "temp", "files", "inventories"):
        (tmp_path / name).mkdir()
    here.command("pyinfra", f'printf "%s\\n" "$@" >{tmp_path}/arguments\n')
    # gh run download: the files of the artifact, or a failure where none was uploaded.
    here.command(
        "gh",
        f'echo "$@" >{tmp_path}/gh\nwhile [ $# -gt 1 ]; do [ "$1" != --dir ] || dir=$2; shift; done\n'
        f'[ -n "$(ls {tmp_path}/files)" ] || exit 1\ncp {tmp_path}/files/* "$dir"\n',
    )
    yield here
    server.shutdown()
    server.server_close()


def step_of(flow: str, job: str, name: str) -> dict[str, Any]:
    return next(step for step in GITHUB[flow]["jobs"][job]["steps"] if step.get("name") == name)


def github(place: Place, flow: str, job: str, name: str, **context: str) -> subprocess.CompletedProcess[str]:
    """Run a step with its own environment, expressions taken from context."""
    step = step_of(flow, job, name)
    env = {key: context[value.strip("${} ")] for key, value in step.get("env", {}).items()}
    standing = {"GITHUB_API_URL": place.url, "GITHUB_REPOSITORY": "example/fleet", "GITHUB_RUN_ID": "9"}
    return place.run(step["run"], **standing, GITHUB_SHA=MERGE, GITHUB_REF_NAME="main", **env)


def write_review(directory: Path, **document: Any) -> None:
    found = {"schema": "mailproxy-review/1", "digest": DIGEST, "to_approve": []} | document
    (directory / "review.json").write_text(json.dumps(found))
    (directory / "review.md").write_text(f"# The review\n\ndigest: {found['digest']}\n")


# --- GitHub: after a review -------------------------------------------------------------------------------------------

COMMENTS = "/repos/example/fleet/issues/7/comments"


def publish(place: Place, result: str = "success") -> subprocess.CompletedProcess[str]:
    context = {
        "github.token": "secret",
        "github.event.pull_request.number": "7",
        "github.event.pull_request.head.sha": HEAD,
        "needs.review.result": result,
    }
    place.answers.setdefault(COMMENTS, [])
    return github(place, "review", "publish", "Comment, and keep the digest", **context)


def comment(number: int, login: str, body: str) -> dict[str, Any]:
    return {"id": number, "user": {"login": login, "type": "User"}, "body": body, "created_at": "2026-01-01T00:00:00Z"}


def test_the_first_review_writes_a_comment_and_keeps_the_digest_with_the_commit(place: Place) -> None:
    write_review(place.top / "files", to_approve=["networks", "removals", "everything"])
    assert publish(place).returncode == 0
    status = {"context": "mailproxy/review", "state": "success", "description": DIGEST}
    assert ("POST", f"/repos/example/fleet/statuses/{HEAD}", status) in place.written
    ((method, path, body),) = place.comments()
    assert (method, path) == ("POST", COMMENTS)
    assert body.startswith(f"{MARKER}\n**Review of {HEAD}**\n\n# The review")
    assert body.endswith("adds the label: `approve:networks`, `approve:removals`\n")
    assert "--name mailproxy-review" in (place.top / "gh").read_text()
    assert {token for _, token in place.asked} == {"Bearer secret"}


def test_the_next_review_goes_into_the_same_comment_also_when_it_is_on_a_later_page(place: Place) -> None:
    write_review(place.top / "files")
    place.answers[COMMENTS] = (
        [comment(1, "mallory", MARKER), comment(2, BOT, "another workflow's")],
        [comment(3, BOT, f"{MARKER}\nthe first"), comment(4, BOT, f"{MARKER}\nanother")],
    )
    assert publish(place).returncode == 0
    assert [(method, path) for method, path, _ in place.comments()] == [
        ("PATCH", "/repos/example/fleet/issues/comments/3")
    ]


def test_a_comment_of_somebody_else_with_the_marker_is_left_alone(place: Place) -> None:
    write_review(place.top / "files")
    place.answers[COMMENTS] = [comment(1, "mallory", f"{MARKER}\ndigest: {FORGED}")]
    assert publish(place).returncode == 0
    assert [(method, path) for method, path, _ in place.comments()] == [("POST", COMMENTS)]


def test_a_review_that_failed_keeps_its_digest_and_is_shown_as_failed(place: Place) -> None:
    write_review(place.top / "files")
    assert publish(place, "failure").returncode == 0
    assert place.written[0][2] == {"context": "mailproxy/review", "state": "failure", "description": DIGEST}


def test_where_no_review_was_written_the_comment_and_the_status_say_so(place: Place) -> None:
    assert publish(place, "failure").returncode == 0
    assert place.written[0][2]["description"] == "no review"
    assert f"**No review of {HEAD}**" in place.comments()[0][2]


def test_a_declaration_that_is_wrong_keeps_no_digest(place: Place) -> None:
    (place.top / "files" / "review.json").write_text('{"schema": "mailproxy-review/1", "problem": "wrong"}')
    (place.top / "files" / "review.md").write_text("relay_domains: expected brackets\n")
    assert publish(place, "failure").returncode == 0
    assert place.written[0][2]["description"] == "no review"
    assert "expected brackets" in place.comments()[0][2]


# --- GitHub: before a rollout -----------------------------------------------------------------------------------------

PULLS = f"/repos/example/fleet/commits/{MERGE}/pulls"
STATUSES = f"/repos/example/fleet/commits/{HEAD}/statuses"
EVENTS = "/repos/example/fleet/issues/7/events"


def pull(**fields: Any) -> dict[str, Any]:
    labels = [{"name": name} for name in fields.pop("labels", [])]
    usual = {"number": 7, "merged_at": "2026-01-01T14:00:00Z", "merge_commit_sha": MERGE, "labels": labels}
    return usual | {"user": {"login": "alice"}, "head": {"sha": HEAD}, "base": {"ref": "main"}} | fields


def status(description: str | None = DIGEST, login: str = BOT, context: str = "mailproxy/review") -> dict[str, Any]:
    creator = {"login": login, "type": "Bot"}
    return {"context": context, "description": description, "creator": creator, "created_at": "2026-01-01T12:00:00Z"}


def labelled(name: str, by: str = "bob", at: str = "13:00:00", kind: str = "User") -> dict[str, Any]:
    actor = {"login": by, "type": kind}
    return {"event": "labeled", "actor": actor, "label": {"name": name}, "created_at": f"2026-01-01T{at}Z"}


def find(
    place: Place, pulls: list[Any], statuses: Any, events: Any = (), reviewed: str = "", approve: str = ""
) -> subprocess.CompletedProcess[str]:
    place.answers |= {PULLS: pulls, STATUSES: statuses, EVENTS: list(events)}
    context = {"github.token": "secret", "inputs.reviewed": reviewed, "inputs.approve": approve}
    found = github(place, "rollout", "rollout", "Find the review", **context)
    assert not (place.top / "pwned").exists()
    return found


def outputs(place: Place, found: subprocess.CompletedProcess[str]) -> dict[str, str]:
    assert found.returncode == 0, found.stderr
    return dict(line.split("=", 1) for line in (place.top / "output").read_text().splitlines())


def test_the_digest_of_the_merged_request_is_found_and_without_labels_nothing_is_approved(place: Place) -> None:
    found = find(place, [pull()], [status()])
    assert outputs(place, found) == {"digest": DIGEST, "approve": ""}


def test_each_label_approves_its_gate(place: Place) -> None:
    labels = [f"approve:{gate}" for gate in GATES]
    found = find(place, [pull(labels=["bug", *labels])], [status()], [labelled(label) for label in labels])
    assert outputs(place, found)["approve"].split(",") == sorted(GATES)


@pytest.mark.parametrize(
    ("label", "events", "reason"),
    [
        ("approve:removal", [labelled("approve:removal")], "names no gate"),
        ("approve:all", [labelled("approve:all")], "names no gate"),
        ("approve:", [labelled("approve:")], "names no gate"),
        (HOSTILE, [labelled(HOSTILE)], "names no gate"),
        ("approve:removals", [labelled("approve:removals", by="alice")], "by the author"),
        ("approve:removals", [labelled("approve:removals", by=BOT, kind="Bot")], "not put there by a person"),
        ("approve:removals", [], "not put there by a person"),
        ("approve:removals", [labelled("approve:removals", at="11:00:00")], "older than the review"),
        ("approve:removals", [labelled("approve:removals", at="12:00:00")], "older than the review"),
        (
            "approve:removals",
            [labelled("approve:removals"), labelled("approve:removals", by="alice", at="13:30:00")],
            "by the author",
        ),
    ],
)
def test_a_label_that_does_not_count_is_told_and_approves_nothing(
    place: Place, label: str, events: list[Any], reason: str
) -> None:
    found = find(place, [pull(labels=[label])], [status()], events)
    assert outputs(place, found) == {"digest": DIGEST, "approve": ""}
    assert reason in found.stderr
    assert "\n::" not in found.stderr  # what GitHub would take for a command


def test_a_label_that_was_taken_off_again_approves_nothing(place: Place) -> None:
    found = find(place, [pull()], [status()], [labelled("approve:removals")])
    assert outputs(place, found)["approve"] == ""


def test_a_status_of_another_author_or_name_is_not_the_review(place: Place) -> None:
    others = [status(FORGED, "mallory"), status(FORGED, context="mailproxy/review2")]
    assert outputs(place, find(place, [pull()], [*others, status()]))["digest"] == DIGEST


def test_of_two_reviews_of_a_commit_the_newest_counts(place: Place) -> None:
    assert outputs(place, find(place, [pull()], [status(), status(FORGED)]))["digest"] == DIGEST


@pytest.mark.parametrize(
    "statuses",
    [
        [],
        [status(FORGED, "mallory")],
        [status("no review"), status()],
        [status(None)],
        [status(DIGEST + "\napprove=removals")],
    ],
    ids=["none", "forged", "the newest failed", "empty", "two lines"],
)
def test_without_a_digest_of_the_last_commit_nothing_is_found(place: Place, statuses: list[Any]) -> None:
    # The review of an earlier push is there, and is not what is asked for.
    place.answers[f"/repos/example/fleet/commits/{EARLIER}/statuses"] = [status()]
    found = find(place, [pull()], statuses)
    assert found.returncode == 1
    assert f"no digest was kept for request 7 at its last commit, {HEAD}" in found.stderr
    assert not (place.top / "output").exists()


@pytest.mark.parametrize(
    "pulls",
    [
        [],
        [pull(merged_at=None)],
        [pull(merge_commit_sha=EARLIER)],
        [pull(base={"ref": "other"})],
        [pull(), pull(number=8)],
    ],
    ids=["none", "open", "of another commit", "into another branch", "two"],
)
def test_a_commit_that_no_one_request_made_is_not_rolled_out(place: Place, pulls: list[Any]) -> None:
    found = find(place, pulls, [status()])
    assert found.returncode == 1
    assert "expected 1: nobody reviewed it" in found.stderr


def test_a_service_that_does_not_answer_stops_the_rollout(place: Place) -> None:
    place.answers[EVENTS] = None
    found = find(place, [pull()], None)
    assert found.returncode == 1
    assert "404" in found.stderr
    assert "secret" not in found.stderr


def test_by_hand_the_digest_and_the_gates_are_those_that_were_typed(place: Place) -> None:
    found = find(place, [], [], reviewed=f" {DIGEST} ", approve="removals, networks")
    assert outputs(place, found) == {"digest": DIGEST, "approve": "removals,networks"}
    assert place.asked == []


@pytest.mark.parametrize(
    ("reviewed", "approve"),
    [("", "removals"), ("latest", ""), (DIGEST, "all"), (DIGEST, HOSTILE), (HOSTILE, ""), (f"{DIGEST}\nx=y", "")],
)
def test_by_hand_anything_else_is_refused(place: Place, reviewed: str, approve: str) -> None:
    assert find(place, [], [], reviewed=reviewed, approve=approve).returncode == 1
    assert not (place.top / "output").exists()


# --- GitHub: the commands ---------------------------------------------------------------------------------------------


def roll_out(place: Place, digest: str, approve: str) -> subprocess.CompletedProcess[str]:
    context = {"steps.review.outputs.digest": digest, "steps.review.outputs.approve": approve}
    return github(place, "rollout", "rollout", "Roll out", **context)


def test_a_rollout_names_digest_and_gates(place: Place) -> None:
    assert roll_out(place, DIGEST, "networks,removals").returncode == 0
    assert place.pyinfra_was_run_with is not None
    assert place.pyinfra_was_run_with[:3] == ["inventories/production.py", "deploy.py", "-y"]
    assert place.pyinfra_was_run_with[-4:] == ["--data", f"reviewed={DIGEST}", "--data", "approve=networks,removals"]


def test_a_rollout_without_approval_says_nothing_of_gates(place: Place) -> None:
    assert roll_out(place, DIGEST, "").returncode == 0
    assert (place.pyinfra_was_run_with or [])[-1] == f"reviewed={DIGEST}"


def test_without_a_digest_nothing_is_started(place: Place) -> None:
    assert roll_out(place, "", "removals").returncode != 0
    assert place.pyinfra_was_run_with is None


@pytest.mark.parametrize(("flow", "name"), [("review", "Review"), ("rollout", "Roll out"), ("drift", "Compare")])
def test_a_run_that_fails_makes_its_job_fail(place: Place, flow: str, name: str) -> None:
    place.command("pyinfra", "exit 1\n")
    context = {"steps.review.outputs.digest": DIGEST, "steps.review.outputs.approve": ""}
    assert github(place, flow, flow, name, **context).returncode == 1


@pytest.mark.parametrize("flow", ["review", "rollout", "drift"])
def test_the_review_is_shown_where_there_is_one(place: Place, flow: str) -> None:
    show, summary = step_of(flow, flow, "Show the review")["run"], place.top / "summary"
    assert place.run(show, GITHUB_STEP_SUMMARY=str(summary)).returncode == 0
    assert not summary.exists()
    (place.top / "review.md").write_text("the review")
    assert place.run(show, GITHUB_STEP_SUMMARY=str(summary)).returncode == 0
    assert summary.read_text() == "the review"


# --- Preparing a job --------------------------------------------------------------------------------------------------


def prepare(
    place: Place, key: str = "key\r\nend", hosts: str = "mx1 ssh-ed25519 A"
) -> subprocess.CompletedProcess[str]:
    fake = (
        f'mkdir -p "$3/bin"\nprintf "#!/bin/sh\\necho \\$* >{place.top}/pip\\n" >"$3/bin/pip"\nchmod +x "$3/bin/pip"\n'
    )
    place.command("python3", fake)
    return place.run('docs/ci/prepare "$RUNNER_TEMP/mailproxy"', SSH_KEY=key, KNOWN_HOSTS=hosts)


def inventory(place: Place) -> None:
    (place.top / "inventories" / "production.py").write_text("proxies = []\n")


def test_the_key_is_for_the_job_alone(place: Place) -> None:
    inventory(place)
    (place.top / ".git" / "info").mkdir(parents=True)
    (place.top / "review.json").write_text("of an earlier job")
    for _ in range(2):
        assert prepare(place).returncode == 0
    here = place.top / "temp" / "mailproxy"
    assert (here / "key").stat().st_mode & 0o777 == 0o600
    assert here.stat().st_mode & 0o777 == 0o700
    assert (here / "key").read_text() == "key\nend\n"
    assert (here / "known_hosts").read_text() == "mx1 ssh-ed25519 A\n"
    assert (place.top / "pip").read_text() == "install --quiet -e .\n"
    assert not (place.top / "review.json").exists()
    assert (place.top / ".git" / "info" / "exclude").read_text() == "/review.*\n"


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"key": ""}, "SSH_KEY is empty"), ({"hosts": ""}, "KNOWN_HOSTS is empty"), ({}, "production.py is not there")],
)
def test_a_job_without_what_it_needs_fails(place: Place, given: Mapping[str, str], missing: str) -> None:
    if given:
        inventory(place)
    found = prepare(place, **given)
    assert found.returncode == 1
    assert missing in found.stderr
    assert not (place.top / "temp" / "mailproxy").exists()


# --- GitLab -----------------------------------------------------------------------------------------------------------

PROJECT = "/projects/5"
NOTES = f"{PROJECT}/merge_requests/7/notes"


def gitlab(place: Place, job: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a job's whole script, its venv made beforehand."""
    inventory(place)
    bin_of_venv = place.top / "temp" / "mailproxy-3" / "venv" / "bin"
    bin_of_venv.mkdir(parents=True, exist_ok=True)
    shutil.copy(place.top / "bin" / "pyinfra", bin_of_venv)
    for name in ("pip", "key", "hosts"):
        (bin_of_venv / name).write_text("#!/bin/sh\n")
        (bin_of_venv / name).chmod(0o755)
    # As fake as in prepare() for the venv, and Python itself for docs/ci/handover.py.
    place.command("python3", f'[ "$1" = -m ] || exec {sys.executable} "$@"\n')
    standing = {
        "CI_API_V4_URL": place.url,
        "CI_PROJECT_ID": "5",
        "CI_COMMIT_SHA": HEAD if job == "comment" else MERGE,
        "CI_COMMIT_BRANCH": "main",
        "CI_BUILDS_DIR": str(place.top / "temp"),
        "CI_JOB_ID": "3",
        "CI_MERGE_REQUEST_IID": "7",
        "MAILPROXY_SSH_KEY": str(bin_of_venv / "key"),
        "MAILPROXY_KNOWN_HOSTS": str(bin_of_venv / "hosts"),
        "MAILPROXY_REVIEW_TOKEN": "review-secret",
        "MAILPROXY_ROLLOUT_TOKEN": "rollout-secret",
    }
    found = place.run(script_of(job), **(standing | env))
    assert not (place.top / "pwned").exists()
    return found


def note(number: int, author: int, body: str) -> dict[str, Any]:
    return {"id": number, "author": {"id": author, "username": f"user{author}"}, "body": body}


def test_gitlab_the_comment_is_the_tokens_own_and_written_anew(place: Place) -> None:
    write_review(place.top, to_approve=["restart"])
    place.answers |= {"/user": {"id": 50}, NOTES: [note(1, 60, MARKER)]}
    assert gitlab(place, "comment").returncode == 0
    assert [(method, path) for method, path, _ in place.comments()] == [("POST", NOTES)]
    place.answers[NOTES] = (
        [note(1, 60, MARKER), note(2, 50, "other")],
        [note(3, 50, f"{MARKER}\nold"), note(4, 50, MARKER)],
    )
    assert gitlab(place, "comment").returncode == 0
    assert place.comments()[1][:2] == ("PUT", f"{NOTES}/3")
    assert f"**Review of {HEAD}**" in place.comments()[1][2]
    assert {token for _, token in place.asked} == {"review-secret"}


def test_gitlab_where_no_review_was_written_the_comment_says_so(place: Place) -> None:
    place.answers |= {"/user": {"id": 50}, NOTES: []}
    assert gitlab(place, "comment").returncode == 0
    assert f"**No review of {HEAD}**" in place.comments()[0][2]


def request(**fields: Any) -> dict[str, Any]:
    usual = {"iid": 7, "state": "merged", "target_branch": "main", "sha": HEAD, "merge_commit_sha": MERGE}
    return usual | {"squash_commit_sha": None, "labels": [], "author": {"username": "alice"}} | fields


def pipeline(number: int = 20, sha: str = HEAD, ref: str = "refs/merge-requests/7/head") -> dict[str, Any]:
    return {"id": number, "sha": sha, "ref": ref, "status": "success"}


def job(number: int = 30, name: str = "review", finished: str | None = "2026-01-01T12:00:00.000Z") -> dict[str, Any]:
    files = [{"file_type": "trace", "filename": "job.log"}, {"file_type": "archive", "filename": "artifacts.zip"}]
    return {"id": number, "name": name, "finished_at": finished, "artifacts": files}


def added(name: str, by: str = "bob", at: str = "13:00:00.000Z", action: str = "add") -> dict[str, Any]:
    return {"action": action, "user": {"username": by}, "label": {"name": name}, "created_at": f"2026-01-01T{at}"}


def gitlab_rollout(place: Place, **answers: Any) -> subprocess.CompletedProcess[str]:
    usual = {
        "repository/commits/" + MERGE + "/merge_requests": [request()],
        "merge_requests/7/pipelines": [pipeline()],
        "pipelines/20/jobs": [job(29, "other"), job()],
        "jobs/30/artifacts/review.json": {"digest": DIGEST},
        "merge_requests/7/resource_label_events": [],
    }
    named = {"requests": 0, "pipelines": 1, "jobs": 2, "review": 3, "events": 4}
    env = {name: answers.pop(name) for name in ("REVIEWED", "APPROVE") if name in answers}
    given = {list(usual)[named[name]]: value for name, value in answers.items()}
    place.answers |= {f"{PROJECT}/{path}": value for path, value in (usual | given).items()}
    return gitlab(place, "rollout", **env)


@pytest.mark.parametrize(
    "merged",
    [request(), request(merge_commit_sha=None, squash_commit_sha=MERGE), request(merge_commit_sha=None, sha=MERGE)],
    ids=["merge commit", "squash", "fast-forward"],
)
def test_gitlab_what_was_merged_is_rolled_out_with_the_digest_of_its_review(place: Place, merged: Any) -> None:
    found = gitlab_rollout(place, requests=[merged], pipelines=[pipeline(sha=merged["sha"])])
    assert found.returncode == 0, found.stderr
    assert (place.pyinfra_was_run_with or [])[-2:] == ["--data", f"reviewed={DIGEST}"]
    assert {token for _, token in place.asked} == {"rollout-secret"}


def test_gitlab_labels_approve_gates_and_only_those_that_count(place: Place) -> None:
    labels = [
        "approve:removals",
        "approve:networks",
        "approve:restart",
        "approve:queued",
        "approve:all",
        HOSTILE,
        "bug",
    ]
    events = [
        added("approve:removals"),
        added("approve:networks", at="15:00:00.000+02:00"),
        added("approve:restart", by="alice"),
        added("approve:queued", by="project_5_bot_1f"),
        added("approve:all"),
        added(HOSTILE),
        added("approve:takeover", action="remove"),
        {**added("gone"), "label": None},
        {**added("approve:unreachable"), "user": None},
    ]
    found = gitlab_rollout(place, requests=[request(labels=labels)], events=events)
    assert found.returncode == 0, found.stderr
    assert (place.pyinfra_was_run_with or [])[-1] == "approve=networks,removals"


def test_gitlab_of_two_reviews_of_a_commit_the_newest_counts(place: Place) -> None:
    place.answers[f"{PROJECT}/pipelines/19/jobs"] = [job(31)]
    place.answers[f"{PROJECT}/jobs/31/artifacts/review.json"] = {"digest": FORGED}
    assert gitlab_rollout(place, pipelines=[pipeline(19), pipeline(20)]).returncode == 0
    assert (place.pyinfra_was_run_with or [])[-1] == f"reviewed={DIGEST}"


@pytest.mark.parametrize(
    "answers",
    [
        {"requests": []},
        {"requests": [request(state="opened")]},
        {"requests": [request(target_branch="other")]},
        {"requests": [request(merge_commit_sha=EARLIER)]},
        {"requests": [request(), request(iid=8)]},
        {"pipelines": []},
        {"pipelines": [pipeline(sha=EARLIER)]},
        {"pipelines": [pipeline(ref="branch")]},
        {"jobs": []},
        {"jobs": [job(name="other")]},
        {"jobs": [job(finished=None)]},
        {"jobs": [{**job(), "artifacts": []}]},
        {"review": {"problem": "the declaration is wrong"}},
        {"review": {"digest": f"{DIGEST}; touch pwned"}},
        {"review": None},
        {"REVIEWED": "latest"},
        {"REVIEWED": DIGEST, "APPROVE": HOSTILE},
    ],
    ids=str,
)
def test_gitlab_without_the_digest_of_the_last_commit_nothing_is_started(place: Place, answers: dict[str, Any]) -> None:
    found = gitlab_rollout(place, **answers)
    assert found.returncode == 1
    assert "handover.py: " in found.stderr
    assert place.pyinfra_was_run_with is None


def test_gitlab_by_hand_the_digest_and_the_gates_are_those_that_were_typed(place: Place) -> None:
    assert gitlab_rollout(place, REVIEWED=DIGEST, APPROVE="restart").returncode == 0
    assert (place.pyinfra_was_run_with or [])[-3:] == [f"reviewed={DIGEST}", "--data", "approve=restart"]


@pytest.mark.parametrize("name", ["review", "rollout", "drift"])
def test_gitlab_a_run_that_fails_makes_its_job_fail(place: Place, name: str) -> None:
    place.command("pyinfra", "exit 1\n")
    env = {"REVIEWED": DIGEST} if name == "rollout" else {}
    assert gitlab(place, name, **env).returncode == 1
