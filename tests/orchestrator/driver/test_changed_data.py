"""Changed recordings: named, priced and asked about before recorded runs are trained again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import pytest
from rich.console import Console
from small_ablation import DATA, Rebuilds, pretend

from decoder.data import files
from decoder.data.synthetic import RECIPES, make_synthetic
from decoder.errors import DataError
from orchestrator.driver.changed_data import ChangedData, find_changed_data
from orchestrator.driver.preview import make_preview
from orchestrator.driver.run import AblationOutcome, run_ablation
from orchestrator.execute.machine import Options
from orchestrator.plan.plan import make_plan
from orchestrator.plan.recordings import prepare_data
from orchestrator.spec.arms import Arm
from orchestrator.spec.load import Loaded
from orchestrator.store.paths import Results

SECOND = "t15.2000.01.08/data_train.hdf5"


@pytest.fixture
def recordings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(files, "RACY_SECONDS", -1.0)
    make_synthetic(RECIPES["tiny"], tmp_path / "recordings")
    return tmp_path / "recordings"


class Asked(list[str]):
    """Notes what is asked, and answers."""

    def __init__(self, answer: bool) -> None:
        super().__init__()
        self.answer = answer

    def __call__(self, text: str) -> bool:
        self.append(text)
        return self.answer


@pytest.fixture
def go(
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    console: Console,
    rebuilt: Rebuilds,
) -> Callable[..., AblationOutcome]:
    """Runs the small ablation on recordings of a folder, with training that is pretended."""

    def run(path: Path, asked: Asked, changes: Any = None, base: Any = None) -> AblationOutcome:
        loaded = load(changes, {"data/path": str(path), **(base or {})})
        return run_ablation(
            loaded,
            results,
            options,
            console,
            backend=pretend,
            rebuild=rebuilt,
            accept=asked,
        )

    return run


def alter(path: Path) -> None:
    """Change one value of a feature."""
    with h5py.File(path, "r+") as handle:
        handle["trial_0000/input_features"][0, 0] += 1.0


def test_a_changed_file_is_named_and_nothing_trains_until_it_is_accepted(
    go: Callable[..., AblationOutcome], recordings: Path, results: Results
) -> None:
    never = Asked(False)
    assert go(recordings, never).n_trained == 12
    assert go(recordings, never).n_trained == 0
    assert not never
    alter(recordings / SECOND)
    before = {path: path.read_bytes() for path in results.runs.rglob("*.json")}
    plan = results.plan("question").read_bytes()
    with pytest.raises(DataError, match=f"altered: {SECOND}") as caught:
        go(recordings, never)
    assert caught.value.exit_code == 3
    assert "12 recorded runs train again" in never[0] and "core hours" in never[0]
    assert {path: path.read_bytes() for path in results.runs.rglob("*.json")} == before
    assert results.plan("question").read_bytes() == plan
    yes = Asked(True)
    assert go(recordings, yes).n_trained == 12
    assert len(yes) == 1
    assert go(recordings, never).n_trained == 0
    assert len(never) == 1  # what was accepted is not asked again


def test_a_removed_session_is_named(
    go: Callable[..., AblationOutcome],
    load: Callable[..., Loaded],
    recordings: Path,
    results: Results,
    options: Options,
) -> None:
    base = {"data/path": str(recordings), "data/days_per_batch": 1}
    loaded = load(None, base)

    def changed() -> tuple[ChangedData, ...]:
        data = prepare_data(loaded.arms, results.datasets, lambda text: None)
        return find_changed_data(make_plan(loaded, data, 2), (), results, options)

    go(recordings, Asked(False), base={"data/days_per_batch": 1})
    (recordings / "t15.2000.01.08").rename(recordings.parent / "t15.2000.01.08")
    (found,) = changed()
    first, *others = (f"t15.2000.01.08/data_{split}.hdf5" for split in ("train", "val"))
    assert found.changes == f"missing: {first}, {others[0]}"


def test_other_arms_seeds_and_settings_are_not_asked_about(
    go: Callable[..., AblationOutcome], recordings: Path
) -> None:
    never = Asked(False)
    go(recordings, never)
    assert go(recordings, never, {"seeds": [0, 1, 2, 3]}).n_trained == 4
    more = {"factors/rate/low": {"optim.lr_max": 0.001}}
    assert go(recordings, never, more).n_trained == 6
    assert not never


def test_another_ablation_on_the_same_folder_is_asked_too(
    go: Callable[..., AblationOutcome], recordings: Path
) -> None:
    go(recordings, Asked(False))
    alter(recordings / SECOND)
    with pytest.raises(DataError, match=f"altered: {SECOND}"):
        go(recordings, Asked(False), {"name": "other"})


def test_without_digests_of_the_earlier_files_the_fingerprint_of_the_last_plan_tells(
    load: Callable[..., Loaded],
    results: Results,
    options: Options,
    console: Console,
    rebuilt: Rebuilds,
) -> None:
    def describe(fingerprint: str, *sessions: str) -> Callable[..., Mapping[str, Any]]:
        data = replace(DATA, fingerprint=fingerprint, sessions=sessions)
        return lambda arms, folder, say: {arm.arm_id: data for arm in arms}

    asked = Asked(False)

    def run(prepare: Callable[..., Mapping[str, Any]]) -> AblationOutcome:
        return run_ablation(
            load(),
            results,
            options,
            console,
            backend=pretend,
            rebuild=rebuilt,
            accept=asked,
            describe=prepare,
        )

    assert run(describe("a" * 16, "one", "two")).n_trained == 12
    with pytest.raises(DataError, match="sessions missing: one; added: three"):
        run(describe("b" * 16, "two", "three"))
    with pytest.raises(DataError, match="cannot be named"):
        run(describe("b" * 16, "one", "two"))
    assert run(describe("a" * 16, "one", "two")).n_trained == 0


def test_the_preview_says_what_changed_and_trains_nothing(
    go: Callable[..., AblationOutcome],
    load: Callable[..., Loaded],
    recordings: Path,
    results: Results,
    options: Options,
) -> None:
    go(recordings, Asked(False))
    alter(recordings / SECOND)
    loaded = load(None, {"data/path": str(recordings)})
    said: list[str] = []
    seen = make_preview(loaded, results, options, said.append, calibrate=False)
    (changed,) = seen.changed_data
    assert changed.changes == f"altered: {SECOND}"
    assert len(changed.run_ids) == 12 and set(changed.run_ids) == set(seen.plan.distinct)
    assert changed.cost is not None
    assert (changed.seconds, changed.cost.hours) == (18.0, 0.005)  # 6 packs of 2 runs, 3 s each


def test_versions_of_another_folder_do_not_count(
    go: Callable[..., AblationOutcome],
    load: Callable[..., Loaded],
    recordings: Path,
    results: Results,
    options: Options,
    tmp_path: Path,
) -> None:
    go(recordings, Asked(False))
    make_synthetic(RECIPES["tiny"].model_copy(update={"seed": 13}), tmp_path / "more")
    loaded = load({"name": "more"}, {"data/path": str(tmp_path / "more")})

    def prepare(arms: Sequence[Arm]) -> Mapping[str, Any]:
        return prepare_data(arms, results.datasets, lambda text: None)

    plan = make_plan(loaded, prepare(loaded.arms), 2)
    assert find_changed_data(plan, (), results, options) == ()
