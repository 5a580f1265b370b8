"""What is sent to hosts is put together from every file under files/, and arguments reach it as they are."""

import os
import subprocess
from pathlib import Path

import pytest

from mailproxy import managed
from mailproxy.program import (
    LACKING,
    LOADER,
    NEVER_KEPT,
    PROGRAMS,
    command,
    kept_files,
    kept_name,
    parts,
    sent,
    sent_to_root,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="anybody else would be led to sudo")


def test_no_file_is_left_out_of_what_runs_on_hosts_and_so_of_what_is_checked() -> None:
    used = {path for files in parts().values() for path in files}
    assert used == set(PROGRAMS.glob("*.sh"))


def test_what_a_mail_server_said_reaches_a_program_as_an_argument_and_nothing_else() -> None:
    said = """554 it's "refused"; $(touch /nonexistent/x) `id` \\"""
    first_line = command("settle", "/etc/postfix", "t", "undo", said).whole.splitlines()[0]
    shown = subprocess.run(["sh", "-c", f'{first_line}\nprintf %s "$4"'], capture_output=True, text=True, check=True)
    assert shown.stdout == said


def run(shell: list[str], stdin: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*shell, "-c", LOADER], input=stdin, capture_output=True, text=True, check=False)


@as_root
@pytest.mark.parametrize("is_ours", [True, False], ids=["as root", "by way of enter.sh"])
def test_a_program_that_a_host_keeps_is_run_by_its_name(shell: list[str], is_ours: bool, tmp_path: Path) -> None:
    said = ['it\'s "so"', "two\nlines of café", "", "\\ %s"]
    program = command("settle", str(tmp_path), *said)
    line, stdin = program.by_name, " 1 \\n\n\n2"
    everything = sent_to_root(line, stdin) if is_ours else sent(f"{line}\n", stdin)
    assert "\n" not in line
    assert everything.isascii()
    lacking = run(shell, everything)
    assert (lacking.returncode, lacking.stdout, lacking.stderr) == (0, f"{LACKING}\n", "")
    place = tmp_path / ".mailproxy" / kept_name()
    place.mkdir(parents=True)
    for name, text in kept_files().items():
        (place / name).write_text(text)
    # The last part alone is a stand-in, as it would look for a Postfix.
    (place / "settle.sh").write_text('shift\nfor argument; do printf "<%s>\\n" "$argument"; done\ncat\nexit 7\n')
    kept = run(shell, everything)
    assert kept.stdout == "".join(f"<{argument}>\n" for argument in said) + stdin
    assert (kept.returncode, kept.stderr) == (7, "")


def test_what_a_host_keeps_is_all_that_is_run_there_by_name() -> None:
    needed = {path.name for name, files in parts().items() if name not in NEVER_KEPT for path in files}
    assert set(kept_files()) == {*needed, "sums"}
    names = kept_files()["sums"].split()[1::2]
    # In the order in which a shell lists the directory.
    assert names == sorted(needed)


def test_hosts_and_controller_know_the_same_files() -> None:
    lists = ("BASIC", "FILES", "TABLES", "SECRETS", "SHARED")
    printing = "\n".join(f'printf "%s|" "${name}"' for name in lists)
    text = f"{(PROGRAMS / 'common.sh').read_text()}\n{printing}"
    told = subprocess.run(["sh", "-c", text], capture_output=True, text=True, check=True).stdout.split("|")
    files = sorted(managed.FILES)
    known = (managed.BASIC_FILES, managed.FILES, managed.TABLES, managed.SECRETS, managed.SHARED)
    assert told[:-1] == [" ".join(sorted(names)) for names in known]
    assert told[1].split(" ") == files
