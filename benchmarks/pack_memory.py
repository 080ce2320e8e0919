"""Compares the estimate of a pack's memory with what training it takes, each in a fresh process.

    python benchmarks/pack_memory.py [--device cuda] [--runs 1 2 4 8] [--sizes demo large ...]

Every trial is as long as the longest one, so that each batch has the size that the estimate
assumes. On a CPU the measure is the resident memory of the process, on a GPU what is allocated.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

N_STEPS = 3


class Size(NamedTuple):
    """One size: recordings, and the configuration's changes from the official T15 decoder."""

    n_features: int
    n_days: int
    n_bins: int
    changes: dict[str, Any]


def _model(n_units: int, n_layers: int, batch: int, **more: Any) -> dict[str, Any]:
    return {
        "model.n_units": n_units,
        "model.n_layers": n_layers,
        "data.batch_size": batch,
        **{name.replace("__", "."): value for name, value in more.items()},
    }


SIZES = {
    "demo": Size(32, 4, 120, _model(64, 2, 16)),
    "narrow, long": Size(64, 4, 500, _model(64, 3, 16)),
    "half": Size(256, 8, 500, _model(256, 3, 32)),
    "large model": Size(128, 8, 200, _model(512, 4, 16)),
    "both directions": Size(128, 4, 300, _model(128, 3, 32, model__bidirectional=True)),
    "averages": Size(128, 4, 200, _model(384, 3, 16, optim__ema_decay=0.99)),
    "LSTM": Size(128, 4, 300, _model(128, 3, 32, model__architecture="lstm")),
    "transformer": Size(
        128, 4, 300,
        _model(128, 3, 32, model__architecture="transformer", model__day_layer="none",
               model__patch_size=5, model__patch_stride=5),
    ),
}  # fmt: skip
T15 = Size(512, 45, 997, {"train.precision": "bfloat16"})


def config_of(size: Size) -> Any:
    from decoder.config import DecoderConfig, override, resolve

    fixed = {"train.n_steps": N_STEPS, "train.eval_every_steps": 2, "optim.lr_warmup_steps": 1}
    return resolve(override(DecoderConfig(), {**fixed, **size.changes}, "pack_memory"))


def estimate(size: Size, device: str) -> Any:
    from decoder.memory import RecordingsSize, estimate_memory

    recordings = RecordingsSize(size.n_features, 41, size.n_days, size.n_bins, 20, 64)
    return estimate_memory(config_of(size), recordings, device)


def measure(size: Size, n_runs: int, device: str) -> int:
    """Train a pack for a few steps in this process; gives the bytes that are used at most."""
    import numpy as np
    import torch

    from decoder.config import override
    from decoder.data.store import Dataset, Split
    from decoder.pack import Pack, Run
    from decoder.train import train

    torch.set_num_threads(1)
    rng = np.random.default_rng(0)

    def split(n_trials: int) -> Split:
        bins, labels = np.full(n_trials, size.n_bins), np.full(n_trials, 20)
        day = np.sort(np.arange(n_trials) % size.n_days)
        return Split(
            rng.standard_normal((int(bins.sum()), size.n_features), dtype=np.float32),
            np.concatenate([[0], np.cumsum(bins)]),
            rng.integers(1, 41, int(labels.sum())),
            np.concatenate([[0], np.cumsum(labels)]),
            day, np.zeros_like(day), np.arange(n_trials),
        )  # fmt: skip

    train_split, val_split = split(64), split(64)
    n_bytes = 0 if device.startswith("cuda") else 2 * train_split.features.nbytes
    sessions = tuple(f"t15.2000.01.{day + 1:02}" for day in range(size.n_days))
    data = Dataset(
        "0" * 16, Path("nowhere"), sessions, size.n_features, 41, train_split, val_split, {}
    )
    config = config_of(size)
    runs = tuple(
        Run(str(i), override(config, {"optim.lr_max": 1e-4 * (i + 1)}, "")) for i in range(n_runs)
    )
    with tempfile.TemporaryDirectory() as folder:
        how: dict[str, Any] = {"checkpoint_dir": Path(folder), "checkpoint_every_seconds": 0.0}
        events = list(train(Pack("pack", 0, runs), data, device=device, **how))
    return max(r.peak_memory_bytes for event in events for r in event.finished) - n_bytes


def main() -> None:
    from decoder.memory import PROCESS_BYTES

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--sizes", nargs="+", default=[])
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    sizes = {**SIZES, "T15": T15}
    if given.one:
        print(measure(sizes[given.one], given.runs[0], given.device))
        return
    chosen = given.sizes or [*SIZES, *(["T15"] if given.device.startswith("cuda") else [])]
    print("| size | runs | estimated MiB | measured MiB | estimate / measured |")
    print("|---|---:|---:|---:|---:|")
    ratios = []
    for name in chosen:
        expected = estimate(sizes[name], given.device)
        process = 0 if given.device.startswith("cuda") else PROCESS_BYTES
        for n_runs in given.runs:
            command = [sys.executable, __file__, "--one", name, "--runs", str(n_runs)]
            command += ["--device", given.device]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            seen = json.loads(answer.stdout)
            total = process + expected.of(n_runs)
            ratios.append(total / seen)
            print(
                f"| {name} | {n_runs} | {total / 2**20:,.0f} | "
                f"{seen / 2**20:,.0f} | {ratios[-1]:.2f} |",
                flush=True,
            )
    print(f"\nestimate / measured: {min(ratios):.2f} to {max(ratios):.2f}")
    t15 = estimate(T15, "cuda")
    print(f"T15 on a GPU: {t15.per_run / 2**30:.2f} GiB a run, {t15.shared / 2**30:.2f} GiB shared")


if __name__ == "__main__":
    main()
