"""What lab/bench makes of its measurements: medians, ratios, goals, and whether its tools led to the same."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lab.costs import FLOOR, OURS, TASKS, TEXTBOOK, Cost, Costs, notes, tables
from lab.goals import Goal, goals, goals_table
from lab.measure import FOR_GOALS, USUAL, options_of
from lab.outcome import comparison, entries
from lab.playbook import as_yaml
from lab.process_tree import proportional_kib
from lab.trial import NEXT_HOP, ROOT, declaration
from mailproxy.managed import BASIC_FILES
from mailproxy.render import rendered
from tests.states import desired, postfix

ANSIBLE = "Ansible, pipelining, 20 forks"
COST = Cost(wall=10, cpu=6, memory=100, round_trips=2, sent=8)
DECLARED = declaration({"a.example": NEXT_HOP, "b.example": "smtp:[10.1.0.2]:2525"})


def costs(ours: Cost, *others: tuple[str, Cost], floor: Cost = COST) -> Costs:
    made = Costs()
    made.add(*FLOOR, floor)
    for task in TASKS:
        for tool, cost in ((OURS, ours), *others):
            made.add(task, tool, cost)
    return made


def test_a_median_is_of_each_column_by_itself() -> None:
    made = costs(COST)
    made.add(TASKS[0], OURS, Cost(wall=30, cpu=1, memory=100, round_trips=4, sent=8))
    made.add(TASKS[0], OURS, Cost(wall=20, cpu=9, memory=70, round_trips=3, sent=8))
    assert made.median(TASKS[0], OURS) == Cost(wall=20, cpu=6, memory=100, round_trips=3, sent=8)


def test_round_trips_that_nobody_counts_are_a_dash_also_in_ratios() -> None:
    made = tables(costs(COST, (ANSIBLE, replace(COST, wall=40, round_trips=None)))).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in made if line.startswith("|")]
    of_ansible = [row for row in cells if row[0] == TASKS[2] and ANSIBLE in row[1]]
    assert [[*row[1:3], row[5]] for row in of_ansible] == [
        [ANSIBLE, "40.00", "-"],
        [f"{ANSIBLE} ÷ floor", "4.00", "-"],
        [f"ours ÷ {ANSIBLE}", "0.25", "-"],
    ]


def test_what_the_columns_mean_for_ansible_is_told_only_with_ansible() -> None:
    assert "needs Python on every host" in notes([OURS, ANSIBLE])
    assert "Ansible" not in notes([OURS, TEXTBOOK])


def test_every_goal_compares_what_it_is_about() -> None:
    textbook = Cost(wall=40, cpu=30, memory=500, round_trips=30, sent=90)
    ours = {TASKS[0]: replace(COST, wall=7), TASKS[1]: replace(COST, wall=9), TASKS[2]: replace(COST, wall=12, sent=20)}
    full = costs(COST, (TEXTBOOK, textbook), floor=replace(COST, wall=5, sent=3))
    small, few = costs(replace(COST, wall=6)), costs(replace(COST, wall=4))
    for task, cost in ours.items():
        full.runs[task, OURS] = [cost]
    found = {goal.work: goal for goal in goals(full, small, few)}
    assert {work: round(goal.measured, 3) for work, goal in found.items()} == {
        "nothing to do": 1.4,
        "dry run, one domain added": 1.8,
        "dry run, one domain added: peak on the controller": 104.858,
        "one domain added, applied": 0.3,
        "nothing to do: controller CPU": 0.2,
        "dry run, one domain added: controller CPU": 0.2,
        "one domain added: controller CPU": 0.2,
        "sent to a host for one added domain: all of the run": 20.48,
        "sent to a host for one added domain: less connecting": 17.408,
        "sent to a host for one added domain: more than with nothing to do": 12.288,
        "the same with 10 times fewer domains: all of the run": 8.192,
        "the same with 10 times fewer domains: less connecting": 0,
        "the same with 10 times fewer domains: more than with nothing to do": 0,
        "nothing to do, 10 x the domains": 1.167,
        "dry run, one domain added, 10 x the domains": 1.5,
        "nothing to do, 2 x the hosts": 1.75,
        "dry run, one domain added, 2 x the hosts": 2.25,
        "one domain added, 2 x the hosts": 3.0,
    }
    assert found["nothing to do"].is_reached
    assert not found["dry run, one domain added, 10 x the domains"].is_reached, "under 1.5, not 1.5 itself"


def test_a_missed_goal_tells_by_how_much() -> None:
    missed, met = goals_table([Goal("a", 0.4, "x textbook", 0.8), Goal("b", 2.1, "x", 2, under=True)]).splitlines()[2:]
    assert [cell.strip() for cell in missed.strip("|").split("|")] == [
        *("a", "0.4 x textbook", "0.80 x textbook", "no: 2.00 times the limit"),
    ]
    assert [cell.strip() for cell in met.strip("|").split("|")] == ["b", "under 2.1 x", "2.00 x", "yes"]


def test_the_goals_are_for_a_larger_fleet_unless_told_otherwise() -> None:
    def size(*arguments: str) -> tuple[int, int, int]:
        options = options_of(arguments)
        return options.hosts, options.domains, options.repeat

    assert size() == USUAL
    assert size("--goals") == FOR_GOALS
    assert size("--goals", "--hosts", "4") == (4, *FOR_GOALS[1:])
    assert options_of(["--with-ansible"]).forks == [20, 50]
    assert options_of(["--with-ansible", "5", "--hosts", "3"]).forks == [5]


@pytest.mark.parametrize(
    "arguments", [["--goals", "--hosts", "1"], ["--goals", "--domains", "9"], ["--goals", "--with-ansible"]]
)
def test_goals_that_cannot_be_measured_are_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        options_of(arguments)


def test_tools_that_led_to_other_configurations_are_named_with_the_lines() -> None:
    same = entries({"main.cf": "a = 1, 2\n", "transport": "# comment\n\nx.example  smtp:[10.1.0.2]\n"})
    also = entries({"main.cf": "a = 1  2\n", "transport": "x.example smtp:[10.1.0.2]\n"})
    assert comparison({TEXTBOOK: same, OURS: also}).startswith("Afterwards")
    assert comparison({TEXTBOOK: same, OURS: also, ANSIBLE: {*same, "main.cf: b = 3"}}) == (
        "NOT COMPARABLE: afterwards the configuration differs between "
        "Ansible, pipelining, 20 forks and textbook: main.cf: b = 3"
    )


def from_templates(folder: str, variables: Mapping[str, object], **options: bool) -> dict[str, str]:
    loader = FileSystemLoader(ROOT / "lab" / folder / "templates")
    templates = Environment(loader=loader, undefined=StrictUndefined, **options)  # type: ignore[arg-type]
    return {name: templates.get_template(f"{name}.j2").render(variables) for name in BASIC_FILES}


def test_all_that_are_compared_deploy_the_same() -> None:
    backport = {"smtpd_forbid_bare_newline": "no", "smtpd_forbid_bare_newline_reject_code": "550"}
    state = desired(**DECLARED)
    ours = entries({name: content.text for name, content in rendered(state, postfix((3, 7), backport)).items()})
    host = SimpleNamespace(name=state.myhostname, data=SimpleNamespace(**DECLARED))
    textbook = entries(from_templates("textbook", {"host": host}))
    ansible = entries(from_templates("ansible", {"inventory_hostname": state.myhostname, **DECLARED}, trim_blocks=True))
    assert textbook == ansible
    assert textbook ^ ours <= {"main.cf: readme_directory = no"}, "ours keeps it where a host has it"


def test_ansible_reads_what_pyinfra_reads() -> None:
    assert yaml.safe_load(as_yaml(DECLARED)) == DECLARED


def test_shared_memory_counts_a_part_for_each_process() -> None:
    rollup = "5581-7ffd ---p 00000000 00:00 0    [rollup]\nRss:  6540 kB\nPss:  3021 kB\nPss_Dirty:  1108 kB\n"
    assert proportional_kib(rollup) == 3021


def test_what_a_command_leaves_in_the_background_is_counted_and_ended(tmp_path: Path) -> None:
    # Left behind as ssh's masters are; it spends a second of CPU before the command ends, and would go on.
    busy = "import os\nwhile True:\n os.times().user > 1 and open('spent-1s', 'w').close()"
    left = f'setsid {sys.executable} -c "$BUSY" & until [ -e spent-1s ]; do sleep 0.1; done; exit 3'
    tree = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, "-m", "lab.process_tree"]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "BUSY": busy, "MARK": str(tmp_path)}
    done = subprocess.run([*tree, "spent", "sh", "-c", left], cwd=tmp_path, env=environment, check=False, timeout=30)
    assert done.returncode == 3
    spent = json.loads((tmp_path / "spent").read_text())
    assert spent["cpu"] >= 1
    assert spent["memory"] > 5000, "an interpreter's, in KiB"
    marks = [entry for entry in Path("/proc").glob("[0-9]*/environ") if str(tmp_path).encode() in _read(entry)]
    assert not marks


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
