"""Deterministic algorithms on a GPU, for configurations with ``train.deterministic``.

On a CPU training is deterministic without them, so nothing is changed there.
"""

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from decoder.errors import ConfigError

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_WORKSPACE_VALUE = ":4096:8"  # one of the two with which cuBLAS repeats its sums

Train = TypeVar("Train", bound=Callable[..., Iterator[Any]])


def fix_workspace() -> None:
    """Give cuBLAS workspaces of a fixed size, with which it repeats its sums.

    It has an effect only before the first matrix product on a GPU. A value that the user has set
    stays.
    """
    os.environ.setdefault(_WORKSPACE, _WORKSPACE_VALUE)


def deterministic_if_asked(train: Train) -> Train:
    """Let a generator of training steps use deterministic algorithms if its pack asks for them.

    The mode is on while the generator runs, and off while its caller has control.

    Args:
        train: takes a pack first, and the keyword ``device``.
    """

    @functools.wraps(train)
    def wrapper(pack: Any, *args: Any, device: str | None = None, **options: Any) -> Iterator[Any]:
        steps = train(pack, *args, device=device, **options)
        on_gpu = device.startswith("cuda") if device else torch.cuda.is_available()
        if not (on_gpu and pack.runs[0].config.train.deterministic):
            yield from steps
            return
        _check_workspace()
        while True:
            with deterministic_algorithms():
                step = next(steps, None)
            if step is None:
                return
            yield step

    return cast(Train, wrapper)


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """PyTorch's deterministic mode for the duration of the block; then the mode from before.

    New tensors are not filled, which the mode would do to make reads of unset values repeat: there
    are none here, and filling costs a pass over memory.
    """
    was_on = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(was_on, warn_only=only_warned)
        settings.fill_uninitialized_memory = filled


def needs_cpu(x: Tensor) -> bool:
    """Whether an operation whose GPU kernel is not deterministic must run on the CPU instead."""
    return x.is_cuda and torch.are_deterministic_algorithms_enabled()


def cumulative_sum(x: Tensor, axis: int) -> Tensor:
    """`torch.cumsum`, whose GPU kernel adds in any order, on the CPU in the deterministic mode."""
    return x.cpu().cumsum(axis).to(x.device) if needs_cpu(x) else x.cumsum(axis)


def _check_workspace() -> None:
    """Fix the workspace of cuBLAS, unless it is too late.

    Raises:
        ConfigError: this process has used the GPU without it.
    """
    if _WORKSPACE not in os.environ and torch.cuda.max_memory_reserved() > 0:
        raise ConfigError(
            f"train.deterministic: this process has used the GPU without {_WORKSPACE}; set "
            f"{_WORKSPACE}={_WORKSPACE_VALUE} before Python starts, or set train.deterministic to "
            "false"
        )
    fix_workspace()
