"""Compares schedules, smoothing, decoding and size with the official T15 code."""

import math
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from official import Official, make_official_model, official_args

from decoder.config import DecoderConfig, load_config, override, resolve
from decoder.ctc import greedy_decode
from decoder.model.decoder import PackedDecoder
from decoder.schedules import learning_rates
from decoder.smoothing import gaussian_taps, smooth

BASES = Path(__file__).parent.parent / "ablations" / "base"
STATED = math.inf  # the bound of a size that is only stated


class Difference(NamedTuple):
    """One comparison; a bound of `STATED` bounds nothing."""

    what: str
    value: float
    bound: float


def schedule_difference(official: Official, config: DecoderConfig) -> float:
    """Largest absolute difference of any group's learning rate at any step."""
    config = resolve(override(config, {"optim.lr_warmup_steps_day": 37}, "fidelity"))
    theirs = make_official_model(official, config, 1, 4, dropout=False)
    trainer = official.trainer.BrainToTextDecoder_Trainer
    shell = SimpleNamespace(args=official_args(config), model=theirs)
    optimizer = trainer.create_optimizer(shell)
    scheduler = trainer.create_cosine_lr_scheduler(shell, optimizer)
    worst = 0.0
    for step in range(config.train.n_steps + 10):
        rates = learning_rates(config.optim, step)
        for group, name in zip(optimizer.param_groups, ("bias", "day", "weight"), strict=True):
            worst = max(worst, abs(group["lr"] - rates[name]))  # type: ignore[index]
        optimizer.step()
        scheduler.step()
    return worst


def smoothing_difference(official: Official) -> float:
    x = torch.randn(3, 200, 32, generator=torch.Generator().manual_seed(0))
    expected = official.augmentations.gauss_smooth(x, "cpu", 2, 100)
    return float((smooth(x, gaussian_taps(2.0, 100)) - expected).abs().max())


def decoding_difference() -> int:
    """Number of random argmax sequences that the official code decodes differently."""
    best = torch.randint(0, 4, (200, 60), generator=torch.Generator().manual_seed(0))
    lengths = torch.randint(1, 61, (200,), generator=torch.Generator().manual_seed(1))
    different = 0
    for row, length, got in zip(best, lengths, greedy_decode(best, lengths), strict=True):
        merged = torch.unique_consecutive(row[:length])
        different += [int(i) for i in merged if i != 0] != got
    return different


def compare_parts(official: Official) -> list[Difference]:
    """All comparisons of this module, on the CPU."""
    small, full = load_config(BASES / "t15_small.yaml"), load_config(BASES / "t15_official.yaml")
    theirs = make_official_model(official, full, 45, 512, dropout=True)
    n_theirs = sum(p.numel() for p in theirs.parameters())
    n_ours = PackedDecoder(full.model, 1, 45, 512, 41, seed=0).n_parameters()
    rates = "learning rates at every step"
    return [
        Difference(f"{rates}, small", schedule_difference(official, small), 1e-12),
        Difference(f"{rates}, full", schedule_difference(official, full), 1e-12),
        Difference("smoothing: largest difference", smoothing_difference(official), 1e-6),
        Difference("greedy decoding: sequences that differ of 200", decoding_difference(), 0),
        Difference(f"parameters, full size, 45 days ({n_ours:,})", abs(n_ours - n_theirs), 0),
    ]
