"""Imports the official T15 trainer from a folder that the user names, without copying any code.

Get it from github.com/Neuroprosthetics-Lab/nejm-brain-to-text and pass its ``model_training``
folder to the benchmarks that take ``--official``.
"""

import contextlib
import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from decoder.config import DecoderConfig, resolve
from decoder.ctc import edit_distance
from decoder.model.decoder import PackedDecoder
from decoder.model.recurrent import RecurrentLayer


class Official(NamedTuple):
    """The official modules."""

    model: ModuleType
    augmentations: ModuleType
    dataset: ModuleType
    trainer: ModuleType


def load_official(folder: Path, compile_models: bool = False) -> Official:
    """Import the official modules from `folder`.

    The trainer imports torchaudio and omegaconf for an edit distance and for type names. If they
    are missing, stubs with these replace them. Without `compile_models`, `torch.compile` does
    nothing, because compiling takes longer than the benchmark on a CPU.
    """
    if not (folder / "rnn_trainer.py").is_file():
        raise SystemExit(f"{folder}: holds no rnn_trainer.py; pass the model_training folder")
    for name in ("torchaudio", "omegaconf"):
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = types.ModuleType(name)
            sys.modules[f"{name}.functional"] = types.ModuleType(f"{name}.functional")
    functional: Any = sys.modules["torchaudio.functional"]
    functional.edit_distance = lambda a, b: edit_distance(list(a), list(b))
    omegaconf: Any = sys.modules["omegaconf"]
    omegaconf.OmegaConf = dict
    sys.path.insert(0, str(folder))
    if not compile_models:
        torch.compile = lambda model, *_, **__: model
    with official_flags():  # importing the trainer sets them for the whole process
        return Official(
            importlib.import_module("rnn_model"),
            importlib.import_module("data_augmentations"),
            importlib.import_module("dataset"),
            importlib.import_module("rnn_trainer"),
        )


@contextlib.contextmanager
def official_flags() -> Iterator[None]:
    """PyTorch's global flags as the official T15 trainer sets them; then those from before."""
    precision = torch.get_float32_matmul_precision()
    deterministic = torch.backends.cudnn.deterministic
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.deterministic = deterministic


def official_args(config: DecoderConfig) -> dict[str, Any]:
    """The part of the official ``rnn_args.yaml`` that optimizer and schedules read."""
    optim = resolve(config).optim
    return {
        "lr_max": optim.lr_max,
        "lr_min": optim.lr_min,
        "lr_warmup_steps": optim.lr_warmup_steps,
        "lr_decay_steps": optim.lr_decay_steps,
        "lr_max_day": optim.lr_max_day,
        "lr_min_day": optim.lr_min_day,
        "lr_warmup_steps_day": optim.lr_warmup_steps_day,
        "lr_decay_steps_day": optim.lr_decay_steps_day,
        "beta0": optim.beta1,
        "beta1": optim.beta2,
        "epsilon": optim.epsilon,
        "weight_decay": optim.weight_decay,
        "weight_decay_day": optim.weight_decay_day,
    }


def official_transforms(config: DecoderConfig) -> dict[str, Any]:
    """The official ``data_transforms``, with the strengths and the cut of `config`."""
    augment = config.augment
    return {
        "white_noise_std": augment.white_noise_std,
        "constant_offset_std": augment.constant_offset_std,
        "random_walk_std": 0.0,
        "random_walk_axis": -1,
        "static_gain_std": 0.0,
        "random_cut": augment.random_cut,
        "smooth_kernel_size": 100,
        "smooth_data": True,
        "smooth_kernel_std": 2,
    }


def official_state_dict(model: PackedDecoder, row: int) -> dict[str, Tensor]:
    """One run's weights under the official names."""
    state = {
        "h0": model.h0[row][None, None],
        "out.weight": model.head.weight[row],
        "out.bias": model.head.bias[row],
    }
    for i, layer in enumerate(model.layers):
        assert isinstance(layer, RecurrentLayer)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            state[f"gru.{name}_l{i}"] = getattr(layer, name)[row]
    for day, (weight, bias) in enumerate(
        zip(model.day_layer.weights, model.day_layer.biases, strict=True)
    ):
        state[f"day_weights.{day}"] = weight[row]
        state[f"day_biases.{day}"] = bias[row]
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def make_official_model(
    official: Official, config: DecoderConfig, n_days: int, n_features: int, dropout: bool
) -> Any:
    """An official ``GRUDecoder`` of the configured size."""
    model = config.model
    return official.model.GRUDecoder(
        neural_dim=n_features,
        n_units=model.n_units,
        n_days=n_days,
        n_classes=41,
        rnn_dropout=model.rnn_dropout if dropout else 0.0,
        input_dropout=model.input_dropout if dropout else 0.0,
        n_layers=model.n_layers,
        patch_size=model.patch_size,
        patch_stride=model.patch_stride,
    )
