"""The training loop of a pack.

The R runs of a pack see the same trials, noise draws and dropout masks, and each has its own
scalars, such as learning rates. A run whose loss or gradient is not finite skips the update, or is
frozen before it and leaves the pack; a run that reaches its budget leaves too. The other runs are
not affected. All randomness follows from (seed, purpose, step), so a run gives the same result
alone, in any pack, and after a resume.
"""

import math
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import torch
from torch import Tensor

from decoder import optim
from decoder.config import pack_key
from decoder.data.prefetch import batches_of
from decoder.data.store import Dataset
from decoder.data.trials import Batches, Trials
from decoder.data.watch import DataWatch
from decoder.determinism import deterministic_if_asked
from decoder.device import start_peak_memory
from decoder.errors import ConfigError, StoreDamagedError
from decoder.extensions import used_by
from decoder.host import Flags
from decoder.late_evaluation import Evaluations
from decoder.life import is_asked_to_stop, show_sign
from decoder.memory import estimate_memory, size_of
from decoder.pack import HistoryRow, Pack, Progress
from decoder.remarks import take_remarks
from decoder.start import start_runs
from decoder.state import PackState, Unread
from decoder.step import step_gradients, update_weights
from decoder.training_sections import TrainConfig
from decoder.untrained_days import TrainedOn
from decoder.word_evaluation import PackWords

# Training time between checkpoints is at least this many times what the last one took to write, so
# that checkpoints of large packs, which take seconds, are at most 3 % of training.
CHECKPOINT_PAUSE = 30.0


@deterministic_if_asked
def train(
    pack: Pack,
    dataset: Dataset,
    *,
    device: str | None = None,
    checkpoint_dir: Path | None = None,
    checkpoint_every_seconds: float = 20.0,
    weights_dir: Path | None = None,
    until_step: int | None = None,
    split_from: Sequence[Path] = (),
    beside: bool | None = None,
    report_every_seconds: float | None = None,
    start_files: Mapping[str, Path] | None = None,
) -> Iterator[Progress]:
    """Train the runs of a pack, and yield after every evaluation.

    If the process is asked to stop (see `decoder.life`), it writes a checkpoint at the next step
    and ends, without a result for the runs that are left.

    Args:
        pack: runs whose configurations share `decoder.config.pack_key`.
        dataset: an open store.
        device: a torch device; None takes the GPU if there is one.
        checkpoint_dir: this pack's own folder. Training continues from a checkpoint in it, and the
            folder is removed when every run has ended. None keeps no checkpoint.
        checkpoint_every_seconds: wall time between checkpoints, or thirty times the time that the
            last one took if that is longer; 0 writes a checkpoint after every step.
        weights_dir: gets ``<run_id>/weights.safetensors`` for the runs whose
            ``train.keep_weights`` asks for it, and ``logits.npz`` likewise. None keeps neither.
        until_step: pause after this many steps and write a checkpoint, from which the unfinished
            runs, or some of them, can continue. Schedules follow the whole budget. None trains to
            the end.
        split_from: checkpoint folders of the packs that this one was split from, nearest first.
            Training continues from there if `checkpoint_dir` has no checkpoint, and
            `checkpoint_dir` stays, with the results, for whoever put the parts together.
        beside: whether other threads gather batches and decode evaluations while training goes
            on; an evaluation's event may then come some steps later. No number depends on it. None
            does so on a GPU, but not on a CPU, where a worker has one core for everything.
        report_every_seconds: also yield the step this often between evaluations; None does not.
        start_files: ``train.start_from``, or another file as a configuration names it → where that
            file lies on this machine, if elsewhere.

    Yields:
        Progress with the newest history rows and the runs that ended. After a resume, the first
        event holds the runs that had ended before; at a pause, the last event holds the whole
        histories of the unfinished runs.

    Raises:
        ConfigError: the device does not exist, the checkpoint is of another kind of device, or a
            run cannot start from the weights that it names.
        DataError: more than 1 % of the trials are too short for their targets; the file of these
            weights has changed since the runs were planned; or there are no trials without labels
            whose logits could be kept.
        StorageError: a checkpoint or weights cannot be written.
    """
    assert until_step is None or until_step > 0, "nothing would be trained"
    shared = pack.runs[0].config
    used_by(run.config for run in pack.runs)  # before the key, which reads the marks of parts
    assert len({pack_key(run.config) for run in pack.runs}) == 1, "runs of different shape"
    where = choose_device(device)
    start_peak_memory(where)
    show_sign(0)
    trials = Trials.select(dataset, shared, pack.seed)
    unlabelled = None
    if weights_dir and any("test" in run.config.train.kept_logits for run in pack.runs):
        from decoder.data.in_order import unlabelled_trials  # loads what reads recordings

        unlabelled = unlabelled_trials(dataset, shared.data)
    show_sign()
    state = PackState.start(pack, dataset, where)
    state.trained_on = TrainedOn.of(trials)
    state.watch = DataWatch(trials, pack.seed, shared.optim.accumulation_steps)
    state.watch.check_files()
    words = (
        PackWords(pack.runs, dataset, start_files)
        if any(run.config.evaluation.words.is_on for run in pack.runs)
        else None
    )
    beside = where.type == "cuda" if beside is None else beside
    with ExitStack() as stack:
        reserved = estimate_memory(shared, size_of(dataset), where.type).of(len(pack.runs))
        batches = stack.enter_context(batches_of(trials, where, beside, reserved))
        state.card_bytes = batches.card_bytes
        evaluations = stack.enter_context(
            Evaluations(state, batches, dataset.val, weights_dir, beside, unlabelled, words)
        )
        try:
            yield from _train(
                pack,
                state,
                dataset,
                start_files,
                trials.n_dropped,
                batches,
                evaluations,
                checkpoint_dir,
                checkpoint_every_seconds,
                until_step,
                split_from,
                report_every_seconds,
            )
        except StoreDamagedError:
            # None was written since the files changed; but if they look unchanged, none is safe.
            if checkpoint_dir is not None and dataset.files and dataset.files.looked_unchanged:
                shutil.rmtree(checkpoint_dir, ignore_errors=True)
            raise


