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
import resource
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
    """A finished sweep: its tables, its one verdict, and the time that the command took."""

    tables: Mapping[str, Any]
    verdict: Any
    seconds: float
    cpu_seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--official", type=Path, required=True, help="the folder model_training")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the trainer")
    parser.add_argument("--folder", type=Path, help="keep everything in this new folder")
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
            "official trainer": run(theirs, folder),
            "our decoder": run(ours, folder),
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


def run(spec: Path, folder: Path) -> Sweep:
    """Run the command ``orchestrator run`` on a specification, one pack after the other."""
    results = folder / "results"
    command = [sys.executable, "-m", "orchestrator", "run", str(spec), "--results", str(results)]
    started, cpu_before = time.perf_counter(), cpu_seconds()
    subprocess.run([*command, "--backend", "local", "--threads", "1"], check=True)
    times = time.perf_counter() - started, cpu_seconds() - cpu_before
    ablation = orchestrator.read_ablation(spec.stem, results)
    (verdict,) = ablation.verdicts.values()
    return Sweep(ablation.tables, verdict, *times)


def cpu_seconds() -> float:
    """CPU time of all processes that this one started and that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def print_sweep(name: str, sweep: Sweep) -> None:
    runs, verdict = sweep.tables["runs"], sweep.verdict
    low, high = verdict.claimed_interval
    effect = (
        f"{100 * verdict.claimed_effect:+.1f} PER points ({100 * low:+.1f} to {100 * high:+.1f})"
    )
    print(f"\n{name}: {verdict.word}, {effect}")
    for arm, of_arm in runs.groupby("arm", sort=False):
        pers = ", ".join(f"{100 * per:.2f}" for per in of_arm.sort_values("seed")["per"])
        print(f"  {arm}: PER {pers} %")
    each = sweep.cpu_seconds / len(runs)
    print(f"  {len(runs)} runs in {sweep.seconds:.0f} s; {each:.1f} CPU seconds a run")


if __name__ == "__main__":
    main()
