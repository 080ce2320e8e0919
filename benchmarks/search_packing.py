"""Measures the gain of packing candidates: seconds per candidate in batches and one at a time.

    OMP_NUM_THREADS=1 python benchmarks/search_packing.py

Both searches have the same candidates (the random draw of a trial only depends on its number),
seeds, steps and workers, and stop nothing early. One trains in batches of eight, whose runs share
packs; the other trains one candidate at a time, like a search without packing. Each search runs in
its own process. The time is that of the search, including the start of the backend. Run it on an
idle machine.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml
from rich.console import Console

BASE = Path(__file__).parents[1] / "ablations" / "base" / "t15_small.yaml"


def search_document(arguments: argparse.Namespace, batch: int) -> dict[str, object]:
    """A search of learning rate and epsilon without early stopping or confirmation."""
    return {
        "name": f"batch_{batch}",
        "question": "What does packing candidates gain?",
        "base": str(BASE),
        "set": {"train.n_steps": arguments.steps, "optim.lr_warmup_steps": 5},
        "space": {
            "optim.lr_max": {"log": [0.0005, 0.05]},
            "optim.epsilon": {"log": [1e-8, 1.0]},
        },
        "sampler": "random",
        "n_candidates": arguments.candidates,
        "seeds": list(range(1, arguments.seeds + 1)),
        "batch": batch,
    }


def measure(arguments: argparse.Namespace, batch: int) -> dict[str, object]:
    """Time one search in a new folder, without making the recordings and the report."""
    from orchestrator.execute.machine import choose_options
    from orchestrator.search.driver import run_search
    from orchestrator.search.load import load_search
    from orchestrator.store.paths import Results

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "search.yaml"
        path.write_text(yaml.safe_dump(search_document(arguments, batch)))
        loaded, results = load_search(path), Results(Path(folder) / "results")
        console = Console(stderr=True, quiet=True)
        options = choose_options(arguments.backend, arguments.workers, 1)
        outcome, found = run_search(loaded, results, options, console)
        assert outcome.exit_code == 0, outcome
        figures = found.tables.candidates["figure"].tolist()
    return {"seconds": outcome.seconds["search"] / arguments.candidates, "figures": figures}


def in_a_process(arguments: argparse.Namespace, batch: int) -> dict[str, object]:
    """Run `measure` in its own process."""
    command = [sys.executable, __file__, "--measure", str(batch)]
    for name in ("batch", "candidates", "seeds", "steps", "workers", "backend"):
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"batch {batch}: exit {done.returncode}\n{done.stderr}")
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--backend", choices=["ray", "local"], default="ray")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given, given.measure)))
        return
    packed, single = in_a_process(given, given.batch), in_a_process(given, 1)
    print(
        f"{given.candidates} candidates, {given.seeds} seeds, {given.steps} steps, "
        f"{given.workers} workers, {given.backend}"
    )
    print(f"{'batch':>6} {'seconds a candidate':>20} {'best figure':>12}")
    for batch, found in ((given.batch, packed), (1, single)):
        figures = found["figures"]
        assert isinstance(figures, list)
        print(f"{batch:6d} {found['seconds']:20.2f} {min(figures):12.4f}")
    print(f"gain: {float(str(single['seconds'])) / float(str(packed['seconds'])):.2f}")


if __name__ == "__main__":
    main()