def _train(
    pack: Pack,
    state: PackState,
    dataset: Dataset,
    start_files: Mapping[str, Path] | None,
    n_dropped: int,
    batches: Batches,
    evaluations: Evaluations,
    checkpoint_dir: Path | None,
    checkpoint_every_seconds: float,
    until_step: int | None,
    split_from: Sequence[Path],
    report_every_seconds: float | None,
) -> Iterator[Progress]:
    """The loop of `train`."""
    if checkpoint_dir is not None:
        ended_before, remarks = state.resume(checkpoint_dir, split_from)
        if ended_before or remarks:
            yield Progress(state.step, {}, ended_before, remarks)
    if not state.step:
        start_runs(state.model, state.runs, dataset, start_files)
    started = time.monotonic() - state.seconds
    next_save = time.monotonic() + checkpoint_every_seconds
    pause = report_every_seconds or math.inf
    next_report = time.monotonic() + pause

    while state.runs:
        show_sign(state.step)
        if said := take_remarks():
            yield Progress(state.step, remarks=said)
        stops = is_asked_to_stop()
        pauses = stops or (until_step is not None and state.step >= until_step)
        if pauses and not (yield from _settle(state, evaluations, n_dropped)):
            break
        yield from evaluations.late(wait=pauses)
        if pauses:
            if checkpoint_dir is not None and state.step:
                state.save(checkpoint_dir)
            if stops:
                return
            left = [run.run_id for run in state.runs]
            yield Progress(state.step, paused={r: tuple(state.histories[r]) for r in left})
            return
        losses, gradients = step_gradients(state, batches, pack.seed)
        kept = yield from _settle(state, evaluations, n_dropped)
        if not kept:
            break
        if len(kept) < len(losses):
            losses, gradients = _rows(kept, losses, gradients)
        norms = state.optimizer.norms(gradients)
        finite = losses.isfinite() & norms.isfinite()
        done_step = state.step + 1
        due = [_is_due(run.config.train, done_step) for run in state.runs]
        finished = []
        if state.late and not any(due):
            state.unread = Unread(state.step, Flags(finite))
        else:
            diverged = state.count_skips(finite.tolist())
            if any(diverged):
                yield from evaluations.late(wait=True)
                state.seconds = time.monotonic() - started
                finished = state.finish(diverged, "diverged", n_dropped)
                kept = [i for i, leaves in enumerate(diverged) if not leaves]
                losses, gradients = _rows(kept, losses, gradients)
                norms, finite, due = norms[kept], finite[kept], [due[i] for i in kept]
                if not kept:
                    yield Progress(state.step, {}, tuple(finished))
                    break
        before = optim.rows_of(state.model.parameters()) if any(due) else []
        clipped_norms, rates = update_weights(state, gradients, losses, norms, finite)
        state.step = done_step

        latest: dict[str, HistoryRow] = {}
        if any(due):
            yield from evaluations.late(wait=True)
            updates = optim.update_norms(before, state.model.parameters())
            sound = updates.isfinite().tolist()
            if not all(sound):  # the next loss would not be finite, but there may be no next step
                state.seconds = time.monotonic() - started
                finished += state.finish([not ok for ok in sound], "diverged", n_dropped)
                kept = [i for i, ok in enumerate(sound) if ok]
                updates, clipped_norms = updates[kept], clipped_norms[kept]
                due, rates = [due[i] for i in kept], [rates[i] for i in kept]
            if any(due):
                evaluations.start(due, updates, clipped_norms, rates)
                if finished or not evaluations.may_wait:
                    latest = evaluations.settle()
        state.seconds = time.monotonic() - started
        ended = [run.config.train.n_steps <= done_step for run in state.runs]
        if any(ended):
            measured = [run.run_id in latest for run in state.runs]
            broken = [ends and not ok for ends, ok in zip(ended, measured, strict=True)]
            if any(broken):
                if state.watch is not None:
                    state.watch.check_validation()
                finished += state.finish(broken, "diverged", n_dropped)
                ended = [ends for ends, bad in zip(ended, broken, strict=True) if not bad]
            finished += state.finish(ended, "ok", n_dropped)
        reports = time.monotonic() >= next_report
        if latest or finished or reports:
            yield Progress(done_step, latest, tuple(finished))
            next_report = time.monotonic() + pause
        if checkpoint_dir is not None and state.runs and time.monotonic() >= next_save:
            if not (yield from _settle(state, evaluations, n_dropped)):
                break
            yield from evaluations.late(wait=True)
            save_started = time.monotonic()
            state.save(checkpoint_dir)
            seconds = time.monotonic() - save_started
            rest = max(checkpoint_every_seconds, CHECKPOINT_PAUSE * seconds)
            next_save = time.monotonic() + (rest if checkpoint_every_seconds else 0.0)

    if checkpoint_dir is not None and split_from:
        state.save(checkpoint_dir)
    elif checkpoint_dir is not None:
        shutil.rmtree(checkpoint_dir, ignore_errors=True)


