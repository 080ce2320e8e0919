"""Steps of the official trainers on batches of ours, and a stretch of official T15 training.

The official code is imported from folders that the user names, and nothing is copied from it. The
T12 trainer cannot be imported in parts, so its training step is reimplemented here.
"""

import contextlib
import importlib
import io
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
import yaml
from fidelity_t12 import lengths_of
from gpu_timing import Step, synchronize
from official import (
    load_official,
    make_official_model,
    official_args,
    official_flags,
    official_transforms,
)

from decoder.config import DecoderConfig
from decoder.data.batches import Batch


def t15_step(folder: Path, config: DecoderConfig, n_days: int, batch: Batch, device: str) -> Step:
    """A step of the official T15 trainer, in the same phases, without logging.

    On a GPU the model is compiled, as in the trainer, and float32 products may be rounded to TF32.
    """
    official = load_official(folder, compile_models=device != "cpu")
    model = make_official_model(official, config, n_days, batch.features.shape[2], dropout=True)
    model.to(device)
    if device != "cpu":
        model = torch.compile(model)
    trainer = official.trainer.BrainToTextDecoder_Trainer
    shell = SimpleNamespace(
        args=official_args(config),
        model=model,
        transform_args=official_transforms(config),
        device=device,
    )
    optimizer = trainer.create_optimizer(shell)
    scheduler = trainer.create_cosine_lr_scheduler(shell, optimizer)
    ctc = torch.nn.CTCLoss(blank=0, reduction="none", zero_infinity=False)
    amp = config.train.precision == "bfloat16"

    @official_flags()
    def step() -> float:
        optimizer.zero_grad()
        features, n_bins = batch.features.clone(), batch.n_bins.to(device)
        with torch.autocast(torch.device(device).type, enabled=amp, dtype=torch.bfloat16):
            features, n_bins = trainer.transform_data(shell, features, n_bins, "train")
            size, stride = config.model.patch_size, config.model.patch_stride
            lengths = ((n_bins - size) / stride + 1).to(torch.int32)
            log_probs = model(features, batch.day).log_softmax(2).permute(1, 0, 2)
            loss = ctc(log_probs, batch.labels, lengths, batch.n_labels).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(
            model.parameters(), 10.0, error_if_nonfinite=True, foreach=True
        )
        optimizer.step()
        scheduler.step()
        return float(loss.detach())  # the trainer keeps the loss of every step on the host

    return step


