"""The Optuna study of one arm: how it is opened or resumed, and its trials by number.

Every trial gets a sampler of its own, seeded by the trial's number. A search that was killed
therefore proposes what it would have proposed, and nothing twice.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict, cast

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from decoder.errors import ConfigError, DataError, StorageError
from decoder.regular import check_regular
from orchestrator.driver.changed_data import changes_since
from orchestrator.driver.remarks import note_recordings
from orchestrator.plan.recordings import PrepareData, Recordings, prepare_data
from orchestrator.plan.starts import started
from orchestrator.search.database_url import database_error, masked_url
from orchestrator.search.learning_curves import Ending
from orchestrator.search.load import LoadedSearch, TunedArm
from orchestrator.search.samplers import make_sampler, no_experimental_warnings
from orchestrator.search.schema import Dimension, Scalar, SearchSpec
from orchestrator.search.space import Params, grid, is_active
from orchestrator.spec.arms import Arm
from orchestrator.spec.configuration import Configuration, identity, numerics_version
from orchestrator.store.paths import Results
from orchestrator.terminal import Say

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_LOCK_SECONDS = 60
# These may change during a search: the wording of the question, and how long it lasts.
_FREE = ("question", "n_candidates")
_CONFIRMATION = ("confirm.", "hypotheses.")
_MOST_DIFFERENCES = 8
# What Optuna raises on a damaged study, besides the errors of its database.
_UNREADABLE = (OSError, RuntimeError, ValueError, LookupError, TypeError, AttributeError)


class TrialNotes(TypedDict, total=False):
    """A trial's ``user_attrs``: what a search must know again after it was killed.

    Attributes:
        batch, bracket: numbers of the batch and of its bracket.
        run_ids: one a seed, in the order of the file.
        recorded_before: the runs that were recorded before the trial began; they cost nothing.
        endings, per_seed: ending and score of each seed, in the order of the file.
        n_steps: training steps spent on the trial.
        step: where its runs ended.
        twin_of: the earlier stopped trial with the same runs.
        reason: why a failed trial has no score.
        refused: whether the decoder's configuration refuses its settings.
        given_up: whether a failed trial counts as tried.
        retry_of: the failed trial whose settings are tried again.
        grid: index of its point in the grid.
    """

    batch: int
    bracket: int
    run_ids: list[str]
    recorded_before: list[str]
    endings: list[Ending]
    per_seed: list[float]
    n_steps: int
    step: int
    twin_of: int
    reason: str
    refused: bool
    given_up: bool
    retry_of: int
    grid: int


def notes(trial: FrozenTrial) -> TrialNotes:
    return cast(TrialNotes, trial.user_attrs)


class ArmStudy:
    """The study of one arm, and what a search asks of it.

    Attributes:
        spec: the search file.
        arm: what is tuned.
        n_failures: first trial of the same settings → how often they failed in this call.
    """

    def __init__(
        self, study: optuna.Study, storage: RDBStorage, spec: SearchSpec, arm: TunedArm
    ) -> None:
        self.spec, self.arm, self.n_failures = spec, arm, Counter[int]()
        self._study, self._storage = study, storage
        self._study_id = storage.get_study_id_from_name(study.study_name)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states, or all, by number."""
        return self._study.get_trials(deepcopy=False, states=states or None)

    def trial(self, number: int) -> FrozenTrial:
        """A trial as it stands."""
        return self.trials()[number]

    def close(self) -> None:
        """Close the connection to the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def ask(self) -> int:
        """The number of a new trial, or of one that waits with its settings; nothing is proposed
        yet.
        """
        self._take_sampler(len(self.trials()))
        if self.spec.sampler == "grid":
            self._enqueue_grid()
        with no_experimental_warnings():
            return self._study.ask().number

    def propose(self, number: int) -> Params:
        """Values for every active dimension of a running trial; values it has already stay."""
        trial, chosen = self._running(number), Params()
        with no_experimental_warnings():
            for path, dimension in self.arm.space.items():
                if is_active(dimension, chosen):
                    chosen[path] = _suggest(trial, path, dimension)
        return chosen

    def note(self, number: int, added: TrialNotes) -> None:
        """Add notes to a running trial, in the order given."""
        trial_id = self._trial_id(number)
        for key, value in added.items():
            self._storage.set_trial_user_attr(trial_id, key, value)

    def report(self, number: int, score: float, step: int) -> None:
        """Note a candidate's score at a rung, once."""
        if step not in self.trial(number).intermediate_values:
            self._storage.set_trial_intermediate_value(self._trial_id(number), step, float(score))

    def finish(self, number: int, scores: Sequence[float]) -> None:
        """Close a candidate that was trained to its end, with a score for each objective."""
        self._study.tell(number, scores)

    def stop(self, number: int) -> None:
        """Close a candidate that was stopped early."""
        self._study.tell(number, state=TrialState.PRUNED)

    def fail(self, number: int, added: TrialNotes) -> None:
        """Close a candidate that has no score, with the reason."""
        self.note(number, added)
        self._study.tell(number, state=TrialState.FAIL)

    def is_given_up(self, trial: FrozenTrial) -> bool:
        """Whether a failed trial counts as tried: nothing tries its settings again."""
        retried = {notes(other).get("retry_of") for other in self.trials()}
        return notes(trial).get("given_up", False) and trial.number not in retried

    def retry(self, failed: FrozenTrial) -> None:
        """Queue the settings of a failed trial to be tried again, once."""
        if not any(notes(trial).get("retry_of") == failed.number for trial in self.trials()):
            self._study.enqueue_trial(failed.params, user_attrs={"retry_of": failed.number})

    def _running(self, number: int) -> Trial:
        self._take_sampler(number)
        return Trial(self._study, self._trial_id(number))

    def _trial_id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)

    def _take_sampler(self, number: int) -> None:
        with no_experimental_warnings():
            self._study.sampler = make_sampler(self.spec, self.arm.space, number)

    def _enqueue_grid(self) -> None:
        if self.trials(TrialState.WAITING):
            return
        taken = {notes(trial).get("grid") for trial in self.trials()}
        for index, params in enumerate(grid(self.arm.space)):
            if index not in taken:
                self._study.enqueue_trial(params, user_attrs={"grid": index})
                return


