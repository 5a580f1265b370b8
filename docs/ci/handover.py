#!/usr/bin/env python3
"""What a review hands over to the rollout, by way of GitHub or GitLab.

    handover.py SERVICE keep [DIRECTORY]    after a review: write its comment and keep its digest
    handover.py SERVICE find                before a rollout: print "digest=..." and "approve=..."

SERVICE is github or gitlab; TOKEN in the environment is what it is talked to with. The exit status is 1, with the
reason on standard error, where there is nothing that may be rolled out.

The comment is for people. The digest is not read from it, because whoever maintains a repository can edit a comment
of anybody's. It is kept where nobody edits, with the commit it is for: on GitHub as a status of that commit, on GitLab
as an artifact of the job that reviewed that commit. So a digest of an earlier push is never taken for one of the last.

A label "approve:GATE" approves one gate. It counts when a person other than the author put it there after the review
was made: what nobody can have read, nobody has approved.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

GATES = ("removals", "queued", "networks", "restart", "unreachable", "takeover")
LABEL = "approve:"
MARKER = "<!-- mailproxy review: this comment is written anew with each push -->"
DIGEST = re.compile(r"v1-[A-Za-z0-9_-]{68}")
SECONDS = 30  # that one answer of the service may take

# GitHub: who speaks for a workflow, and the name of the status the digest stands in.
BOT = "github-actions[bot]"
CONTEXT = "mailproxy/review"

# GitLab: the job that reviews, and who access tokens speak as.
REVIEW_JOB = "review"
TOKEN_USER = re.compile(r"(project|group)_\d+_bot")


class HandoverError(Exception):
    """Why nothing may be rolled out, or could be said."""


@dataclass(frozen=True)
class Merged:
    """A merged pull or merge request; head is the last commit of its branch, the one that was reviewed last."""

    number: int
    author: str
    head: str
    labels: frozenset[str]


@dataclass(frozen=True)
class Kept:
    """The digest of a review, and when it was kept."""

    digest: str
    at: datetime


@dataclass(frozen=True)
class Labelled:
    """A label that was put on a request: by whom, and when."""

    label: str
    by: str
    is_person: bool
    at: datetime


class Service(Protocol):
    """What both services are asked."""

    def comment(self, text: str) -> None:
        """Write the one comment, over the one that is there."""

    def keep(self, digest: str | None) -> None:
        """Keep a digest, or that there is none, with the commit that was reviewed."""

    def merged(self) -> list[Merged]:
        """Return the requests whose merge made the commit that is to be rolled out."""

    def kept(self, request: Merged) -> Kept | None:
        """Return what the last review of a request's head kept."""

    def labelled(self, request: Merged) -> list[Labelled]:
        """Return every time a label was put on a request."""


def comment_of(head: str, review: str | None, to_approve: list[str]) -> str:
    """Return the text of the comment on a commit's review; review is None where none was written."""
    if review is None:
        return f"{MARKER}\n**No review of {head}**: the log of the review's job says why. It cannot be rolled out.\n"
    labels = ", ".join(f"`{LABEL}{gate}`" for gate in to_approve if gate in GATES)
    ending = f"\n\nTo approve, somebody other than the author adds the label: {labels}\n" if labels else "\n"
    return f"{MARKER}\n**Review of {head}**\n\n{review.strip()}{ending}"


def approved(request: Merged, kept: Kept, labelled: list[Labelled], note: Callable[[str], None]) -> list[str]:
    """Return the gates that a request's labels approve, telling note of each label that does not count."""
    last = {event.label: event for event in sorted(labelled, key=lambda event: event.at)}
    gates = []
    for label in sorted(label for label in request.labels if label.startswith(LABEL)):
        gate, event = label.removeprefix(LABEL), last.get(label)
        if gate not in GATES:
            note(f"label {label!r} names no gate and approves nothing; the gates are {', '.join(GATES)}")
        elif event is None or not event.is_person:
            note(f"label {label!r} was not put there by a person, and approves nothing")
        elif event.by == request.author:
            note(f"label {label!r} was put there by the author, {event.by}, and approves nothing")
        elif event.at <= kept.at:
            note(f"label {label!r} is older than the review, and approves nothing: take it off and add it again")
        else:
            gates.append(gate)
    return gates


def found(service: Service, note: Callable[[str], None]) -> tuple[str, list[str]]:
    """Return the digest and the approved gates of the request whose merge is to be rolled out."""
    requests = service.merged()
    if len(requests) != 1:
        raise HandoverError(
            f"this commit was made by the merge of {len(requests)} requests, expected 1: nobody reviewed it"
        )
    request = requests[0]
    kept = service.kept(request)
    if kept is None:
        raise HandoverError(f"no digest was kept for request {request.number} at its last commit, {request.head}")
    return kept.digest, approved(request, kept, service.labelled(request), note)


