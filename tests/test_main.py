"""python -m mailproxy check: all mistakes at once, with their lines, and nothing is connected to."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from pyinfra_cli.util import PYTHON_CODES

from mailproxy.__main__ import main

REPOSITORY = Path(__file__).parent.parent
RIGHT = 'relay_domains = {"example.com": "smtp:[10.1.0.2]"}\nssh_strict_host_key_checking = "yes"\n'
HOSTS = 'proxies = [("mx1.example.com", {"ssh_hostname": "192.0.2.11"}), "mx2.example.com"]\n'


@dataclass
class Editor:
    """Somebody who edits a declaration in a directory of their own and checks it."""

    directory: Path
    capsys: pytest.CaptureFixture[str]

    def check(self, *arguments: str, **files: str) -> tuple[int, list[str], str]:
        """Write files, FOLDER__NAME for FOLDER/NAME.py, over what is right: status, lines, and standard error."""
        right = {"production": HOSTS, "group_data__all": RIGHT}
        for name, text in {**right, **files}.items():
            path = self.directory / f"{name.replace('__', '/')}.py"
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        # pyinfra keeps what it compiled by name.
        PYTHON_CODES.clear()
        try:
            status = main(arguments or ("check", "production.py"))
        except SystemExit as ended:
            status = int(str(ended.code))
        out, err = self.capsys.readouterr()
        return status, out.splitlines(), err


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Editor:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Editor(tmp_path, capsys)


def test_it_runs_without_a_terminal_and_without_anything_but_python(editor: Editor) -> None:
    editor.check()
    environment = {"PYTHONPATH": str(REPOSITORY), "HOME": str(editor.directory), "PATH": "/nonexistent"}
    command = [sys.executable, "-m", "mailproxy", "check", "production.py"]
    ended = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_what_is_right_says_nothing(editor: Editor) -> None:
    assert editor.check() == (0, [], "")


def test_each_mistake_is_a_line_that_editors_can_follow(editor: Editor) -> None:
    (editor.directory / "domains").write_text(
        "# ours\nexample.com smtp:[10.1.0.2]\nb.example smtp:10.1.0.2\nnothing\n"
        "Example.COM. smtp:[10.1.0.3]\nco.uk smtp:[10.1.0.2]\n"
    )
    files = {
        "production": 'proxies = [\n    "mx1.example.com",\n    ("mx2", {"ssh_hostname": "192.0.2.1"}),\n'
        '    ("mx3.example.com", {"ssh_hostname": "192.0.2.1"}),\n    "mx1.example.com",\n]\n',
        "group_data__all": 'relay_domains = "domains"\nmynetworks = [\n    "10.0.0.0/8",\n    "10.1.2.3/8",\n]\n'
        'aliases = {\n    "root": "ops@example.com",\n    "a": "|/bin/cat",\n}\nmynetwork = []\n'
        'ssh_strict_host_key_checking = "yes"\n',
        "group_data__proxie": "mynetworks = []\n",
        "group_data__stray": "\nrelay_domain = {}\n",
    }
    status, lines, _ = editor.check(**files)
    assert status == 1
    expected = [
        "domains:3: error: relay_domains['b.example'] = 'smtp:10.1.0.2': expected brackets",
        "domains:4: error: relay_domains = 'nothing': expected \"domain next-hop\"",
        "domains:5: error: relay_domains = 'Example.COM. smtp:[10.1.0.3]': names example.com a second time, first in"
        " line 2",
        "domains:6: error: relay_domains['co.uk'] = 'smtp:[10.1.0.2]': is a public suffix",
        "group_data/all.py:4: error: mynetworks[1] = '10.1.2.3/8': expected a network",
        "group_data/all.py:8: error: aliases['a'] = '|/bin/cat': leads to a command or file",
        "group_data/all.py:10: error: mynetwork = []: no such key; did you mean mynetworks?",
        "group_data/all.py:6: warning: aliases = ",
        "group_data/proxie.py:1: warning: mynetworks = ...: does not count, as no host is in a group proxie",
        "group_data/stray.py:2: error: relay_domain = {}: no such key; did you mean relay_domains?",
        "production.py:3: error: myhostname = 'mx2': expected a fully qualified name",
        "production.py:4: error: ssh_hostname = '192.0.2.1': is the address of mx2 too",
        "production.py:5: error: inventory = 'mx1.example.com': is listed in line 2 already",
    ]
    for start in expected:
        assert any(line.startswith(start) for line in lines), "\n".join([start, "", *lines])
    assert len(lines) == len(expected), "\n".join(lines)


def test_mistakes_in_limits_are_told_with_their_lines(editor: Editor) -> None:
    limits = 'limits = {\n    "connection": 20,\n    "queue_lifetime": "3",\n    "recipients": 50,\n}\nlimit = {}\n'
    status, lines, _ = editor.check(group_data__all=RIGHT + limits)
    assert status == 1
    assert sorted(lines) == [
        "group_data/all.py:4: error: limits['connection'] = 20: no such key; did you mean connections?",
        "group_data/all.py:5: error: limits['queue_lifetime'] = '3': expected a time such as 5d: a number and s, m, h,"
        " d or w",
        "group_data/all.py:8: error: limit = {}: no such key; did you mean limits?",
    ]


def test_a_limit_that_may_not_be_meant_is_told_with_its_line(editor: Editor) -> None:
    right = 'limits = {\n    "connections": 20,\n    "recipients": 50,\n}\n'
    status, lines, _ = editor.check(group_data__all=RIGHT + right)
    assert status == 0
    (line,) = lines
    assert line.startswith("group_data/all.py:5: warning: limits['recipients'] = 50: is below 100, which every server")


def test_warnings_alone_are_no_failure(editor: Editor) -> None:
    status, lines, _ = editor.check(group_data__all=f'{RIGHT}mynetworks = ["8.8.8.0/24"]\n')
    assert status == 0
    (line,) = lines
    assert line.startswith("group_data/all.py:3: warning: mynetworks[0] = '8.8.8.0/24': is a public range")


def test_group_data_is_found_and_wins_as_pyinfra_has_it(editor: Editor) -> None:
    files = {
        "more__proxies": 'mynetworks = ["0.0.0.0/0"]\n',
        "group_data__proxies": 'mynetworks = ["10.0.0.0/7"]\n',
    }
    _, lines, _ = editor.check("check", "--group-data", "more", "production.py", **files)
    (line,) = lines
    assert line.startswith("more/proxies.py:1: error: mynetworks[0] = '0.0.0.0/0'")


def test_a_file_that_python_cannot_read_is_told_with_its_line(editor: Editor) -> None:
    for text, reason in (("x = 1\ny = (\n", "'(' was never closed"), ("x = 1\ny = 1 / 0\n", "ZeroDivisionError")):
        for name in ("production", "group_data__proxies"):
            status, (line,), _ = editor.check(**{"group_data__proxies": "", name: text})
            assert status == 1
            assert line.startswith(f"{name.replace('__', '/')}.py:2: error: cannot be read: ")
            assert reason in line


def test_host_keys_are_checked_too(editor: Editor) -> None:
    (editor.directory / "keys").write_text("\n@revoked * ssh-rsa AAAA\n")
    status, lines, _ = editor.check(group_data__all=f'{RIGHT}ssh_known_hosts_file = "keys"\n')
    assert status == 1
    (line,) = lines
    assert line.startswith(
        "keys:2: error: ssh_known_hosts_file = '@revoked * ssh-rsa AAAA': @revoked is not understood"
    )


def test_a_wrong_command_is_told_from_a_wrong_declaration(editor: Editor) -> None:
    for arguments, reason in (
        (("check", "none.py"), "none.py: there is no such file"),
        (("check", "production.py", "--group-data", "none"), "none: there is no such directory"),
        (("chek", "production.py"), "invalid choice: 'chek'"),
        (("check",), "the following arguments are required: inventory"),
    ):
        status, lines, said = editor.check(*arguments)
        assert (status, lines) == (2, [])
        assert reason in said


def test_several_inventories_are_checked_and_what_they_share_is_told_once(editor: Editor) -> None:
    files = {"staging": 'test = ["mx1.test.example"]\n', "group_data__all": f'{RIGHT}mynetworks = ["0.0.0.0/0"]\n'}
    status, lines, _ = editor.check("check", "production.py", "staging.py", **files)
    assert status == 1
    assert len(lines) == 1
