"""Weights of one decoder: read from both official layouts and ours, checked, written to each.

T15 is ``best_checkpoint`` of nejm-brain-to-text, T12 ``modelWeights`` of neural_seq_decoder, ours
a safetensors file that `save_weights` makes. Official files are pickles: they are opened with
``weights_only`` and nothing else, so that they can hold tensors and plain values alone.
"""

import io
import json
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from decoder.atomic import write_atomically
from decoder.config import DecoderConfig, parse_config
from decoder.errors import CheckpointError, ConfigError
from decoder.model.decoder import PackedDecoder
from decoder.pack import WEIGHTS_NAME
from decoder.phonemes import N_CLASSES
from decoder.smoothing import taps_of

Layout = Literal["t12", "t15", "ours"]

FORMAT = 1

# The T12 decoder makes a layer a day that it never uses, and saves its smoothing kernel.
_T12_UNUSED = re.compile(r"inpLayer\d+\.(weight|bias)")
_T12_TAPS = "gaussianSmoother.weight"
_TORCH_SAVES = (b"PK\x03\x04", b"\x80")  # how its files begin: a zip archive, once a pickle
# It reads a patch feature by feature, each with its bins in order; ours bin by bin.
_READ_PATCHES = ("layers.0.weight_ih", "layers.0.weight_ih_reverse")


class Weights(NamedTuple):
    """What a file of weights holds.

    Attributes:
        path: the file.
        layout: whose it is.
        tensors: parameter of `PackedDecoder`, without the axis of runs → value.
        names: parameter → its name in the file, for complaints.
        config: the configuration it was trained with; None where the file does not say.
        sessions: names in the order of the day layers; None where the file does not say.
        facts: plain values beside the weights, such as ``val_PER``.
        taps: the smoothing kernel it was trained with; None where the file does not say.
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
        """Day layers in the file."""
        return sum(name.startswith("day_layer.weights.") for name in self.tensors)


def read_weights(path: Path) -> Weights:
    """Read a file of weights, whichever layout it is in.

    Raises:
        CheckpointError: it cannot be read, or holds anything but tensors and plain values.
    """
    if path.is_dir():
        if not (path / WEIGHTS_NAME).is_file():
            raise CheckpointError(
                f"{path}: holds no {WEIGHTS_NAME}; a run keeps its weights if it is trained with "
                "train.keep_weights final or best"
            )
        path = path / WEIGHTS_NAME
    if path.suffix == ".safetensors":
        return _read_ours(path)
    document = _load_tensors(path)
    state = document.get("model_state_dict", document) if isinstance(document, dict) else None
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in state.items()
    ):
        raise CheckpointError(
            f"{path}: must be a T15 checkpoint (a mapping with 'model_state_dict'), T12 "
            "modelWeights (a state dict), or a .safetensors file of ours"
        )
    state = {re.sub(r"^(?:(?:module|_orig_mod)\.)+", "", name): t for name, t in state.items()}
    facts = {n: document[n] for n in ("val_PER", "val_loss") if n in document}
    facts = {n: float(v) for n, v in facts.items() if isinstance(v, int | float | np.number)}
    layout: Layout = "t12" if "dayWeights" in state else "t15"
    names: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        for ours, value in _translate(layout, name, tensor):
            names[ours], tensors[ours] = name, value
    if layout == "t12" and state["dayWeights"].dim() == 3:
        n_features = state["dayWeights"].shape[-1]
        for ours in _READ_PATCHES:
            weight = tensors.get(ours)
            if weight is not None and weight.dim() == 2 and not weight.shape[1] % n_features:
                tensors[ours] = _exchange_patch_axes(weight, n_features)
    taps = state.get(_T12_TAPS)
    return Weights(
        path, layout, tensors, names, facts=facts, taps=None if taps is None else taps[0, 0]
    )


def build_decoder(weights: Weights, config: DecoderConfig) -> PackedDecoder:
    """One decoder with these weights, in evaluation as it was when they were saved.

    Args:
        weights: from `read_weights`.
        config: what the decoder was trained with.

    Raises:
        ConfigError: the weights are of a decoder of another shape; names every parameter.
    """
    days = [t for name, t in weights.tensors.items() if name.startswith("day_layer.weights.")]
    source = weights.tensors.get("layers.0.weight_ih", weights.tensors.get("embedding.weight"))
    n_features = (
        days[0].shape[-1]
        if days and days[0].dim()
        else source.shape[-1] // config.model.patch_size
        if source is not None and source.dim()
        else 1
    )
    model = PackedDecoder(config.model, 1, max(len(days), 1), n_features, N_CLASSES, seed=0)
    expected = {name: parameter[0] for name, parameter in model.named_parameters()}
    _check_same(weights, {name: tuple(value.shape) for name, value in expected.items()})
    if weights.taps is not None:
        _check_taps(weights, config)
    for name, parameter in model.named_parameters():
        parameter.data.copy_(weights.tensors[name][None])
    return model.eval()


def save_weights(
    folder: Path,
    model: PackedDecoder,
    row: int,
    config: DecoderConfig,
    sessions: Sequence[str],
    facts: Mapping[str, Any],
) -> None:
    """Write one run's weights, and the same description inside the file and as JSON beside it.

    Args:
        folder: gets ``weights.safetensors`` and ``weights.json``.
        model: of which the run is `row`.
        row: the run.
        config: its configuration.
        sessions: names in day order.
        facts: what is known of these weights, such as their step and PER; plain JSON values.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    document = {
        "format": FORMAT,
        "config": config.model_dump(mode="json"),
        "sessions": list(sessions),
        "facts": dict(facts),
    }
    text = json.dumps(document, indent=1)
    tensors = {
        name: parameter.detach()[row].cpu().contiguous()
        for name, parameter in model.named_parameters()
    }
    content = save(tensors, metadata={"decoder": text})
    write_atomically(folder / WEIGHTS_NAME, content)
    write_atomically((folder / WEIGHTS_NAME).with_suffix(".json"), f"{text}\n".encode())