def _settle(
    state: PackState, evaluations: Evaluations, n_dropped: int
) -> Generator[Progress, None, list[int]]:
    """Read the flags of the step before, and let the runs leave that diverged there.

    Returns:
        The rows that the other runs had.
    """
    step, diverged = state.read_flags()
    if any(diverged):
        yield from evaluations.late(wait=True)
        finished = state.finish(diverged, "diverged", n_dropped, step)
        if not state.runs:
            state.step = step
        yield Progress(state.step, {}, tuple(finished))
    return [row for row, leaves in enumerate(diverged) if not leaves]


def _rows(
    kept: list[int], losses: Tensor, gradients: dict[str, Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Losses and gradients of the runs at the rows `kept`."""
    return losses[kept], {name: gradient[kept] for name, gradient in gradients.items()}


def _is_due(config: TrainConfig, done_step: int) -> bool:
    return done_step % config.eval_every_steps == 0 or done_step == config.n_steps


def choose_device(device: str | None) -> torch.device:
    """The device with this name; None takes the GPU if there is one.

    Raises:
        ConfigError: PyTorch does not know the name, or there is no GPU.
    """
    if device is not None:
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"device '{device}': this process sees no GPU; use 'cpu'")
        try:
            return torch.device(device)
        except RuntimeError:
            raise ConfigError(
                f"device '{device}': is not a device of PyTorch; use cpu, cuda, cuda:N or mps"
            ) from None
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
