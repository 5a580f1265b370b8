"""The key checks: what it sets, what cannot be, what may not be meant, and how a host tries the examples."""

import dataclasses
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mailproxy.check import checked, validated
from mailproxy.inputs import change, expectation
from mailproxy.observed import ObservedState
from mailproxy.plan import Plan, Refusal, planned
from mailproxy.program import PROGRAMS
from mailproxy.render import rendered
from tests.states import GUIDE, desired, edited, observed, postfix
from tests.test_render import GOLDEN, POSTFIXES

LOTTERY = {
    "pattern": "/^Subject:.*lottery/",
    "action": "reject no lotteries here",
    "match": ["Subject: the Lottery"],
    "no_match": ["Subject: hello", "X-Subject: lottery"],
}
HELD = {"pattern": "/^Subject:  *\\[(ads|news)\\]/", "action": "HOLD", "match": ["Subject:  [ads] buy"]}
ALL: dict[str, Any] = {
    "header": [LOTTERY, HELD],
    "mime": [
        {
            "pattern": '/name="[^"]*\\.(exe|scr)"/',
            "action": "REJECT 5.7.1 no programs: $1",
            "match": ['Content-Type: application/octet-stream; name="a.EXE"'],
        }
    ],
    "body": [{"pattern": "!/[ -~]/", "action": "WARN", "match": ["ééé"], "no_match": [" a "]}],
}
NAMES = ("headerchecks", "mimechecks", "bodychecks")


@pytest.mark.parametrize("tree", ["2.7", "3.5", "3.10"])
def test_checks_are_rendered_as_the_golden_tree_of_each_postfix(tree: str) -> None:
    contents = rendered(desired(checks=ALL), POSTFIXES[tree])
    for name in ("main.cf", *NAMES):
        assert contents[name].text == (GOLDEN / "checks" / tree / name).read_text(), name


def test_what_is_not_asked_for_leaves_no_trace() -> None:
    plain, empty = desired(), desired(checks={"header": []})
    assert empty.digest == plain.digest != desired(checks=ALL).digest
    assert rendered(empty, postfix()) == rendered(plain, postfix())
    assert expectation(empty) == expectation(plain)


def problems(**keys: Any) -> list[str]:
    declared = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com", **keys}
    return [str(problem) for problem in validated(declared)[1]]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pattern": "lottery"}, "['pattern'] = 'lottery': expected a pattern such as /^Subject: .*lottery/"),
        ({"pattern": "/a/b/ REJECT"}, "expected nothing but flags behind the pattern, found 'b/ REJECT'"),
        ({"pattern": "/^Subject: a\\/"}, "expected a pattern between two /, one within it as \\/"),
        ({"pattern": "//"}, "expected a pattern between two /"),
        ({"pattern": "if /^Subject:/"}, "expected a pattern such as"),
        ({"pattern": "#a#"}, "expected a pattern such as"),
        ({"pattern": "/a\t/"}, "holds the control character '\\t'"),
        ({"pattern": "/a/\nendif"}, "holds the control character '\\n'"),
        ({"action": "FILTER smtp:[10.1.0.3]"}, "sends mail past the routes of relay_domains"),
        ({"action": "BCC me@example.com"}, "expected one of REJECT, HOLD, WARN, DISCARD"),
        ({"action": "OK"}, "expected one of REJECT"),
        ({"action": "IGNORE it"}, "expected no text behind IGNORE"),
        ({"action": "PREPEND"}, "expected a text behind PREPEND"),
        ({"action": "REJECT café"}, "expected a text in ASCII"),
        ({"action": "REJECT 554 no"}, "expected no code before the text"),
        ({"action": "REDIRECT somebody"}, "expected an address behind REDIRECT"),
        ({"match": []}, "checks['header'][0]['match'] = []: expected at least one line that the pattern is to match"),
        ({"match": "Subject: a"}, "['match'] = 'Subject: a': expected a list"),
        ({"match": ["Subject: a\n b"]}, "['match'][0] = 'Subject: a\\n b': holds the control character"),
        ({"match": ["lottery"]}, "['match'][0] = 'lottery': expected a whole header, such as Subject: hello"),
        ({"no_match": ["Subject: a", ""]}, "checks['header'][0]['no_match'][1] = '': expected a line of text"),
        ({"matches": []}, "checks['header'][0]['matches'] = []: no such key"),
    ],
)
def test_a_check_that_cannot_be_is_refused_with_what_was_expected(changes: dict[str, Any], expected: str) -> None:
    (problem,) = problems(checks={"header": [{**LOTTERY, **changes}]})
    assert expected in problem


def test_what_is_wrong_among_checks_is_told_with_its_place() -> None:
    twice = {"header": [LOTTERY, HELD, {**LOTTERY, "action": "HOLD"}]}
    assert "checks['header'][2]['pattern'] = '/^Subject:.*lottery/': is the pattern of [0]" in problems(checks=twice)[0]
    assert "checks['type'] = 'pcre': nothing is looked for" in problems(checks={"type": "pcre"})[0]
    assert "checks['type'] = 'hash': expected 'regexp' or 'pcre'" in problems(checks={"type": "hash", **ALL})[0]
    own = problems(checks=ALL, main_cf={"body_checks": "regexp:/etc/postfix/mine"})
    assert own == [
        "main_cf['body_checks'] = 'regexp:/etc/postfix/mine': is what checks sets; expected it in one of the two"
    ]


