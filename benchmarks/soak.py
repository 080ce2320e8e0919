"""Kills drivers and workers at random moments, and checks that nothing is lost, done twice or left.

    python benchmarks/soak.py [--driver-kills 50] [--worker-kills 50] [--seed 0]

Rounds of a small ablation run one after the other in one results folder. In each, a driver on Ray
or in one process is killed, at its start, between records or while it reports, or workers of a
driver on Ray are killed or stopped. When an ablation has ended without a kill, its folder must hold
the same learning curves, tables, verdicts and files as that of an ablation nobody disturbed, and
the next one starts in an emptied folder. After each round are checked:

- that no record that was there has changed, so that no run is trained twice;
- that no process of the driver lives ten seconds later, unless its guard was killed with it, in
  which case the next driver has to end them;
- that the exit code is the one of the signal, or 0.

Prints what was done and every fault; the exit code is 1 if there was one.
"""

import argparse
import collections
import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[1]
NAME = "soaked"
SPEC = """
name: soaked
question: Does the answer survive?
base: base.yaml
factors:
  noise:
    official: {augment.white_noise_std: 1.0}
    weak: {augment.white_noise_std: 0.25}
  rate:
    high: {optim.lr_max: 0.005}
    low: {optim.lr_max: 0.002}
seeds: [0, 1, 2, 3]
hypotheses:
  weak_hurts:
    claim: Weak noise raises PER.
    contrast: {factor: noise, from: official, to: weak}
    where: {rate: high}
    outcome: per
    direction: increase
    margin: 0.02
"""
BASE = """
data: {path: "synthetic:tiny", batch_size: 4, days_per_batch: 2}
model: {n_units: 16, n_layers: 1}
optim: {lr_warmup_steps: 2}
train: {n_steps: %d, eval_every_steps: 20, keep_weights: final}
"""
N_RUNS = 16
# Columns of tables that say when, where and how fast, which differ between any two calls.
_OF_THE_MACHINE = ("seconds", "memory", "pack", "host", "finished", "device")
# Files that only tell how the calls went.
_OF_THE_CALLS = {"timing.json", ".lock", "memory.json", ".index.parquet", ".index.sha256"}
_LONGEST_ROUND_SECONDS = 300.0
_MARK = "SOAK_ROUND"


@dataclass
class Count:
    """What was done, and what went wrong."""

    done: collections.Counter[str] = field(default_factory=collections.Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, text: str) -> None:
        self.faults.append(text)
        print(f"FAULT: {text}", flush=True)


class Driver:
    """One call of `run` as a process of its own, with everything that it starts."""

    def __init__(self, spec: Path, results: Path, backend: str, mark: str, log: Path) -> None:
        self.mark, self.results, self.log = mark, results, log
        with log.open("wb") as out:
            command = [sys.executable, "-m", "orchestrator", "run", str(spec), "--results"]
            options = [str(results), "--backend", backend, "--max-runs-per-pack", "2"]
            if backend == "ray":
                options += ["--workers", "2", "--hang-minutes", "0.5"]
            self.process = subprocess.Popen(
                [*command, *options],
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                env={**os.environ, _MARK: mark, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )

    @property
    def runs(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, happens: Callable[[], bool], seconds: float) -> bool:
        """Wait until something happens or the driver ends. → whether it happened."""
        deadline = time.monotonic() + seconds
        while self.runs and time.monotonic() < deadline:
            if happens():
                return True
            time.sleep(0.01)
        return False

    def n_recorded(self) -> int:
        return len(list((self.results / "runs").glob("*/record.json")))

    def others(self) -> dict[int, str]:
        """Process id → command, of every process that this call started and that lives."""
        found = {}
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"{_MARK}={self.mark}".encode() in (process / "environ").read_bytes():
                    state = (process / "stat").read_text().rpartition(")")[2].split()[0]
                    command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    if state != "Z" and int(process.name) != self.process.pid:
                        found[int(process.name)] = command
        return found

    def workers(self) -> list[int]:
        """The processes that train packs."""
        return [pid for pid, command in self.others().items() if "PackTrainable" in command]

    def guards(self) -> list[int]:
        return [pid for pid, command in self.others().items() if "guard.py" in command]

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)