def _suggest(trial: Trial, path: str, dimension: Dimension) -> Scalar:
    if dimension.choice is not None:
        return trial.suggest_categorical(path, dimension.choice)
    low, high = dimension.bounds
    if dimension.int_ is not None:
        step = dimension.step or 1
        return trial.suggest_int(path, int(low), int(high), step=step, log=dimension.is_log)
    return trial.suggest_float(path, low, high, log=dimension.is_log)


def bare_arm(name: str, config: Configuration) -> Arm:
    """An arm outside any design, for which recordings are prepared."""
    return Arm(name, name, {}, {}, config, True)


def open_studies(
    loaded: LoadedSearch,
    results: Results,
    say: Say,
    storage: str | None = None,
    *,
    prepare: PrepareData = prepare_data,
) -> list[ArmStudy]:
    """The study of every arm, in the order of the file.

    Args:
        storage: SQLAlchemy URL of the database; None keeps it in the search's folder.
        prepare: prepares the recordings of arms.

    Raises:
        ConfigError: the study is of another space, budget or code.
        StorageError: the database cannot be opened.
        DataError: the base cannot be trained on its recordings, or the study is of others.
    """
    name = loaded.spec.name
    data = prepare([bare_arm(a.name, a.config) for a in loaded.arms], results.datasets, say)
    note_recordings(data.values(), say)
    results.ablation(name).mkdir(parents=True, exist_ok=True)
    file = results.study(name)
    return [_open_study(loaded.spec, a, storage, file, data[a.name]) for a in loaded.arms]


def _open_study(
    spec: SearchSpec, arm: TunedArm, storage_url: str | None, file: Path, data: Recordings
) -> ArmStudy:
    import sqlalchemy

    url = storage_url or f"sqlite:///{file}"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    is_sqlite = url.startswith("sqlite:")
    arguments = {"connect_args": {"timeout": _LOCK_SECONDS}} if is_sqlite else {}
    name = spec.name if not spec.arms else f"{spec.name}/{arm.name}"
    try:
        if is_sqlite and (path := _sqlite_path(url)) is not None:
            _check_file(path)
        with no_experimental_warnings():
            storage = RDBStorage(url, engine_kwargs=arguments)
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=list(spec.objectives.values()),
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
            pruner=optuna.pruners.NopPruner(),
        )
        study.get_trials(deepcopy=False)  # damage shows here
    except (
        *(sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, ImportError),
        *(RuntimeError, *_UNREADABLE),
    ) as error:  # drivers raise the latter kinds for parameters that they do not know
        what = "cannot be opened as an Optuna study"
        raise database_error(storage_url, error, what, file) from None
    wanted = _identity(spec, replace(arm, config=started(arm.config, data)), data.fingerprint)
    kept = study.user_attrs.get("identity")
    if kept is None:
        study.set_user_attr("identity", wanted)
        study.set_user_attr("question", spec.question)
        with no_experimental_warnings():
            study.set_metric_names(list(spec.objectives))
    else:
        added = {}
        if not any(key.startswith(_CONFIRMATION) for key in kept):
            # A confirmation that is added later changes no score, and its seeds are fresh.
            added = {key: v for key, v in wanted.items() if key.startswith(_CONFIRMATION)}
        wanted = json.loads(json.dumps(wanted))
        _refuse_other_recordings(name, f"recordings.{arm.name}", {**kept, **added}, wanted, data)
        _refuse_changes(name, masked_url(url), {**kept, **added}, wanted)
        if added:
            study.set_user_attr("identity", wanted)
    return ArmStudy(study, storage, spec, arm)