def test_a_check_that_loses_mail_is_a_warning() -> None:
    declared = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com"}
    found = checked({**declared, "checks": {"body": [{**LOTTERY, "action": "DISCARD"}]}})
    (warning,) = found.warnings
    assert str(warning).startswith("checks['body'][0]['action'] = 'DISCARD': throws mail away and tells nobody")
    assert found.problems == ()


def plan(state: Any, host: ObservedState) -> Plan:
    found = planned(state, host)
    assert isinstance(found, Plan)
    return found


def test_a_review_says_what_is_looked_for_and_what_changes_places() -> None:
    first, second = desired(checks={"header": [LOTTERY, HELD]}), desired(checks={"header": [HELD, LOTTERY]})
    said = [str(change) for changes in plan(second, observed(first)).changes for change in changes]
    order = "~ header check order, the first that differs: /^Subject:.*lottery/ -> /^Subject:  *\\[(ads|news)\\]/"
    assert said == [order]
    said = [str(change) for changes in plan(first, observed(desired())).changes for change in changes]
    assert said == [
        "+ header check /^Subject:  *\\[(ads|news)\\]/: HOLD",
        "+ header check /^Subject:.*lottery/: REJECT no lotteries here",
        "+ header_checks = regexp:headerchecks",
    ]


def test_an_order_that_somebody_changed_on_a_host_is_put_back_as_such() -> None:
    state = desired(checks={"header": [LOTTERY, HELD]})
    swapped = "\n".join(sorted(rendered(state, postfix())["headerchecks"].text.splitlines()))
    (changes,) = plan(state, edited(state, headerchecks=f"{swapped}\n")).changes
    (one,) = changes
    assert (one.cause, one.note) == ("by hand", "by hand, or declared")


def test_examples_go_to_a_host_with_the_table_that_changes() -> None:
    lines = change(plan(desired(checks=ALL), observed(desired(checks={"header": ALL["header"]}))), {}).splitlines()
    assert [line for line in lines if line.startswith("example ")] == [
        'example regexp mimechecks 1 Content-Type: application/octet-stream; name="a.EXE"',
        "example regexp bodychecks 1 ééé",
        "example regexp bodychecks !1  a ",
    ]


def test_a_host_without_pcre_is_told_before_anything_is_sent() -> None:
    state = desired(checks={"type": "pcre", **ALL})
    assert "types\n" in expectation(state)
    refused = planned(state, observed(desired()))
    assert refused == Refusal("its Postfix has no tables of type pcre, which are declared")
    host = dataclasses.replace(observed(desired()), table_types=frozenset({"hash", "pcre"}))
    assert "header_checks = pcre:/etc/postfix/headerchecks" in plan(state, host).files[0].desired.text


# Stands for Postfix's own: it knows extended regular expressions without flags, and says so of others.
POSTMAP = r"""
postmap() {
    awk -v place="${5#*:}" '
        BEGIN {
            while ((getline line <place) > 0) {
                action[++count] = line; sub(/^[^\t]*\t/, "", action[count]); sub(/\t.*/, "", line)
                warning = "postmap: warning: regexp map " place ", line " count ": Unmatched ("
                if (line ~ /\($/) print warning >"/dev/stderr"
                gsub(/^\/|\/$/, "", line); pattern[count] = line
            }
        }
        { for (i = 1; i <= count; i++) if ($0 ~ pattern[i]) { print $0 "\t" action[i]; break } }'
}
"""


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (["1 Subject: a  b\\c", "2 X: é", "!2 Subject: a  b\\c", "!1 X: q", "3 Z: q"], ""),
        (["3 Subject: a  b\\c"], 'headerchecks: "Subject: a  b\\c" is matched by ^Subject:  *a, expected Z'),
        (["2 W: q"], 'headerchecks: "W: q" is matched by nothing, expected X: é'),
        (["!2 X: é"], 'headerchecks: "X: é" is matched by X: é, expected that it does not'),
        (["1 W: q", "!3 Z: q"], 'expected ^Subject:  *a; "Z: q" is matched by Z, expected that it does not; nothing'),
    ],
)
def test_each_example_is_matched_by_the_pattern_it_is_of(
    shell: list[str], examples: list[str], expected: str, tmp_path: Path
) -> None:
    rules = ["/^Subject:  *a/\tREJECT no", "/X: é/\tHOLD", "/Z/\tWARN"]
    said = tried(shell, rules, examples, tmp_path)
    assert expected in said.replace("/", "")
    assert bool(said) == bool(expected)


def test_a_pattern_that_postfix_cannot_read_is_named(shell: list[str], tmp_path: Path) -> None:
    said = tried(shell, ["/a/\tHOLD", "/b(\tREJECT no", "/c(\tWARN"], ["1 a"], tmp_path)
    assert "headerchecks: Postfix does not accept /b( /c(: postmap: warning: regexp map headerchecks, line 2: U" in said
    assert said.endswith("nothing was touched\n")


def tried(shell: list[str], rules: list[str], examples: list[str], stage: Path) -> str:
    """Return what files/checking.sh says of examples in a stage; '' where all is well."""
    (stage / "headerchecks").write_text("".join(f"{line}\n" for line in ["# Managed by mailproxy.", *rules]))
    (stage / "example").write_text("".join(f"regexp headerchecks {text}\n" for text in examples))
    programs = "".join((PROGRAMS / f"{name}.sh").read_text() for name in ("common", "checking"))
    text = (
        f"{programs}{POSTMAP}cd {shlex.quote(str(stage.parent))}; stage={stage.name} configuration=.\ncheck_examples\n"
    )
    run = subprocess.run([*shell, "-c", text], capture_output=True, text=True, check=False)
    assert (run.returncode != 0) == bool(run.stderr)
    return run.stderr
