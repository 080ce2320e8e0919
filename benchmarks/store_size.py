"""Measures time and memory of queries to a store with ten thousand records.

    OMP_NUM_THREADS=1 python benchmarks/store_size.py [--records 10000] [--keep FOLDER]

The script writes simulated ablations of 100 runs where a driver would, and queries them with the
command line. Each command runs in its own process. The first `runs` builds the index, and the
others use it.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from decoder.atomic import write_atomically
from decoder.config import DecoderConfig, override, resolve, run_id
from decoder.pack import HISTORY_COLUMNS, RunResult
from orchestrator.plan.document import (
    PlanDocument,
    RecordingsEntry,
    RunEntry,
    aliases_of,
    arm_entries,
)
from orchestrator.spec.arms import make_arms
from orchestrator.spec.load import AblationSpec, Loaded
from orchestrator.store.ledger import history_csv, make_record
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan
from orchestrator.store.record import RecordDataset

N_STEPS, EVAL_EVERY, N_REFERENCE = 400, 20, 1295
RATES = (0.001, 0.002, 0.003, 0.004, 0.005)
SEEDS = tuple(range(1, 11))
DATASET: RecordDataset = {"fingerprint": "4f1d9b27c0a853e6", "path": "synthetic:small"}
BASE = override(
    DecoderConfig(),
    {
        "train.n_steps": N_STEPS,
        "train.eval_every_steps": EVAL_EVERY,
        "optim.lr_warmup_steps": EVAL_EVERY,
    },
    "benchmark",
)


class Cost(NamedTuple):
    """The cost of one command: wall and CPU seconds, and peak memory in MB."""

    wall_seconds: float
    cpu_seconds: float
    peak_mb: float


def write_store(results: Results, n_ablations: int) -> None:
    """Write ablations of ten arms and ten seeds, each with its own width."""
    rng = np.random.default_rng(0)
    for number in range(n_ablations):
        loaded = _ablation(number)
        runs = []
        for arm in loaded.arms:
            config = resolve(arm.config)
            for seed in SEEDS:
                identity = run_id(config, seed, DATASET["fingerprint"])
                runs.append(RunEntry(run_id=identity, arm_id=arm.arm_id, seed=seed, block=seed))
                _write_run(results, identity, config, seed, rng)
        write_plan(results, _plan(loaded, runs))


def _ablation(number: int) -> Loaded:
    spec = AblationSpec.model_validate(
        {
            "name": f"ablation{number:03}",
            "question": "Which epsilon, at which learning rate?",
            "base": "base.yaml",
            "set": {"model.n_units": 64 + number},
            "factors": {
                "epsilon": {"big": {"optim.epsilon": 0.1}, "small": {"optim.epsilon": 1e-8}},
                "rate": {str(rate): {"optim.lr_max": rate} for rate in RATES},
            },
            "seeds": SEEDS,
            "hypotheses": {
                "small_escapes": {
                    "claim": "A small epsilon leaves the plateau.",
                    "contrast": {"factor": "epsilon", "from": "big", "to": "small"},
                    "where": {"rate": "0.001"},
                    "outcome": "collapsed",
                    "direction": "decrease",
                    "margin": 0.3,
                }
            },
        }
    )
    return Loaded(spec, BASE, Path(f"{spec.name}.yaml"), make_arms(spec, BASE))


def _plan(loaded: Loaded, runs: list[RunEntry]) -> PlanDocument:
    dataset = RecordingsEntry(**DATASET, n_train_trials=380, n_val_trials=80, sessions=("a", "b"))
    return PlanDocument(
        name=loaded.spec.name,
        question=loaded.spec.question,
        spec_file=str(loaded.path),
        spec=loaded.spec,
        spec_hash="0",
        dataset=dataset,
        datasets=(dataset,),
        arms=arm_entries(loaded),
        aliases=aliases_of(loaded.spec),
        runs=tuple(runs),
    )


def _write_run(
    results: Results, identity: str, config: DecoderConfig, seed: int, rng: np.random.Generator
) -> None:
    """Write one run like the ledger, without its locks and syncs, which are slow."""
    optim = config.optim
    stuck = optim.epsilon == 0.1 and optim.lr_max < 0.002
    final = 0.2 + 20 * optim.lr_max + 0.02 * rng.normal()
    rows = []
    for step in range(EVAL_EVERY, N_STEPS + 1, EVAL_EVERY):
        per = 1.0 if stuck else 1 - (1 - final) * (1 - math.exp(-step / 80))
        row = {name: float(rng.random()) for name in HISTORY_COLUMNS}
        row |= {"step": float(step), "n_edits": float(round(per * N_REFERENCE))}
        row |= {"n_reference": float(N_REFERENCE), "per": row["n_edits"] / N_REFERENCE}
        row |= {"emitted_ratio": 0.0 if stuck else 0.8, "n_distinct": 1.0 if stuck else 30.0}
        rows.append(row)
    environment = {
        "python": "3.11",
        "torch": "2.13.0",
        "code": {"decoder_sha256": "f" * 64, "git_commit": "2a466920", "git_dirty": False},
    }
    result = RunResult(identity, "ok", tuple(rows), N_STEPS, 229_033, 0, 74.3, 10, 900_000_000)
    record, history = make_record(
        identity,
        config,
        seed,
        DATASET,
        {"pack_id": "c" * 16, "n_runs": 10},
        result,
        {"hostname": "desk", "pid": 4711},
        environment,
    )
    results.run(identity).mkdir(parents=True)
    results.history(identity).write_bytes(history_csv(history))
    results.record(identity).write_text(json.dumps(record, indent=1))


def ask(*arguments: str) -> Cost:
    """Run and measure one command of the command line."""
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", *arguments], stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: exit code {process.returncode}")
    return Cost(time.monotonic() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="write the store here and keep it")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = Results(arguments.keep or Path(folder))
        if not results.ablations.exists():
            write_store(results, arguments.records // (2 * len(RATES) * len(SEEDS)))
        where = ("--results", str(results.root))
        condition = "optim.epsilon == 0.1 and outcome == 'collapsed'"
        commands = {
            "runs, making the index": ("runs", "--where", condition),
            "runs --where --sort": ("runs", "--where", condition, "--sort", "per"),
            "runs --where 'NAME' in ablations": ("runs", "--where", "'ablation007' in ablations"),
            "compare": ("compare", "ablation003", "ablation007"),
            "report": ("report", "ablation007"),
        }
        results.index.unlink(missing_ok=True)
        costs = {name: ask(*command, *where) for name, command in commands.items()}
    print(f"{'command':34} {'wall s':>7} {'CPU s':>7} {'peak MB':>8}")
    for name, cost in costs.items():
        print(f"{name:34} {cost.wall_seconds:7.2f} {cost.cpu_seconds:7.2f} {cost.peak_mb:8.0f}")
    if arguments.json:
        found = {name: cost._asdict() for name, cost in costs.items()}
        write_atomically(arguments.json, json.dumps(found, indent=1).encode())


if __name__ == "__main__":
    main()
