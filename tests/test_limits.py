"""The key limits: what it sets, what cannot be, what may not be meant, and that a rollout keeps below it."""

from typing import Any

import pytest

from mailproxy.changes import difference
from mailproxy.check import validated, warnings_of
from mailproxy.probe import FOREIGN, probes
from mailproxy.render import rendered
from mailproxy.syntax import main_cf_parameters
from tests.states import GUIDE, desired, observed, postfix
from tests.test_render import GOLDEN, POSTFIXES

ALL = {
    "connections": 20,
    "connection_rate": 60,
    "message_rate": 100,
    "recipient_rate": 500,
    "recipients": 200,
    "destination_concurrency": 5,
    "destination_rate_delay": "1s",
    "queue_lifetime": "5d",
    "bounce_lifetime": "1d",
}


@pytest.mark.parametrize("tree", ["2.7", "3.5", "3.10"])
def test_limits_are_rendered_as_the_golden_main_cf_of_each_postfix(tree: str) -> None:
    text = rendered(desired(limits=ALL), POSTFIXES[tree])["main.cf"].text
    assert text == (GOLDEN / "limits" / tree / "main.cf").read_text()


def test_what_is_not_limited_leaves_no_trace() -> None:
    plain, empty = desired(), desired(limits={})
    assert empty.digest == plain.digest != desired(limits={"connections": 20}).digest
    assert rendered(empty, postfix()) == rendered(plain, postfix())
    assert "limit" not in rendered(plain, postfix())["main.cf"].text.replace("size_limit", "")


def problems(**keys: Any) -> list[str]:
    declared = {"relay_domains": GUIDE, "myhostname": "mx1.example.com", "mydomain": "example.com", **keys}
    return [str(problem) for problem in validated(declared)[1]]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"connection": 20}, "limits['connection'] = 20: no such key; did you mean connections?"),
        ({"tarpit": 20}, "limits['tarpit'] = 20: no such key; expected one of connections, connection_rate, "),
        (
            {"connections": 0},
            "limits['connections'] = 0: expected 1 to 2147483647; left out, it is as Postfix has it",
        ),
        ({"connections": "20"}, "limits['connections'] = '20': expected a valid integer"),
        ({"connections": True}, "limits['connections'] = True: expected a valid integer"),
        ({"recipients": 2**31}, "limits['recipients'] = 2147483648: expected 1 to 2147483647"),
        ({"queue_lifetime": 5}, "limits['queue_lifetime'] = 5: expected a valid string"),
        ({"queue_lifetime": "5"}, "limits['queue_lifetime'] = '5': expected a time such as 5d"),
        ({"queue_lifetime": "5 days"}, "limits['queue_lifetime'] = '5 days': expected a time such as 5d"),
        ({"queue_lifetime": "101d"}, "limits['queue_lifetime'] = '101d': expected at most 100d"),
        ({"bounce_lifetime": "1d\nmynetworks = 0.0.0.0/0"}, "expected a time such as 5d"),
        ("strict", "limits = 'strict': expected a dict"),
    ],
)
def test_a_limit_that_cannot_be_is_refused_with_what_was_expected(limits: Any, expected: str) -> None:
    (problem,) = problems(limits=limits)
    assert expected in problem


def test_a_limit_that_main_cf_sets_as_well_is_refused() -> None:
    (problem,) = problems(limits={"queue_lifetime": "5d"}, main_cf={"maximal_queue_lifetime": "3d"})
    assert problem == "main_cf['maximal_queue_lifetime'] = '3d': is what limits sets; expected it in one of the two"


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (ALL, []),
        ({"recipients": 50}, ["limits['recipients'] = 50: is below 100, which every server takes"]),
        ({"recipient_rate": 150, "recipients": 200}, ["is below the recipients of one message, 200"]),
        ({"connection_rate": 5}, ["limits['connection_rate'] = 5: is below 20 a minute: a rollout that asks"]),
        ({"message_rate": 19}, ["is below 20 a minute"]),
        ({"queue_lifetime": "3d"}, ["limits['queue_lifetime'] = 3d: is below 4d"]),
        (
            {"queue_lifetime": "5d", "bounce_lifetime": "1w"},
            ["limits['bounce_lifetime'] = 1w: is above queue_life"],
        ),
    ],
)
def test_a_limit_that_may_not_be_meant_is_a_warning(limits: dict[str, Any], expected: list[str]) -> None:
    found = [str(warning) for warning in warnings_of(desired(limits=limits)) if "limits" in warning.key]
    assert len(found) == len(expected)
    assert all(part in text for part, text in zip(expected, found, strict=True))


def test_a_rollout_asks_for_fewer_domains_than_a_stranger_may_have_recipients() -> None:
    many = {f"d{number:03}.example": "smtp:[10.1.0.2]" for number in range(60)}
    gone = {f"g{number:03}.example": "smtp:[10.1.0.2]" for number in range(60)}
    limits = {"recipient_rate": 80}
    contents = rendered(desired(relay_domains={**GUIDE, **many}, limits=limits), postfix())
    found = difference(contents, observed(desired(relay_domains={**GUIDE, **gone})))
    asked = probes(found, main_cf_parameters(contents["main.cf"].text), is_unproven=False)
    assert len(asked.accepted) == 10
    assert len(asked.refused) == 11
    assert asked.refused[-1] == FOREIGN
    assert set(asked.accepted) <= set(many)
