"""Calls the functions of the user's in a step or an evaluation: augmentations, losses, metrics.

What they return is checked, and an error inside them names their file and line.

Dimensions: R runs, B batch, T bins, P patches, F features, C classes, L labels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from decoder.entries import OWN_METRIC
from decoder.errors import UserError
from decoder.extensions import UsedPart, explain_crash
from decoder.host import to_host
from decoder.parts import Part
from decoder.seeding import generator


class PartError(RuntimeError):
    """A part of the user's failed or returned what the decoder cannot use."""


@contextmanager
def inside(part: Part) -> Iterator[None]:
    """A context in which a part runs: its errors start with its file, line and name.

    Raises:
        PartError: in the place of any error but those of the machine.
    """
    try:
        yield
    except (UserError, PartError, OSError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise PartError(explain_crash(error, part.file, part.title, part.line)) from error


def check_shape(part: Part, got: Any, allowed: Sequence[int], given: str, mend: str) -> None:
    """Refuse a return value of another type or shape.

    Args:
        allowed: the shape; -1 allows any size.
        given: what the part was called with.
        mend: what to do about it.

    Raises:
        PartError: it is no tensor of this shape.
    """
    expected = tuple("any" if size == -1 else size for size in allowed)
    wanted = f"a tensor of shape ({', '.join(map(str, expected))}{',' * (len(expected) == 1)})"
    if not isinstance(got, Tensor):
        raise PartError(
            f"{part.where}: must return {wanted} for {given}, but returned "
            f"{type(got).__name__}; {mend}"
        )
    if got.dim() != len(allowed) or any(
        size not in (-1, own) for size, own in zip(allowed, got.shape, strict=True)
    ):
        raise PartError(
            f"{part.where}: must return {wanted} for {given}, but returned shape "
            f"{tuple(got.shape)}; {mend}"
        )


def check_real(part: Part, got: Tensor, mend: str) -> None:
    """Refuse complex values.

    Raises:
        PartError: they are.
    """
    if got.is_complex():
        raise PartError(f"{part.where}: must return real values, but returned {got.dtype}; {mend}")


def augment_by_parts(
    x: Tensor, n_bins: Tensor, used: Sequence[UsedPart], seed: int, step: int
) -> Tensor:
    """The training input after the user's augmentations.

    Args:
        x: (R, B, T, F); may be changed.
        n_bins: (B,) int64 valid bins.
        used: the parts of the pack.
        seed: the pack's seed.
        step: the number of the batch. Seed and step decide every draw.

    Raises:
        PartError: a part fails, or returns another shape.
    """
    for part, runs in _of_kind(used, "augmentation"):
        purpose, device = f"parts/{part.name}", x.device.type
        mend = "return an input of the same shape, and draw without the axis of runs"
        with inside(part):
            if part.packed:
                made = part.made(x, n_bins, runs, generator(seed, purpose, step, device))
                check_shape(part, made, x.shape, f"x {tuple(x.shape)}", mend)
            else:
                rows = []
                for row, own in zip(x, runs, strict=True):
                    rows.append(part.made(row, n_bins, own, generator(seed, purpose, step, device)))
                    check_shape(part, rows[-1], row.shape, f"x {tuple(row.shape)}", mend)
                made = torch.stack(rows)
            check_real(part, made, mend)
        x = made.to(x.dtype)
    return x


def losses_of_parts(
    logits: Tensor, labels: Tensor, n_patches: Tensor, n_labels: Tensor, used: Sequence[UsedPart]
) -> Tensor | None:
    """(R,) the sum of the user's loss terms; None if there are none.

    Args:
        logits: (R, P, B, C) of the last head.
        labels: (B, L) int64, padded.
        n_patches, n_labels: (B,) int64.
        used: the parts of the pack.

    Raises:
        PartError: a part fails, or returns another shape.
    """
    total: Tensor | None = None
    for part, runs in _of_kind(used, "loss"):
        with inside(part):
            [term] = _scalars(part, 1, logits.float(), (labels, n_patches, n_labels), runs)
        term = term.float()
        total = term if total is None else total + term
    return total


class PartMetrics:
    """The sums of the user's metrics over the validation trials, for each of R runs."""

    def __init__(self, used: Sequence[UsedPart], n_runs: int, device: torch.device) -> None:
        self._used, self._n_runs = list(_of_kind(used, "metric")), n_runs
        self._sums = {
            part.name: torch.zeros(2, n_runs, dtype=torch.float64, device=device)
            for part, _ in self._used
        }

    def add(self, logits: Tensor, labels: Tensor, n_patches: Tensor, n_labels: Tensor) -> None:
        """Add one batch; the arguments are those of `losses_of_parts`.

        Raises:
            PartError: a part fails, or returns another shape.
        """
        for part, runs in self._used:
            with inside(part):
                both = _scalars(part, 2, logits.float(), (labels, n_patches, n_labels), runs)
            self._sums[part.name] += torch.stack([one.double() for one in both])

    def send_to_host(self) -> None:
        """Start to copy the sums to the host; see `decoder.host.to_host`."""
        self._sums = {name: to_host(sums) for name, sums in self._sums.items()}

    def rows(self) -> list[dict[str, float]]:
        """For each run, its columns ``own_NAME``; NaN where the denominator is 0."""
        columns = {
            f"{OWN_METRIC}{name}": (sums[0] / sums[1].where(sums[1] != 0, float("nan"))).tolist()
            for name, sums in self._sums.items()
        }
        return [{name: own[row] for name, own in columns.items()} for row in range(self._n_runs)]


class _Called(NamedTuple):
    part: Part
    runs: Sequence[Any]


def _of_kind(used: Sequence[UsedPart], kind: str) -> Iterator[_Called]:
    return (_Called(one.part, one.runs) for one in used if one.part.kind == kind)


def _scalars(
    part: Part, n_values: int, logits: Tensor, rest: tuple[Tensor, ...], runs: Sequence[Any]
) -> list[Tensor]:
    """What a part returns for a batch: one or two values for each run, each (R,).

    A denominator that all runs share may be one number.
    """
    what = "a numerator and a denominator" if n_values == 2 else "one value for each run"
    mend = f"return {what}" + (" as two tensors" if n_values == 2 else "")

    def values(made: Any, shape: Sequence[int], given: Tensor) -> list[Tensor]:
        made = made if n_values == 2 else (made,)
        if not isinstance(made, tuple | list) or len(made) != n_values:
            raise PartError(f"{part.where}: must return {what}, but returned {type(made).__name__}")
        whole = [
            torch.as_tensor(one, dtype=torch.float32, device=given.device)
            if isinstance(one, int | float)
            else one
            for one in made
        ]
        if n_values == 2 and isinstance(whole[1], Tensor) and not whole[1].dim():
            whole[1] = whole[1].expand(tuple(shape))
        for one in whole:
            check_shape(part, one, shape, f"logits {tuple(given.shape)}", mend)
            check_real(part, one, mend)
        return whole

    if part.packed:
        return values(part.made(logits, *rest, runs), logits.shape[:1], logits)
    of_runs = [
        values(part.made(own, *rest, settings), (), own)
        for own, settings in zip(logits, runs, strict=True)
    ]
    return [torch.stack([own[index] for own in of_runs]) for index in range(n_values)]
