"""Runs an ablation of thousands of runs whose training is instant, and measures what is left.

    python benchmarks/ten_thousand_runs.py [--arms 2000] [--seeds 5] [--backend local]
        [--design factorial] [--only COMMAND ...] [--keep FOLDER]

The trainer gives each run a short history, errors by session and confusions at once, so all time
and memory belong to planning, the ledger, the driver and the report. Each phase is a process of its
own, as for a user. Printed are seconds (wall and CPU) and the peak memory of every command, the
milliseconds per run while runs are recorded, and the driver's memory at every tenth of the runs.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from rich.console import Console

from decoder.pack import HISTORY_COLUMNS, Pack, Progress, Run, RunResult
from orchestrator.driver.run import run_ablation
from orchestrator.execute.backends import Execution, PackEvent
from orchestrator.execute.backends.local import train_locally
from orchestrator.execute.machine import choose_options
from orchestrator.spec.load import load_spec
from orchestrator.store.paths import Results

N_STEPS, EVAL_EVERY, N_SESSIONS, N_CONFUSIONS = 120, 20, 8, 150
PATHS = ("optim.epsilon", "optim.beta1", "augment.white_noise_std")
# Command → its words; `run` of a complete ablation plans, reads the records and reports again.
COMMANDS = {
    "plan": ("plan", "SPEC", "--no-calibrate"),
    "report": ("report", "many"),
    "status": ("status",),
    "status many": ("status", "many"),
    "runs": ("runs",),
    "runs --where": ("runs", "--where", "seed == 3 and per < 0.22"),
    "compare": ("compare", "many:l0+l0+l0", "many:l1+l0+l0"),
    "plan again": ("plan", "SPEC", "--no-calibrate"),
    "run again": ("run", "SPEC", "--backend", "local"),
}


def write_spec(folder: Path, n_arms: int, n_seeds: int, design: str) -> Path:
    """Write ``many.yaml``: a factorial of three factors, or `n_arms` levels of one."""
    base = {
        "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
        "model": {"n_units": 8, "n_layers": 1},
        "optim": {"lr_warmup_steps": 2},
        "train": {"n_steps": N_STEPS, "eval_every_steps": EVAL_EVERY},
    }
    (folder / "base.yaml").write_text(json.dumps(base))
    sizes = [n_arms]
    if design == "factorial":
        small = max(2, round((n_arms / 2) ** (1 / 3)))
        sizes = [-(-n_arms // small**2), small, small]
    spec = {
        "name": "many",
        "question": "What does an ablation of thousands of runs cost?",
        "base": "base.yaml",
        "factors": {
            f"f{i}": {f"l{j}": {path: (j + 1) / (10 * size + 10)} for j in range(size)}
            for i, (path, size) in enumerate(zip(PATHS, sizes, strict=False))
        },
        "seeds": list(range(n_seeds)),
        "hypotheses": {
            "h": {
                "claim": "The second level of f0 is worse than the first.",
                "contrast": {"factor": "f0", "from": "l0", "to": "l1"},
                "where": {f"f{i}": "l0" for i in range(1, len(sizes))},
                "outcome": "per",
                "direction": "increase",
                "margin": 0.01,
            }
        },
        "criteria": {"decodes": {"metric": "per", "below": 0.5}},
        "prior": {"per": 0.02},
    }
    path = folder / "many.yaml"
    path.write_text(json.dumps(spec))
    return path


def pretend(pack: Pack, execution: Execution) -> Iterator[Progress]:
    """A trainer that takes no time: the evaluations, then the results."""
    histories: dict[str, list[dict[str, float]]] = {run.run_id: [] for run in pack.runs}
    for step in range(EVAL_EVERY, N_STEPS + 1, EVAL_EVERY):
        for run in pack.runs:
            histories[run.run_id].append(_row(run, step))
        yield Progress(step, {run_id: rows[-1] for run_id, rows in histories.items()})
    yield Progress(N_STEPS, {}, [_result(run, histories[run.run_id], pack) for run in pack.runs])


def _row(run: Run, step: int) -> dict[str, float]:
    noise = random.Random(f"{run.run_id} {step}")
    per = 0.2 + 0.6 * (1 - step / N_STEPS) + 0.05 * noise.random()
    counts = {
        "n_edits": round(2000 * per),
        "n_reference": 2000,
        "n_edits_even": round(1000 * per),
        "n_reference_even": 1000,
        "n_distinct": 30,
        "step": step,
        "emitted_ratio": 0.9,
    }
    return {name: counts.get(name, noise.random()) for name in HISTORY_COLUMNS} | {
        "per": round(2000 * per) / 2000
    }


def _result(run: Run, rows: Sequence[dict[str, float]], pack: Pack) -> RunResult:
    return RunResult(
        run_id=run.run_id,
        status="ok",
        history=tuple(rows),
        n_steps_done=N_STEPS,
        n_parameters=1234,
        n_dropped_trials=0,
        pack_seconds=1.0,
        n_runs_in_pack=len(pack.runs),
        peak_memory_bytes=1 << 20,
        grad_norm_quantiles={"p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0},
        per_session={f"t15.2000.01.{day + 1:02}": (50 + day, 100) for day in range(N_SESSIONS)},
        confusions=tuple((1 + i % 39, 1 + i // 39, 5) for i in range(N_CONFUSIONS)),
    )


def drive(spec: Path, results: Results, backend: str) -> None:
    """Train all runs of the ablation in this process, without its report; print JSON."""
    loaded = load_spec(spec)
    options = choose_options("local", n_workers=2, threads=1, device="cpu")
    n_runs = len(loaded.arms) * len(loaded.spec.seeds)
    memory, at, seen = [], [], 0

    with ExitStack() as stack:

        def train(
            packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
        ) -> None:
            def watched(event: PackEvent) -> None:
                nonlocal seen
                on_event(event)
                if isinstance(event.what, Progress):
                    before, seen = seen, seen + len(event.what.finished)
                    if before * 10 // n_runs < seen * 10 // n_runs:
                        memory.append(resident_mib())
                        at.append(time.perf_counter())

            at.append(time.perf_counter())
            memory.append(resident_mib())
            if backend == "ray":
                from orchestrator.execute.backends.ray_tune import ray_session

                session = stack.enter_context(ray_session(execution, train_pack=pretend))
                session(packs, execution, watched)
            else:
                train_locally(packs, execution, watched, train_pack=pretend)

        began = time.perf_counter()
        with Path(os.devnull).open("w") as silent:
            outcome = run_ablation(
                loaded,
                results,
                options,
                Console(file=silent),
                backend=train,
                rebuild=lambda *_: None,
            )
    seconds = time.perf_counter() - began
    print(
        json.dumps(
            {
                "n_runs": outcome.n_recorded,
                "seconds": seconds,
                "phases": {name: round(took, 2) for name, took in outcome.seconds.items()},
                "ms_per_run": [
                    1000 * (later - earlier) / (n_runs / 10)
                    for earlier, later in zip(at, at[1:], strict=False)
                ],
                "mib": memory,
                "n_packs": -(-n_runs // options.max_runs_per_pack),
            }
        )
    )


def resident_mib() -> float:
    """Memory of this process now, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise OSError("/proc/self/status has no VmRSS")