def official_state_dict(
    model: PackedDecoder, row: int, config: DecoderConfig, layout: Literal["t12", "t15"]
) -> dict[str, Tensor]:
    """One run's weights under the names and in the shapes of an official decoder.

    Args:
        model: of which the run is `row`.
        row: the run.
        config: its configuration; the T12 decoder keeps its smoothing kernel with its weights.
        layout: whose decoder.

    Raises:
        ConfigError: the official decoder has no such part; names every field.
    """
    _check_official(config, layout)
    own = {name: p.detach()[row].clone().cpu() for name, p in model.named_parameters()}
    state = {
        "head.weight": own.pop("head.weight"),
        "head.bias": own.pop("head.bias"),
    }
    day_weights = [own.pop(name) for name in sorted(own, key=_number) if ".weights." in name]
    day_biases = [own.pop(name) for name in sorted(own, key=_number) if ".biases." in name]
    head, gru = ("out", "gru") if layout == "t15" else ("fc_decoder_out", "gru_decoder")
    result = {f"{head}.{name.partition('.')[2]}": value for name, value in state.items()}
    if layout == "t15":
        result["h0"] = own.pop("h0")[None, None]
        result |= {f"day_weights.{i}": value for i, value in enumerate(day_weights)}
        result |= {f"day_biases.{i}": value for i, value in enumerate(day_biases)}
    else:
        result |= {"dayWeights": torch.stack(day_weights), "dayBias": torch.stack(day_biases)}
        n_features = day_weights[0].shape[0]
        for day in range(len(day_weights)):
            result[f"inpLayer{day}.weight"] = torch.eye(n_features)
            result[f"inpLayer{day}.bias"] = torch.zeros(n_features)
        result[_T12_TAPS] = _official_taps(config).repeat(n_features, 1, 1)
        for name in _READ_PATCHES:
            if name in own:
                own[name] = _exchange_patch_axes(own[name], config.model.patch_size)
    for name, value in own.items():
        _, layer, parameter = name.split(".")
        stem, _, reverse = parameter.partition("_reverse")
        suffix = "_reverse" if parameter.endswith("_reverse") else reverse
        result[f"{gru}.{stem}_l{layer}{suffix}"] = value
    return result


def save_official(
    path: Path,
    model: PackedDecoder,
    row: int,
    config: DecoderConfig,
    layout: Literal["t12", "t15"],
    facts: Mapping[str, float],
) -> None:
    """Write one run's weights as the official trainer would, so that its code can load them.

    A T15 checkpoint gets ``model_state_dict`` and the `facts` ``val_PER`` and ``val_loss``, which
    is what evaluation reads; the state of its optimizer, from which training could go on, is not
    there.

    Raises:
        ConfigError: see `official_state_dict`.
        StorageError: the disk is full or the folder cannot be written.
    """
    state = official_state_dict(model, row, config, layout)
    document: dict[str, Any] = state if layout == "t12" else {"model_state_dict": state, **facts}
    buffer = io.BytesIO()
    torch.save(document, buffer)
    write_atomically(path, buffer.getvalue())


