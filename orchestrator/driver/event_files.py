"""TensorBoard event files of the runs of an ablation or a search, written while they train.

Each run has one file under ``tensorboard/<arm>/seed-<seed>/``: its hyperparameters, its
evaluations, and when it has ended its final metrics. Evaluations are appended as they come. What a
process that was killed wrote stays, and an evaluation that comes again after a resume is not
written again. When a run has ended, its file is compared with its history, and replaced if they
differ.
"""

import json
import math
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from decoder.atomic import write_atomically
from decoder.collapse import CollapseThresholds
from decoder.errors import StorageError
from decoder.pack import HistoryRow, Progress
from orchestrator.execute.backends import PackEvent
from orchestrator.plan.packs import PlannedRun
from orchestrator.spec.configuration import flatten
from orchestrator.store.event_file import event_type, read_events, record_of
from orchestrator.store.ledger import read_history, read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.tables.run_columns import result_columns
from orchestrator.tables.run_row import varying_paths
from orchestrator.terminal import Say

if TYPE_CHECKING:
    from tensorboardX.proto.event_pb2 import Event

_GROUPS = {
    "val": ("per", "val_loss"),
    "train": ("train_loss", "lr"),
    "collapse": (
        *("blank_fraction", "emitted_ratio", "n_distinct", "blank_posterior", "entropy_nats"),
    ),
    "norms": (
        *("grad_norm", "grad_norm_max", "clipped_share", "update_norm", "epsilon_over_grad_rms"),
        "learning_dose",
    ),
}
_TAGS = {column: f"{group}/{column}" for group, columns in _GROUPS.items() for column in columns}
_TAGS |= {"val_loss": "val/loss", "train_loss": "train/loss"}
_COUNTS = ("step", "n_edits", "n_reference", "n_edits_even", "n_reference_even")  # no curves
# Shown beside the hyperparameters: tag → column of a table of runs.
_FINAL_TAGS = {
    f"final/{column}": column
    for column in ("per", "best_per", "collapsed", "diverged", "escape_step", "val_loss")
}
_STEM = "events.out.tfevents."  # wandb and TensorBoard look for the last word

Values = list[tuple[int, str, str]]  # step, tag, number


def tag_of(column: str) -> str:
    """The tag under which a column of a history is shown; a metric of the user's has its own."""
    return _TAGS.get(column, f"metrics/{column}")


@dataclass
class _Open:
    """A run that may get events.

    Attributes:
        paths: its files, one for each arm that it belongs to.
        hyperparameters: shown beside its final metrics.
        last_step: of the newest evaluation in its files; None if they were not read yet.
    """

    paths: tuple[Path, ...]
    hyperparameters: Mapping[str, float | str]
    last_step: float | None = None


