"""A research group's folder of runs, with the faults that such folders have."""

import copy
import csv
import json
import math
import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

Evaluations = Sequence[tuple[int, float]]

T15_ARGS: dict[str, Any] = {
    "model": {
        "n_input_features": 512,
        "n_units": 768,
        "rnn_dropout": 0.4,
        "n_layers": 5,
        "patch_size": 14,
        "patch_stride": 4,
        "input_network": {"input_layer_dropout": 0.2},
    },
    "gpu_number": "1",
    "output_dir": "trained_models/baseline",
    "checkpoint_dir": "trained_models/baseline/checkpoint",
    "num_training_batches": 1000,
    "lr_scheduler_type": "cosine",
    "lr_max": 0.005,
    "lr_min": 0.0001,
    "lr_decay_steps": 1000,
    "lr_warmup_steps": 100,
    "lr_max_day": 0.005,
    "lr_min_day": 0.0001,
    "lr_decay_steps_day": 1000,
    "lr_warmup_steps_day": 100,
    "beta0": 0.9,
    "beta1": 0.999,
    "epsilon": 0.1,
    "weight_decay": 0.001,
    "weight_decay_day": 0,
    "seed": 10,
    "grad_norm_clip_value": 10,
    "batches_per_train_log": 50,
    "batches_per_val_step": 100,
    "dataset": {
        "data_transforms": {
            "white_noise_std": 1.0,
            "constant_offset_std": 0.2,
            "random_cut": 3,
            "smooth_kernel_size": 100,
            "smooth_data": True,
            "smooth_kernel_std": 2,
        },
        "batch_size": 64,
        "days_per_batch": 4,
        "seed": 1,
        "num_dataloader_workers": 4,
        "dataset_dir": "../data/hdf5_data_final",
    },
}
T12_ARGS: dict[str, Any] = {
    "outputDir": "/oak/logs/speechBaseline4",
    "datasetPath": "/oak/speech/ptDecoder_ctc",
    "seqLen": 150,
    "batchSize": 64,
    "lrStart": 0.02,
    "lrEnd": 0.02,
    "nUnits": 1024,
    "nBatch": 1000,
    "nLayers": 5,
    "seed": 0,
    "nClasses": 40,
    "nInputFeatures": 256,
    "dropout": 0.4,
    "whiteNoiseSD": 0.8,
    "constantOffsetSD": 0.2,
    "gaussianSmoothWidth": 2.0,
    "strideLen": 4,
    "kernelLen": 32,
    "bidirectional": True,
    "l2_decay": 1e-5,
}