def typed(digest: str, approve: str) -> tuple[str, list[str]]:
    """Return what somebody typed who starts a rollout by hand, checked."""
    gates = [gate for gate in re.split(r"[,\s]+", approve.strip()) if gate]
    if unknown := [gate for gate in gates if gate not in GATES]:
        raise HandoverError(f"to approve: found {unknown}, expected some of {', '.join(GATES)}")
    if not DIGEST.fullmatch(digest.strip()):
        raise HandoverError(
            f"digest: found {digest[:100]!r}, expected what the review ends with, v1- and 68 characters"
        )
    return digest.strip(), gates


class Api:
    """The REST interface of a service, in JSON."""

    def __init__(self, base: str, headers: dict[str, str]):
        self._base, self._headers = base.rstrip("/"), headers

    def get(self, path: str) -> Any:
        """Return a document."""
        return json.loads(self._send("GET", self._base + path)[0])

    def each(self, path: str) -> Iterator[Any]:
        """Yield what a list holds, over all of its pages."""
        url = f"{self._base}{path}{'&' if '?' in path else '?'}per_page=100"
        while url:
            body, link = self._send("GET", url)
            yield from json.loads(body)
            following = re.search(r'<([^>]+)>;\s*rel="next"', link)
            url = following[1] if following and following[1].startswith(self._base) else ""

    def write(self, method: str, path: str, document: dict[str, str]) -> None:
        """Create or replace something."""
        self._send(method, self._base + path, json.dumps(document).encode())

    def _send(self, method: str, url: str, body: bytes | None = None) -> tuple[str, str]:
        request = Request(url, body, {"Content-Type": "application/json"}, method=method)
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)  # the token is for this service alone
        try:
            with urlopen(request, timeout=SECONDS) as answer:
                return answer.read().decode(), answer.headers.get("Link") or ""
        except HTTPError as error:
            reason = error.read(300).decode(errors="replace")
            raise HandoverError(f"{method} {url}: {error.code} {reason!r}") from error
        except (URLError, TimeoutError) as error:
            raise HandoverError(f"{method} {url}: {error}") from error


class GitHub:
    """GitHub, as the GITHUB_TOKEN of a workflow sees it."""

    def __init__(self) -> None:
        headers = {"Authorization": f"Bearer {_set('TOKEN')}", "Accept": "application/vnd.github+json"}
        self._api = Api(f"{_set('GITHUB_API_URL')}/repos/{_set('GITHUB_REPOSITORY')}", headers)

    def comment(self, text: str) -> None:  # noqa: D102
        comments = f"/issues/{int(_set('REQUEST'))}/comments"
        for each in self._api.each(comments):
            # Others can write the marker too: theirs is neither trusted nor overwritten.
            if (each.get("user") or {}).get("login") == BOT and (each.get("body") or "").startswith(MARKER):
                self._api.write("PATCH", f"/issues/comments/{each['id']}", {"body": text})
                return
        self._api.write("POST", comments, {"body": text})

    def keep(self, digest: str | None) -> None:  # noqa: D102
        # A failed review keeps its digest too: it may have failed for a host that "unreachable" leaves behind.
        is_good = digest is not None and _set("RESULT") == "success"
        status = {"context": CONTEXT, "state": "success" if is_good else "failure"}
        self._api.write("POST", f"/statuses/{_set('HEAD')}", status | {"description": digest or "no review"})

    def merged(self) -> list[Merged]:  # noqa: D102
        commit, branch = _set("GITHUB_SHA"), _set("GITHUB_REF_NAME")
        return [
            Merged(
                each["number"],
                each["user"]["login"],
                each["head"]["sha"],
                frozenset(label["name"] for label in each["labels"]),
            )
            for each in self._api.each(f"/commits/{commit}/pulls")
            if each["merged_at"] and each["merge_commit_sha"] == commit and each["base"]["ref"] == branch
        ]

    def kept(self, request: Merged) -> Kept | None:  # noqa: D102
        for status in self._api.each(f"/commits/{request.head}/statuses"):  # the newest comes first
            if status["context"] == CONTEXT and (status.get("creator") or {}).get("login") == BOT:
                digest = status["description"] or ""
                return Kept(digest, _time(status["created_at"])) if DIGEST.fullmatch(digest) else None
        return None

    def labelled(self, request: Merged) -> list[Labelled]:  # noqa: D102
        return [
            Labelled(each["label"]["name"], by["login"], by.get("type") == "User", _time(each["created_at"]))
            for each in self._api.each(f"/issues/{request.number}/events")
            if each["event"] == "labeled" and (by := each.get("actor"))
        ]


