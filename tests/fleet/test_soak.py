"""A small soak of our rollouts with every key on real hosts: mail arrives once, and no domain at rest is refused."""

from pathlib import Path

from lab.account import figures
from lab.fleet import Fleet
from lab.rollouts import rollouts
from lab.soaking import Soak


def test_no_message_is_lost_while_domains_come_move_and_go_and_rollouts_are_killed(
    fresh_fleet: Fleet, tmp_path: Path
) -> None:
    made = rollouts(seed=1, count=6, killed_every=2)
    assert any(rollout.server_away for rollout in made)
    soak = Soak(fresh_fleet, "ours", tmp_path, with_every_key=True)
    attempts, mail = soak.run(made, senders=4, seed=1)
    found = figures(attempts, mail, soak.course)
    assert found.is_clean, found
    assert (found.rollouts, found.failed, found.stale, found.stale_at_end) == (6, 0, 0, 0), found
    assert found.killed >= 2
    assert found.arrived_once == found.accepted > 100
    assert found.refused_moving == 0
