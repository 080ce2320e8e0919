"""Measures the overhead of Ray: packs on reused actors, and one function trainable per run.

    python benchmarks/ray_overhead.py [--packs 12] [--runs-per-pack 6] [--workers 2] [--seconds 0.5]

The trainer only sleeps, so all time beyond the sleep is overhead. *packs* is the backend of
``python -m orchestrator run``: one tune trial per pack. *functions* is the simplest alternative:
one Ray function trainable per run with Tune's defaults and no logging to the terminal;
``--function-runs`` of them are timed. Each is measured in its own process, so imports are included.
A pack sleeps as long as one function run, because the gain of packing itself is measured elsewhere.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from decoder.config import DecoderConfig
from decoder.pack import Pack, Progress, Run, RunResult
from orchestrator.execute.backends import Execution, PackEvent


def time_packs(n_packs: int, n_runs: int, n_workers: int, seconds: float) -> dict[str, float]:
    """Seconds of each phase of `ray_session` over `n_packs` packs that sleep."""
    began = time.perf_counter()
    from orchestrator.execute.backends.ray_tune import ray_session

    def train_pack(pack: Pack, execution: Execution) -> Iterator[Progress]:
        time.sleep(seconds)
        results = [RunResult(run.run_id, "ok", (), 1, 1, 0, seconds, 1, 1) for run in pack.runs]
        yield Progress(1, {}, results)

    packs = [
        Pack(f"pack{i}", i, tuple(Run(f"run{i}-{k}", DecoderConfig()) for k in range(n_runs)))
        for i in range(n_packs)
    ]
    events: list[float] = []

    def on_event(event: PackEvent) -> None:
        assert isinstance(event.what, Progress), event.what
        events.append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as folder:
        execution = Execution(Path(folder), Path(folder), n_workers, device="cpu")
        with ray_session(execution, train_pack=train_pack) as train:
            train(packs, execution, on_event)
    return _phases(events, time.perf_counter() - began, n_packs, n_workers, seconds)


def time_functions(n_runs: int, n_workers: int, seconds: float) -> dict[str, float]:
    """Seconds of each phase of a plain Tune experiment with one function trainable per run."""
    began = time.perf_counter()
    import ray
    from ray import tune

    def train(config: dict[str, int]) -> None:
        time.sleep(seconds)
        tune.report({"per": 0.5})

    events: list[float] = []

    class Clock(tune.Callback):
        def on_trial_result(self, *args: object, **info: object) -> None:
            events.append(time.perf_counter() - began)

    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder:
        ray.init(
            address="local",
            num_cpus=n_workers,
            include_dashboard=False,
            log_to_driver=False,
            _temp_dir=f"{folder}/ray",
        )
        tune.Tuner(
            train,
            param_space={"run": tune.grid_search(list(range(n_runs)))},
            run_config=tune.RunConfig(storage_path=folder, verbose=0, callbacks=[Clock()]),
        ).fit()
        ray.shutdown()
    return _phases(events, time.perf_counter() - began, n_runs, n_workers, seconds)


def _phases(
    events: list[float], total: float, n_units: int, n_workers: int, seconds: float
) -> dict[str, float]:
    """Split a measurement; `events` are the seconds at which units ended, in order."""
    busy = seconds * n_units / n_workers
    first, last = events[0] - seconds, events[-1]
    return {
        "start_up": first,
        "per_unit": ((last - first) - busy) * n_workers / n_units,
        "shutdown": total - last,
        "total": total,
        "overhead": total - busy,
    }


def _measure(arguments: argparse.Namespace, what: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", what]
    for name in ("packs", "runs_per_pack", "function_runs", "workers", "seconds"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{what}: exit {done.returncode}\n{done.stderr}")
    phases: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return phases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--packs", type=int, default=12)
    parser.add_argument("--runs-per-pack", type=int, default=6)
    parser.add_argument("--function-runs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5, help="each pack or run sleeps")
    parser.add_argument("--measure", choices=["packs", "functions"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure == "packs":
        print(
            json.dumps(time_packs(given.packs, given.runs_per_pack, given.workers, given.seconds))
        )
        return
    if given.measure == "functions":
        print(json.dumps(time_functions(given.function_runs, given.workers, given.seconds)))
        return
    rows = [
        ("packs", given.packs, given.packs * given.runs_per_pack, _measure(given, "packs")),
        ("functions", given.function_runs, given.function_runs, _measure(given, "functions")),
    ]
    print(f"{given.workers} workers, {given.seconds} s of sleep a trial; all in seconds")
    print(
        f"{'':10} {'trials':>6} {'runs':>5} {'start-up':>9} {'per trial':>10} {'shutdown':>9}"
        f" {'overhead':>9} {'per run':>8}"
    )
    for name, n_trials, n_runs, phases in rows:
        print(
            f"{name:10} {n_trials:6d} {n_runs:5d} {phases['start_up']:9.2f}"
            f" {phases['per_unit']:10.3f} {phases['shutdown']:9.2f}"
            f" {phases['overhead']:9.2f} {phases['overhead'] / n_runs:8.3f}"
        )


if __name__ == "__main__":
    main()