def t12_step(folder: Path, config: DecoderConfig, n_days: int, batch: Batch, device: str) -> Step:
    """A step of the official T12 trainer, which does not compile its model.

    Args:
        folder: ``src`` of neural_seq_decoder, which holds the package ``neural_decoder``.
        config: with the official settings.
        n_days: number of sessions.
        batch: on `device`.
        device: where to train.
    """
    sys.path.insert(0, str(folder))
    official = importlib.import_module("neural_decoder.model")
    settings, model_config, augment = config.optim, config.model, config.augment
    model = official.GRUDecoder(
        neural_dim=batch.features.shape[2],
        n_classes=40,
        hidden_dim=model_config.n_units,
        layer_dim=model_config.n_layers,
        nDays=n_days,
        dropout=model_config.rnn_dropout,
        device=device,
        strideLen=model_config.patch_stride,
        kernelLen=model_config.patch_size,
        gaussianSmoothWidth=augment.smooth_std_bins,
        bidirectional=True,
    ).to(device)
    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=settings.lr_max,
        betas=(0.9, 0.999),
        eps=0.1,
        weight_decay=settings.weight_decay,
    )
    schedule = torch.optim.lr_scheduler.LinearLR(
        optimizer, start_factor=1.0, end_factor=1.0, total_iters=config.train.n_steps
    )
    ctc = torch.nn.CTCLoss(blank=0, reduction="mean", zero_infinity=True)

    def step() -> None:
        x = batch.features + torch.randn_like(batch.features) * augment.white_noise_std
        offset = torch.randn(len(x), 1, x.shape[2], device=device)
        x = x + offset * augment.constant_offset_std
        log_probs = model(x, batch.day).log_softmax(2).permute(1, 0, 2)
        lengths = lengths_of(batch.n_bins.to(device), model)
        loss = ctc(log_probs, batch.labels, lengths, batch.n_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    return step


class Stretch(NamedTuple):
    """What training costs with its loader, and a validation.

    Attributes:
        ms_step: milliseconds a step, loading included, no validation.
        validation_seconds: what one validation adds to training.
        n_validation_trials: trials that are validated.
    """

    ms_step: float
    validation_seconds: float
    n_validation_trials: int

    def ms_at(self, every: int, n_trials: int) -> float:
        """Milliseconds a step with a validation of `n_trials` after every `every` steps."""
        whole = self.validation_seconds * n_trials / self.n_validation_trials
        return self.ms_step + 1e3 * whole / every


def t15_training(
    folder: Path,
    recordings: Path,
    config: DecoderConfig,
    n_features: int,
    n_trials: int,
    n_steps: int,
    device: str,
) -> Stretch:
    """Train with the official trainer as it is: its loader, its loop and its validation.

    Only sizes, paths and the number of steps are changed in its ``rnn_args.yaml``, and nothing is
    saved. It validates at its first and last step; the second validation is measured.

    Args:
        folder: ``model_training``.
        recordings: in the T15 layout.
        config: gives the sizes and the precision.
        n_features: of the recordings.
        n_trials: validation trials of the recordings.
        n_steps: at least 10.
        device: where to train; the trainer takes the first GPU if there is one.
    """
    official = load_official(folder, compile_models=device != "cpu")
    args: dict[str, Any] = yaml.safe_load((folder / "rnn_args.yaml").read_text())
    sessions = sorted(path.name for path in recordings.iterdir() if path.is_dir())
    args["model"] |= {
        "n_input_features": n_features,
        "n_units": config.model.n_units,
        "n_layers": config.model.n_layers,
    }
    args |= {
        "mode": "train",
        "gpu_number": "0",
        "use_amp": config.train.precision == "bfloat16" and device != "cpu",
        "output_dir": str(recordings.with_name(f"official-{time.monotonic_ns()}")),
        "save_best_checkpoint": False,
        "save_all_val_steps": False,
        "save_final_model": False,
        "save_val_metrics": False,
        "num_training_batches": n_steps,
        "batches_per_val_step": 10 * n_steps,
    }
    args["dataset"] |= {
        "batch_size": config.data.batch_size,
        "dataset_dir": str(recordings),
        "sessions": sessions,
        "dataset_probability_val": [1] * len(sessions),
    }
    if device == "cpu":
        args["dataset"]["num_dataloader_workers"] = 0
    with official_flags(), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = official.trainer.BrainToTextDecoder_Trainer(args)
        return _timed(trainer, n_trials, n_steps, device)


def _timed(trainer: Any, n_trials: int, n_steps: int, device: str) -> Stretch:
    starts: list[float] = []
    validations: list[float] = []
    loader, validate = trainer.train_loader, trainer.validation

    def marked() -> Iterator[Any]:
        for batch in loader:
            yield batch
            starts.append(time.perf_counter())  # the step is done, and the next batch is asked for

    def timed(*given: Any, **options: Any) -> Any:
        synchronize(device)
        started = time.perf_counter()
        metrics = validate(*given, **options)
        validations.append(time.perf_counter() - started)
        return metrics

    trainer.train_loader, trainer.validation = marked(), timed
    trainer.train()
    warm = max(2, n_steps // 4)
    # The last step holds a validation, so the one before it ends the stretch.
    seconds = starts[n_steps - 2] - starts[warm]
    return Stretch(1e3 * seconds / (n_steps - 2 - warm), validations[-1], n_trials)