def count_candidates(path: Path) -> tuple[int, int]:
    """Candidates with a score, and failed ones that are not tried again yet, in a ``study.db``.

    Raises:
        StorageError: the file cannot be read.
    """
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = f"sqlite:///{path}"
    try:
        _check_file(path)
        with no_experimental_warnings():
            storage = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _LOCK_SECONDS}})
        studies = [
            storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)
            for name in optuna.get_all_study_names(storage)
        ]
        storage.remove_session()
        storage.engine.dispose()
    except (sqlalchemy.exc.SQLAlchemyError, *_UNREADABLE) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise StorageError(f"{path}: cannot be read as an Optuna study ({first})") from None
    n_done = n_failed = 0
    for trials in studies:
        retried = {notes(trial).get("retry_of") for trial in trials}
        n_done += sum(trial.state in FINISHED for trial in trials)
        n_failed += sum(t.state == TrialState.FAIL and t.number not in retried for t in trials)
    return n_done, n_failed


def _sqlite_path(url: str) -> Path | None:
    """The file of an SQLite database; None for one in memory."""
    import sqlalchemy

    name = sqlalchemy.make_url(url).database
    return None if name in (None, "", ":memory:") else Path(str(name))


def _check_file(path: Path) -> None:
    """Refuse what SQLite would hang on in the place of its file."""
    with suppress(FileNotFoundError):
        check_regular(path.resolve())  # a link to another disk is fine


def _identity(spec: SearchSpec, arm: TunedArm, fingerprint: str) -> dict[str, Any]:
    """Everything beside its own settings that a trial's score depends on: key path → value."""
    asked = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for key in (*_FREE, "set", "base", "trainer", "arms"):
        asked.pop(key, None)
    asked["space"] = {
        path: dimension.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for path, dimension in arm.space.items()
    }
    if spec.trainer is not None:  # what the scores are read from
        asked["metrics"] = spec.trainer.model_dump(mode="json")["metrics"]
    return {
        **_flat(asked, ""),
        **{f"base.{path}": value for path, value in identity(arm.config).items()},
        f"recordings.{arm.name}": fingerprint,
        "numerics_version": numerics_version(arm.config),
    }


def _flat(document: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in document.items():
        inner = _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat |= {f"{prefix}{key}": value} if inner is None else inner
    return flat


def _refuse_other_recordings(
    name: str, key: str, kept: Mapping[str, Any], wanted: Mapping[str, Any], data: Recordings
) -> None:
    """Refuse recordings that changed, if nothing else did, and name their files."""
    if kept.get(key) != wanted[key] and {**kept, key: wanted[key]} == wanted:
        raise DataError(
            f"study '{name}': the recordings {data.path} have changed since the search began "
            f"({changes_since(data, str(kept.get(key)))}), so its old trials cannot be compared "
            "with new ones; undo the change, or give the search a new name, which trains all of "
            "its candidates again"
        )


def _refuse_changes(
    name: str, url: str, kept: Mapping[str, Any], wanted: Mapping[str, Any]
) -> None:
    changed = [
        f"{key}: was {kept.get(key, 'absent')!r}, is {wanted.get(key, 'absent')!r}"
        for key in sorted({*kept, *wanted})
        if kept.get(key, ...) != wanted.get(key, ...)
    ]
    if not changed:
        return
    n_more = len(changed) - _MOST_DIFFERENCES
    raise ConfigError(
        [
            f"study '{name}' in {url}: the search has changed since it began, so its old trials "
            "cannot be compared with new ones; undo the change, or give the search a new name "
            f"(only {' and '.join(_FREE)} may change, and 'confirm' may be added where there is "
            "none)",
            *changed[:_MOST_DIFFERENCES],
            *([f"and {n_more} more"] if n_more > 0 else []),
        ]
    )
