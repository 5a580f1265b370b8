"""Values that nobody may see."""

import pytest

from mailproxy.problem import Problem
from mailproxy.secret import is_secret, without_secrets


@pytest.mark.parametrize(
    "main_cf",
    [
        "smtp_sasl_password = HUNTER2",
        "smtp-sasl-password=HUNTER2",
        "my.secret = HUNTER2",
        "#smtp_sasl_password_maps = static:u:HUNTER2",
        "  # relay_PASSWD = HUNTER2",
        "smtp_sasl_password_maps = hash:/etc/a\n# which\n\n  static:u:HUNTER2\nbiff = no",
    ],
)
def test_a_secret_is_hidden_however_it_is_written(main_cf: str) -> None:
    shown = without_secrets(main_cf)
    assert "HUNTER2" not in shown
    assert "(not shown)" in shown
    assert ("biff" in shown) is ("biff" in main_cf)


@pytest.mark.parametrize(
    "line", ["smtp_sasl_password_maps = hash:/etc/postfix/sasl", "smtpd_banner = pass", "# password"]
)
def test_what_is_no_secret_is_shown(line: str) -> None:
    assert without_secrets(line) == line


def test_a_table_of_secrets_is_none_itself() -> None:
    assert not is_secret("smtp_sasl_password_maps", "hash:/etc/postfix/sasl, proxy:btree:/etc/x")
    assert is_secret("smtp_sasl_password_maps", "static:user:word")


def test_a_mistake_is_reported_without_the_secret_it_is_in() -> None:
    assert str(Problem("main_cf['a_password']", "'HUNTER2'", "why")) == "main_cf['a_password'] = (not shown): why"
    assert "HUNTER2" not in str(Problem("ssh_password", "'HUNTER2'", "why"))


def test_a_value_made_to_be_hard_is_told_apart_at_once() -> None:
    # Would take longer than anybody waits, if it could be split in more ways than one.
    assert is_secret("a_password", "hash:/a" * 200 + " !")
