"""What is sent to hosts is put together from every file under files/, and arguments reach it as they are."""

import subprocess

from mailproxy.program import PROGRAMS, command, parts


def test_no_file_is_left_out_of_what_runs_on_hosts_and_so_of_what_is_checked() -> None:
    used = {path for files in parts().values() for path in files}
    assert used == set(PROGRAMS.glob("*.sh"))


def test_what_a_mail_server_said_reaches_a_program_as_an_argument_and_nothing_else() -> None:
    said = """554 it's "refused"; $(touch /nonexistent/x) `id` \\"""
    first_line = command("settle", "/etc/postfix", "t", "undo", said).splitlines()[0]
    shown = subprocess.run(["sh", "-c", f'{first_line}\nprintf %s "$4"'], capture_output=True, text=True, check=True)
    assert shown.stdout == said
