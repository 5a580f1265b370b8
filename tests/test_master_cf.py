"""master.cf: services come and go between marks, and every other byte stays."""

import pytest

from mailproxy.master_cf import Service, edited, is_marked, merged, our_services, returned, services_of

TEXT = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
smtp      inet  n       -       y       -       -       smtpd
  -o smtpd_tls_security_level=may
# a comment in between
  -o { smtpd_banner = mx1 ESMTP }

#smtp      inet  n       -       y       -       1       postscreen
pickup    unix  n       -       y       60      1       pickup\t
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
"""
SMTP = Service("smtp", "inet", "n", "-", "y", "-", "1", "postscreen")
PASS = Service("smtpd", "pass", "-", "-", "y", "-", "-", "smtpd").with_options(["a=b", "c=d"])
EDITED = """\
# service type  private unpriv  chroot  wakeup  maxproc command + args
#mailproxy# smtp      inet  n       -       y       -       -       smtpd
#mailproxy#   -o smtpd_tls_security_level=may
# a comment in between
#mailproxy#   -o { smtpd_banner = mx1 ESMTP }

#smtp      inet  n       -       y       -       1       postscreen
pickup    unix  n       -       y       60      1       pickup\t
relay     unix  -       -       y       -       -       smtp
        -o syslog_name=postfix/$service_name
# mailproxy: begin (declare changes in group_data: what is edited down to the end is put back)
smtp      inet  n       -       y       -       1       postscreen
smtpd     pass  -       -       y       -       -       smtpd
  -o a=b
  -o c=d
# mailproxy: end
"""


def test_a_service_is_replaced_and_one_added_and_nothing_else_changes() -> None:
    assert edited(TEXT, [SMTP, PASS]) == EDITED
    assert edited(EDITED, [SMTP, PASS]) == EDITED


@pytest.mark.parametrize(
    "text",
    [TEXT, "\n" + TEXT.replace("\n", " \n"), TEXT + "# the last line\n\n", "#mailproxy: not a mark\n" + TEXT, "\n"],
)
def test_without_our_services_every_byte_is_as_it_was(text: str) -> None:
    assert edited(edited(text, [SMTP, PASS]), []) == text
    assert not is_marked(text)
    assert edited(text, []) is text


def test_a_last_line_without_its_newline_gets_one() -> None:
    assert edited(edited("smtp inet n - y - - smtpd", [SMTP]), []) == "smtp inet n - y - - smtpd\n"


def test_what_others_change_in_between_stays_where_it_is() -> None:
    by_hand = EDITED.replace("pickup    unix", "# Erika\npickup    unix") + "2525      inet  n - y - - smtpd\n"
    assert edited(by_hand, [SMTP, PASS]) == by_hand
    assert edited(by_hand, []) == TEXT.replace("pickup    unix", "# Erika\npickup    unix") + (
        "2525      inet  n - y - - smtpd\n"
    )


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("1       postscreen", "1       smtpd"),
        ("  -o c=d\n", ""),
        ("# mailproxy: end\n", "# mailproxy: end\n  -o e=f\n"),
        ("# mailproxy: begin", "smtp inet n - n - - smtpd\n# mailproxy: begin"),
        ("#mailproxy#   -o { smtpd", "  -o { smtpd"),
    ],
)
def test_what_others_change_of_ours_is_put_back(ours: str, theirs: str) -> None:
    before, mark, block = EDITED.rpartition("# mailproxy: begin")
    by_hand = before.replace(ours, theirs) + (mark + block).replace(ours, theirs)
    if theirs.startswith("smtp inet"):
        by_hand = EDITED.replace(ours, theirs)
    assert by_hand != EDITED
    put_back = edited(by_hand, [SMTP, PASS])
    wanted = {service.key: service for service in (SMTP, PASS)}
    assert {one.key: one for one in services_of(_plain(put_back))} == {
        **{one.key: one for one in services_of(TEXT)},
        **wanted,
    }


def _plain(text: str) -> str:
    """Return a master.cf as Postfix reads it: without its comments."""
    return "".join(f"{line}\n" for line in text.split("\n") if not line.startswith("#"))


def test_a_service_that_is_there_by_somebodys_hand_stays_theirs() -> None:
    relay = Service("relay", "unix", "-", "-", "y", "-", "-", "smtp -o syslog_name=postfix/$service_name")
    assert edited(TEXT, [relay]) == TEXT
    assert relay in merged(services_of(TEXT), [relay])


def test_a_review_tells_what_comes_and_in_place_of_what() -> None:
    assert dict(our_services(EDITED)) == {
        "smtp inet": "n - y - 1 postscreen, in place of "
        "n - y - - smtpd -o smtpd_tls_security_level=may -o { smtpd_banner = mx1 ESMTP }",
        "smtpd pass": "- - y - - smtpd -o a=b -o c=d",
    }
    assert not our_services(TEXT)


def test_a_return_brings_back_our_services_and_no_other_line() -> None:
    by_hand = TEXT.replace("pickup    unix", "# Erika\npickup    unix")
    assert returned(by_hand, EDITED) == EDITED.replace("pickup    unix", "# Erika\npickup    unix")
    assert returned(EDITED.replace("pickup    unix", "# Erika\npickup    unix"), TEXT) == by_hand
