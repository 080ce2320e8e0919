"""Files of parts for tests, one part of each kind, and the configurations that use them."""

from pathlib import Path
from typing import Any

from decoder.config import DecoderConfig, override, resolve, with_extensions
from decoder.pack import Pack, Run

GOOD = """
from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from decoder.parts import (
    PER_RUN, NonNegativeReal, Parameters, Probability, Width,
    augmentation, encoder, layer, loss, metric,
)


class Mix(Parameters):
    p: Annotated[Probability, PER_RUN] = 0.25
    shift: Width = 1


@augmentation("mix", Mix)
def mix(x, n_bins, runs, generator):
    noise = torch.randn(x.shape[1:], generator=generator, device=x.device)
    share = torch.tensor([own.p for own in runs], device=x.device)[:, None, None, None]
    return x + share * noise.roll(runs[0].shift, -1)


class Block(Parameters):
    width: Width = 6
    dropout: Annotated[Probability, PER_RUN] = 0.2


@layer("front", place="before")
class Front(nn.Module):
    def __init__(self, n_inputs, parameters):
        super().__init__()
        self.convolution = nn.Conv1d(n_inputs, n_inputs + 2, 3, padding=1)

    def forward(self, x, lengths):
        valid = torch.arange(x.shape[1], device=x.device) < lengths[:, None]
        return self.convolution((x * valid[..., None]).transpose(1, 2)).transpose(1, 2)


@layer("back", Block, place="after")
class Back(nn.Module):
    def __init__(self, n_inputs, parameters):
        super().__init__()
        self.linear = nn.Linear(n_inputs, parameters.width)
        self.norm = nn.BatchNorm1d(parameters.width)
        self.dropout = nn.Dropout(parameters.dropout)
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x):
        x = self.norm(self.linear(x).transpose(1, 2)).transpose(1, 2)
        return self.scale * self.dropout(torch.relu(x))


@encoder("gru", Block)
class Gru(nn.Module):  # which torch.func cannot batch
    def __init__(self, n_inputs, parameters):
        super().__init__()
        self.gru = nn.GRU(n_inputs, parameters.width, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]


@encoder("packed", packed=True)
class Packed(nn.Module):
    def __init__(self, n_inputs, runs, source):
        super().__init__()
        weight = torch.randn(n_inputs, 5, generator=source) / 10
        self.weight = nn.Parameter(weight.repeat(len(runs), 1, 1))

    def forward(self, x):
        return torch.einsum("rbpd,rdh->rbph", x, self.weight)


class Term(Parameters):
    weight: Annotated[NonNegativeReal, PER_RUN] = 0.5


@loss("small", Term)
def small(logits, labels, n_patches, n_labels, runs):
    weight = torch.tensor([own.weight for own in runs], device=logits.device)
    return weight * logits.square().mean((1, 2, 3))


@metric("frames", packed=False)
def frames(logits, labels, n_patches, n_labels, parameters):
    return n_patches.sum().float(), n_labels.sum()
"""

SMALL = {
    "data.batch_size": 8,
    "data.days_per_batch": 2,
    "model.n_units": 6,
    "model.n_layers": 1,
    "model.patch_size": 4,
    "model.patch_stride": 2,
    "optim.lr_warmup_steps": 0,
    "optim.lr_max": 0.003,
    "train.n_steps": 4,
    "train.eval_every_steps": 2,
}


def with_parts(folder: Path, text: str = GOOD, **changes: Any) -> DecoderConfig:
    """A small configuration with a file of parts, none of which is used yet."""
    (folder / "my_parts.py").write_text(text)
    base = override(DecoderConfig(), {**SMALL, **changes})
    return with_extensions(base, ["my_parts.py"], folder)


def using(config: DecoderConfig, *names: str, **changes: Any) -> DecoderConfig:
    """The configuration that uses some parts; `changes` have ``__`` in the place of a dot."""
    used = {f"parts.{name}.use": True for name in names}
    return override(config, used | {path.replace("__", "."): v for path, v in changes.items()})


def pack_of(*configs: DecoderConfig, seed: int = 1) -> Pack:
    """A pack of these configurations, whose runs are named by their number."""
    runs = [Run(f"run-{index}", resolve(config)) for index, config in enumerate(configs)]
    return Pack("pack", seed, tuple(runs))