def kill_driver(driver: Driver, backend: str, rng: random.Random, count: Count) -> int | None:
    """Kill the driver at a random moment. → the signal; None if it ended before."""
    moment = rng.choices(["start", "records", "report"], [2, 5, 4])[0]
    if moment == "start":
        time.sleep(rng.uniform(0.2, 8.0 if backend == "ray" else 4.0))
    elif moment == "records":
        n = driver.n_recorded() + rng.randint(1, 4)
        driver.wait_for(lambda: driver.n_recorded() >= min(n, N_RUNS), _LONGEST_ROUND_SECONDS)
        time.sleep(rng.uniform(0.0, 1.0))
    else:
        driver.wait_for(lambda: driver.n_recorded() >= N_RUNS, _LONGEST_ROUND_SECONDS)
        time.sleep(rng.uniform(0.0, 2.5))
    if not driver.runs:
        return None
    n_recorded = driver.n_recorded()
    what = rng.choices(["KILL", "KILL with its guard", "HUP", "TERM", "INT", "STOP, KILL"],
                       [8, 3, 3, 2, 2, 2])[0]  # fmt: skip
    if what == "KILL with its guard" and not (guards := driver.guards()):
        what = "KILL"  # only Ray needs a guard
    if what == "KILL with its guard":
        for pid in guards:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    if what == "STOP, KILL":
        driver.send(signal.SIGSTOP)
        time.sleep(1.0)
    number = {"HUP": signal.SIGHUP, "TERM": signal.SIGTERM, "INT": signal.SIGINT}.get(what, 9)
    driver.send(number)
    count.done[f"driver on {backend}, {moment}: {what}"] += 1
    count.done["kills of drivers"] += 1
    count.done["  with records present"] += n_recorded > 0
    count.done["  while reporting"] += moment == "report" and n_recorded == N_RUNS
    return -9 if number == 9 else 128 + int(number)


def kill_workers(driver: Driver, rng: random.Random, count: Count) -> None:
    """Kill or stop workers, one after the other, at random moments."""
    for _ in range(rng.randint(2, 4)):
        if not driver.wait_for(lambda: bool(driver.workers()), _LONGEST_ROUND_SECONDS):
            return
        time.sleep(rng.uniform(0.1, 4.0))
        workers = driver.workers()
        if workers and driver.runs:
            what = rng.choices(["KILL", "STOP"], [5, 1])[0]
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(workers), getattr(signal, f"SIG{what}"))
                count.done[f"worker: {what}"] += 1
                count.done["kills of workers"] += 1


def check_round(
    driver: Driver, expected: set[int], guard_died: bool, before: dict[str, str], count: Count
) -> None:
    """Check the exit code, the records of before, and that no process is left."""
    try:
        code = driver.process.wait(_LONGEST_ROUND_SECONDS)
    except subprocess.TimeoutExpired:
        count.fault(f"round {driver.mark}: the driver did not end; see {driver.log}")
        driver.send(signal.SIGKILL)
        driver.process.wait()
        return
    if code not in expected:
        count.fault(f"round {driver.mark}: exit code {code}, not in {expected}; see {driver.log}")
    if "Traceback" in driver.log.read_text(errors="replace"):
        count.fault(f"round {driver.mark}: a traceback, see {driver.log}")
    after = digests(driver.results)
    for run_id in before:
        if after.get(run_id) != before[run_id]:
            count.fault(f"round {driver.mark}: the record of {run_id} changed")
    if not guard_died:
        deadline = time.monotonic() + 10.0
        while driver.others() and time.monotonic() < deadline:
            time.sleep(0.1)
        if left := driver.others():
            count.fault(f"round {driver.mark}: processes are left: {left}")


