"""Event files of runs: whole, no point doubled, the same live as rebuilt, and only if asked."""

import io
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from small_ablation import Rebuilds, history_row, result_of
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from decoder.errors import ConfigError
from decoder.pack import HISTORY_COLUMNS, Pack, Progress, Run, RunResult
from orchestrator.driver.event_files import tag_of
from orchestrator.driver.run import AblationOutcome, run_ablation
from orchestrator.execute.backends import Backend, Execution, PackEvent
from orchestrator.execute.machine import Options
from orchestrator.plan.recordings import PrepareData
from orchestrator.spec.load import Loaded
from orchestrator.store.event_file import read_events, read_scalars
from orchestrator.store.ledger import read_history
from orchestrator.store.paths import Results

OnEvent = Callable[[PackEvent], None]
Go = Callable[..., AblationOutcome]
STEPS = (20, 40, 60)


class Killed(Exception):
    """The driver is gone."""


def result(run: Run) -> RunResult:
    """A pretended result whose PER falls from evaluation to evaluation."""
    per = int(run.run_id[:4], 16) / 65536
    history = tuple(history_row(step, per / step) for step in STEPS)
    return replace(result_of(run), history=history)


def training(first: int = 0, last: int = len(STEPS)) -> Backend:
    """Trains packs from evaluation `first` on; is killed after evaluation `last` - 1."""

    def train(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        for pack in packs:
            results = [result(run) for run in pack.runs]
            for index, step in list(enumerate(STEPS))[first:last]:
                latest = {one.run_id: one.history[index] for one in results}
                on_event(PackEvent(pack.pack_id, Progress(step, latest), {"device": "none"}))
            if last < len(STEPS):
                raise Killed
            on_event(PackEvent(pack.pack_id, Progress(60, {}, results), {"device": "none"}))

    return train


@pytest.fixture
def go(
    load: Callable[..., Loaded], results: Results, options: Options, describe: PrepareData
) -> Go:
    def run(
        backend: Backend, *, tensorboard: bool = True, said: io.StringIO | None = None
    ) -> AblationOutcome:
        return run_ablation(
            load({"seeds": [1, 2]}),
            results,
            replace(options, backend="ray"),
            Console(file=said or io.StringIO(), width=1000),
            backend=backend,
            describe=describe,
            rebuild=Rebuilds(),
            tensorboard=tensorboard,
        )

    return run


def files_of(results: Results) -> dict[str, Path]:
    """Arm and seed → its event file."""
    folder = results.event_files("question")
    found = {p.parent.relative_to(folder).as_posix(): p for p in folder.glob("*/*/*")}
    assert len(found) == len(list(folder.glob("*/*/*"))), "two files in one folder"
    return found


def scalars(path: Path) -> list[tuple[int, str, float]]:
    with path.open("rb") as file:
        return [tuple(one) for one in read_scalars(file)]


def contents(results: Results) -> dict[str, list[tuple[int, str, float]]]:
    return {name: scalars(path) for name, path in files_of(results).items()}


def test_each_run_has_its_curves_and_its_final_metrics(go: Go, results: Results) -> None:
    go(training())
    files = files_of(results)
    arms = [f"{noise}+{rate}" for noise in ("official", "weak") for rate in ("high", "low")]
    assert sorted(files) == sorted(f"{arm}/seed-{seed}" for arm in arms for seed in (1, 2))
    for path in files.values():
        history = read_history(results, path.name.rpartition(".")[2])
        found = scalars(path)
        assert len(found) == len(set(row[:2] for row in found))
        curves = {tag for _, tag, _ in found if not tag.startswith("final/")}
        shown = set(HISTORY_COLUMNS) - {"step"} - {c for c in HISTORY_COLUMNS if c[:2] == "n_"}
        assert curves == {tag_of(column) for column in (*shown, "n_distinct")}
        for tag, column in (("val/per", "per"), ("norms/grad_norm", "grad_norm")):
            assert [(step, value) for step, name, value in found if name == tag] == [
                (row["step"], pytest.approx(row[column], rel=1e-6)) for row in history
            ]
        final = {tag: value for step, tag, value in found if tag.startswith("final/")}
        assert final["final/per"] == pytest.approx(history[-1]["per"], rel=1e-6)
        assert final["final/best_per"] <= final["final/per"]
        assert final["final/collapsed"] == final["final/diverged"] == 0.0


def hyperparameters(path: Path) -> tuple[dict[str, Any], set[str]]:
    """What the table of hyperparameters reads: parameter → value, and tags of metrics."""
    shown: dict[str, Any] = {}
    metrics: set[str] = set()
    for _, event in read_events(path):
        for value in event.summary.value:
            if value.metadata.plugin_data.plugin_name == "hparams":
                data = HParamsPluginData.FromString(value.metadata.plugin_data.content)
                for name, given in data.session_start_info.hparams.items():
                    shown[name] = getattr(given, given.WhichOneof("kind"))
                metrics |= {info.name.tag for info in data.experiment.metric_infos}
    return shown, metrics


def test_the_table_of_hyperparameters_has_levels_and_settings_that_differ(
    go: Go, results: Results
) -> None:
    go(training())
    shown, metrics = hyperparameters(files_of(results)["weak+low/seed-2"])
    assert shown == {
        "arm": "weak+low",
        "seed": 2.0,
        "noise": "weak",
        "rate": "low",
        "augment.white_noise_std": 0.25,
        "optim.lr_max": 0.002,
    }
    assert {"final/per", "final/escape_step"} <= metrics


@pytest.mark.parametrize("n_torn", [0, 3, 40])
def test_a_resumed_run_has_each_point_once(go: Go, results: Results, n_torn: int) -> None:
    """The driver is killed while it writes; the pack goes on from before its last evaluation."""
    with pytest.raises(Killed):
        go(training(last=2))
    begun = contents(results)
    assert begun and all({row[0] for row in rows} == {20, 40} for rows in begun.values())
    for path in files_of(results).values():
        path.write_bytes(path.read_bytes() + path.read_bytes()[:n_torn])
    assert go(training(first=1)).n_trained == 8
    resumed = contents(results)
    again = results.event_files("question").rename(results.root / "kept")
    go(training())
    assert resumed == contents(results)
    assert again.is_dir()


def test_an_evaluation_that_was_lost_is_there_at_the_end(go: Go, results: Results) -> None:
    with pytest.raises(Killed):
        go(training(last=1))
    go(training(first=2))
    for rows in contents(results).values():
        assert [step for step, tag, _ in rows if tag == "val/per"] == [20, 40, 60]


def test_recorded_runs_get_the_files_that_they_would_have_had(go: Go, results: Results) -> None:
    go(training(), tensorboard=False)
    assert not results.event_files("question").exists()
    assert go(training()).n_trained == 0
    rebuilt = contents(results)
    assert len(rebuilt) == 8
    stamps = [path.stat().st_mtime_ns for path in files_of(results).values()]
    go(training())
    assert [path.stat().st_mtime_ns for path in files_of(results).values()] == stamps


def test_a_run_without_per_shows_its_own_metrics_once(
    go: Go, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those of a trainer of the user's, whose histories lack most of our columns."""

    def other(run: Run) -> RunResult:
        nothing = dict.fromkeys(HISTORY_COLUMNS, math.nan)
        history = tuple({**nothing, "step": float(s), "wer": 1 / s} for s in STEPS)
        return replace(result_of(run), history=history)

    monkeypatch.setattr(f"{__name__}.result", other)
    with pytest.raises(Killed):
        go(training(last=2))
    for rows in contents(results).values():
        assert [(step, tag) for step, tag, _ in rows] == [(20, "metrics/wer"), (40, "metrics/wer")]
    go(training(first=1))
    for rows in contents(results).values():
        curve = [(step, value) for step, tag, value in rows if not tag.startswith("final/")]
        assert curve == [(step, pytest.approx(1 / step)) for step in STEPS]


def test_a_run_of_another_configuration_takes_the_place_of_the_one_before(
    go: Go, results: Results
) -> None:
    go(training())
    path = files_of(results)["weak+low/seed-2"]
    other = path.rename(path.with_name("events.out.tfevents.0123456789abcdef"))
    go(training())
    assert path.exists() and not other.exists()


def test_a_pause_writes_the_whole_history(go: Go, results: Results) -> None:
    def pausing(packs: Sequence[Pack], execution: Execution, on_event: OnEvent) -> None:
        for pack in packs:
            paused = {run.run_id: result(run).history[:2] for run in pack.runs}
            on_event(PackEvent(pack.pack_id, Progress(40, paused=paused), {"device": "none"}))

    go(pausing)
    for rows in contents(results).values():
        assert [step for step, tag, _ in rows if tag == "val/per"] == [20, 40]


def test_a_disk_that_refuses_is_said_once_and_training_goes_on(go: Go, results: Results) -> None:
    folder = results.event_files("question")
    folder.mkdir(parents=True)
    (folder / "official+high").write_text("in the way")
    said = io.StringIO()
    assert go(training(), said=said).n_trained == 8
    lines = [line for line in said.getvalue().splitlines() if "no longer written" in line]
    assert len(lines) == 1 and "official+high" in lines[0]


def test_without_the_package_nothing_trains_and_the_message_is_one_line(
    go: Go, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("tensorboardX")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as caught:
        go(training())
    [text] = caught.value.problems
    assert "pip install tensorboardX" in text
    assert not list(results.runs.glob("*/record.json"))
    go(training(), tensorboard=False)


def test_tensorboard_reads_the_same(go: Go, results: Results) -> None:
    event_accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    go(training())
    for path in files_of(results).values():
        read = event_accumulator.EventAccumulator(str(path.parent))
        read.Reload()
        theirs = sorted(
            (one.step, tag, one.value)
            for tag in read.Tags()["scalars"]
            for one in read.Scalars(tag)
        )
        assert theirs == sorted(scalars(path))
        assert "_hparams_/session_start_info" in read.PluginTagToContent("hparams")
