"""Training a batch rung by rung: runs go into the ledger, courses beside the study."""

import csv
import dataclasses
import io
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from decoder.atomic import write_atomically
from decoder.errors import StorageError
from decoder.pack import HistoryRow, Progress
from orchestrator.execute.backends import Backend, Execution, PackEvent, RayUnavailableError
from orchestrator.execute.machine import Options
from orchestrator.execute.recording import Planned, Recorder
from orchestrator.search.batches import packs_of
from orchestrator.search.scores import Course
from orchestrator.store.ledger import Record, history_csv, read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.terminal import Say


class Trainer:
    """Trains packs on one backend, started when there is something to train.

    Args:
        options: how to train.
        results: ledger and folders; of searches.
        name: of the search.
        recorder: takes the results of runs that ended.
        say: for remarks.
        backend: trains the packs; None takes the one `options` names.
    """

    def __init__(
        self,
        options: Options,
        results: Results,
        name: str,
        recorder: Recorder,
        say: Say,
        backend: Backend | None,
    ) -> None:
        self._options, self.results, self.name = options, results, name
        self._recorder, self._say, self._backend = recorder, say, backend
        self._stack = ExitStack()

    @contextmanager
    def running(self) -> Iterator["Trainer"]:
        """Within it, packs can be trained; errors of the backend come out where it ends."""
        with self._stack:
            yield self

    def train(self, planned: Planned, run_ids: Collection[str], until_step: int | None) -> set[str]:
        """Train runs of a batch or plan up to a step, or to their end.

        Returns:
            The runs that failed for reasons other than their numbers.
        """
        self._recorder.follow(planned)
        failed: set[str] = set()

        def on_event(event: PackEvent) -> None:
            self._recorder.record(event)
            if isinstance(event.what, Progress):
                for run_id, rows in event.what.paused.items():
                    write_course(self.results, self.name, run_id, rows)
                for remark in event.what.remarks:
                    self._say(remark)
                self._recorder.tell(len(run_ids))
            else:
                failed.update(event.what.run_ids)
                last = " ".join(event.what.traceback.strip().splitlines()[-1:])
                self._say(
                    f"{len(event.what.run_ids)} runs failed for good after "
                    f"{event.what.n_attempts} tries: {last}"
                )

        jobs = packs_of(planned, frozenset(run_ids))
        for folder in dict.fromkeys(folder for folder, _ in jobs):
            execution = dataclasses.replace(self._execution(folder), until_step=until_step)
            packs = [pack for where, pack in jobs if where == folder]
            self._started(execution)(packs, execution, on_event)
        return failed

    def _execution(self, dataset_dir: Path) -> Execution:
        return Execution(
            dataset_dir=dataset_dir,
            checkpoint_dir=self.results.checkpoints(self.name),
            weights_dir=self.results.runs,
            n_workers=self._options.n_workers,
            threads_per_worker=self._options.threads,
            device=self._options.device,
            address=self._options.address,
        )

    def _started(self, execution: Execution) -> Backend:
        """The backend; where Ray cannot start, the same packs are trained in-process."""
        if self._backend is None:
            from orchestrator.execute.backends.local import train_locally

            self._backend = train_locally
            if self._options.backend == "ray":
                from orchestrator.execute.backends.ray_tune import ray_session

                try:
                    self._backend = self._stack.enter_context(ray_session(execution))
                except RayUnavailableError as error:
                    if self._options.address is not None:
                        raise
                    self._say(
                        f"Ray cannot be used ({error}); the packs are trained in this process"
                    )
        return self._backend


def courses_of(
    results: Results, name: str, run_ids: Collection[str], say: Say
) -> dict[str, Course]:
    """How far each run has come: from its record, or from what was kept where it paused.

    Runs that have not come to a first rung, or failed, are left out.
    """
    records = read_records(results, run_ids, say)
    courses = {}
    for run_id in run_ids:
        record = records.get(run_id)
        if record is not None and record["status"] != "failed":
            courses[run_id] = recorded_course(results, record)
        elif (rows := read_course(results, name, run_id)) is not None:
            courses[run_id] = Course(rows)
    return courses


def recorded_course(results: Results, record: Record) -> Course:
    """The course of a run with a result."""
    seconds, step = record["timing"]["run_seconds"], record["diverged_step"]
    if step is not None:
        seconds *= int(record["config"]["train"]["n_steps"]) / max(step, 1)
    return Course(tuple(read_history(results, record["run_id"])), step, seconds)


def write_course(results: Results, name: str, run_id: str, rows: tuple[HistoryRow, ...]) -> None:
    """Keep the evaluations of a run that pauses."""
    path = results.course(name, run_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, history_csv(rows))


def read_course(results: Results, name: str, run_id: str) -> tuple[HistoryRow, ...] | None:
    """The evaluations of a run where it paused last; None if it has not."""
    path = results.course(name, run_id)
    try:
        text = path.read_text(encoding="utf-8")
        reader = csv.DictReader(io.StringIO(text))
        return tuple({name: float(value) for name, value in row.items()} for row in reader)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise StorageError(
            f"{path}: cannot be read ({error}); delete it, and its run is trained again"
        ) from None


def unfinished(
    courses: Mapping[str, Course], run_ids: Collection[str], step: int
) -> frozenset[str]:
    """The runs that have not come as far as an evaluation."""
    return frozenset(r for r in run_ids if r not in courses or not courses[r].reaches(step))