def digests(results: Path) -> dict[str, str]:
    """Run id → hash of its record, of runs with a result."""
    found = {}
    for path in (results / "runs").glob("*/record.json"):
        content = path.read_bytes()
        if json.loads(content)["status"] != "failed":
            found[path.parent.name] = hashlib.sha256(content).hexdigest()
    return found


def outcome(results: Path) -> dict[str, str]:
    """What two undisturbed ablations have in common: file → its content, or that it is there."""
    found = {}
    for path in sorted(results.rglob("*")):
        name = path.relative_to(results).as_posix()
        if path.is_dir() or name.startswith("datasets/") or path.name in _OF_THE_CALLS:
            continue
        found[name] = "there"
        if path.name == "history.csv" or path.suffix == ".safetensors":
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".csv":
            table = pd.read_csv(path)
            kept = [c for c in table if not any(word in c for word in _OF_THE_MACHINE)]
            found[name] = str(table[kept].to_csv(index=False))
        elif path.name == "verdicts.json":
            found[name] = path.read_text()
    return found


def compare(results: Path, reference: dict[str, str], mark: str, count: Count) -> None:
    """Check a finished results folder against that of an undisturbed ablation."""
    found = outcome(results)
    for name in sorted(reference.keys() | found.keys()):
        if name not in found:
            count.fault(f"round {mark}: {name} is missing")
        elif name not in reference:
            count.fault(f"round {mark}: {name} is left over")
        elif found[name] != reference[name]:
            count.fault(f"round {mark}: {name} differs from the undisturbed one")
    count.done["ablations finished and compared"] += 1


def main() -> None:
    """Run the rounds, and print what was done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--driver-kills", type=int, default=50)
    parser.add_argument("--worker-kills", type=int, default=50)
    parser.add_argument("--steps", type=int, default=400, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept; a temporary one is deleted")
    asked = parser.parse_args()
    rng, count = random.Random(asked.seed), Count()
    with contextlib.ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "base.yaml").write_text(BASE % asked.steps)
        spec = folder / "soaked.yaml"
        spec.write_text(SPEC)
        began = time.monotonic()
        calm = Driver(spec, folder / "calm", "local", "calm", folder / "calm.log")
        if calm.process.wait() != 0:
            raise SystemExit((folder / "calm.log").read_text())
        reference = outcome(folder / "calm")
        print(f"undisturbed: {time.monotonic() - began:.0f} s, {len(reference)} files", flush=True)
        results, n_round = folder / "soaked", 0
        while (
            count.done["kills of drivers"] < asked.driver_kills
            or count.done["kills of workers"] < asked.worker_kills
        ):
            n_round += 1
            of_workers = count.done["kills of workers"] < asked.worker_kills and (
                count.done["kills of drivers"] >= asked.driver_kills or rng.random() < 0.3
            )
            backend = "ray" if of_workers or rng.random() < 0.5 else "local"
            before = digests(results)
            driver = Driver(spec, results, backend, str(n_round), folder / f"{n_round}.log")
            expected, guard_died = {0}, False
            if of_workers:
                kill_workers(driver, rng, count)
                expected = {0, 4}  # a pack that loses its worker too often has failed for good
            else:
                n_guards = len(driver.guards())
                ended = kill_driver(driver, backend, rng, count)
                expected = {0} if ended is None else {ended, 0}
                guard_died = n_guards != len(driver.guards())
            check_round(driver, expected, guard_died, before, count)
            if driver.process.returncode == 0:
                compare(results, reference, str(n_round), count)
                shutil.rmtree(results / "runs", ignore_errors=True)
                shutil.rmtree(results / "ablations", ignore_errors=True)
        last = Driver(spec, results, "local", "last", folder / "last.log")
        check_round(last, {0}, False, digests(results), count)
        compare(results, reference, "last", count)
        count.done["rounds"] = n_round
        for what, n in sorted(count.done.items()):
            print(f"{n:5d}  {what}")
        print(f"{len(count.faults)} faults in {time.monotonic() - began:.0f} s")
        if count.faults and not asked.folder:
            print("give --folder to keep the logs")
    sys.exit(bool(count.faults))


if __name__ == "__main__":
    main()
