"""Times the training step of a pack at full T15 size, and that of the official trainer.

    python benchmarks/full_size_step.py [--device cuda] [--official PATH/TO/model_training]
        [--runs 1 4 16] [--small]

The steps use random trials of the size of T15 (64 trials, 512 features, 45 days) and the official
recipe's augmentation and dropout. The script prints milliseconds per step and per run, memory per
run, and optionally a profile. ``--small`` makes everything small, to try the script on a CPU.
"""

import argparse
import gc
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from decoder.config import DecoderConfig, load_config, override, resolve
from decoder.data.batches import Batch
from decoder.data.store import Dataset, Split
from decoder.pack import Pack, Run
from decoder.state import PackState
from decoder.step import forward_backward, update_weights

BASES = Path(__file__).parent.parent / "ablations" / "base"


def random_batch(
    config: DecoderConfig, n_features: int, n_bins: tuple[int, int], device: str
) -> Batch:
    """Trials of random length on `days_per_batch` days, like a T15 batch."""
    source = torch.Generator().manual_seed(0)
    B = config.data.batch_size
    lengths = torch.randint(*n_bins, (B,), generator=source)
    n_labels = (lengths // 18).clamp(min=1)
    labels = torch.randint(1, 41, (B, int(n_labels.max())), generator=source)
    features = torch.randn(B, int(lengths.max()), n_features, generator=source)
    day = torch.arange(B) * config.data.days_per_batch // B
    return Batch(features, lengths, labels, n_labels, day, torch.arange(len(day))).to(device)


def no_recordings(n_days: int, n_features: int) -> Dataset:
    """An empty data set with the sizes that a model needs."""
    empty = np.zeros(0, np.int64)
    split = Split(np.zeros((0, n_features), np.float32), empty, empty, empty, empty, empty, empty)
    sessions = tuple(f"t15.2000.01.{day:02d}" for day in range(1, n_days + 1))
    return Dataset("0" * 16, Path(), sessions, n_features, 41, split, split, {}, 20)


def median_ms(step: Callable[[], Any], device: str, n_steps: int) -> float:
    """Median wall milliseconds of a step, after two warm-up steps."""
    times = []
    for i in range(n_steps + 2):
        _synchronize(device)
        started = time.perf_counter()
        step()
        _synchronize(device)
        if i >= 2:
            times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def _synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def memory_gib(device: str) -> float:
    """Peak memory: allocated on a GPU (reset by `fresh`), resident on a CPU."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return torch.cuda.max_memory_allocated() / 2**30


def fresh(device: str) -> None:
    gc.collect()
    if device != "cpu":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def pack_step(
    config: DecoderConfig, n_runs: int, n_days: int, batch: Batch, kernel: str, device: str
) -> Callable[[], None]:
    """A step of a pack whose runs differ in learning rate and noise."""
    n_features = batch.features.shape[2]
    runs = []
    for i in range(n_runs):
        changes = {"optim.lr_max": 0.005 - 0.0001 * i, "augment.white_noise_std": 1 - 0.01 * i}
        runs.append(Run(f"run{i}", resolve(override(config, changes, "benchmark"))))
    pack = Pack("step", 1, tuple(runs))
    state = PackState.start(pack, no_recordings(n_days, n_features), torch.device(device))
    state.model.kernel = kernel  # type: ignore[assignment]

    def step() -> None:
        losses, gradients = forward_backward(
            state.model, state.configs, batch, pack.seed, state.step
        )
        norms = state.optimizer.norms(gradients)
        finite = losses.isfinite() & norms.isfinite()
        update_weights(state, gradients, losses, norms, finite)
        state.step += 1

    return step


def official_step(
    folder: Path, config: DecoderConfig, n_days: int, batch: Batch, device: str
) -> Callable[[], None]:
    """A step of the official trainer, in the same phases, without logging."""
    from types import SimpleNamespace

    from official import (
        load_official,
        make_official_model,
        official_args,
        official_transforms,
    )

    official = load_official(folder, compile_models=device != "cpu")
    model = make_official_model(official, config, n_days, batch.features.shape[2], dropout=True)
    model.to(device)
    if device != "cpu":
        model = torch.compile(model)  # as the official trainer does
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

    def step() -> None:
        optimizer.zero_grad()
        features, n_bins = batch.features.clone(), batch.n_bins
        with torch.autocast(torch.device(device).type, enabled=amp, dtype=torch.bfloat16):
            features, n_bins = trainer.transform_data(shell, features, n_bins, "train")
            size, stride = config.model.patch_size, config.model.patch_stride
            lengths = ((n_bins - size) / stride + 1).to(torch.int32)
            log_probs = model(features, batch.day).log_softmax(2).permute(1, 0, 2)
            loss = ctc(log_probs, batch.labels, lengths, batch.n_labels).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0, foreach=True)
        optimizer.step()
        scheduler.step()

    return step


def print_profile(step: Callable[[], None], device: str) -> None:
    """Print the ten operations that take most time in three steps."""
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device != "cpu" else [])
    with profile(activities=activities) as profiler:
        for _ in range(3):
            step()
        _synchronize(device)
    key = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    print(profiler.key_averages().table(sort_by=key, row_limit=10, max_name_column_width=60))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--official", type=Path)
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    device: str = options.device
    if device == "cpu":
        torch.set_num_threads(1)
    config = resolve(load_config(BASES / "t15_official.yaml"))
    n_features, n_days, n_bins = 512, 45, (300, 1000)
    if options.small:
        changes = {"model.n_units": 64, "model.n_layers": 2, "data.batch_size": 8}
        config = resolve(override(config, changes, "--small"))
        n_features, n_days, n_bins = 32, 4, (80, 160)
    config = override(config, {"optim.lr_warmup_steps": 0}, "benchmark")
    batch = random_batch(config, n_features, n_bins, device)
    name = "cpu" if device == "cpu" else torch.cuda.get_device_name()
    print(
        f"{name}, torch {torch.__version__}, {config.train.precision}, "
        f"batch {tuple(batch.features.shape)}"
    )
    baseline = None
    if options.official:
        fresh(device)
        baseline = median_ms(
            official_step(options.official, config, n_days, batch, device), device, options.steps
        )
        print(f"official trainer, R = 1: {baseline:9.1f} ms a step, {memory_gib(device):.1f} GiB")
    for n_runs in options.runs:
        for kernel in ("torch", "batched"):
            step = None  # otherwise the memory of the last pack would be included
            fresh(device)
            try:
                step = pack_step(config, n_runs, n_days, batch, kernel, device)
                ms = median_ms(step, device, options.steps)
            except torch.OutOfMemoryError:
                print(f"pack, {kernel:7s} kernel, R = {n_runs:2d}: out of memory")
                continue
            ratio = f", {baseline * n_runs / ms:.2f}x official" if baseline else ""
            print(
                f"pack, {kernel:7s} kernel, R = {n_runs:2d}: {ms:9.1f} ms a step, "
                f"{ms / n_runs:8.1f} ms a run, {memory_gib(device) / n_runs:.2f} GiB a run{ratio}"
            )
            if options.profile:
                print_profile(step, device)


if __name__ == "__main__":
    main()
