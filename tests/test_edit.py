"""An edit of a text makes the other one of it, by the awk of any host, and is no longer than it has to be."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailproxy.edit import edit
from mailproxy.program import PROGRAMS

AWKS = [awk for awk in (["mawk"], ["busybox", "awk"], ["gawk"], ["original-awk"]) if shutil.which(awk[0])]
MANY = [f"customer-{number:05}.example smtp:[10.1.0.2]" for number in range(10_000)]
LINES = st.lists(st.sampled_from(["a", "b", "c", "d 1", "", "1 0 1", "é", "\\", "%s"]), max_size=12)


def edited(before: str, after: str, awk: list[str], place: Path) -> str:
    """Return what files/stage.sh makes of a text by the edit that leads to another one."""
    hunks = edit(before, after)
    if hunks is None:
        return after
    found = re.search(r"(?ms)^edited\(\) \{.*?^\}", (PROGRAMS / "stage.sh").read_text())
    assert found
    (place / "edit").write_text("".join(f"{line}\n" for line in hunks))
    (place / "live").write_text(before)
    script = f'{found[0]}\nawk() {{ {" ".join(awk)} "$@"; }}\nedited edit live\n'
    return subprocess.run(["sh", "-c", script], cwd=place, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("awk", AWKS, ids=lambda awk: awk[0])
def test_an_edit_makes_the_other_text(awk: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("edit")

    @settings(max_examples=60, deadline=None)
    @given(LINES, LINES)
    def makes(before: list[str], after: list[str]) -> None:
        # Behind what both have, as an edit of a few lines is longer than they are.
        texts = ["".join(f"{line}\n" for line in [*MANY[:20], *lines, *MANY[20:40]]) for lines in (before, after)]
        assert edited(texts[0], texts[1], awk, place) == texts[1]

    makes()


def test_an_added_domain_is_sent_as_one_line_and_where() -> None:
    before, after = MANY, [*MANY[:5000], "added.example smtp:[10.1.0.2]", *MANY[5000:]]
    texts = ["".join(f"{line}\n" for line in lines) for lines in (before, after)]
    assert edit(*texts) == ("5001 0 1", "added.example smtp:[10.1.0.2]")


def test_what_is_written_anew_is_sent_whole() -> None:
    assert edit("a\nb\n", "c\nd\n") is None
    assert edit("no end of line", "no end of line\nmore\n") is None


def test_a_table_in_another_order_takes_no_longer_than_one_in_the_same() -> None:
    # Comparing each line with each would take minutes.
    texts = ["".join(f"{line}\n" for line in lines) for lines in (MANY, MANY[::-1])]
    assert len(edit(*texts) or ()) <= len(MANY) + 1
