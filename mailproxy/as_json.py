"""A review as a JSON document; docs/review.md describes its fields."""

import json
from typing import Any

from mailproxy.as_text import order, summary
from mailproxy.review import Review, file_lines

SCHEMA = "mailproxy-review/1"


def document(review: Review) -> dict[str, Any]:
    """Return the review in plain types: what to read when a program decides."""
    return {
        "schema": SCHEMA,
        "summary": summary(review).removeprefix("mailproxy: "),
        "digest": review.digest,
        "counts": {status: review.count(status) for status in ("change", "by hand", "adopting", "same", "failed")},
        "to_approve": list(dict.fromkeys(finding.gate for finding in review.closed_gates)),
        "hosts": [
            {"name": host.name, "status": host.status, "wave": host.wave}
            | ({"reason": host.reason} if host.reason else {})
            for host in review.hosts
        ],
        "findings": [
            {"kind": finding.kind, "text": finding.text, "hosts": list(finding.hosts)}
            | ({"gate": finding.gate, "approved": finding.approved} if finding.gate else {})
            for finding in review.findings
        ],
        "blocks": [
            {
                "cause": block.cause,
                "hosts": list(block.hosts),
                "changes": [
                    {
                        "subject": change.subject,
                        "key": change.key,
                        "before": change.before,
                        "after": change.after,
                        "note": change.note,
                        "text": str(change),
                    }
                    | ({"file": change.file} if change.file else {})
                    for change in block.changes
                ],
            }
            for block in review.blocks
        ],
        "files": [
            {
                "name": file.change.desired.name,
                "reason": file.change.reason,
                "hosts": list(file.hosts),
                "explained": file.is_explained,
                "without_effect": file.has_no_effect,
                "lines": list(file_lines(file.change)),
            }
            for file in review.files
        ],
        "waves": [{"number": wave.number, "label": wave.label, "hosts": list(wave.hosts)} for wave in review.waves],
        "order": order(review),
    }


def problem_as_json(problem: str) -> str:
    """Return what kept a review from being made, as a document with a field "problem"."""
    return json.dumps({"schema": SCHEMA, "problem": problem}, indent=1) + "\n"


def as_json(review: Review) -> str:
    """Return the document as text."""
    return json.dumps(document(review), indent=1) + "\n"
