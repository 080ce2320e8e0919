"""A search from its first batch to its confirmation, and every way it can be interrupted."""

import io
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import optuna
import pytest
from optuna.trial import TrialState
from rich.console import Console

from decoder.errors import ConfigError, StorageError
from orchestrator.execute.backends import Execution, RayUnavailableError
from orchestrator.execute.machine import choose_options
from orchestrator.search.driver import run_search
from orchestrator.search.spec import load_search
from orchestrator.search.study import open_study
from orchestrator.store.ledger import read_records
from orchestrator.store.paths import Results

from .conftest import Killed, Pretender, hunt, write_file

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def study_in(folder: Path, name: str = "hunt") -> optuna.Study:
    return optuna.load_study(
        study_name=name,
        storage=f"sqlite:///{folder / 'results' / 'searches' / 'hunt' / 'study.db'}",
    )


def told(study: optuna.Study) -> list[tuple[Any, ...]]:
    """All of a study that must not depend on an interruption."""
    return [
        (t.params, t.state, t.values, t.intermediate_values, t.user_attrs["endings"])
        for t in study.trials
        if t.state in FINISHED
    ]


@pytest.fixture(autouse=True, scope="module")
def no_figures() -> Iterator[None]:
    """Figures are looked at in `test_report`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orchestrator.search.rebuild.draw_search", lambda *arguments: [])
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a search ran to its end without interruption."""
    found = tmp_path_factory.mktemp("whole")
    assert hunt(found, Pretender()).exit_code == 0
    return found


