"""A search from its first batch to its confirmation, and the ways it can be interrupted."""

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import optuna
import pandas as pd
import pytest
import sqlalchemy
from optuna.trial import TrialState
from small_ablation import DATA
from stored_pairs import change_record

from decoder.atomic import sha256_of
from decoder.config import DecoderConfig, override
from decoder.errors import ConfigError, DataError, StorageError
from decoder.model.decoder import PackedDecoder
from decoder.weights import save_weights
from orchestrator.execute.backends import Execution, RayUnavailableError
from orchestrator.execute.machine import choose_options
from orchestrator.execute.training import started_backend
from orchestrator.plan.recordings import Recordings
from orchestrator.search.load import load_search
from orchestrator.search.study import open_studies
from orchestrator.spec.arms import Arm
from orchestrator.store.ledger import read_records
from orchestrator.store.paths import Results

from .conftest import FakeBackend, Killed, describe, run_small_search, write_file

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
HARMLESS = {
    "optim.epsilon": (0.1, 0.2),
    "optim.beta1": (0.8, 0.9),
    "optim.beta2": (0.98, 0.99),
    "optim.weight_decay": (0.0, 0.01),
    "model.n_units": (8, 16),
    "model.n_layers": (1, 2),
    "model.input_dropout": (0.0, 0.1),
    "augment.white_noise_std": (0.0, 0.1),
}


def study_in(folder: Path, name: str = "hunt") -> optuna.Study:
    return optuna.load_study(
        study_name=name,
        storage=f"sqlite:///{folder / 'results' / 'searches' / 'hunt' / 'study.db'}",
    )


def trials_of(study: optuna.Study) -> list[tuple[Any, ...]]:
    """All of a study's finished trials that must not depend on an interruption."""
    return [
        (t.params, t.state, t.values, t.intermediate_values, t.user_attrs["endings"])
        for t in study.trials
        if t.state in FINISHED
    ]


