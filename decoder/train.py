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
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from decoder import optim
from decoder.config import pack_key
from decoder.data.store import Dataset
from decoder.data.trials import Trials
from decoder.determinism import deterministic_if_asked
from decoder.device import start_peak_memory
from decoder.errors import ConfigError
from decoder.evaluation import evaluate
from decoder.host import Flags
from decoder.pack import HISTORY_COLUMNS, HistoryRow, Pack, Progress
from decoder.selection import best_row
from decoder.state import PackState, Unread
from decoder.step import step_gradients, update_weights
from decoder.training_sections import TrainConfig
from decoder.weights import save_weights

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
) -> Iterator[Progress]:
    """Train the runs of a pack, and yield after every evaluation.

    Args:
        pack: runs whose configurations share `decoder.config.pack_key`.
        dataset: an open store.
        device: a torch device; None takes the GPU if there is one.
        checkpoint_dir: this pack's own folder. Training continues from a checkpoint in it, and the
            folder is removed when every run has ended. None keeps no checkpoint.
        checkpoint_every_seconds: wall time between checkpoints, or thirty times the time that the
            last one took if that is longer; 0 writes a checkpoint after every step.
        weights_dir: gets ``<run_id>/weights.safetensors`` for the runs whose
            ``train.keep_weights`` asks for it. None keeps no weights.
        until_step: pause after this many steps and write a checkpoint, from which the unfinished
            runs, or some of them, can continue. Schedules follow the whole budget. None trains to
            the end.
        split_from: checkpoint folders of the packs that this one was split from, nearest first.
            Training continues from there if `checkpoint_dir` has no checkpoint, and
            `checkpoint_dir` stays, with the results, for whoever put the parts together.

    Yields:
        Progress with the newest history rows and the runs that ended. After a resume, the first
        event holds the runs that had ended before; at a pause, the last event holds the whole
        histories of the unfinished runs.

    Raises:
        ConfigError: the device does not exist, or the checkpoint is of another kind of device.
        DataError: more than 1 % of the trials are too short for their targets.
        StorageError: a checkpoint or weights cannot be written.
    """
    assert until_step is None or until_step > 0, "nothing would be trained"
    shared = pack.runs[0].config
    assert len({pack_key(run.config) for run in pack.runs}) == 1, "runs of different shape"
    where = choose_device(device)
    start_peak_memory(where)
    trials = Trials.select(dataset, shared)
    state = PackState.start(pack, dataset, where)
    if checkpoint_dir is not None:
        ended_before, remarks = state.resume(checkpoint_dir, split_from)
        if ended_before or remarks:
            yield Progress(state.step, {}, ended_before, remarks)
    started = time.monotonic() - state.seconds
    next_save = time.monotonic() + checkpoint_every_seconds

    while state.runs:
        if until_step is not None and state.step >= until_step:
            if not (yield from _settle(state, trials.n_dropped)):
                break
            if checkpoint_dir is not None:
                state.save(checkpoint_dir)
            left = [run.run_id for run in state.runs]
            yield Progress(state.step, paused={r: tuple(state.histories[r]) for r in left})
            return
        losses, gradients = step_gradients(state, trials, pack.seed)
        kept = yield from _settle(state, trials.n_dropped)
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
                state.seconds = time.monotonic() - started
                finished = state.finish(diverged, "diverged", trials.n_dropped)
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
            updates = optim.update_norms(before, state.model.parameters())
            sound = updates.isfinite().tolist()
            if not all(sound):  # the next loss would not be finite, but there may be no next step
                state.seconds = time.monotonic() - started
                finished += state.finish([not ok for ok in sound], "diverged", trials.n_dropped)
                kept = [i for i, ok in enumerate(sound) if ok]
                updates, clipped_norms = updates[kept], clipped_norms[kept]
                due, rates = [due[i] for i in kept], [rates[i] for i in kept]
            if any(due):
                latest = _evaluate(state, trials, due, updates, clipped_norms, rates)
                if weights_dir is not None:
                    _keep_weights(state, dataset.sessions, latest, weights_dir)
        state.seconds = time.monotonic() - started
        ended = [run.config.train.n_steps <= done_step for run in state.runs]
        if any(ended):
            measured = [run.run_id in latest for run in state.runs]
            broken = [ends and not ok for ends, ok in zip(ended, measured, strict=True)]
            if any(broken):
                finished += state.finish(broken, "diverged", trials.n_dropped)
                ended = [ends for ends, bad in zip(ended, broken, strict=True) if not bad]
            finished += state.finish(ended, "ok", trials.n_dropped)
        if latest or finished:
            yield Progress(done_step, latest, tuple(finished))
        if checkpoint_dir is not None and state.runs and time.monotonic() >= next_save:
            if not (yield from _settle(state, trials.n_dropped)):
                break
            save_started = time.monotonic()
            state.save(checkpoint_dir)
            seconds = time.monotonic() - save_started
            pause = max(checkpoint_every_seconds, CHECKPOINT_PAUSE * seconds)
            next_save = time.monotonic() + (pause if checkpoint_every_seconds else 0.0)

    if checkpoint_dir is not None and split_from:
        state.save(checkpoint_dir)
    elif checkpoint_dir is not None:
        shutil.rmtree(checkpoint_dir, ignore_errors=True)


