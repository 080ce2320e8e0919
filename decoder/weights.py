"""Weights of one decoder: reads them from any layout, builds the decoder, writes our own layout.

The layouts are those of both official codebases (`decoder.official_weights`) and ours, a
safetensors file that `save_weights` writes.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from decoder.atomic import write_atomically
from decoder.config import DecoderConfig, parse_config
from decoder.errors import CheckpointError, ConfigError
from decoder.extensions import used_by
from decoder.model.decoder import PackedDecoder
from decoder.official_weights import T12_TAPS, read_official
from decoder.pack import WEIGHTS_NAME
from decoder.phonemes import N_CLASSES
from decoder.regular import check_regular
from decoder.smoothing import taps_of

Layout = Literal["t12", "t15", "ours"]

FORMAT = 1


class Weights(NamedTuple):
    """The content of a file of weights.

    Attributes:
        path: the file.
        layout: its layout.
        tensors: parameter of `PackedDecoder`, without the axis of runs → value.
        names: parameter → its name in the file, for error messages.
        config: the configuration it was trained with; None if the file does not hold it.
        sessions: names in the order of the day layers; None if the file does not hold them.
        facts: plain values beside the weights, such as ``val_PER``.
        taps: the smoothing kernel it was trained with; None if the file does not hold it.
    """

    path: Path
    layout: Layout
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    config: DecoderConfig | None = None
    sessions: tuple[str, ...] | None = None
    facts: Mapping[str, Any] = {}
    taps: Tensor | None = None

    @property
    def n_days(self) -> int:
        """Number of day layers in the file."""
        return sum(name.startswith("day_layer.weights.") for name in self.tensors)


def read_weights(path: Path | str) -> Weights:
    """Read a file of weights in any layout.

    Args:
        path: T15 ``best_checkpoint``, T12 ``modelWeights``, ``weights.safetensors`` of a run, or
            the folder of a run.

    Raises:
        CheckpointError: it cannot be read, or holds anything but tensors and plain values.
    """
    path = Path(path)
    if path.is_dir():
        if not (path / WEIGHTS_NAME).is_file():
            raise CheckpointError(
                f"{path}: holds no {WEIGHTS_NAME}; a run only keeps its weights with "
                "train.keep_weights final or best"
            )
        path = path / WEIGHTS_NAME
    if path.suffix == ".safetensors":
        return _read_ours(path)
    official = read_official(path)
    return Weights(
        path,
        official.layout,
        official.tensors,
        official.names,
        facts=official.facts,
        taps=official.taps,
    )


def build_decoder(weights: Weights, config: DecoderConfig) -> PackedDecoder:
    """Build one decoder with these weights, in evaluation mode.

    Args:
        weights: from `read_weights`.
        config: the configuration it was trained with.

    Returns:
        A `PackedDecoder` with R = 1.

    Raises:
        ConfigError: the weights belong to a decoder of another shape; names every parameter.
    """
    days = [t for name, t in weights.tensors.items() if name.startswith("day_layer.weights.")]
    patches = ("layers.0.weight_ih", "embedding.linear.weight")  # what reads the patches
    source = next((weights.tensors[name] for name in patches if name in weights.tensors), None)
    known = weights.facts.get("n_features")
    n_features = (
        known
        if isinstance(known, int)
        else days[0].shape[-1]
        if days and days[0].dim()
        else source.shape[-1] // config.model.patch_size
        if source is not None and source.dim()
        else 1
    )
    n_days, used = max(len(days), 1), used_by([config])
    model = PackedDecoder(config.model, 1, n_days, n_features, N_CLASSES, seed=0, used=used)
    expected = weights_of(model, 0)
    _check_same(weights, {name: tuple(value.shape) for name, value in expected.items()})
    if weights.taps is not None:
        _check_taps(weights, config)
    for name, own in weights_of(model, 0).items():
        own.copy_(weights.tensors[name])
    return model.eval()


def save_weights(
    folder: Path,
    model: PackedDecoder,
    row: int,
    config: DecoderConfig,
    sessions: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    """Write one run's weights with a description, which also goes into a JSON file.

    Args:
        folder: gets ``weights.safetensors`` and ``weights.json``.
        model: R decoders.
        row: the run's position on the leading axis.
        config: its configuration.
        sessions: names in day order.
        facts: plain JSON values about these weights, such as their step and PER.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    write_weights(folder, weights_of(model, row), config, sessions, facts)


def weights_of(model: PackedDecoder, row: int) -> dict[str, Tensor]:
    """Parameter or buffer → one run's values, which share the memory of the model."""
    tensors = dict(model.named_parameters()) | model.buffers_of_runs()
    return {name: tensor.detach()[row] for name, tensor in tensors.items()}


def write_weights(
    folder: Path,
    tensors: Mapping[str, Tensor],
    config: DecoderConfig,
    sessions: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    """Write weights that `weights_of` gave; the other arguments and errors: see `save_weights`."""
    document = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "sessions": list(sessions),
        "facts": dict(facts),
    }
    text = json.dumps(document, indent=1)
    on_host = {name: value.cpu().contiguous() for name, value in tensors.items()}
    content = save(on_host, metadata={"decoder": text})
    write_atomically(folder / WEIGHTS_NAME, content)
    write_atomically((folder / WEIGHTS_NAME).with_suffix(".json"), f"{text}\n".encode())


def _read_ours(path: Path) -> Weights:
    try:
        check_regular(path.resolve())
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {}).get("decoder", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    keys = {"format", "config", "sessions", "facts"}
    complete = isinstance(document, dict) and keys <= set(document)
    if not complete or document["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: does not describe its decoder in format {FORMAT}, as files of "
            "`train.keep_weights` do; give such a file, or one of an official trainer"
        )
    return Weights(
        path,
        "ours",
        tensors,
        {name: name for name in tensors},
        config=parse_config(document["config"], str(path)),
        sessions=tuple(document["sessions"]),
        facts=document["facts"],
    )


def _check_same(weights: Weights, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights with a missing parameter, an unknown one, or one of another shape."""
    problems = [
        f"{weights.path}: the decoder's '{name}' {shape} is missing"
        for name, shape in expected.items()
        if name not in weights.tensors
    ]
    for name, tensor in weights.tensors.items():
        where = f"{weights.path}: '{weights.names[name]}'"
        if name not in expected:
            problems.append(
                f"{where} {tuple(tensor.shape)} does not belong to the configured decoder"
            )
        elif tuple(tensor.shape) != expected[name]:
            problems.append(
                f"{where}: has shape {tuple(tensor.shape)}, but the configured decoder has "
                f"{expected[name]}"
            )
    if problems:
        raise ConfigError(
            [*problems, f"{weights.path}: give the configuration these weights were trained with"]
        )


def _check_taps(weights: Weights, config: DecoderConfig) -> None:
    assert weights.taps is not None
    got = taps_of(config.augment) if config.augment.smooth else []
    same = len(got) == len(weights.taps) and np.allclose(got, weights.taps, atol=1e-5)
    if not same:
        raise ConfigError(
            f"{weights.path}: '{T12_TAPS}' is not the kernel of augment.smooth_std_bins "
            f"{config.augment.smooth_std_bins}, smooth_size_bins {config.augment.smooth_size_bins} "
            "and smooth_taps; give the configuration these weights were trained with"
        )
