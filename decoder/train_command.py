"""``python -m decoder train`` and ``train-run``: one configuration, and one exported run."""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from decoder.errors import ConfigError


def add_train(commands: Any) -> None:
    """Add both commands to the others."""
    train = commands.add_parser(
        "train",
        help="train one configuration and keep its weights",
        description="Train one configuration, show its phoneme error rate while it trains, and "
        "keep its weights, for instance for train.start_from. It is not recorded, and cannot be "
        "continued; `python -m orchestrator run` does both.",
    )
    train.add_argument("config", type=Path, metavar="CONFIG", help="our YAML")
    train.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for weights.safetensors; it must not hold one yet",
    )
    train.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="change a field, as in train.n_steps=100; may be given more than once",
    )
    train.add_argument("--seed", type=int, default=1, help="(default: 1)")
    train.add_argument("--device", help="cpu, cuda, ... (default: the GPU if there is one)")
    train.add_argument(
        "--datasets",
        type=Path,
        default=Path("results/datasets"),
        metavar="DIR",
        help="folder of packed recordings (default: results/datasets)",
    )
    train = commands.add_parser(
        "train-run",
        help="train one run that `python -m orchestrator export` wrote",
        description="Train one exported run and write result.json, which `import-runs` brings "
        "back. After a signal it stops in order, and the same command goes on.",
    )
    train.add_argument("run", type=Path, metavar="RUN", help="the file of the run")
    train.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="folder of its result"
    )
    train.add_argument(
        "--datasets", type=Path, required=True, metavar="DIR", help="keeps packed recordings"
    )
    train.add_argument(
        "--data", metavar="PATH", help="its recordings here (default: data.path of the file)"
    )
    train.add_argument("--device", help="cpu, cuda, ... (default: the GPU if there is one)")


def train(options: argparse.Namespace) -> None:
    """Train as the options say, and print the path of the weights."""
    from decoder.api import train_pack
    from decoder.config import load_config, override
    from decoder.data.files import storage_errors
    from decoder.pack import LOGITS_NAMES, WEIGHTS_NAME, Progress

    target = options.output / WEIGHTS_NAME
    if target.exists():
        raise ConfigError(f"--output: {target} exists already; choose another folder or remove it")
    changes = dict(assignment(text) for text in options.set)
    config = override(load_config(options.config), changes, "--set")
    if config.train.keep_weights == "none":
        config = override(config, {"train.keep_weights": "final"}, "--set")

    def show(event: Progress) -> None:
        for row in event.latest.values():
            print(f"step {event.step}: PER {100 * row['per']:.2f} %", file=sys.stderr)

    with storage_errors(target):
        options.output.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=options.output, prefix=".training-") as folder:
            [result] = train_pack(
                [config],
                options.datasets,
                seed=options.seed,
                device=options.device,
                weights_dir=folder,
                on_progress=show,
            )
            if result.status != "ok":
                raise ConfigError(
                    f"{options.config}: the run diverged at step {result.n_steps_done}, so no "
                    "weights are kept; try a lower optim.lr_max"
                )
            made = Path(folder) / result.run_id / WEIGHTS_NAME
            made.with_suffix(".json").replace(target.with_suffix(".json"))
            for split in config.train.kept_logits:
                name = Path(LOGITS_NAMES[split])
                for one in (name, name.with_suffix(".json")):
                    (made.parent / one).replace(options.output / one)
            made.replace(target)
    print(target)


def assignment(text: str) -> tuple[str, Any]:
    """The path and the value of ``PATH=VALUE``; the value is written as in YAML."""
    from decoder.strict_yaml import parse_yaml

    path, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set: must be PATH=VALUE, such as train.n_steps=100, but got '{text}'")
    return path, parse_yaml(value, f"--set {path}")


def train_exported(options: argparse.Namespace) -> None:
    """Train an exported run as the options say, and print how it ended."""
    from decoder.exported import train_run

    ended = train_run(
        options.run,
        options.output,
        options.datasets,
        lambda text: print(text, file=sys.stderr, flush=True),
        data=options.data,
        device=options.device,
    )
    if ended is not None:
        per = f"PER {ended.history[-1]['per']:.4f}" if ended.history else "no evaluation"
        print(f"{ended.run_id}: {ended.status} after {ended.n_steps_done:,} steps, {per}")