class EventFiles:
    """Writes the event files of runs, see above. If a file cannot be written, it says so once.

    Args:
        results: the results folder.
        name: the ablation or search.
        thresholds: they decide which runs count as collapsed.
        say: receives where the files are, and what cannot be written.

    Raises:
        ConfigError: ``tensorboardX`` is not installed.
    """

    def __init__(
        self, results: Results, name: str, thresholds: CollapseThresholds, say: Say
    ) -> None:
        self._event_type = event_type()
        self._results, self._say, self._thresholds = results, say, thresholds
        self._folder = results.event_files(name)
        self._runs: dict[str, _Open] = {}
        self._is_broken = False
        say(f"event files for TensorBoard: tensorboard --logdir {self._folder}")

    def expect(
        self, runs: Iterable[PlannedRun], levels: Mapping[str, Mapping[str, str]] | None = None
    ) -> None:
        """Expect events of these runs, and write the files of those that are recorded already.

        Args:
            runs: one entry for each arm and seed.
            levels: arm id → factor → level, for arms of a design.
        """
        runs = list(runs)
        shown = _hyperparameters(runs, levels or {})
        for run in runs:
            path = self._folder / run.arm_id / f"seed-{run.seed}"
            if run.replicate:
                path = path.with_name(f"{path.name}-repeat-{run.replicate}")
            path /= f"{_STEM}{run.run_id}"
            before = self._runs.get(run.run_id)
            paths = dict.fromkeys([*(before.paths if before else ()), path])
            last = before.last_step if before else None
            self._runs[run.run_id] = _Open(tuple(paths), shown[run.arm_id, run.seed], last)
        self.complete(run.run_id for run in runs)

    def update(self, event: PackEvent) -> None:
        """Write what an event says; the record of a run that ended must have been written."""
        if self._is_broken or not isinstance(event.what, Progress):
            return
        with self._on_disk():
            for run_id, rows in event.what.paused.items():
                self._append(run_id, rows)
            for run_id, row in event.what.latest.items():
                self._append(run_id, [row])
        self.complete((run.run_id for run in event.what.finished), is_live=True)

    def complete(self, run_ids: Iterable[str], *, is_live: bool = False) -> None:
        """Write the whole files of the runs among these that have a result.

        Args:
            is_live: whether TensorBoard may be reading their files, which then are appended to
                where that is enough.
        """
        wanted = [] if self._is_broken else [r for r in run_ids if r in self._runs]
        with self._on_disk():
            records = read_records(
                self._results, wanted, lambda text: None, move_aside=False, full=False
            )
            for run_id in with_result(records):
                self._complete(run_id, records[run_id], is_live)

    def _append(self, run_id: str, rows: Sequence[HistoryRow]) -> None:
        """Append the evaluations that the files of a run do not hold yet."""
        run = self._runs.get(run_id)
        if run is None or not rows:
            return
        if run.last_step is None:
            run.last_step = min(self._prepare(path, run.hyperparameters) for path in run.paths)
        for row in rows:
            if row["step"] > run.last_step:
                content = record_of(self._row(row, time.time()))
                for path in run.paths:
                    _append_to(path, content)
                run.last_step = row["step"]

    def _prepare(self, path: Path, hyperparameters: Mapping[str, float | str]) -> float:
        """Make a file ready to be appended to: whole records of this training, with their head.

        Returns:
            The step of its newest evaluation; -1 without one.
        """
        end, last = 0, -1.0
        with suppress(OSError, ValueError):
            for byte, event in read_events(path):
                tags = {value.tag for value in event.summary.value}
                if tags.intersection(_FINAL_TAGS):  # of an earlier training of the same run
                    end, last = 0, -1.0
                    break
                end, last = byte, float(event.step) if _values([event]) else last
        _remove_others(path)
        if not end:
            begun = self._head(hyperparameters, time.time())
            write_atomically(path, b"".join(map(record_of, begun)))
        elif end < path.stat().st_size:
            os.truncate(path, end)
        return last

    def _complete(self, run_id: str, record: Record, is_live: bool) -> None:
        run, history = self._runs[run_id], read_history(self._results, run_id)
        columns = result_columns(record, history, self._thresholds)
        numbers = {tag: columns.get(column) for tag, column in _FINAL_TAGS.items()}
        final = {
            tag: float(value)
            for tag, value in numbers.items()
            if isinstance(value, int | float) and not math.isnan(value)
        }
        n_steps = int(record["n_steps_done"])
        ended = datetime.fromisoformat(record["timing"]["finished_at"]).timestamp()
        seconds = float(record["timing"]["pack_seconds"])
        curves = [
            self._row(row, ended - seconds * (1 - row["step"] / max(n_steps, 1))) for row in history
        ]
        tail = self._tail(final, n_steps, ended)
        for path in run.paths:
            found = _values_in(path)
            if found == _values([*curves, *tail]):
                continue
            if is_live and found == _values(curves):
                _append_to(path, b"".join(map(record_of, tail)))
                continue
            _remove_others(path)
            head = self._head(run.hyperparameters, ended - seconds)
            write_atomically(path, b"".join(map(record_of, [*head, *curves, *tail])))
        run.last_step = math.inf

    def _head(self, hyperparameters: Mapping[str, float | str], now: float) -> Iterator["Event"]:
        experiment, start, _ = _plugin(hyperparameters)
        yield self._event_type(wall_time=now, file_version="brain.Event:2")
        yield self._event_type(wall_time=now, summary=experiment)
        yield self._event_type(wall_time=now, summary=start)

    def _row(self, row: HistoryRow, now: float) -> "Event":
        event = self._event_type(wall_time=now, step=int(row["step"]))
        for column, value in row.items():
            if column not in _COUNTS and not math.isnan(value):  # NaN: not known
                event.summary.value.add(tag=tag_of(column), simple_value=value)
        return event

    def _tail(self, final: Mapping[str, float], step: int, now: float) -> list["Event"]:
        metrics = self._event_type(wall_time=now, step=step)
        for tag, value in final.items():
            metrics.summary.value.add(tag=tag, simple_value=value)
        return [metrics, self._event_type(wall_time=now, step=step, summary=_plugin({})[2])]

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        """A context in which an error of the disk ends the event files, and not the training."""
        try:
            yield
        except (OSError, StorageError) as error:
            self._is_broken = True
            self._say(f"event files are no longer written: {error}")


def _hyperparameters(
    runs: Sequence[PlannedRun], levels: Mapping[str, Mapping[str, str]]
) -> dict[tuple[str, int], dict[str, float | str]]:
    """(arm id, seed) → what to show of its run: arm, seed, levels, and settings that differ."""
    flat = {run.arm_id: flatten(run.config) for run in runs}
    paths = [p for p in varying_paths(list(flat.values())) if not p.startswith("files.")]
    numeric = {
        path: all(isinstance(one.get(path), int | float) for one in flat.values()) for path in paths
    }
    return {
        (run.arm_id, run.seed): {
            "arm": run.arm_id,
            "seed": float(run.seed),
            **levels.get(run.arm_id, {}),
            **{
                path: (
                    float(value)
                    if numeric[path] and isinstance(value, int | float)
                    else value
                    if isinstance(value, str)
                    else json.dumps(value)
                )
                for path in paths
                for value in [flat[run.arm_id].get(path)]
            },
        }
        for run in runs
    }


def _plugin(hyperparameters: Mapping[str, float | str]) -> tuple[Any, Any, Any]:
    """The summaries that TensorBoard's table of hyperparameters reads: experiment, start, end."""
    from tensorboardX.summary import hparams

    found: tuple[Any, Any, Any] = hparams(dict(hyperparameters), dict.fromkeys(_FINAL_TAGS, 0.0))
    return found


def _values(events: Iterable["Event"]) -> Values:
    """The scalars of events, sorted; single precision, as a file holds them."""
    return sorted(
        (event.step, value.tag, repr(value.simple_value))
        for event in events
        for value in event.summary.value
        if value.WhichOneof("value") == "simple_value"
    )


def _values_in(path: Path) -> Values | None:
    """The scalars in a file, as `_values` gives them; None if it cannot be read to its end."""
    try:
        return _values(event for _, event in read_events(path))
    except (OSError, ValueError):
        return None


def _append_to(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def _remove_others(path: Path) -> None:
    """Remove what an earlier configuration of the same arm and seed left in its folder."""
    for other in path.parent.glob(f"{_STEM}*"):
        if other != path:
            other.unlink(missing_ok=True)