class GitLab:
    """GitLab, as an access token of the project sees it; the job's own token may not read merge requests."""

    def __init__(self) -> None:
        self._all = Api(_set("CI_API_V4_URL"), {"PRIVATE-TOKEN": _set("TOKEN")})
        self._api = Api(f"{_set('CI_API_V4_URL')}/projects/{_set('CI_PROJECT_ID')}", {"PRIVATE-TOKEN": _set("TOKEN")})

    def comment(self, text: str) -> None:  # noqa: D102
        notes = f"/merge_requests/{int(_set('REQUEST'))}/notes"
        own = self._all.get("/user")["id"]
        for each in self._api.each(f"{notes}?sort=asc"):
            if each["author"]["id"] == own and each["body"].startswith(MARKER):
                self._api.write("PUT", f"{notes}/{each['id']}", {"body": text})
                return
        self._api.write("POST", notes, {"body": text})

    def keep(self, digest: str | None) -> None:
        """Do nothing: the artifacts of the review's job are kept by GitLab."""

    def merged(self) -> list[Merged]:  # noqa: D102
        commit, branch = _set("CI_COMMIT_SHA"), _set("CI_COMMIT_BRANCH")
        return [
            Merged(each["iid"], each["author"]["username"], each["sha"], frozenset(each["labels"]))
            for each in self._api.each(f"/repository/commits/{commit}/merge_requests")
            if each["state"] == "merged"
            and each["target_branch"] == branch
            # What a merge commit, a squash and a fast-forward leave on the branch.
            and commit in (each.get("merge_commit_sha"), each.get("squash_commit_sha"), each["sha"])
        ]

    def kept(self, request: Merged) -> Kept | None:  # noqa: D102
        pipelines = [
            each["id"]
            for each in self._api.each(f"/merge_requests/{request.number}/pipelines")
            if each["sha"] == request.head and each["ref"] == f"refs/merge-requests/{request.number}/head"
        ]
        if not pipelines:
            return None
        for job in self._api.each(f"/pipelines/{max(pipelines)}/jobs"):
            has_file = any(each["file_type"] == "archive" for each in job.get("artifacts") or ())
            if job["name"] == REVIEW_JOB and job["finished_at"] and has_file:
                digest = self._api.get(f"/jobs/{job['id']}/artifacts/review.json").get("digest") or ""
                return Kept(digest, _time(job["finished_at"])) if DIGEST.fullmatch(digest) else None
        return None

    def labelled(self, request: Merged) -> list[Labelled]:  # noqa: D102
        return [
            Labelled(label["name"], by["username"], not TOKEN_USER.match(by["username"]), _time(each["created_at"]))
            for each in self._api.each(f"/merge_requests/{request.number}/resource_label_events")
            if each["action"] == "add" and (label := each.get("label")) and (by := each.get("user"))
        ]


def keep(service: Service, directory: Path) -> None:
    """Write the comment on the review that lies in a directory, and keep its digest."""
    document, text = directory / "review.json", directory / "review.md"
    review = json.loads(document.read_text(encoding="utf-8")) if document.exists() else {}
    digest = review.get("digest") or ""
    service.keep(digest if DIGEST.fullmatch(digest) else None)
    written = text.read_text(encoding="utf-8") if text.exists() else None
    service.comment(comment_of(_set("HEAD"), written, review.get("to_approve", [])))


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    services: dict[str, Callable[[], Service]] = {"github": GitHub, "gitlab": GitLab}
    service, task, *rest = arguments if len(arguments) > 1 else ("", "")
    if service not in services or task not in ("keep", "find"):
        raise HandoverError("expected github or gitlab, and keep or find")
    if task == "keep":
        keep(services[service](), Path(rest[0] if rest else "."))
        return
    by_hand, approve = os.environ.get("REVIEWED", ""), os.environ.get("APPROVE", "")
    if by_hand or approve:
        digest, gates = typed(by_hand, approve)
    else:
        digest, gates = found(services[service](), lambda text: print(f"note: {text}", file=sys.stderr))
    print(f"digest={digest}\napprove={','.join(gates)}")


def _set(name: str) -> str:
    value = os.environ.get(name, "")
    if not value:
        raise HandoverError(f"{name} is not set in the environment")
    return value


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except HandoverError as error:
        sys.exit(f"handover.py: {error}")