@pytest.fixture(scope="module")
def whole(folder: Path) -> optuna.Study:
    return study_in(folder)


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A copy of `folder`, to go on with."""
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
        hunt(tmp_path, Pretender(kill_at))
    assert hunt(tmp_path, Pretender()).exit_code == 0
    resumed = study_in(tmp_path)
    assert told(resumed) == told(whole)
    assert all(trial.state in FINISHED for trial in resumed.trials)


@pytest.mark.parametrize("n_calls", [7, 30])
def test_a_search_killed_while_it_writes_to_the_study_goes_on(
    n_calls: int,
    whole: optuna.Study,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage = optuna.storages._CachedStorage
    calls = 0
    with monkeypatch.context() as patch:
        for name in ("set_trial_param", "set_trial_user_attr", "set_trial_state_values"):
            whole_call = getattr(storage, name)

            def fragile(self: Any, *args: Any, whole_call: Any = whole_call, **more: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == n_calls:
                    raise Killed
                return whole_call(self, *args, **more)

            patch.setattr(storage, name, fragile)
        with pytest.raises(Killed):
            hunt(tmp_path, Pretender())
    assert hunt(tmp_path, Pretender()).exit_code == 0
    assert told(study_in(tmp_path)) == told(whole)


def test_a_finished_search_trains_nothing(copied: Path) -> None:
    again = Pretender()
    outcome = hunt(copied, again)
    assert again.trained == [] and outcome.n_trained == 0


def test_recorded_runs_are_never_trained_again(whole: optuna.Study, copied: Path) -> None:
    (copied / "results" / "searches" / "hunt" / "study.db").unlink()
    again = Pretender()
    hunt(copied, again)
    results = Results(copied / "results")
    assert told(study_in(copied)) == told(whole)
    recorded = {r for t in whole.trials if t.state == TrialState.COMPLETE
                for r in t.user_attrs["run_ids"]}  # fmt: skip
    assert recorded.isdisjoint(run_id for run_id, _ in again.trained)
    assert recorded <= read_records(results, recorded, print).keys()


def test_more_candidates_may_be_asked_for_later(whole: optuna.Study, copied: Path) -> None:
    before = told(whole)
    assert hunt(copied, Pretender(), n_candidates=15).exit_code == 0
    after = told(study_in(copied))
    assert len(after) == 15 and after[:12] == before


@pytest.mark.parametrize(
    ("changes", "told_change"),
    [
        ({"seeds": [1, 3]}, "seeds: was [1, 2], is [1, 3]"),
        ({"space": {"optim.lr_max": {"log": [0.0005, 0.02]}}}, "space.optim.lr_max.log"),
        ({"set": {"model.n_units": 16}}, "base.model.n_units: was 8, is 16"),
    ],
)
def test_a_search_that_changed_is_refused_with_the_difference(
    changes: dict[str, Any], told_change: str, copied: Path
) -> None:
    with pytest.raises(ConfigError) as error:
        hunt(copied, Pretender(), **changes)
    assert told_change in str(error.value)


def test_a_database_that_cannot_be_opened_is_named_without_its_password(tmp_path: Path) -> None:
    loaded = load_search(write_file(tmp_path, {}))
    with pytest.raises(StorageError) as error:
        open_study(loaded.spec, loaded.arms[0], "nodb://me:secret@host/x", {})
    assert "nodb://me:***@host/x: cannot be opened" in str(error.value)


def test_diverged_and_collapsed_candidates_score_as_what_they_are(whole: optuna.Study) -> None:
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
    outcome = hunt(tmp_path, Pretender(broken=[broken]))
    study = study_in(tmp_path)
    failed = [t for t in study.trials if t.state == TrialState.FAIL]
    assert [t.params for t in failed] == [whole.trials[1].params] * 2
    assert failed[1].user_attrs["retry_of"] == failed[0].number
    assert outcome.exit_code == 4 and outcome.counts.n_failed == 1
    assert outcome.counts.n_finished == 11
    again = hunt(tmp_path, Pretender())
    assert again.exit_code == 0 and again.counts.n_finished == 12
    assert [t.params for t in study_in(tmp_path).trials if t.state in FINISHED][-1] == (
        whole.trials[1].params
    )


def test_a_candidate_that_the_decoder_refuses_is_closed_with_the_reason_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.search.spec.corners", lambda space: [])
    space = {"optim.lr_max": {"choice": [0.00001, 0.005, 0.006, 0.007]}}
    outcome = hunt(tmp_path, Pretender(), space=space, sampler="grid", n_candidates=4)
    assert outcome.exit_code == 4 and outcome.counts.n_failed == 1
    [refused] = [t for t in study_in(tmp_path).trials if t.state == TrialState.FAIL]
    assert "optim.lr_min (0.0001) must not exceed" in refused.user_attrs["reason"]
    assert hunt(tmp_path, Pretender(), space=space, sampler="grid", n_candidates=4).n_trained == 0
    report = tmp_path / "results" / "searches" / "hunt" / "report.md"
    assert "1 candidates have no figure" in report.read_text()


@pytest.mark.parametrize("sampler", ["random", "cmaes", "gp", "qmc", "grid"])
def test_every_sampler_proposes_each_candidate_once_and_goes_on_after_a_kill(
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
    hunt(tmp_path / "whole", Pretender(), **changes)
    with pytest.raises(Killed):
        hunt(tmp_path / "killed", Pretender(4), **changes)
    hunt(tmp_path / "killed", Pretender(), **changes)
    one, other = study_in(tmp_path / "whole"), study_in(tmp_path / "killed")
    assert told(one) == told(other)
    assert len({str(trial.params) for trial in one.trials}) == 6


def test_where_ray_cannot_start_the_packs_are_trained_in_this_process(
    tmp_path: Path, whole: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(execution: Execution) -> NoReturn:
        raise RayUnavailableError("no ray today")

    monkeypatch.setattr("orchestrator.execute.backends.ray_tune.ray_session", unavailable)
    monkeypatch.setattr("orchestrator.execute.backends.local.train_locally", Pretender())
    loaded = load_search(write_file(tmp_path, {}))
    said = io.StringIO()
    options = choose_options("ray", 2, 1)
    run_search(loaded, Results(tmp_path / "results"), options, Console(file=said, width=200))
    assert "Ray cannot be used (no ray today)" in said.getvalue()
    assert told(study_in(tmp_path)) == told(whole)


def test_hyperband_starts_batches_at_different_rungs(tmp_path: Path) -> None:
    stopping = {"method": "hyperband", "min_steps": 20, "reduction_factor": 2}
    hunt(tmp_path, Pretender(), stopping=stopping, n_candidates=24, confirm=...)
    first = {
        t.user_attrs["bracket"]: min(t.intermediate_values, default=80)
        for t in study_in(tmp_path).trials
    }
    assert first == {0: 20, 1: 40, 2: 80}


def test_two_objectives_are_both_told(tmp_path: Path) -> None:
    objectives = {"per": "minimize", "seconds": "minimize"}
    hunt(tmp_path, Pretender(), objectives=objectives, stopping={"method": "none"}, n_candidates=4)
    for trial in study_in(tmp_path).trials:
        per, seconds = trial.values
        assert 0 < per <= 1
        is_wild = trial.params["optim.lr_max"] > 0.03
        assert seconds == pytest.approx(2.0 * (80 / 30 if is_wild else 1))


def test_arms_are_tuned_with_the_same_budget_and_their_winners_compared(tmp_path: Path) -> None:
    arms = {"near": {"set": {}}, "far": {"set": {"optim.beta2": 0.9}}}
    claim = {"claim": "far is worse", "from": "near", "to": "far", "direction": "increase",
             "margin": 0.01}  # fmt: skip
    outcome = hunt(tmp_path, Pretender(), arms=arms, hypotheses={"far_is_worse": claim})
    assert outcome.exit_code == 0
    for arm in arms:
        assert len(told(study_in(tmp_path, f"hunt/{arm}"))) == 12
    plan = Results(tmp_path / "results").of_searches.plan("hunt").read_text()
    assert '"far_is_worse"' in plan and '"far.best_1"' in plan


def test_a_candidate_like_a_stopped_one_costs_nothing(tmp_path: Path) -> None:
    space = {"optim.lr_max": {"choice": [0.0006, 0.005]}}
    backend = Pretender()
    hunt(tmp_path, backend, space=space, sampler="random", n_candidates=12, confirm=...)
    assert max(Counter(backend.trained).values()) == 1
    study = study_in(tmp_path)
    assert any("twin_of" in trial.user_attrs for trial in study.trials)
    assert len(told(study)) == 12
