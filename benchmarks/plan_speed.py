"""Times whole `plan` commands for 10,000 runs and for a dozen, in turn.

    python benchmarks/plan_speed.py

Prints the CPU seconds of the command and its children, as median of the rounds, and the ratio to
the small plan. Most of the small plan's time is starting Python. The target is 2 s.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

PATHS = ("optim.epsilon", "optim.beta1", "model.rnn_dropout")
SHAPES = {
    "12 arms x 1 seed": ((3, 2, 2), 1),
    "1,000 arms x 10 seeds": ((10, 10, 10), 10),
    "10,000 arms x 1 seed": ((25, 20, 20), 1),
}


def write_spec(folder: Path, sizes: tuple[int, ...], n_seeds: int) -> Path:
    """Write a factorial ablation with these level counts and a claim about the first factor."""
    (folder / "base.yaml").write_text(
        json.dumps({"data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2}})
    )
    claim = {
        "claim": "x",
        "contrast": {"factor": "f0", "from": "l0", "to": "l1"},
        "where": {"f1": "l0", "f2": "l0"},
        "outcome": "per",
        "direction": "increase",
        "margin": 0.01,
    }
    spec = {
        "name": "many",
        "question": "How long?",
        "base": "base.yaml",
        "factors": {
            f"f{i}": {f"l{j}": {path: (j + 1) / 100} for j in range(size)}
            for i, (path, size) in enumerate(zip(PATHS, sizes, strict=True))
        },
        "seeds": list(range(n_seeds)),
        "hypotheses": {"h": claim},
        "prior": {"per": 0.02},
    }
    path = folder / "many.yaml"
    path.write_text(json.dumps(spec))
    return path


def plan_seconds(spec: Path, results: Path) -> float:
    """CPU seconds of one whole `plan`."""
    command = [sys.executable, "-m", "orchestrator", "plan", str(spec), "--no-calibrate", "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*command, "--results", str(results)], check=True, stdout=subprocess.DEVNULL, timeout=300
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        specs = {}
        for index, (what, shape) in enumerate(SHAPES.items()):
            folder = Path(name) / str(index)
            folder.mkdir()
            specs[what] = write_spec(folder, *shape)
        results = Path(name) / "results"
        plan_seconds(next(iter(specs.values())), results)  # makes the recordings
        seconds: dict[str, list[float]] = {what: [] for what in specs}
        for _ in range(options.rounds):
            for what, spec in specs.items():
                seconds[what].append(plan_seconds(spec, results))
    smallest = statistics.median(next(iter(seconds.values())))
    for what, values in seconds.items():
        median = statistics.median(values)
        print(f"{what:24s} {median:5.2f} s CPU   {median / smallest:4.1f} times the smallest")


if __name__ == "__main__":
    main()
