"""What mailproxy.queue is asked for."""

import pytest

from mailproxy.selection import Selection, misspelled, selection


def test_filters_are_what_a_host_is_told() -> None:
    found = selection({"domain": "Example.ORG.", "sender": "<>", "older_than": "12h", "reason": "timed out"})
    assert found == Selection(
        ("domain example.org", "sender MAILER-DAEMON", "older 43200", "reason timed out"), action=""
    )
    assert found.records(until=7) == (
        "domain example.org\nsender MAILER-DAEMON\nolder 43200\nreason timed out\nuntil 7\nend\n"
    )


def test_an_action_is_for_messages_that_it_can_be_done_with() -> None:
    assert selection({"do": "release"}).filters == ("queue hold",)
    assert selection({"do": "hold"}).filters == ("queue deferred active",)
    assert selection({"do": "hold", "queue": "active"}).filters == ("queue active",)
    assert selection({}).filters == ()


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"domian": "example.org"}, "domian: no such argument; expected domain, next_hop, sender"),
        ({"domain": "exa mple"}, "domain=exa mple: "),
        ({"domain": ""}, "domain=: found nothing; leave it out where all is meant"),
        ({"older_than": 5}, "older_than=5: expected a time such as 30m, 12h or 5d"),
        ({"queue": "incoming"}, "queue=incoming: expected one of deferred, active, hold"),
        ({"do": "drop"}, "do=drop: expected one of flush, hold, release, requeue, delete"),
        ({"do": "release", "queue": "active"}, "queue=active: do=release is for what is on hold"),
        ({"reason": "a\nend"}, "reason=a\nend: holds the control character"),
    ],
)
def test_what_cannot_be_meant_is_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        selection(given)
    assert str(refused.value).startswith(reason)


def test_data_that_nearly_is_a_filter_is_refused() -> None:
    given = {"domian": "example.org", "ssh_user": "root", "approve": "delete"}
    assert list(misspelled(given)) == ["domian=example.org: no such argument; did you mean domain?"]
