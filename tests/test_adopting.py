"""How group_data is written: beside what is there, and all of it or nothing."""

from pathlib import Path

import pytest

from mailproxy.adopting import _appended, _declared_in_files, _write
from mailproxy.declared_files import declared_in, without_example
from mailproxy.stop import StopError


def test_what_a_file_says_of_other_things_stays(tmp_path: Path) -> None:
    path = tmp_path / "all.py"
    assert _appended(path, "# new\n") == "# new\n"
    path.write_text("ssh_connect_retries = 2  # times\n\n\n")
    assert _appended(path, "# new\n") == "ssh_connect_retries = 2  # times\n\n# new\n"


def test_a_file_that_declares_a_key_already_is_named(tmp_path: Path) -> None:
    path = tmp_path / "all.py"
    path.write_text("mynetworks = []\naliases = {}\nssh_user = 'x'\n")
    assert list(_declared_in_files([path, tmp_path / "mx1.py"])) == [f"{path} declares aliases, mynetworks already"]


def test_only_the_example_as_it_came_makes_room(tmp_path: Path) -> None:
    shipped = (Path(__file__).parent.parent / "group_data" / "all.py").read_text()
    assert declared_in(without_example(shipped)) == set()
    assert "ssh_connect_retries = 2" in without_example(shipped)
    edited = shipped.replace("example.org", "mine.example")
    assert without_example(edited) == edited
    path = tmp_path / "all.py"
    path.write_text(shipped)
    assert list(_declared_in_files([path])) == []
    assert _appended(path, "relay_domains = {}\n").count("relay_domains = ") == 1
    path.write_text(edited)
    assert list(_declared_in_files([path])) != []


def test_when_one_file_cannot_be_written_none_is(tmp_path: Path) -> None:
    there = tmp_path / "all.py"
    there.write_text("before\n")
    (tmp_path / "mx2.py").mkdir()
    files = {there: "after\n", tmp_path / "mx1.py": "x\n", tmp_path / "mx2.py" / "in" / "x.py": "x\n"}
    _write(files)
    assert there.read_text() == "after\n"
    # A directory stands where a file is to go: that comes out after others were written.
    (tmp_path / "mx3.py").mkdir()
    there.write_text("before\n")
    (tmp_path / "mx1.py").unlink()
    with pytest.raises(StopError) as raised:
        _write({there: "after\n", tmp_path / "mx1.py": "x\n", tmp_path / "mx3.py": "x\n"})
    assert "nothing was written" in raised.value.message
    assert there.read_text() == "before\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.py", "mx2.py", "mx3.py"]