def _load_tensors(path: Path) -> Any:
    """The content of a file of `torch.save`: tensors, plain values and numpy's numbers.

    The official T15 trainer saves its validation loss as a numpy number.
    """
    scalar: Callable[..., Any] = np.float64(0.0).__reduce__()[0]  # type: ignore[assignment]
    numbers: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        np.dtype,
        type(np.dtype(np.float32)),
        type(np.dtype(np.float64)),
        (scalar, "numpy._core.multiarray.scalar"),
        (scalar, "numpy.core.multiarray.scalar"),  # written by numpy 1
    ]
    try:
        with path.open("rb") as file:
            if not file.read(4).startswith(_TORCH_SAVES):
                raise CheckpointError(
                    f"{path}: is no file of torch.save and not called .safetensors; name a file of "
                    "weights"
                )
        with torch.serialization.safe_globals(numbers):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"'{found[1]}'" if found else "objects that are neither tensors nor plain values"
        raise CheckpointError(
            f"{path}: holds {what}, and opening it could run any code, so it is not opened; save "
            "the state dict alone: torch.save(model.state_dict(), path)"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())
        raise CheckpointError(f"{path}: is torn or no file of torch.save: {text}") from None


def _read_ours(path: Path) -> Weights:
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {}).get("decoder", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
    told = {"format", "config", "sessions", "facts"}
    whole = isinstance(document, dict) and told <= set(document)
    if not whole or document["format"] != FORMAT:
        raise CheckpointError(
            f"{path}: says nothing of the decoder it belongs to, or in another format; only "
            f"format {FORMAT}, as `train.keep_weights` writes it, is read"
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


def _translate(layout: Layout, name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """Our parameters in one official tensor; one that we do not have keeps its name."""
    if layout == "t12":
        if _T12_UNUSED.fullmatch(name) or name == _T12_TAPS:
            return []
        days = {"dayWeights": "weights", "dayBias": "biases"}
        if name in days and tensor.dim() == 3:
            return [(f"day_layer.{days[name]}.{i}", value) for i, value in enumerate(tensor)]
    if name == "h0" and tensor.shape[:2] == (1, 1):
        return [("h0", tensor[0, 0])]
    found = re.fullmatch(r"gru(?:_decoder)?\.(\w+)_l(\d+)(_reverse)?", name)
    if found:
        return [(f"layers.{found[2]}.{found[1]}{found[3] or ''}", tensor)]
    for official, ours in (
        ("out.", "head."),
        ("fc_decoder_out.", "head."),
        ("day_weights.", "day_layer.weights."),
        ("day_biases.", "day_layer.biases."),
    ):
        if name.startswith(official):
            return [(ours + name.removeprefix(official), tensor)]
    return [(name, tensor)]


def _exchange_patch_axes(weight: Tensor, n_outer: int) -> Tensor:
    """(O, outer inner) columns, one for each bin and feature of a patch → (O, inner outer)."""
    rows = weight.shape[0]
    return weight.view(rows, n_outer, -1).transpose(1, 2).reshape(rows, -1)


def _check_same(weights: Weights, expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse weights that lack a parameter, have one too many, or one of another shape."""
    problems = [
        f"{weights.path}: the decoder's '{name}' {shape} is missing"
        for name, shape in expected.items()
        if name not in weights.tensors
    ]
    for name, tensor in weights.tensors.items():
        where = f"{weights.path}: '{weights.names[name]}'"
        if name not in expected:
            problems.append(f"{where} {tuple(tensor.shape)} is no part of the configured decoder")
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
            f"{weights.path}: '{_T12_TAPS}' is not the kernel that augment.smooth_std_bins "
            f"{config.augment.smooth_std_bins}, smooth_size_bins {config.augment.smooth_size_bins} "
            "and smooth_taps give; give the configuration these weights were trained with"
        )


def _check_official(config: DecoderConfig, layout: Literal["t12", "t15"]) -> None:
    """Refuse what the official decoder does not have."""
    model = config.model
    wanted: dict[str, Any] = {
        "architecture": "gru",
        "day_layer": "per_day",
        "layer_norm": False,
        "post_rnn_layers": 0,
        "inter_ctc_layers": (),
        "mask_token": "zero",
        "h0": "learned" if layout == "t15" else "zero",
        "count_last_patch": layout == "t15",
    }
    if layout == "t15":
        wanted["bidirectional"] = False
    problems = [
        f"model.{name} is {getattr(model, name)!r}, but the official {layout.upper()} decoder has "
        f"{value!r}; such weights cannot be exported to it"
        for name, value in wanted.items()
        if getattr(model, name) != value
    ]
    if layout == "t12" and not (config.augment.smooth and len(taps_of(config.augment)) == 20):
        problems.append(
            "augment.*: the official T12 decoder smooths inside the model with 20 taps; set "
            "augment.smooth true, smooth_taps all and smooth_size_bins 20"
        )
    if problems:
        raise ConfigError(problems)


def _official_taps(config: DecoderConfig) -> Tensor:
    return torch.tensor(taps_of(config.augment)).view(1, 1, -1)


def _number(name: str) -> tuple[str, int]:
    """Sorts ``weights.10`` after ``weights.9``."""
    stem, _, number = name.rpartition(".")
    return stem, int(number) if number.isdigit() else -1