def measured(command: Sequence[str], log: Path) -> tuple[float, float, float, int]:
    """Wall seconds, CPU seconds, peak MiB and exit code of a command."""
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = used.ru_utime + used.ru_stime
    return wall, cpu, used.ru_maxrss / 1024, process.returncode


def measure(folder: Path, options: argparse.Namespace) -> None:
    """Run the driver and then every command on its results, and print a line for each."""
    spec, results = folder / "many.yaml", folder / "results"
    if not spec.exists():
        write_spec(folder, options.arms, options.seeds, options.design)
    print(f"{'command':18} {'wall s':>8} {'CPU s':>8} {'peak MiB':>9}  exit", flush=True)

    def show(name: str, words: Sequence[str]) -> None:
        log = folder / f"{name.replace(' ', '_')}.log"
        wall, cpu, peak, code = measured([sys.executable, *words], log)
        print(f"{name:18} {wall:8.1f} {cpu:8.1f} {peak:9.0f}  {code}", flush=True)
        if code:
            print("\n".join(log.read_text().splitlines()[-3:]))

    for name, words in COMMANDS.items():
        if not options.only or name in options.only:
            given = [str(spec) if word == "SPEC" else word for word in words]
            show(name, ["-m", "orchestrator", *given, "--results", str(results)])
        if name == "plan" and not options.only:
            words = (__file__, "--drive", str(folder), "--backend", options.backend)
            show("driver", words)
            _show_driver(json.loads((folder / "driver.log").read_text().splitlines()[-1]))


def _show_driver(told: dict[str, Any]) -> None:
    rates, memory = told["ms_per_run"], told["mib"]
    print(f"  {told['n_runs']:,} runs in {told['n_packs']:,} packs; phases {told['phases']}")
    print(f"  ms per run, by tenths: {', '.join(f'{rate:.1f}' for rate in rates)}")
    print(f"  resident MiB, by tenths: {', '.join(f'{mib:.0f}' for mib in memory)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--design", choices=("factorial", "one_factor"), default="factorial")
    parser.add_argument("--backend", choices=("local", "ray"), default="local")
    parser.add_argument("--only", nargs="*", default=(), help="commands on results kept before")
    parser.add_argument("--keep", type=Path, help="folder to use and keep; not a temporary one")
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        drive(options.drive / "many.yaml", Results(options.drive / "results"), options.backend)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        measure(folder, options)


if __name__ == "__main__":
    main()
