"""As much of kubectl and of Kubernetes as docs/ci/kubernetes needs: runs an indexed Job's pods as processes here.

What a pod's image holds is PLACE, and what the cluster knows lies in CLUSTER, both directories.
"""

import os
import subprocess
import sys
from pathlib import Path

import yaml

CLUSTER = Path(os.environ["CLUSTER"])


def create() -> None:
    """Run a Job to its end: a process for each index, all at once."""
    job = yaml.safe_load(sys.stdin)
    name, spec = job["metadata"]["name"], job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == spec["completions"]
    directory = CLUSTER / name
    if directory.exists():
        sys.exit(f"Error from server (AlreadyExists): jobs.batch {name} already exists")
    directory.mkdir()
    (container,) = spec["template"]["spec"]["containers"]
    given = {each["name"]: each["value"] for each in container["env"]}
    pods = []
    for index in range(spec["completions"]):
        with (directory / f"{index}.log").open("w") as log:
            environment = {**os.environ, **given, "JOB_COMPLETION_INDEX": str(index)}
            command = [*container["command"], *container["args"]]
            output = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": subprocess.STDOUT}
            pods.append(subprocess.Popen(command, cwd=os.environ["PLACE"], env=environment, **output))
    ended = [pod.wait() for pod in pods]
    print(f"jobs.batch/{name} created")
    (directory / "ended").write_text("Failed" if any(ended) else "Complete")


def main(arguments: list[str]) -> None:
    """Do what a command line asks for, of those that are used."""
    match arguments:
        case ["create", "-f", "-"]:
            create()
        case ["get", "job", name, "-o", _]:
            print((CLUSTER / name / "ended").read_text())
        case ["logs", "-l", selector, *_]:
            for log in sorted((CLUSTER / selector.removeprefix("job-name=")).glob("*.log")):
                print("".join(f"[pod/{log.stem}] {line}\n" for line in log.read_text().splitlines()), end="")
        case ["delete", "job", name, "--ignore-not-found"]:
            subprocess.run(["rm", "-rf", CLUSTER / name], check=True)
        case ["delete", "job", "-l", "app=mailproxy"]:
            subprocess.run(f"rm -rf {CLUSTER}/*", shell=True, check=True)
        case _:
            sys.exit(f"kubectl: {arguments}: not expected")


if __name__ == "__main__":
    main(sys.argv[1:])
