"""Evaluations of a pack in training: their history rows, and the weights and logits that are kept.

The decoders run on the thread that trains, because training changes their weights. What they give
may be decoded on another thread while training goes on; the history rows then follow later, but
with the same numbers.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, tensor

from decoder.breakdown import Breakdown
from decoder.data.batches import Batch
from decoder.data.store import Split
from decoder.data.trials import Batches
from decoder.evaluation import Evaluator
from decoder.logits import LogitTrial, write_logits
from decoder.pack import (
    HELD_OUT_COLUMNS,
    HISTORY_COLUMNS,
    LOGITS_NAMES,
    HistoryRow,
    Progress,
    Run,
)
from decoder.selection import best_row
from decoder.state import PackState
from decoder.weights import weights_of, write_weights
from decoder.word_evaluation import PackWords, RunWords, unknown_columns

if TYPE_CHECKING:
    from decoder.data.in_order import TrialsInOrder


@dataclass
class _Started:
    """An evaluation whose decoders have run.

    Attributes:
        step: optimizer steps done.
        runs: the runs of the pack, all of which are evaluated.
        expected: run id → the columns of its row that training gives, for the runs that are due.
        needs_finite_loss: run ids that get no row if their validation loss is not finite, because
            no later loss would show that their weights are broken.
        weights: run id → the evaluated weights, for the runs that may keep them.
        decoding: batches that another thread decodes.
        held_out: evaluates the sessions held out, apart from the others; None without any.
        unlabelled: row → logits of the trials without labels, for the runs that keep them.
        words: row → words, for the runs that are decoded to words on the other thread; None if
            they are decoded when the evaluation settles.
    """

    step: int
    runs: Sequence[Run]
    evaluator: Evaluator
    expected: dict[str, dict[str, float]]
    needs_finite_loss: set[str]
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    decoding: list[Future[None]] = field(default_factory=list)
    held_out: Evaluator | None = None
    unlabelled: dict[int, list[LogitTrial]] = field(default_factory=dict)
    words: Future[dict[int, RunWords]] | None = None


class Evaluations:
    """Evaluates a pack, one evaluation after the other.

    After `start` comes `settle`, which waits until everything is decoded. It must come before
    anything that reads a history: the next evaluation, a checkpoint, the end of a run, a pause, a
    schedule that follows the history. Use it as a context manager: on leaving, the thread ends.

    Args:
        state: the pack; its histories, breakdowns and sums are changed.
        batches: of the pack.
        validation: the split that the validation batches come from.
        weights_dir: see `decoder.train.train`.
        beside: whether another thread decodes.
        unlabelled: the trials without labels; None if no run keeps their logits.
        words: decodes to words; None if no run is.
    """

    def __init__(
        self,
        state: PackState,
        batches: Batches,
        validation: Split,
        weights_dir: Path | None,
        beside: bool,
        unlabelled: "TrialsInOrder | None" = None,
        words: PackWords | None = None,
    ) -> None:
        self._validation, self._unlabelled, self._words = validation, unlabelled, words
        self._state, self._batches, self._weights_dir = state, batches, weights_dir
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="decoding") if beside else None
        self._started: _Started | None = None

    def __enter__(self) -> "Evaluations":
        return self

    def __exit__(self, *error: object) -> None:
        self._started = None
        if self._thread is not None:
            self._thread.shutdown(cancel_futures=True)

    @property
    def may_wait(self) -> bool:
        """Whether training may go on before `settle`, because no run ends or reads its history."""
        return self._thread is not None and not any(
            self._state.step == run.config.train.n_steps
            or "plateau" in (run.config.optim.schedule, run.config.optim.schedule_day)
            for run in self._state.runs
        )

    def start(
        self, due: Sequence[bool], updates: Tensor, clipped_norms: Tensor, rates: Sequence[float]
    ) -> None:
        """Run the decoders of all runs on the validation trials.

        Args:
            due: for each run, whether it gets a history row.
            updates: (R,) norm of this step's change of the weights.
            clipped_norms: (R,) gradient norms after clipping.
            rates: R learning rates of this step.
        """
        assert self._started is None, "the evaluation before is not settled"
        state = self._state
        last = [i for i, run in enumerate(state.runs) if run.config.train.n_steps == state.step]
        to_words = [
            i
            for i, run in enumerate(state.runs)
            if self._words is not None and due[i] and self._words.is_due(run, state.step)
        ]
        started = _Started(
            state.step,
            tuple(state.runs),
            Evaluator(state.model, state.configs, state.device, last, to_words),
            self._of_training(due, updates, clipped_norms, rates),
            {
                run.run_id
                for i, run in enumerate(state.runs)
                if state.n_skipped_in_a_row[i] or i in last
            },
        )
        with state.evaluated_weights():
            self._forward(started, started.evaluator, self._batches.validation_batches())
            if state.trained_on is not None and state.trained_on.held_out:
                started.held_out = Evaluator(
                    state.model, state.configs, state.device, last, to_words, keeps_logits=False
                )
                self._forward(started, started.held_out, self._batches.held_out_batches())
            started.weights = self._weights(started.expected)
            started.unlabelled = self._decode_unlabelled(last)
        if to_words and self._thread is not None:  # after the batches, which are decoded there
            started.words = self._thread.submit(self._to_words, started)
        state.sums.start_interval(tensor(due, device=state.device))
        self._started = started

    def _decode_unlabelled(self, last: Sequence[int]) -> dict[int, list[LogitTrial]]:
        """Row → logits, for those of the `last` evaluations that keep them."""
        state = self._state
        rows = [row for row in last if "test" in state.configs[row].train.kept_logits]
        if self._unlabelled is None or not rows:
            return {}
        from decoder.predict import logits_of_pack  # loads what reads recordings

        of_pack = (state.model, state.configs, state.sessions, self._unlabelled, state.device)
        return logits_of_pack(*of_pack, rows)

    def _forward(self, started: _Started, evaluator: Evaluator, batches: Iterator[Batch]) -> None:
        """Run the decoders on batches, which are decoded now or on the other thread."""
        for batch in batches:
            outputs = evaluator.forward(batch)
            if self._thread is None:
                evaluator.decode(outputs)
            else:
                started.decoding.append(self._thread.submit(evaluator.decode, outputs))
        evaluator.end_forward()

    def settle(self) -> dict[str, HistoryRow]:
        """Append the rows of the evaluation that was started, and keep weights and logits.

        Returns:
            Run id → its new row, for the runs that got one.

        Raises:
            StorageError: weights or logits cannot be written.
            DataError: a decoder to words of the user's fails.
        """
        started, state = self._started, self._state
        assert started is not None, "no evaluation was started"
        self._started = None
        for decoding in started.decoding:
            decoding.result()
        words = self._to_words(started) if started.words is None else started.words.result()
        metrics, breakdowns, own, logits = started.evaluator.result()
        for row, of_run in words.items():
            if row in breakdowns:
                breakdowns[row].words = of_run.facts
        apart = _held_out(started, breakdowns)
        latest: dict[str, HistoryRow] = {}
        every = zip(started.runs, metrics.rows(), own.rows(), apart, strict=True)
        for row, (run, measured, more, held_out) in enumerate(every):
            finite = math.isfinite(measured["val_loss"])
            if run.run_id in started.expected and (
                finite or run.run_id not in started.needs_finite_loss
            ):
                known = measured | started.expected[run.run_id]
                latest[run.run_id] = {column: known[column] for column in HISTORY_COLUMNS} | {
                    **held_out,
                    **(words[row].columns if row in words else unknown_columns(run.config)),
                    **more,
                }
                state.histories[run.run_id].append(latest[run.run_id])
        by_id = {started.runs[row].run_id: breakdown for row, breakdown in breakdowns.items()}
        state.breakdowns = {run_id: by_id[run_id] for run_id in latest if run_id in by_id}
        self._keep_weights(started, latest)
        for i, kept in logits.items():
            self._keep_logits(started.runs[i], "validation", self._labelled(kept), latest)
        for i, trials in started.unlabelled.items():
            self._keep_logits(started.runs[i], "test", trials, latest)
        return latest

    def _to_words(self, started: _Started) -> dict[int, RunWords]:
        """Row → words, for the runs whose log-posteriors were kept, once all are decoded."""
        if self._words is None:
            return {}
        apart = started.held_out.log_probs if started.held_out is not None else {}
        return {
            row: self._words.evaluate(started.runs[row], log_probs, apart.get(row, {}))
            for row, log_probs in started.evaluator.log_probs.items()
        }

    def late(self, wait: bool) -> Iterator[Progress]:
        """The event of an evaluation that has not been settled, if it is decoded by now.

        Args:
            wait: whether to wait until it is.
        """
        started = self._started
        if started is None:
            return
        words_done = started.words is None or started.words.done()
        if not (wait or (words_done and all(one.done() for one in started.decoding))):
            return
        if latest := self.settle():
            yield Progress(started.step, latest)

    def _of_training(
        self, due: Sequence[bool], updates: Tensor, clipped_norms: Tensor, rates: Sequence[float]
    ) -> dict[str, dict[str, float]]:
        """Run id → the columns of its row that do not come from the validation trials."""
        state = self._state
        columns = {}
        of_runs = zip(
            state.runs,
            due,
            state.sums.rows(),
            updates.tolist(),
            clipped_norms.tolist(),
            rates,
            strict=True,
        )
        for run, is_due, summed, update, norm, rate in of_runs:
            optimizer = run.config.optim
            epsilon = 0.0 if optimizer.algorithm == "sgd" else optimizer.epsilon
            root_n = state.model.n_parameters(optimizer.frozen) ** 0.5
            if is_due:
                columns[run.run_id] = summed | {
                    "step": float(state.step),
                    "update_norm": update,
                    "epsilon_over_grad_rms": epsilon * root_n / norm if norm else float("inf"),
                    "lr": rate,
                }
        return columns

    def _weights(self, due: Mapping[str, object]) -> dict[str, dict[str, Tensor]]:
        """Run id → the weights under evaluation, for due runs that may keep them.

        They are copies if training goes on before it is known whether they are kept.
        """
        state, weights = self._state, {}
        for row, run in enumerate(state.runs):
            keep, is_last = run.config.train.keep_weights, state.step == run.config.train.n_steps
            may_keep = keep == "best" or (keep == "final" and is_last)
            if self._weights_dir is not None and run.run_id in due and may_keep:
                tensors = weights_of(state.model, row)
                weights[run.run_id] = (
                    {name: value.clone() for name, value in tensors.items()}
                    if self.may_wait
                    else tensors
                )
        return weights

    def _keep_weights(self, started: _Started, latest: Mapping[str, HistoryRow]) -> None:
        """Write the evaluated weights of the runs that keep their best or their last.

        Only the history decides, so that a resumed run keeps the same weights as an uninterrupted
        one.
        """
        state = self._state
        for run in started.runs:
            if run.run_id not in started.weights or run.run_id not in latest:
                continue
            assert self._weights_dir is not None
            keep, history = run.config.train.keep_weights, state.histories[run.run_id]
            if keep == "final" or best_row(history) == len(history) - 1:
                facts = {"kept": keep, "run_id": run.run_id, **latest[run.run_id]}
                if len(state.model.parts):  # whose shapes do not tell it
                    facts["n_features"] = state.model.n_features
                folder, tensors = self._weights_dir / run.run_id, started.weights[run.run_id]
                write_weights(folder, tensors, run.config, state.sessions, facts)

    def _labelled(self, kept: Mapping[int, NDArray[np.float16]]) -> list[LogitTrial]:
        """Kept logits with the trials that they are of. kept: trial of the split → (P, C)."""
        split, sessions = self._validation, self._state.sessions
        return [
            LogitTrial(
                kept[trial],
                split.target(trial),
                sessions[split.day[trial]],
                int(split.block[trial]),
                int(split.trial_number[trial]),
            )
            for trial in sorted(kept)
        ]

    def _keep_logits(
        self, run: Run, split: str, trials: Sequence[LogitTrial], latest: Mapping[str, HistoryRow]
    ) -> None:
        """Write the logits of a run's last evaluation, if it got its row."""
        if self._weights_dir is not None and run.run_id in latest:
            facts = {"split": split, "run_id": run.run_id, **latest[run.run_id]}
            write_logits(self._weights_dir / run.run_id / LOGITS_NAMES[split], trials, facts)


def _held_out(started: _Started, breakdowns: Mapping[int, Breakdown]) -> list[dict[str, float]]:
    """For each run, its `HELD_OUT_COLUMNS`; its breakdown gets that of the sessions held out."""
    if started.held_out is None:
        return [{} for _ in started.runs]
    metrics, of_held_out, _, _ = started.held_out.result()
    for row, breakdown in breakdowns.items():
        breakdown.held_out = of_held_out[row]
    names = ("per", "n_edits", "n_reference")
    return [
        {column: row[name] for column, name in zip(HELD_OUT_COLUMNS, names, strict=True)}
        for row in metrics.rows()
    ]
