"""Sweeps the official T15 trainer as it is, and our decoder with the same settings.

    python benchmarks/official_sweep.py --official PATH/TO/model_training [--python PYTHON]

Both sweeps are the profile ``small`` of ``ablations/official_t15_trainer.yaml``: two learning
rates, the same seeds, the same synthetic recordings. The first runs the official
``train_model.py`` as a command. The second trains our decoder from the same ``rnn_args.yaml``,
converted by ``import-config``. The script prints the verdicts, the PER of every run and the times.
Its exit code is non-zero if a run failed, or if one sweep supports the claim and the other refutes
it.

``--python`` is an interpreter with omegaconf and torchaudio, which the official trainer imports.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

import orchestrator
from decoder.data.synthetic import RECIPES, make_synthetic
from decoder.strict_yaml import load_yaml

SHIPPED = Path(__file__).parents[1] / "ablations" / "official_t15_trainer.yaml"


class Sweep(NamedTuple):
    """A finished sweep: its tables, its one verdict, and how long the command took."""

    tables: Mapping[str, Any]
    verdict: Any
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--official", type=Path, required=True, help="the folder model_training")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the trainer")
    parser.add_argument("--folder", type=Path, help="keep everything in this new folder")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    official = args.official.absolute()
    if not (official / "train_model.py").is_file():
        raise SystemExit(f"{official}: holds no train_model.py; pass the model_training folder")
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.folder or Path(temporary)).absolute()
        recordings = folder / "recordings"
        make_synthetic(RECIPES["small"], recordings)
        theirs, ours = write_specs(folder, official, args.python, recordings)
        sweeps = {
            "official trainer": run(theirs, folder, args.workers),
            "our decoder": run(ours, folder, args.workers),
        }
    for name, sweep in sweeps.items():
        print_sweep(name, sweep)
    words = {sweep.verdict.word for sweep in sweeps.values()}
    failed = any((sweep.tables["runs"]["outcome"] == "failed").any() for sweep in sweeps.values())
    sys.exit(failed or words == {"supported", "refuted"})


def write_specs(folder: Path, official: Path, python: str, recordings: Path) -> tuple[Path, Path]:
    """Write the specification of either sweep. → theirs, ours."""
    shipped = load_yaml(SHIPPED)
    small = shipped.pop("profiles")["small"]
    theirs = shipped | small | {"name": "official"}
    theirs["trainer"] |= {"cwd": str(official), "command": [python, "train_model.py"]}
    theirs["set"]["dataset.dataset_dir"] = str(recordings)
    (folder / "official.yaml").write_text(yaml.safe_dump(theirs, sort_keys=False))

    settings = load_yaml(official / "rnn_args.yaml")
    for path, value in theirs["set"].items():
        *sections, key = path.split(".")
        section = settings
        for name in sections:
            section = section[name]
        section[key] = value
    (folder / "rnn_args.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    convert = [sys.executable, "-m", "orchestrator", "import-config", "rnn_args.yaml"]
    subprocess.run([*convert, "--output", "base.yaml"], cwd=folder, check=True)
    ours = {key: theirs[key] for key in ("question", "design", "seeds", "hypotheses")}
    ours |= {"name": "ours", "base": "base.yaml"}
    ours["factors"] = {
        "learning_rate": {
            level: {f"optim.{path}": value for path, value in changes.items()}
            for level, changes in theirs["factors"]["learning_rate"].items()
        }
    }
    (folder / "ours.yaml").write_text(yaml.safe_dump(ours, sort_keys=False))
    return folder / "official.yaml", folder / "ours.yaml"


def run(spec: Path, folder: Path, workers: int) -> Sweep:
    """Run the command ``orchestrator run`` on a specification."""
    results = folder / "results"
    command = [sys.executable, "-m", "orchestrator", "run", str(spec), "--results", str(results)]
    started = time.perf_counter()
    subprocess.run([*command, "--workers", str(workers), "--threads", "1"], check=True)
    seconds = time.perf_counter() - started
    ablation = orchestrator.read_ablation(spec.stem, results)
    (verdict,) = ablation.verdicts.values()
    return Sweep(ablation.tables, verdict, seconds)


def print_sweep(name: str, sweep: Sweep) -> None:
    runs, verdict = sweep.tables["runs"], sweep.verdict
    low, high = verdict.claimed_interval
    print(f"\n{name}: {verdict.word}, {100 * verdict.claimed_effect:+.1f} PER points", end="")
    print(f" ({100 * low:+.1f} to {100 * high:+.1f}); {len(runs)} runs in {sweep.seconds:.0f} s")
    for arm, of_arm in runs.groupby("arm", sort=False):
        pers = ", ".join(f"{100 * per:.2f}" for per in of_arm.sort_values("seed")["per"])
        print(f"  {arm}: PER {pers} %; {of_arm['timing_run_seconds'].mean():.1f} s a run")


if __name__ == "__main__":
    main()
