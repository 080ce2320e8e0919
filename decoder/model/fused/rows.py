"""Packed rows: the valid patches of a batch without the padding, time-major, longest trial first.

Trials are ordered by length, so that step p has the first ``n_active[p]`` of them. The patch of the
b-th longest trial at step p is row ``offsets[p] + b``. This is the layout of
`torch.nn.utils.rnn.PackedSequence`.

Dimensions: R runs, P steps (patches), B batch, V rows.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rows:
    """Where the rows of a batch come from.

    Attributes:
        n_trials: B.
        n_steps: P; the last steps may have no rows.
        order: (B,) int64, the trial at each place, longest first.
        index: (V,) int64, the position ``p * B + trial`` of each row.
        previous: (V,) int64, the row of the state before each row, counted as in `GruBuffers`:
            the B initial states come first.
        offsets: (P + 1,) int32, the first row of each step, and V.
        n_active: (P + 1,) int32, the number of rows of each step, and 0.
        batch_sizes: (P or fewer,) int64 on the CPU, `n_active` of the steps that have rows.
        is_full: whether all trials have P patches. Rows then are the batch without its axis of
            patches, and nothing is moved.
    """

    n_trials: int
    n_steps: int
    order: Tensor
    index: Tensor
    previous: Tensor
    offsets: Tensor
    n_active: Tensor
    batch_sizes: Tensor
    is_full: bool

    @property
    def n_rows(self) -> int:
        """V."""
        return len(self.index)

    def gather(self, x: Tensor) -> Tensor:
        """(R, P, B, ...) → (R, V, ...), which shares memory with `x` if the rows are full."""
        flat = x.flatten(1, 2)
        return flat if self.is_full else flat.index_select(1, self.index)

    def scatter(self, x: Tensor) -> Tensor:
        """(R, V, ...) → (R, P, B, ...), with zeros after the end of a trial."""
        R, _, *rest = x.shape
        if not self.is_full:
            dense = x.new_zeros(R, self.n_steps * self.n_trials, *rest)
            x = dense.index_copy(1, self.index, x)
        return x.reshape(R, self.n_steps, self.n_trials, *rest)

    def sort_trials(self, x: Tensor) -> Tensor:
        """(R, B, ...) with the trials in the order of the rows."""
        return x if self.is_full else x.index_select(1, self.order)


def pack_rows(n_patches: Tensor, n_steps: int, device: torch.device) -> Rows:
    """The rows of a batch.

    Args:
        n_patches: (B,) integers, valid patches of each trial, at most P. On a GPU, reading them
            waits for the GPU; on the CPU it does not.
        n_steps: P.
        device: the device of the tensors of the result.
    """
    lengths = n_patches.cpu().long()
    assert len(lengths) and 0 <= int(lengths.min()) <= int(lengths.max()) <= n_steps
    B = len(lengths)
    order = lengths.argsort(descending=True, stable=True)
    step = torch.arange(n_steps)[:, None]
    is_row = step < lengths[order]  # (P, B), places as columns
    n_active = torch.zeros(n_steps + 1, dtype=torch.int64)
    n_active[:-1] = is_row.sum(1)
    offsets = torch.zeros(n_steps + 1, dtype=torch.int64)
    offsets[1:] = n_active[:-1].cumsum(0)
    place = torch.arange(B).expand(n_steps, B)[is_row]
    before = torch.cat([torch.zeros(1, dtype=torch.int64), B + offsets[:-1]])[:-1]
    return Rows(
        n_trials=B,
        n_steps=n_steps,
        order=_move(order, device),
        index=_move((step * B + order)[is_row], device),
        previous=_move(before[:, None].expand(n_steps, B)[is_row] + place, device),
        offsets=_move(offsets.int(), device),
        n_active=_move(n_active.int(), device),
        batch_sizes=n_active[n_active > 0],
        is_full=int(lengths.min()) == n_steps,
    )


@functools.lru_cache(maxsize=8)
def all_rows(n_steps: int, n_trials: int, device: torch.device) -> Rows:
    """The rows of a batch whose padding is read, as by a decoder of two directions."""
    return pack_rows(torch.full((n_trials,), n_steps), n_steps, device)


def _move(x: Tensor, device: torch.device) -> Tensor:
    """A copy on `device`; the CPU does not wait for a copy to a GPU."""
    if device.type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)
