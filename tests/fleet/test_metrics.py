"""mailproxy.metrics, of a fleet that is as declared, of a host that was edited, and of one that is away."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.fleet.controller import Controller

HOSTS = ("mx1.lab.test", "mx2.lab.test", "mx3.lab.test")
QUEUES = ("active", "deferred", "hold", "incoming", "maildrop")

Values = dict[tuple[str, ...], float]


def measured(controller: Controller, file: Path, status: int = 0) -> Values:
    """Return the values in the file that a run leaves, by the metric, less its common beginning, and its labels."""
    impatient = file.with_name("impatient")
    impatient.write_text("from pyinfra import config\n\nconfig.CONNECT_TIMEOUT = 3\n")
    result = controller.call("mailproxy.metrics", f"textfile={file}", "-y", "--config", str(impatient))
    assert result.status == status, result.everything
    return values(file.read_text())


def values(text: str) -> Values:
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(sample.name.removeprefix("mailproxy_"), *sample.labels.values()): sample.value for sample in samples}


def test_the_metrics_of_a_fleet_follow_its_hosts(controller: Controller, tmp_path: Path) -> None:
    controller.declare(ssh_connect_retries=0)
    mx1, mx2, mx3 = controller.fleet.hosts
    file = tmp_path / "mailproxy.prom"
    found = measured(controller, file)
    started = found.pop(("run_timestamp_seconds",))
    for name in HOSTS:
        assert 0 <= started - found.pop(("host_last_change_timestamp_seconds", name)) < 86400
    expected: Values = {("host_queue_messages", host, queue): 0 for queue in QUEUES for host in HOSTS}
    expected |= {("host_differing_files", host, cause): 0 for cause in ("edited", "declared") for host in HOSTS}
    expected |= {(f"host_{name}", host): 0 for name in ("stale_tables", "reload_pending", "drained") for host in HOSTS}
    expected |= {(f"host_{name}", host): 1 for name in ("up", "running", "as_declared", "generation") for host in HOSTS}
    assert found == expected
    assert file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.glob("*mailproxy*")] == [file.name]

    with (mx2.configuration / "mynetworks").open("a") as networks:
        networks.write("10.9.9.9/32\n")
    mx2.run(["sendmail", "-f", "root", "nobody@held.example"], input="Subject: held\n\n")
    mx2.run(["sh", "-c", "until postsuper -h ALL 2>&1 | grep -q Placed; do sleep 0.1; done"])
    controller.fleet.power_off(mx3)
    try:
        found = measured(controller, file, status=1)
    finally:
        controller.fleet.boot(mx3)
    assert {key: value for key, value in found.items() if mx3.name in key} == {("host_up", mx3.name): 0}
    of_edited = {key: value for key, value in found.items() if mx2.name in key}
    assert of_edited["host_differing_files", mx2.name, "edited"] == 1
    assert of_edited["host_as_declared", mx2.name] == 0
    assert of_edited["host_queue_messages", mx2.name, "hold"] == 1
    assert found["host_as_declared", mx1.name] == 1

    printed = controller.call("mailproxy.metrics", "-y")
    assert values(printed.review)["host_up", mx3.name] == 1


def test_where_metrics_cannot_be_written_nothing_is_read(controller: Controller, tmp_path: Path) -> None:
    for argument, reason in (
        (f"textfile={tmp_path}/mailproxy.txt", "expected a name that ends in .prom"),
        (f"textfile={tmp_path}/nowhere/mailproxy.prom", f"there is no directory {tmp_path}/nowhere"),
        ("file=x", "no such argument; expected textfile=PATH"),
    ):
        result = controller.call("mailproxy.metrics", argument, "-y")
        assert result.status == 1
        assert reason in result.log
        assert "Traceback" not in result.everything
