"""Weight files of both official trainers: reads them as our parameters, and writes them.

T15 is ``best_checkpoint`` of nejm-brain-to-text, T12 ``modelWeights`` of neural_seq_decoder. Both
are pickles. They are opened with ``weights_only``, which only reads tensors and plain values.
"""

import io
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from decoder.atomic import write_atomically
from decoder.config import DecoderConfig
from decoder.errors import CheckpointError, ConfigError
from decoder.extensions import has_modules
from decoder.model.decoder import PackedDecoder
from decoder.smoothing import taps_of

OfficialLayout = Literal["t12", "t15"]

# The T12 decoder has one layer per day that it never uses, and saves its smoothing kernel.
_T12_UNUSED = re.compile(r"inpLayer\d+\.(weight|bias)")
T12_TAPS = "gaussianSmoother.weight"
_TORCH_SAVES = (b"PK\x03\x04", b"\x80")  # first bytes: a zip archive, or a pickle in old versions
# The T12 decoder reads a patch feature by feature, each with its bins in order; ours bin by bin.
_READ_PATCHES = ("layers.0.weight_ih", "layers.0.weight_ih_reverse")


class OfficialWeights(NamedTuple):
    """The content of a file of an official trainer.

    Attributes:
        layout: its layout.
        tensors: parameter of `PackedDecoder`, without the axis of runs → value.
        names: parameter → its name in the file, for error messages.
        facts: ``val_PER`` and ``val_loss``, if the file has them.
        taps: the smoothing kernel that the T12 decoder saves; None for T15.
    """

    layout: OfficialLayout
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]
    facts: Mapping[str, float]
    taps: Tensor | None


def read_official(path: Path) -> OfficialWeights:
    """Read a T15 ``best_checkpoint`` or T12 ``modelWeights`` under the names of our parameters.

    Raises:
        CheckpointError: the file cannot be read, or does not only hold tensors and plain values.
    """
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
    layout: OfficialLayout = "t12" if "dayWeights" in state else "t15"
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
    taps = state.get(T12_TAPS)
    return OfficialWeights(layout, tensors, names, facts, None if taps is None else taps[0, 0])


def official_state_dict(
    model: PackedDecoder, row: int, config: DecoderConfig, layout: OfficialLayout
) -> dict[str, Tensor]:
    """One run's weights with the names and shapes of an official decoder.

    Args:
        model: R decoders.
        row: the run's position on the leading axis.
        config: its configuration; the T12 decoder saves its smoothing kernel with its weights.
        layout: of the official decoder.

    Raises:
        ConfigError: the official decoder has no such parts; names every field.
    """
    _check_official(config, layout)
    own = {name: p.detach()[row].clone().cpu() for name, p in model.named_parameters()}
    head, gru = ("out", "gru") if layout == "t15" else ("fc_decoder_out", "gru_decoder")
    result = {f"{head}.{name}": own.pop(f"head.{name}") for name in ("weight", "bias")}
    day_weights = [own.pop(name) for name in sorted(own, key=_number) if ".weights." in name]
    day_biases = [own.pop(name) for name in sorted(own, key=_number) if ".biases." in name]
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
        result[T12_TAPS] = torch.tensor(taps_of(config.augment)).repeat(n_features, 1, 1)
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
    layout: OfficialLayout,
    facts: Mapping[str, float],
) -> None:
    """Write one run's weights in the format of an official trainer, so that its code loads them.

    A T15 checkpoint gets ``model_state_dict`` and the `facts`, which is what the official
    evaluation reads. It does not get an optimizer state, so training cannot continue from it.

    Args:
        path: the file.
        model: R decoders.
        row: the run's position on the leading axis.
        config: its configuration.
        layout: of the official decoder.
        facts: ``val_PER`` and ``val_loss``, if they are known; only T15 keeps them.

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
    """The content of a file of `torch.save`: tensors, plain values and numpy scalars.

    The official T15 trainer saves its validation loss as a numpy scalar.
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
                    f"{path}: is not a file of weights: neither a file of torch.save nor "
                    ".safetensors"
                )
        with torch.serialization.safe_globals(numbers):
            return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"'{found[1]}'" if found else "objects that are neither tensors nor plain values"
        raise CheckpointError(
            f"{path}: holds {what}; opening it could run any code, so it is not opened; save only "
            "the state dict: torch.save(model.state_dict(), path)"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        text = " ".join(str(error).split())
        raise CheckpointError(f"{path}: is damaged or not a file of torch.save: {text}") from None


def _translate(layout: OfficialLayout, name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """Our parameters in one official tensor; a tensor that we do not have keeps its name."""
    if layout == "t12":
        if _T12_UNUSED.fullmatch(name) or name == T12_TAPS:
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
    """Swap bins and features in the columns of a weight: (O, outer inner) → (O, inner outer)."""
    rows = weight.shape[0]
    return weight.view(rows, n_outer, -1).transpose(1, 2).reshape(rows, -1)


def _check_official(config: DecoderConfig, layout: OfficialLayout) -> None:
    """Refuse a configuration with parts that the official decoder does not have."""
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
    if has_modules(config):
        problems.append(
            "parts.*: the decoder has layers of your own, which no official decoder has; such "
            "weights cannot be exported"
        )
    if layout == "t12" and not (config.augment.smooth and len(taps_of(config.augment)) == 20):
        problems.append(
            "augment.*: the official T12 decoder smooths inside the model with 20 taps; set "
            "augment.smooth true, smooth_taps all and smooth_size_bins 20"
        )
    if problems:
        raise ConfigError(problems)


def _number(name: str) -> tuple[str, int]:
    """Sorts ``weights.10`` after ``weights.9``."""
    stem, _, number = name.rpartition(".")
    return stem, int(number) if number.isdigit() else -1
