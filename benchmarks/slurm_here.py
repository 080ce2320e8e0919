"""Runs the batch scripts of `orchestrator slurm` on a real SLURM of two nodes on this machine.

    apt-get install slurm-wlm munge          # Debian; needs root
    python benchmarks/slurm_here.py

Starts munge, slurmctld and two slurmd in a temporary folder, and submits a small ablation four
times: as an array of two tasks, as one job on two nodes with Ray, as one job whose time limit
comes before its end, so that it stops in order and asks to be queued again, and as files of an
export, one of which gets a signal on its way and goes on. Each must record every run once. Prints
what came of each, and exits with 1 if one failed. It takes about fifteen minutes, since SLURM waits
two minutes before it starts a job again.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGURATION = """
ClusterName=here
SlurmctldHost=localhost
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
SlurmctldPidFile={0}/slurmctld.pid
SlurmdPidFile={0}/slurmd-%n.pid
SlurmdSpoolDir={0}/spool-%n
StateSaveLocation={0}/state
SlurmUser=root
SlurmdUser=root
SlurmctldLogFile={0}/slurmctld.log
SlurmdLogFile={0}/slurmd-%n.log
MpiDefault=none
SwitchType=switch/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname=localhost NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=4000
NodeName=n2 NodeHostname=localhost NodeAddr=127.0.0.1 Port=17002 CPUs=2 RealMemory=4000
PartitionName=all Nodes=n1,n2 Default=YES MaxTime=INFINITE State=UP
"""
SPEC = """
name: small
question: Does the answer survive the queue?
base: base.yaml
factors:
  noise:
    official: {augment.white_noise_std: 1.0}
    weak: {augment.white_noise_std: 0.25}
seeds: [0, 1, 2, 3]
hypotheses:
  weak_hurts:
    claim: Weak noise raises PER.
    contrast: {factor: noise, from: official, to: weak}
    outcome: per
    direction: increase
    margin: 0.02
"""
BASE = """
data: {path: "synthetic:tiny", batch_size: 4, days_per_batch: 2}
model: {n_units: 16, n_layers: 1}
optim: {lr_warmup_steps: 2}
train: {n_steps: %d, eval_every_steps: 50}
"""
N_RUNS = 8
# name → options of `slurm`, and the steps of a run
WAYS: dict[str, tuple[list[str], int]] = {
    "array of two tasks": (["--array", "2", "--time", "10"], 1000),
    "two nodes with Ray": (["--nodes", "2", "--cpus-per-node", "1", "--time", "10"], 1000),
    "one job, queued again": (["--time", "2", "--notice-seconds", "60"], 2500),
}


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """A SLURM of two nodes, for the duration of the block."""
    (folder / "state").mkdir()
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    (folder / "slurm.conf").write_text(CONFIGURATION.format(folder))
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
        Path("/run/munge").mkdir(exist_ok=True)
        shutil.chown("/run/munge", "munge")
        call(["su", "-s", "/bin/sh", "munge", "-c", "munged"])
    try:
        call(["slurmctld"])
        call(["slurmd", "-N", "n1"])
        call(["slurmd", "-N", "n2"])
        yield
    finally:
        for path in folder.glob("slurm*.pid"):
            with contextlib.suppress(OSError, ValueError):
                os.kill(int(path.read_text()), 15)


def call(command: Sequence[str], cwd: Path | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def submit(folder: Path, options: Sequence[str], n_steps: int) -> str:
    """Submit the ablation and wait until it has left the queue. → what is wrong, if anything."""
    folder.mkdir()
    (folder / "base.yaml").write_text(BASE % n_steps)
    (folder / "small.yaml").write_text(SPEC)
    command = [sys.executable, "-m", "orchestrator", "slurm", "small.yaml", "--results", "results"]
    os.environ["PYTHONPATH"] = str(ROOT)
    call([*command, "--cpus-per-node", "2", *options], folder)
    call(["sbatch", "small.sbatch"], folder)
    deadline = time.monotonic() + 1500
    while call(["squeue", "--noheader"]).strip():
        if time.monotonic() > deadline:
            call(["scancel", "--name", "small"])
            return "it did not leave the queue"
        time.sleep(2)
    records = [json.loads(path.read_bytes()) for path in folder.glob("results/runs/*/record.json")]
    said = "".join(path.read_text() for path in folder.glob("results/slurm/*.out"))
    calls = json.loads((folder / "results/ablations/small/timing.json").read_bytes())["calls"]
    print(f"  {sum('queued again' in line for line in said.splitlines())} times queued again,")
    print(f"  {len(calls)} calls of run trained {[one['n_trained'] for one in calls]} runs")
    if "Traceback" in said:
        return f"a traceback: {said}"
    if sum(one["n_trained"] for one in calls) != N_RUNS:
        return "a run was trained twice, or not at all"
    if [record["status"] for record in records] != ["ok"] * N_RUNS:
        return f"{len(records)} records"
    if not (folder / "results/ablations/small/report.html").exists():
        return "there is no report"
    return ""


def submit_export(folder: Path, n_steps: int) -> str:
    """Submit the files of an export, stop one task on its way, and bring the results back."""
    folder.mkdir()
    (folder / "base.yaml").write_text(BASE % n_steps)
    (folder / "small.yaml").write_text(SPEC)
    os.environ["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-m", "orchestrator"]
    where = ["--results", "results"]
    call([*command, "export", "small.yaml", "files", "--cpus", "1", "--time", "10", *where], folder)
    job = call(["sbatch", "--parsable", "array.sbatch"], folder / "files").strip()
    deadline = time.monotonic() + 900
    stopped = False
    while call(["squeue", "--noheader"]).strip():
        if time.monotonic() > deadline:
            call(["scancel", job])
            return "it did not leave the queue"
        if not stopped and list(folder.glob("files/out/*/checkpoint/*")):
            first = (folder / "files/runs.txt").read_text().split()[0]
            stopped = (folder / "files/out" / first / "checkpoint").is_dir()
            if stopped:
                # It fails if the task is queued again before it has looked.
                signal = ["scancel", "--signal=USR1", "--batch", f"{job}_0"]
                subprocess.run(signal, capture_output=True, check=False)
        time.sleep(1)
    said = "".join(path.read_text() for path in folder.glob("files/slurm-*.out"))
    back = json.loads(call([*command, "import-runs", "files", "--json", *where], folder))
    print(f"  {said.count('queued again')} times queued again, {len(back['new'])} brought back")
    again = json.loads(call([*command, "run", "small.yaml", "--json", *where], folder))
    if "Traceback" in said:
        return f"a traceback: {said}"
    if stopped and "stopped in order; queued again" not in said:
        return "a task that got a signal was not queued again"
    if len(back["new"]) != N_RUNS or again["n_trained"]:
        return f"{len(back['new'])} results came back, and {again['n_trained']} runs were trained"
    return ""


def main() -> None:
    """Submit in every way, and print what came of it."""
    found = []
    with tempfile.TemporaryDirectory() as above, slurm(Path(above)):
        for number, (way, (options, n_steps)) in enumerate(WAYS.items()):
            print(way, flush=True)
            wrong = submit(Path(above) / f"way-{number}", options, n_steps)
            print(f"  {wrong or 'every run recorded once, with a report'}", flush=True)
            found.append(wrong)
        print("files of an export", flush=True)
        wrong = submit_export(Path(above) / "export", 1000)
        print(f"  {wrong or 'every run came back once'}", flush=True)
        found.append(wrong)
    sys.exit(any(found))


if __name__ == "__main__":
    main()