@contextmanager
def killed_at_write(number: int) -> Iterator[None]:
    """The process is killed before it writes to a database for the n-th time."""
    writes = itertools.count(1)

    def kill(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE")) and next(writes) == number:
            raise Killed

    sqlalchemy.event.listen(sqlalchemy.Engine, "before_cursor_execute", kill)
    try:
        yield
    finally:
        sqlalchemy.event.remove(sqlalchemy.Engine, "before_cursor_execute", kill)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a search that was not interrupted."""
    found = tmp_path_factory.mktemp("whole")
    assert run_small_search(found, FakeBackend()).exit_code == 0
    return found


@pytest.fixture(scope="module")
def whole(folder: Path) -> optuna.Study:
    return study_in(folder)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy of `folder`, in which the search may continue."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_search_tries_stops_and_confirms(whole: optuna.Study, folder: Path) -> None:
    states = Counter(trial.state for trial in whole.trials)
    assert states.total() == 12 and set(states) == set(FINISHED)
    assert states[TrialState.PRUNED] >= 6
    for trial in whole.trials:
        steps = list(trial.intermediate_values)
        assert steps == [20, 40][: len(steps)] and steps
        assert trial.user_attrs["step"] == (80 if trial.state == TrialState.COMPLETE else steps[-1])
    assert whole.best_value < 0.35
    plan = Results(folder / "results").of_searches.plan("hunt").read_text()
    assert '"best_1"' in plan and '"base"' in plan


def test_stopped_runs_never_enter_the_ledger(whole: optuna.Study, folder: Path) -> None:
    results = Results(folder / "results")
    for trial in whole.trials:
        records = read_records(results, trial.user_attrs["run_ids"], print)
        for run_id in trial.user_attrs["run_ids"]:
            if trial.state == TrialState.COMPLETE:
                assert records[run_id]["n_steps_done"] in (80, 30)
            elif "diverged" not in trial.user_attrs["endings"]:
                assert run_id not in records


@pytest.mark.parametrize("kill_at", [3, 12, 21])
def test_a_killed_search_ends_as_if_it_had_not_been(
    kill_at: int, whole: optuna.Study, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        run_small_search(tmp_path, FakeBackend(kill_at))
    assert run_small_search(tmp_path, FakeBackend()).exit_code == 0
    resumed = study_in(tmp_path)
    assert trials_of(resumed) == trials_of(whole)
    assert all(trial.state in FINISHED for trial in resumed.trials)


@pytest.mark.parametrize("n_writes", [33, 100])
def test_a_search_killed_while_it_writes_to_the_study_ends_as_if_it_had_not_been(
    n_writes: int, whole: optuna.Study, tmp_path: Path
) -> None:
    with killed_at_write(n_writes), pytest.raises(Killed):
        run_small_search(tmp_path, FakeBackend())
    assert run_small_search(tmp_path, FakeBackend()).exit_code == 0
    assert trials_of(study_in(tmp_path)) == trials_of(whole)


def test_a_finished_search_trains_nothing(copied: Path) -> None:
    again = FakeBackend()
    outcome = run_small_search(copied, again)
    assert again.trained == [] and outcome.n_trained == 0


def test_recorded_runs_are_never_trained_again(whole: optuna.Study, copied: Path) -> None:
    (copied / "results" / "searches" / "hunt" / "study.db").unlink()
    again = FakeBackend()
    run_small_search(copied, again)
    results = Results(copied / "results")
    assert trials_of(study_in(copied)) == trials_of(whole)
    recorded = {r for t in whole.trials if t.state == TrialState.COMPLETE
                for r in t.user_attrs["run_ids"]}  # fmt: skip
    assert recorded.isdisjoint(run_id for run_id, _ in again.trained)
    assert recorded <= read_records(results, recorded, print).keys()


def test_more_candidates_may_be_asked_for_later(whole: optuna.Study, copied: Path) -> None:
    before = trials_of(whole)
    assert run_small_search(copied, FakeBackend(), n_candidates=15).exit_code == 0
    after = trials_of(study_in(copied))
    assert len(after) == 15 and after[:12] == before


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seeds": [1, 3]}, "seeds:"),
        ({"space": {"optim.lr_max": {"log": [0.0005, 0.02]}}}, "space.optim.lr_max.log"),
        ({"set": {"model.n_units": 16}}, "base.model.n_units:"),
    ],
)
def test_a_search_that_changed_is_refused_and_the_changed_key_is_named(
    changes: dict[str, Any], named: str, copied: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        run_small_search(copied, FakeBackend(), **changes)
    assert any(problem.startswith(named) for problem in error.value.problems)


def test_a_search_from_changed_weights_is_refused(tmp_path: Path) -> None:
    config = override(DecoderConfig(), {"model.n_units": 8, "model.n_layers": 1}, "test")
    start = {"set": {"train.start_from": str(tmp_path / "start"), "model.n_units": 8}}
    start["set"]["model.n_layers"] = 1
    results = Results(tmp_path).of_searches
    results.root.mkdir(exist_ok=True)
    for seed in (1, 2):
        sizes = DATA.n_features, DATA.n_classes
        model = PackedDecoder(config.model, 1, len(DATA.sessions), *sizes, seed)
        save_weights(tmp_path / "start", model, 0, config, DATA.sessions, {})
        loaded = load_search(write_file(tmp_path, start))
        if seed == 1:
            for study in open_studies(loaded, results, print, prepare=describe):
                study.close()
    with pytest.raises(ConfigError, match="base.files.train.start_from"):
        open_studies(loaded, results, print, prepare=describe)


def test_a_search_on_changed_recordings_is_refused_as_a_data_fault(tmp_path: Path) -> None:
    loaded = load_search(write_file(tmp_path, {}))
    results = Results(tmp_path).of_searches
    results.root.mkdir(exist_ok=True)
    for study in open_studies(loaded, results, print, prepare=describe):
        study.close()

    def others(arms: Sequence[Arm], *_: object) -> dict[str, Recordings]:
        return {arm.arm_id: replace(DATA, fingerprint="e" * 16) for arm in arms}

    with pytest.raises(DataError, match="recordings synthetic:tiny have changed"):
        open_studies(loaded, results, print, prepare=others)
    named = load_search(write_file(tmp_path, {"seeds": [1, 3]}))
    with pytest.raises(ConfigError, match="seeds:"):  # which is no change of the recordings alone
        open_studies(named, results, print, prepare=others)


def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    loaded = load_search(write_file(tmp_path, {}))
    results, url = Results(tmp_path).of_searches, "nodb://me:secret@host/x"
    with pytest.raises(StorageError) as error:
        open_studies(loaded, results, print, url, prepare=describe)
    assert "nodb://me:***@host/x" in str(error.value) and "secret" not in str(error.value)


def test_a_study_that_cannot_be_opened_is_named_by_its_file(tmp_path: Path) -> None:
    loaded, results = load_search(write_file(tmp_path, {})), Results(tmp_path).of_searches
    file = results.study(loaded.spec.name)
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database" * 100)
    with pytest.raises(StorageError) as error:
        open_studies(loaded, results, print, prepare=describe)
    assert str(error.value).startswith(f"{file}: cannot be opened")
    assert "--storage" not in str(error.value), "nobody gave one"


def test_diverged_and_collapsed_candidates_have_scores_and_endings(whole: optuna.Study) -> None:
    diverged = [t for t in whole.trials if "diverged" in t.user_attrs["endings"]]
    wild = [t for t in whole.trials if t.params["optim.lr_max"] > 0.03]
    for trial in diverged:
        assert 40 in trial.intermediate_values and trial.intermediate_values[40] == 1.0
    assert {t.number for t in diverged} <= {t.number for t in wild}
    assert all(t.state in FINISHED for t in wild)
    slow = [t for t in whole.trials if t.params["optim.lr_max"] < 0.001]
    assert slow and all("collapsed" in t.user_attrs["endings"] for t in slow if
                        max(t.intermediate_values) >= 40)  # fmt: skip


def test_a_candidate_whose_runs_failed_is_tried_again_and_then_given_up(
    whole: optuna.Study, tmp_path: Path
) -> None:
    broken = whole.trials[1].user_attrs["run_ids"][0]
    outcome = run_small_search(tmp_path, FakeBackend(broken=[broken]))
    study = study_in(tmp_path)
    failed = [t for t in study.trials if t.state == TrialState.FAIL]
    assert [t.params for t in failed] == [whole.trials[1].params] * 2
    assert failed[1].user_attrs["retry_of"] == failed[0].number
    assert outcome.exit_code == 4 and outcome.counts.n_failed == 1
    assert outcome.counts.n_finished == 11
    again = run_small_search(tmp_path, FakeBackend())
    assert again.exit_code == 0 and again.counts.n_finished == 12
    assert [t.params for t in study_in(tmp_path).trials if t.state in FINISHED][-1] == (
        whole.trials[1].params
    )


def test_a_candidate_that_the_decoder_refuses_is_closed_with_the_reason_and_counts(
    tmp_path: Path,
) -> None:
    # The check of the file tries 256 combinations, and none of them has the bad rate.
    space: dict[str, Any] = {"optim.lr_max": {"choice": [0.005, 0.00001]}}
    space |= {path: {"choice": list(values)} for path, values in HARMLESS.items()}
    changes = {"space": space, "sampler": "random", "n_candidates": 4, "confirm": ...}
    outcome = run_small_search(tmp_path, FakeBackend(), **changes)
    failed = [t for t in study_in(tmp_path).trials if t.state == TrialState.FAIL]
    assert 0 < len(failed) < 4
    assert all("optim.lr_min" in trial.user_attrs["reason"] for trial in failed)
    assert outcome.exit_code == 4 and outcome.counts.n_failed == len(failed)
    assert outcome.counts.n_finished == 4 - len(failed)
    assert run_small_search(tmp_path, FakeBackend(), **changes).n_trained == 0
    own = tmp_path / "results" / "searches" / "hunt"
    table = pd.read_csv(own / "candidates.csv")
    reasons = table.loc[table["state"] == "failed", "reason"]
    assert reasons.str.contains("optim.lr_min").all()
    [note] = [line for line in (own / "report.md").read_text().splitlines() if "lr\\_min" in line]
    assert f" {len(failed)} " in note


@pytest.mark.parametrize("sampler", ["random", "cmaes", "gp", "qmc", "grid"])
def test_every_sampler_proposes_each_candidate_once_and_continues_after_a_kill(
    sampler: str, tmp_path: Path
) -> None:
    axes = {"points": 3} if sampler == "grid" else {}
    changes = {
        "sampler": sampler,
        "n_candidates": 6,
        "batch": 3,
        "confirm": ...,
        "space": {
            "optim.lr_max": {"log": [0.0005, 0.05], **axes},
            "optim.epsilon": {"log": [1e-8, 1.0], **axes},
        },
    }
    run_small_search(tmp_path / "whole", FakeBackend(), **changes)
    with pytest.raises(Killed):
        run_small_search(tmp_path / "killed", FakeBackend(4), **changes)
    run_small_search(tmp_path / "killed", FakeBackend(), **changes)
    one, other = study_in(tmp_path / "whole"), study_in(tmp_path / "killed")
    assert trials_of(one) == trials_of(other)
    assert len({str(trial.params) for trial in one.trials}) == 6


def test_a_search_without_ray_ends_as_one_with_another_backend(
    tmp_path: Path, whole: optuna.Study
) -> None:
    def unavailable(execution: Execution) -> NoReturn:
        raise RayUnavailableError("no ray today")

    said: list[str] = []
    options = choose_options("ray", 2, 1)
    with started_backend(
        options, said.append, local=FakeBackend(), open_ray=unavailable
    ) as backend:
        assert run_small_search(tmp_path, backend, options=options).exit_code == 0
    assert len(said) == 1 and "no ray today" in said[0]
    assert trials_of(study_in(tmp_path)) == trials_of(whole)


def test_hyperband_starts_batches_at_different_rungs(tmp_path: Path) -> None:
    stopping = {"method": "hyperband", "min_steps": 20, "reduction_factor": 2}
    run_small_search(tmp_path, FakeBackend(), stopping=stopping, n_candidates=12, confirm=...)
    first = {
        t.user_attrs["bracket"]: min(t.intermediate_values, default=80)
        for t in study_in(tmp_path).trials
    }
    assert first == {0: 20, 1: 40, 2: 80}


def test_a_trial_has_a_score_for_each_of_two_objectives(tmp_path: Path) -> None:
    objectives = {"per": "minimize", "seconds": "minimize"}
    run_small_search(
        tmp_path, FakeBackend(), objectives=objectives, stopping={"method": "none"}, n_candidates=4
    )
    for trial in study_in(tmp_path).trials:
        per, seconds = trial.values
        assert 0 < per <= 1
        is_wild = trial.params["optim.lr_max"] > 0.03
        assert seconds == pytest.approx(2.0 * (80 / 30 if is_wild else 1))


def test_arms_get_the_same_budget_and_their_best_candidates_are_compared(
    tmp_path: Path,
) -> None:
    arms = {"near": {"set": {}}, "far": {"set": {"optim.beta2": 0.9}}}
    claim = {"claim": "far is worse", "from": "near", "to": "far", "direction": "increase",
             "margin": 0.01}  # fmt: skip
    outcome = run_small_search(
        tmp_path, FakeBackend(), n_candidates=6, arms=arms, hypotheses={"far_is_worse": claim}
    )
    assert outcome.exit_code == 0
    for arm in arms:
        assert len(trials_of(study_in(tmp_path, f"hunt/{arm}"))) == 6
    plan = Results(tmp_path / "results").of_searches.plan("hunt").read_text()
    assert '"far_is_worse"' in plan and '"far.best_1"' in plan


def test_a_candidate_like_a_stopped_one_costs_nothing(tmp_path: Path) -> None:
    space = {"optim.lr_max": {"choice": [0.0006, 0.005]}}
    backend = FakeBackend()
    run_small_search(tmp_path, backend, space=space, sampler="random", n_candidates=12, confirm=...)
    assert max(Counter(backend.trained).values()) == 1
    study = study_in(tmp_path)
    assert any("twin_of" in trial.user_attrs for trial in study.trials)
    assert len(trials_of(study)) == 12


def test_candidates_whose_records_lack_the_objective_fail_with_the_reason(tmp_path: Path) -> None:
    changes = {
        "sampler": "random",
        "n_candidates": 4,
        "confirm": ...,
        "stopping": {"method": "none"},
    }
    run_small_search(tmp_path, FakeBackend(), **changes)
    results = Results(tmp_path / "results")
    for path in results.runs.glob("*/history.csv"):
        pd.read_csv(path).drop(columns="val_loss").to_csv(path, index=False)
        change_record(results, path.parent.name, history_sha256=sha256_of(path.read_bytes()))
    changes |= {"name": "later", "objectives": {"val_loss": "minimize"}}
    outcome = run_small_search(tmp_path, FakeBackend(), **changes)
    assert outcome.exit_code == 4 and outcome.counts.n_failed == 4
    assert outcome.counts.n_finished == 0 and outcome.n_trained == 0
    rows = pd.read_csv(results.of_searches.ablation("later") / "candidates.csv")
    assert rows.loc[rows["state"] == "failed", "reason"].str.contains("val_loss").all()
    shutil.rmtree(results.runs)
    assert run_small_search(tmp_path, FakeBackend(), **changes).exit_code == 0
