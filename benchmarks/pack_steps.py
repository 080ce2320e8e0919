"""Steps and stretches of training of our packs, and the parts of them that can be switched off."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import torch
from gpu_timing import Step
from official_steps import Stretch
from t15_shape import Shape, no_recordings
from torch import Tensor

from decoder import optim
from decoder.config import DecoderConfig, override, resolve
from decoder.data.batches import Batch
from decoder.data.store import Dataset
from decoder.host import Flags
from decoder.model.cells import Kernel
from decoder.model.decoder import PackedDecoder
from decoder.model.fused.rows import Rows, all_rows
from decoder.model.fused.wave import run_wave
from decoder.pack import Pack, Run
from decoder.state import PackState, Unread
from decoder.step import forward_backward, step_gradients, update_weights
from decoder.train import train
from decoder.training_sections import OptimConfig


def make_pack(config: DecoderConfig, n_runs: int) -> Pack:
    """Runs that differ in learning rate and noise."""
    runs = []
    for i in range(n_runs):
        changes = {"optim.lr_max": 0.005 - 0.0001 * i, "augment.white_noise_std": 1 - 0.01 * i}
        runs.append(Run(f"run{i}", resolve(override(config, changes, "benchmark"))))
    return Pack("step", 1, tuple(runs))


def pack_step(
    config: DecoderConfig,
    n_runs: int,
    shape: Shape,
    batch: Batch,
    kernel: Kernel | None,
    device: str,
) -> Step:
    """A step of a pack, in the phases of `decoder.train.train`. None chooses the kernel."""
    pack = make_pack(config, n_runs)
    state = PackState.start(pack, no_recordings(shape), torch.device(device))
    state.model.kernel = kernel

    def step() -> None:
        losses, gradients = forward_backward(
            state.model, state.configs, batch, pack.seed, state.step
        )
        if state.unread is not None:
            state.unread.finite.read()
        norms = state.optimizer.norms(gradients)
        finite = losses.isfinite() & norms.isfinite()
        if state.late:
            state.unread = Unread(state.step, Flags(finite))
        else:
            finite.tolist()
        update_weights(state, gradients, losses, norms, finite)
        state.step += 1

    return step


def pack_training(
    config: DecoderConfig,
    n_runs: int,
    dataset: Dataset,
    every: int,
    device: str,
    beside: bool,
) -> Stretch:
    """Train a pack with a validation after every `every` steps, and measure the third round.

    What the decoding of a validation costs the steps after it counts as a part of the validation:
    the steps alone are measured in the second half of the round.

    Args:
        config: of the runs, but for what `make_pack` changes.
        n_runs: R.
        dataset: what to train on.
        every: at least 4.
        device: where to train.
        beside: see `decoder.train.train`.
    """
    changes = {"train.n_steps": 4 * every, "train.eval_every_steps": every}
    pack = make_pack(override(config, changes, "benchmark"), n_runs)
    starts: list[float] = []

    def marked(*given: Any, **options: Any) -> Any:
        starts.append(time.perf_counter())
        return step_gradients(*given, **options)

    until = 3 * every + 1
    with patch("decoder.train.step_gradients", marked):
        for _ in train(pack, dataset, device=device, until_step=until, beside=beside):
            pass
    first, middle, last = 2 * every, 2 * every + every // 2, 3 * every - 1
    seconds = (starts[last] - starts[middle]) / (last - middle)
    round_seconds = starts[3 * every] - starts[first]
    return Stretch(1e3 * seconds, round_seconds - every * seconds, dataset.val.n_trials)


@contextlib.contextmanager
def trained_with(kernel: Kernel) -> Iterator[None]:
    """Let `decoder.train.train` use a kernel instead of the one it would choose."""
    start = PackState.start.__func__  # type: ignore[attr-defined]

    def forced(cls: type[PackState], *given: Any, **options: Any) -> PackState:
        state: PackState = start(cls, *given, **options)
        state.model.kernel = kernel
        return state

    with patch.object(PackState, "start", classmethod(forced)):
        yield


def _call(self: Any, entry: Any, name: str) -> None:
    entry.functions[name]()


def _whole_layers(
    steps: Any, n_steps: int, chunk: int, streams: Any, backward: bool = False
) -> None:
    run_wave(steps, n_steps, n_steps, None, backward)


def _with_padding(n_patches: Tensor, n_steps: int, device: torch.device) -> Rows:
    return all_rows(n_steps, len(n_patches), device)


def _one_by_one(
    configs: Sequence[OptimConfig], model: PackedDecoder, device: torch.device
) -> optim.PackOptimizer:
    return optim.RunOptimizers(configs, dict(model.named_parameters()), model.groups())


def _never(device: torch.device) -> bool:
    return False


# A part of a step → the name that it stands under, and what does the same without it.
PARTS: Mapping[str, tuple[str, Callable[..., Any]]] = {
    "CUDA graphs": ("decoder.model.fused.graphs.GraphCache._run", _call),
    "layers as a wavefront": ("decoder.model.fused.stack.run_wave", _whole_layers),
    "no work on padding": ("decoder.model.decoder.pack_rows", _with_padding),
    "input summed once, in the decoder's format": ("decoder.augment.writes_once", _never),
    "CTC without a wait": ("decoder.ctc.why_not", lambda device: "switched off"),
    "one update for all runs": ("decoder.state.make_optimizer", _one_by_one),
    "flags read one step late": ("decoder.state.reads_late", _never),
}
ON_A_CPU = ("no work on padding",)  # the parts that a CPU has too


class NotInUse(Exception):
    """A part that was switched off is not in use here anyway."""


@contextlib.contextmanager
def without(part: str, device: str) -> Iterator[None]:
    """Let packs that start in the block on `device` do without a part of `PARTS`.

    Raises:
        NotInUse: nothing in the block would have used it.
    """
    if device == "cpu" and part not in ON_A_CPU:
        raise NotInUse("only a GPU has it")
    name, replacement = PARTS[part]
    n_calls = 0

    def counted(*given: Any, **options: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        return replacement(*given, **options)

    with patch(name, counted):
        yield
    if not n_calls:
        raise NotInUse(f"no step uses {name} here")
