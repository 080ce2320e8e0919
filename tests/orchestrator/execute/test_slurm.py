"""Batch scripts for SLURM, run by bash with stand-ins for SLURM's commands and for the driver."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from decoder.errors import ConfigError
from orchestrator.cli.app import app
from orchestrator.execute.backends.ray_cluster import LOOPBACK_ALONE
from orchestrator.execute.slurm import Job, batch_script

# Each stand-in appends how it was called to `calls`.
SRUN = """#!/bin/bash
echo "srun $*" >> calls
while [[ "$1" == --* ]]; do shift; done
[ "$1" != hostname ] || { echo "10.0.0.1 fe80::1"; exit; }
exec "$@"
"""
SCONTROL = """#!/bin/bash
echo "scontrol $*" >> calls
[ "$1" != show ] || printf '%s\\n' n1 n2 n3
"""
# In the place of Python: the driver runs until it is stopped, or for as long as the test says.
PYTHON = """#!/bin/bash
case "$*" in
  -c*) echo secret; exit ;;
  *health-check*) [ -f head_is_up ]; exit ;;
  *start*)
    echo "ray $* token=$RAY_AUTH_TOKEN" >> calls
    touch head_is_up
    exec sleep 60 ;;
esac
trap 'echo stop >> calls; sleep 0.3; exit 143' TERM
echo "run $* threads=$OMP_NUM_THREADS" >> calls
for i in $(seq "${DRIVER_SECONDS:-300}"); do sleep 0.1; done
exit "${DRIVER_CODE:-0}"
"""


class Submitted:
    """A batch script that runs as SLURM would run it."""

    def __init__(self, folder: Path, job: Job, **environment: str) -> None:
        self.folder = folder
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL), ("python", PYTHON)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        script = folder / "job.sbatch"
        script.write_text(make_script(job, folder))
        variables = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "12345",
            "SLURM_JOB_NODELIST": "n[1-3]",
            "SLURM_CPUS_PER_TASK": "4",
        }
        self.process = subprocess.Popen(
            ["bash", str(script)],
            env={**os.environ, **variables, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def wait_until_called(self, what: str) -> None:
        deadline = time.monotonic() + 20
        while not any(call.startswith(what) for call in self.calls()):
            assert time.monotonic() < deadline, self.calls()
            time.sleep(0.02)

    def calls(self) -> list[str]:
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []

    def end(self) -> int:
        self.output, _ = self.process.communicate(timeout=30)
        return self.process.returncode


def make_script(job: Job, folder: Path) -> str:
    return batch_script(
        job,
        "question",
        ["spec.yaml", "--results", "my results"],
        python=str(folder / "python"),
        directory=folder,
        logs=folder / "slurm",
        file=folder / "job.sbatch",
        command=["python", "-m", "orchestrator", "slurm"],
    )


def options(script: str) -> dict[str, str]:
    """The options that sbatch reads: those before the first line that is no comment."""
    head = script.partition("set -uo pipefail")[0]
    return dict(re.findall(r"^#SBATCH --([\w-]+)=?(.*)$", head, re.MULTILINE))


class TestOneNode:
    def test_the_exit_code_of_the_driver_is_that_of_the_job(self, tmp_path: Path) -> None:
        job = Submitted(tmp_path, Job(cpus_per_node=3), DRIVER_SECONDS="1", DRIVER_CODE="4")
        assert job.end() == 4
        run = "run -m orchestrator run spec.yaml --results my results --workers 3 --threads 1"
        assert job.calls() == [f"{run} --grace-seconds 110 threads=1"]

    def test_a_signal_before_the_limit_stops_the_driver_and_queues_the_job_again(
        self, tmp_path: Path
    ) -> None:
        job = Submitted(tmp_path, Job())
        job.wait_until_called("run")
        job.process.send_signal(signal.SIGUSR1)
        assert job.end() == 143
        assert job.calls()[1:] == ["stop", "scontrol requeue 12345"]

    def test_two_signals_wait_for_the_driver_all_the_same(self, tmp_path: Path) -> None:
        job = Submitted(tmp_path, Job())
        job.wait_until_called("run")
        job.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        job.process.send_signal(signal.SIGUSR1)
        assert job.end() == 143
        assert job.calls()[1:] == ["stop", "scontrol requeue 12345"]

    def test_a_job_is_not_queued_again_more_often_than_asked(self, tmp_path: Path) -> None:
        job = Submitted(tmp_path, Job(most_restarts=2), SLURM_RESTART_COUNT="2")
        job.wait_until_called("run")
        job.process.send_signal(signal.SIGUSR1)
        assert job.end() == 143
        assert not any(call.startswith("scontrol") for call in job.calls())


def test_a_task_of_an_array_shares_the_results_and_queues_itself_again(tmp_path: Path) -> None:
    job = Job(n_tasks=3)
    assert options(make_script(job, tmp_path))["array"] == "0-2"
    assert "%A_%a" in options(make_script(job, tmp_path))["output"]
    task = Submitted(tmp_path, job, SLURM_ARRAY_JOB_ID="7", SLURM_ARRAY_TASK_ID="2")
    task.wait_until_called("run")
    assert "--share-work --threads 4" in task.calls()[0]
    assert "--workers" not in task.calls()[0]
    task.process.send_signal(signal.SIGUSR1)
    assert task.end() == 143
    assert task.calls()[1:] == ["stop", "scontrol requeue 7_2"]


def test_several_nodes_get_a_ray_cluster_that_ends_with_the_job(tmp_path: Path) -> None:
    job = Submitted(tmp_path, Job(n_nodes=3, cpus_per_node=8, gpus_per_node=2), DRIVER_SECONDS="10")
    assert job.end() == 0, job.output
    calls = job.calls()
    heads = [call for call in calls if call.startswith("ray") and "--head" in call]
    others = [call for call in calls if call.startswith("ray") and "--head" not in call]
    assert len(heads) == 1
    assert "--node-ip-address=10.0.0.1 --port=22345" in heads[0]
    assert "--address=10.0.0.1:22345" in others[0]
    for call in (*heads, *others):
        assert "--num-cpus=8 --num-gpus=2" in call
        assert call.endswith("token=secret")
    assert any("--nodelist=n1" in call and "--head" in call for call in calls)
    assert any("--nodes=2 --ntasks=2 --exclude=n1" in call for call in calls)
    run = next(call for call in calls if call.startswith("run"))
    assert "--workers 6 --threads 4 --grace-seconds 110 --address 10.0.0.1:22345" in run
    assert not any("secret" in call for call in calls if call.startswith("srun"))
    assert LOOPBACK_ALONE not in make_script(Job(n_nodes=3), tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_limit": "tonight"},
        {"notice_seconds": 5},
        {"n_tasks": 2, "n_nodes": 2},
        {"n_tasks": 2, "gpus_per_node": 2},
        {"lines": ["--partition=gpu\nrm -rf ~"]},
        {"lines": ["partition"]},
        {"set_up": ["module load\x07"]},
    ],
)
def test_what_sbatch_would_misread_is_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        make_script(Job(**wrong), tmp_path)


def test_the_command_writes_a_script_that_bash_can_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = Path("ablations/blank_collapse.yaml").absolute()
    monkeypatch.chdir(tmp_path)
    results = tmp_path / "my results"
    asked = ["slurm", str(spec), "--results", str(results), "--nodes", "2", "--gpus-per-node", "4"]
    done = CliRunner().invoke(app, [*asked, "--time", "1-12", "--sbatch", "--partition=gpu"])
    assert done.exit_code == 0, done.output
    script = tmp_path / "blank_collapse.sbatch"
    assert subprocess.run(["bash", "-n", script], check=False).returncode == 0
    read = options(script.read_text())
    assert read["job-name"] == "blank_collapse"
    assert read["time"] == "1-12"
    assert read["partition"] == "gpu"
    assert read["gpus-per-node"] == "4"
    assert (results / "slurm").is_dir()
    assert CliRunner().invoke(app, ["slurm", str(spec), "--time", "soon"]).exit_code == 2
