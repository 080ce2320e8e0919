"""What layers and encoders of the user's add to a model: parameters, widths, memory.

Their formulas are not known, so one module is built and tried. torch is imported here only if a
configuration uses such a part.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

from decoder.config import DecoderConfig
from decoder.extensions import UsedPart, has_modules, used_by
from decoder.parameters import Widths, count_parameters
from decoder.parts import MODULES

# Bins or patches of the two trials from which the memory of longer ones follows.
_LENGTHS = (32, 64)
# Kept values for each input and output where a module cannot be tried on this machine.
_GUESSED = 12


class PartSize(NamedTuple):
    """One layer or encoder of the user's.

    Attributes:
        n_parameters: weights and buffers of one run.
        n_outputs: width of its output.
        linear, square: bytes kept for the backward pass of one trial, for each bin or patch and
            for each pair of them.
    """

    n_parameters: int
    n_buffers: int
    n_outputs: int
    linear: float
    square: float

    def kept(self, n_trials: int, length: int) -> int:
        """Bytes kept for the backward pass of a batch."""
        return round(n_trials * (self.linear * length + self.square * length**2))


class PartSizes(NamedTuple):
    """The layers and encoders of the user's that a configuration uses, in their order.

    Attributes:
        before: those at the rate of bins.
        others: those at the rate of patches.
    """

    widths: Widths
    before: tuple[PartSize, ...]
    others: tuple[PartSize, ...]

    @property
    def n_parameters(self) -> int:
        """Their trainable numbers."""
        return sum(one.n_parameters for one in (*self.before, *self.others))

    @property
    def n_buffers(self) -> int:
        """What they keep beside their weights."""
        return sum(one.n_buffers for one in (*self.before, *self.others))


_NONE = PartSizes(Widths(), (), ())


def n_parameters(config: DecoderConfig, n_features: int, n_classes: int, n_days: int) -> int:
    """The trainable numbers of one run, with those of the user's parts.

    Raises:
        ConfigError: a part of the user's cannot be built or tried.
    """
    sizes = part_sizes(config, n_features)
    own = count_parameters(config.model, n_features, n_classes, n_days, sizes.widths)
    return own + sizes.n_parameters


def part_sizes(config: DecoderConfig, n_features: int) -> PartSizes:
    """The sizes of the layers and encoders of the user's that a configuration uses.

    Raises:
        ConfigError: one cannot be built, or returns another shape.
    """
    if not has_modules(config):
        return _NONE
    used = [one for one in used_by([config]) if one.part.kind in MODULES]

    def chain(kind: str, width: int) -> tuple[tuple[PartSize, ...], int]:
        sizes = []
        for one in used:
            if one.part.kind == kind:
                sizes.append(_size_of(one, width))
                width = sizes[-1].n_outputs
        return tuple(sizes), width

    before, features = chain("layer_before", n_features)
    encoders, encoded = chain("encoder", config.model.patch_size * features)
    of_layers = encoded if encoders else config.model.n_states
    after, last = chain("layer_after", of_layers)
    widths = Widths(features, encoded if encoders else None, last)
    return PartSizes(widths, before, (*encoders, *after))


@functools.lru_cache(maxsize=256)
def _size_of(used: UsedPart, n_inputs: int) -> PartSize:
    import torch

    from decoder.model.own_parts import OwnPart

    own = OwnPart(used, n_inputs, 0, torch.device("cpu"))
    counted = sum(parameter[0].numel() for parameter in own.parameters())
    buffers = sum(buffer[0].numel() for buffer in own.buffers())
    first, second = (own.kept_bytes(length) for length in _LENGTHS)
    if first is None or second is None:
        guess = float(4 * _GUESSED * (n_inputs + own.n_outputs))
        return PartSize(counted, buffers, own.n_outputs, guess, 0.0)
    return PartSize(counted, buffers, own.n_outputs, *_fitted((first, second)))


def _fitted(kept: Sequence[int]) -> tuple[float, float]:
    """The linear and the square coefficient of what two lengths keep."""
    (n, m), (a, b) = _LENGTHS, kept
    square = max(0.0, (b / m - a / n) / (m - n))
    return max(0.0, a / n - square * n), square