def _evaluate(
    state: PackState,
    trials: Trials,
    due: Sequence[bool],
    updates: Tensor,
    clipped_norms: Tensor,
    rates: Sequence[float],
) -> dict[str, HistoryRow]:
    """Validate every run, and append a history row to the runs that are due.

    A run whose validation loss is not finite gets no row at its last step or amid skipped steps,
    because no later loss would show that its weights are broken.
    """
    last = [i for i, run in enumerate(state.runs) if run.config.train.n_steps == state.step]
    with state.evaluated_weights():
        metrics, breakdowns = evaluate(
            state.model, state.configs, trials.validation_batches(), state.device, last
        )
    root_n = state.model.n_parameters() ** 0.5
    latest = {}
    rows = zip(
        state.runs,
        due,
        metrics.rows(),
        state.sums.rows(),
        updates.tolist(),
        clipped_norms.tolist(),
        rates,
        state.n_skipped_in_a_row,
        strict=True,
    )
    for run, is_due, measured, summed, update, norm, rate, n_skipped in rows:
        no_later_loss = n_skipped or run.config.train.n_steps == state.step
        if not is_due or (no_later_loss and not math.isfinite(measured["val_loss"])):
            continue
        row = measured | summed
        row["step"] = float(state.step)
        row["update_norm"] = update
        optimizer = run.config.optim
        epsilon = 0.0 if optimizer.algorithm == "sgd" else optimizer.epsilon
        row["epsilon_over_grad_rms"] = epsilon * root_n / norm if norm else float("inf")
        row["lr"] = rate
        latest[run.run_id] = {column: row[column] for column in HISTORY_COLUMNS}
        state.histories[run.run_id].append(latest[run.run_id])
    by_id = {state.runs[row].run_id: breakdown for row, breakdown in breakdowns.items()}
    state.breakdowns = {run_id: by_id[run_id] for run_id in latest if run_id in by_id}
    state.sums.start_interval(torch.tensor(due, device=state.device))
    return latest


def _keep_weights(
    state: PackState, sessions: Sequence[str], latest: dict[str, HistoryRow], folder: Path
) -> None:
    """Write the weights just evaluated, for the runs that keep their best or their last.

    Only the history decides, so that a resumed run keeps the same weights as an uninterrupted one.
    """
    with state.evaluated_weights():
        for row, run in enumerate(state.runs):
            if run.run_id not in latest:
                continue
            keep, history = run.config.train.keep_weights, state.histories[run.run_id]
            is_best = best_row(history) == len(history) - 1
            is_last = state.step == run.config.train.n_steps
            if (keep == "best" and is_best) or (keep == "final" and is_last):
                facts = {"kept": keep, "run_id": run.run_id, **latest[run.run_id]}
                save_weights(folder / run.run_id, state.model, row, run.config, sessions, facts)


def _settle(state: PackState, n_dropped: int) -> Generator[Progress, None, list[int]]:
    """Read the flags of the step before, and let the runs leave that diverged there.

    Returns:
        The rows that the other runs had.
    """
    step, diverged = state.read_flags()
    if any(diverged):
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