def changed(args: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of nested settings with other values for some dotted names."""
    made = copy.deepcopy(dict(args))
    for key, value in changes.items():
        *parts, last = key.split(".")
        place = made
        for part in parts:
            place = place[part]
        place[last] = value
    return made


def curve(final: float, n: int = 1000, every: int = 100, until: int | None = None) -> Evaluations:
    """PERs that stay at 1, fall, and reach `final` at the last of `n` steps, numbered from 0."""
    steps = [*range(0, n, every), n - 1]
    shape = [(step, 1.0 if step < 200 else final + 0.6 * math.exp(-step / 120)) for step in steps]
    shape[-1] = (n - 1, final)
    return [(step, per) for step, per in shape if until is None or step <= until]


def t15_log(pers: Evaluations, finished: bool = True, day: str = "2025-03-01") -> str:
    """Lines as the official T15 trainer's logger writes them."""
    lines = [
        f"{day} 09:00:00,100: Using device: cuda:1",
        f"{day} 09:00:01,100: Using torch.compile",
    ]
    for step, per in pers:
        at = f"{day} {10 + step // 3600:02d}:{step % 3600 // 60:02d}:{step % 60:02d},123"
        lines += [
            f"{at}: Train batch {step}: loss: {30 * per:.2f} grad norm: 12.34 time: 0.105",
            f"{at}: Running test after training batch: {step}",
            f"{at}: Val batch {step}: PER (avg): {per:.4f} CTC Loss (avg): {25 * per:.4f} "
            "time: 12.345",
            f"{at}: t15.2023.08.13 val PER: {per + 0.01:0.4f}",
        ]
    if finished:
        best = min(per for _, per in pers)
        lines += [
            f"{day} 13:00:00,100: Best avg val PER achieved: {best:.5f}",
            f"{day} 13:00:00,101: Total training time: 180.00 minutes",
        ]
    return "\n".join(lines) + "\n"


def t12_stdout(pers: Evaluations) -> str:
    """Lines as the official T12 trainer prints them."""
    return "".join(
        f"batch {step}, ctc loss: {3 * per:>7f}, cer: {per:>7f}, time/batch: {0.105:>7.3f}\n"
        for step, per in pers
    )


def write_t15(folder: Path, args: Mapping[str, Any], log: str) -> Path:
    """The folder that the official T15 trainer writes, with weights and pickles."""
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "checkpoint" / "args.yaml").write_text(yaml.safe_dump(dict(args)))
    (folder / "checkpoint" / "best_checkpoint").write_bytes(b"PK\x03\x04 weights")
    (folder / "checkpoint" / "val_metrics.pkl").write_bytes(pickle.dumps({"avg_PER": 0.1}))
    (folder / "train_val_trials.json").write_text('{"train": {"0": {"trials": [0, 1]}}}')
    (folder / "training_log").write_text(log)
    return folder


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]], end: str = "\n") -> None:
    """One object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "\n".join(json.dumps(row) for row in rows) + end
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """Fourteen runs of a group, whose faults `audit/test_audit.py` lists."""
    root = tmp_path / "our runs"
    noise, offset = "dataset.data_transforms.white_noise_std", "dataset.data_transforms"
    base = changed(T15_ARGS, {})

    # The baseline on two seeds, which gives the spread, and a copy of the second.
    write_t15(root / "run1_baseline", base, t15_log(curve(0.200), day="2025-03-01"))
    seed11 = changed(base, {"seed": 11, "output_dir": "elsewhere"})
    write_t15(root / "run2_baseline_seed11", seed11, t15_log(curve(0.204), day="2025-03-02"))
    write_t15(root / "run2_baseline (copy)", seed11, t15_log(curve(0.204), day="2025-03-02"))

    # One setting changed; JSON lines with a byte order mark and Windows line ends, in percent.
    path = root / "run3_noise_FINAL" / "metrics.jsonl"
    path.parent.mkdir()
    rows = [
        {"step": s, "val_per": 100 * p, "ctc_loss": 25 * p, "lr": 0.004} for s, p in curve(0.26)
    ]
    path.write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join(json.dumps(row) for row in rows).encode() + b"\r\n"
    )
    (path.parent / "config_used.yaml").write_text(yaml.safe_dump(changed(base, {noise: 0.25})))
    (path.parent / "config.yaml").write_text(yaml.safe_dump(base))
    (path.parent / "notes.md").write_text("läuft gut 🎉")

    # Three settings at once, the planted confound; settings as JSON, the learning curve as CSV.
    args = changed(
        base,
        {
            noise: 0.25,
            "lr_max": 0.002,
            "lr_max_day": 0.002,
            "lr_warmup_steps": 200,
            "lr_warmup_steps_day": 200,
            f"{offset}.constant_offset_std": 0.05,
        },
    )
    folder = root / "older" / "run4_everything"
    folder.mkdir(parents=True)
    (folder / "hparams.json").write_text(json.dumps(args))
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["iteration", "PER", "val_loss", "grad_norm"])
        writer.writerows([step, f"{per:.5f}", 20 * per, 3.0] for step, per in curve(0.31))

    # The settings and the seed of run1, but eight points worse.
    write_t15(
        root / "run5_rerun",
        changed(base, {"gpu_number": "0"}),
        t15_log(curve(0.28), day="2025-03-05"),
    )

    # Diverged: the loss is NaN from step 500 on, and stays so.
    rows = [
        {"step": s, "per": p if s < 500 else 1.0, "ctc_loss": 20 * p if s < 500 else math.nan}
        for s, p in curve(0.2)
    ]
    write_jsonl(root / "run6_lr_high" / "metrics.jsonl", rows)
    args = changed(base, {"lr_max": 0.05, "lr_max_day": 0.05})
    (root / "run6_lr_high" / "args.yaml").write_text(yaml.safe_dump(args))

    # Unfinished, and its last line is cut off.
    rows = [{"step": s, "per": p} for s, p in curve(0.2, until=400)]
    write_jsonl(root / "run7_epsilon" / "metrics.jsonl", rows, end='\n{"step": 500, "pe')
    (root / "run7_epsilon" / "args.yaml").write_text(
        yaml.safe_dump(changed(base, {"epsilon": 1e-8}))
    )

    # Never left the blank plateau.
    stuck = [(step, 1.0 - 0.0001 * (step > 300)) for step, _ in curve(0.2)]
    args = changed(base, {"lr_max": 0.0005, "lr_max_day": 0.0005})
    write_t15(root / "run8_lr_low", args, t15_log(stuck, day="2025-03-08"))

    # Restarted: the steps go back from 600 to 400, and the second pass ends elsewhere.
    first, second = curve(0.19, until=600), [pair for pair in curve(0.21) if pair[0] >= 400]
    rows = [{"global_step": s, "val": {"PER": p, "loss": 20 * p}} for s, p in [*first, *second]]
    write_jsonl(root / "run9_restarted" / "logs" / "metrics.jsonl", rows)
    (root / "run9_restarted" / "config.yaml").write_text(
        yaml.safe_dump(changed(base, {"model.rnn_dropout": 0.3}))
    )
    (root / "run9_restarted" / "eval_best.json").write_text('{"avg_PER": 19.5, "n_trials": 1426}')

    # Only settings, only a learning curve, and neither.
    (root / "run10_planned").mkdir()
    (root / "run10_planned" / "config.yaml").write_text(yaml.safe_dump(base))
    (root / "run11_lost_config").mkdir()
    (root / "run11_lost_config" / "train.log").write_text(t12_stdout(curve(0.25)))
    (root / "run12_only_weights").mkdir()
    (root / "run12_only_weights" / "model.pt").write_bytes(b"\x80\x02weights")
    (root / "run12_only_weights" / "events.out.tfevents.1").write_bytes(b"\x00")

    # Half the budget, and nothing else changed.
    half = curve(0.23, n=500)
    args = changed(
        base, {"num_training_batches": 500, "lr_decay_steps": 500, "lr_decay_steps_day": 500}
    )
    write_t15(root / "run13_short", args, t15_log(half, day="2025-03-13"))

    # A loop of links, and a link to a run.
    (root / "run1_baseline" / "loop").symlink_to(root, target_is_directory=True)
    (root / "latest").symlink_to(root / "run1_baseline", target_is_directory=True)
    return root


@pytest.fixture
def t12_run(tmp_path: Path) -> Callable[..., Path]:
    """Writes a run of the T12 trainer: pickled ``args``, and what it printed."""

    def write(name: str = "speechBaseline4", pers: Evaluations = (), **args: Any) -> Path:
        folder = tmp_path / "t12" / name
        folder.mkdir(parents=True)
        (folder / "args").write_bytes(pickle.dumps({**T12_ARGS, **args}))
        (folder / "trainingStats").write_bytes(pickle.dumps({"testCER": [1.0]}))
        (folder / "modelWeights").write_bytes(b"PK\x03\x04")
        (folder / "slurm-123.out").write_text(t12_stdout(pers or curve(0.21)))
        return folder

    return write
