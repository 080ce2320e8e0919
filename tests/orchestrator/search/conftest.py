"""Small search files, and training that only pretends to train."""

import io
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from rich.console import Console
from small_ablation import DATA

from decoder.pack import HISTORY_COLUMNS, HistoryRow, Pack, Progress, Run, RunResult
from orchestrator.execute.backends import Backend, Execution, PackEvent, PackFailed
from orchestrator.execute.machine import Options, choose_options
from orchestrator.plan.recordings import PrepareData, Recordings
from orchestrator.report.figures.style import Saved
from orchestrator.search import rebuild
from orchestrator.search.driver import SearchOutcome, run_search
from orchestrator.search.load import load_search
from orchestrator.spec.arms import Arm
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

BASE: dict[str, Any] = {
    "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
    "model": {"n_units": 8, "n_layers": 1},
    "optim": {"lr_warmup_steps": 2},
    "train": {"n_steps": 80, "eval_every_steps": 10},
}
SPEC: dict[str, Any] = {
    "name": "hunt",
    "question": "Which rate?",
    "base": "base.yaml",
    "space": {
        "optim.lr_max": {"log": [0.0005, 0.05]},
        "optim.epsilon": {"log": [1e-8, 1.0]},
    },
    "n_candidates": 12,
    "seeds": [1, 2],
    "batch": 4,
    "stopping": {"method": "asha", "min_steps": 20, "reduction_factor": 2},
    "confirm": {"best": 2, "seeds": [11, 12, 13, 14, 15, 16], "margin": 0.02},
}

WriteSearch = Callable[..., Path]


def write_file(folder: Path, changes: Mapping[str, Any]) -> Path:
    """Write ``search.yaml`` beside its base, with top-level keys replaced; `...` removes one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_text(yaml.safe_dump(BASE))
    path = folder / "search.yaml"
    document = {key: value for key, value in {**SPEC, **changes}.items() if value is not ...}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@pytest.fixture
def write_search(tmp_path: Path) -> WriteSearch:
    """Writes a search file; keyword arguments replace top-level keys."""
    return lambda **changes: write_file(tmp_path, changes)


class Killed(BaseException):
    """Stands for ``kill -9``: no code handles it."""


class FakeBackend:
    """A backend whose runs are the better, the nearer their learning rate is to 0.005.

    Rates above 0.03 diverge at step 30, rates below 0.001 collapse.

    Attributes:
        trained: (run id, step up to which it was trained), in order.
        kill_at: number of the event at which the process is killed.
        broken: runs that fail.
    """

    def __init__(self, kill_at: int | None = None, broken: Collection[str] = ()) -> None:
        self.trained: list[tuple[str, int]] = []
        self.kill_at, self.broken = kill_at, broken
        self.n_events = 0

    def __call__(
        self,
        packs: Sequence[Pack],
        execution: Execution,
        on_event: Callable[[PackEvent], None],
    ) -> None:
        for pack in packs:
            paused, ended, failed = {}, [], []
            for run in pack.runs:
                if run.run_id in self.broken:
                    failed.append(run.run_id)
                    continue
                rows = rows_of(run, pack.seed)
                until = min(execution.until_step or 10**9, run.config.train.n_steps)
                self.trained.append((run.run_id, until))
                diverges = run.config.optim.lr_max > 0.03
                if until == run.config.train.n_steps or (diverges and until > 30):
                    history = tuple(row for row in rows if not diverges or row["step"] < 30)
                    status = "diverged" if diverges else "ok"
                    n_done = 30 if diverges else until
                    ended.append(RunResult(run.run_id, status, history, n_done, 9, 0, 4.0, 2, 1))
                else:
                    paused[run.run_id] = tuple(row for row in rows if row["step"] <= until)
            events: list[Progress | PackFailed] = [Progress(1, {}, tuple(ended))]
            events += [Progress(2, paused=paused)] if paused else []
            events += [PackFailed(tuple(failed), "the disk went away", 3)] if failed else []
            for event in events:
                self.n_events += 1
                if self.n_events == self.kill_at:
                    raise Killed
                on_event(PackEvent(pack.pack_id, event))


def rows_of(run: Run, seed: int) -> list[HistoryRow]:
    optim, train = run.config.optim, run.config.train
    distance = abs(math.log10(optim.lr_max / 0.005)) + 0.1 * abs(math.log10(optim.epsilon / 0.1))
    rows = []
    for step in range(train.eval_every_steps, train.n_steps + 1, train.eval_every_steps):
        row = dict.fromkeys(HISTORY_COLUMNS, 0.1)
        per = min(1.0, 0.2 + 0.3 * distance + 0.5 * (1 - step / train.n_steps) + 0.001 * (seed % 7))
        emitted = 0.0 if optim.lr_max < 0.001 else 0.9
        row |= {"step": float(step), "per": per, "n_edits": round(1000 * per), "n_reference": 1000}
        row |= {"emitted_ratio": emitted, "n_distinct": 0 if emitted == 0 else 20}
        rows.append(row | {"n_edits_even": 1, "n_reference_even": 2})
    return rows


@pytest.fixture(autouse=True, scope="package")
def fast_sqlite() -> Iterator[None]:
    """SQLite does not wait for the disk."""

    def hurry(connection: Any, record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", hurry)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", hurry)


def describe(arms: Sequence[Arm], datasets: Path, say: Say) -> dict[str, Recordings]:
    """Stands for `prepare_data`: no recordings are made or read."""
    return {arm.arm_id: DATA for arm in arms}


def draw_nothing(*arguments: object) -> list[Saved]:
    """Stands for `draw_search_figures`."""
    return []


def run_small_search(
    folder: Path,
    backend: Backend,
    *,
    prepare: PrepareData = describe,
    draw: Callable[..., list[Saved]] = draw_nothing,
    options: Options | None = None,
    storage: str | None = None,
    output: io.StringIO | None = None,
    **changes: Any,
) -> SearchOutcome:
    """Run the search file into ``folder/results``; keyword arguments change the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rebuild, "draw_search_figures", draw)
        outcome, _ = run_search(
            load_search(write_file(folder, changes)),
            Results(folder / "results"),
            options or choose_options("local", 2, 1),
            Console(file=output or io.StringIO()),
            backend=backend,
            prepare=prepare,
            storage=storage,
        )
    return outcome
