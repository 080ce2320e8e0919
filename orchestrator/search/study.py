"""The Optuna study of one arm: opened or taken up again, its samplers, its trials by number.

Every trial gets a sampler of its own, seeded by the trial's number. So a search that was killed
proposes what it would have proposed, and nothing twice.
"""

import importlib.util
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from decoder.config import NUMERICS_VERSION, identity
from decoder.errors import ConfigError, StorageError
from orchestrator.search.schema import Dimension, SearchSpec
from orchestrator.search.space import Params, Space, grid, is_active
from orchestrator.search.spec import Tuned

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_LOCK_SECONDS = 60
# What may change while a search goes on: how it is worded, and how long it lasts.
_FREE = ("question", "n_candidates")
_MOST_DIFFERENCES = 8


class Book:
    """A study, and what a search asks of it.

    Attributes:
        study: the Optuna study; its trials' ``user_attrs`` are in `orchestrator.search.batches`.
    """

    def __init__(self, study: optuna.Study, storage: RDBStorage, spec: SearchSpec, space: Space):
        self.study, self._storage = study, storage
        self._spec, self._space = spec, space
        self._study_id = storage.get_study_id_from_name(study.study_name)

    def trials(self, *states: TrialState) -> list[FrozenTrial]:
        """The trials in these states, or all, by number."""
        return self.study.get_trials(deepcopy=False, states=states or None)

    def close(self) -> None:
        """Let go of the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()

    def frozen(self, number: int) -> FrozenTrial:
        """A trial as it stands."""
        return self.trials()[number]

    def ask(self) -> Trial:
        """A new trial, or one that waits with its values; nothing is proposed yet."""
        self._take_sampler(len(self.trials()))
        if self._spec.sampler == "grid":
            self._enqueue_grid()
        with _quiet():
            return self.study.ask()

    def trial(self, number: int) -> Trial:
        """A running trial, to go on with it."""
        self._take_sampler(number)
        return Trial(
            self.study,
            self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number),
        )

    def propose(self, trial: Trial) -> Params:
        """Values for every dimension that is active; those a trial has already stay."""
        chosen: Params = {}
        with _quiet():
            for path, dimension in self._space.items():
                if is_active(dimension, chosen):
                    chosen[path] = _suggest(trial, path, dimension)
        return chosen

    def report(self, number: int, value: float, step: int) -> None:
        """Note a candidate's figure at a rung, once."""
        trial = self.trial(number)
        if step not in self.frozen(number).intermediate_values:
            trial.report(value, step)

    def is_given_up(self, trial: FrozenTrial) -> bool:
        """Whether a failed trial is not tried again; until another call it counts as tried."""
        retried = {other.user_attrs.get("retry_of") for other in self.trials()}
        return bool(trial.user_attrs.get("given_up")) and trial.number not in retried

    def retry(self, failed: FrozenTrial) -> None:
        """Let the values of a failed trial wait to be tried again, once."""
        if not any(t.user_attrs.get("retry_of") == failed.number for t in self.trials()):
            kept = {"retry_of": failed.number}
            self.study.enqueue_trial(failed.params, user_attrs=kept)

    def _take_sampler(self, number: int) -> None:
        with _quiet():
            self.study.sampler = make_sampler(self._spec, self._space, number)

    def _enqueue_grid(self) -> None:
        if self.trials(TrialState.WAITING):
            return
        taken = {trial.user_attrs.get("grid") for trial in self.trials()}
        for index, params in enumerate(grid(self._space)):
            if index not in taken:
                self.study.enqueue_trial(params, user_attrs={"grid": index})
                return


def open_study(spec: SearchSpec, tuned: Tuned, url: str, data: Mapping[str, str]) -> Book:
    """Open the study of an arm, or make it.

    Args:
        spec: the search file.
        tuned: the arm.
        url: SQLAlchemy URL of the database.
        data: what the base is trained on, to be told apart later: name → fingerprint.

    Raises:
        ConfigError: the study is of another space, budget, code or recordings.
        StorageError: the database cannot be opened.
    """
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    is_sqlite = url.startswith("sqlite:")
    arguments = {"connect_args": {"timeout": _LOCK_SECONDS}} if is_sqlite else {}
    name = spec.name if not spec.arms else f"{spec.name}/{tuned.name}"
    try:
        with _quiet():
            storage = RDBStorage(url, engine_kwargs=arguments)
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=list(spec.objectives.values()),
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(),
            pruner=optuna.pruners.NopPruner(),
        )
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, RuntimeError, ValueError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise StorageError(
            f"--storage {_without_password(url)}: cannot be opened as an Optuna study ({first}); "
            "check the URL, its driver and the rights, or leave --storage out"
        ) from None
    wanted = _identity(spec, tuned, data)
    kept = study.user_attrs.get("identity")
    if kept is None:
        study.set_user_attr("identity", wanted)
        study.set_user_attr("question", spec.question)
        with _quiet():
            study.set_metric_names(list(spec.objectives))
    else:
        _refuse_changes(name, _without_password(url), kept, json.loads(json.dumps(wanted)))
    return Book(study, storage, spec, tuned.space)


def _without_password(url: str) -> str:
    """A database URL that may be shown."""
    import sqlalchemy

    try:
        return sqlalchemy.make_url(url).render_as_string(hide_password=True)
    except sqlalchemy.exc.ArgumentError:
        return url


def make_sampler(spec: SearchSpec, space: Space, number: int) -> BaseSampler:
    """The sampler that proposes the trial of this number."""
    seeds = np.random.SeedSequence([spec.sampler_seed, number]).generate_state(2)
    seed, spare = (int(value) for value in seeds)
    random = optuna.samplers.RandomSampler(seed=spare)
    if spec.sampler == "tpe":
        has_conditions = any(dimension.when for dimension in space.values())
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=has_conditions, constant_liar=True
        )
    if spec.sampler == "cmaes":
        if importlib.util.find_spec("cmaes") is None:  # Optuna would fail amid the search
            raise ConfigError("sampler: cmaes needs the package 'cmaes'; install it, or take tpe")
        return optuna.samplers.CmaEsSampler(
            seed=seed, independent_sampler=random, warn_independent_sampling=False
        )
    if spec.sampler == "gp":
        return optuna.samplers.GPSampler(
            seed=seed, independent_sampler=random, warn_independent_sampling=False
        )
    if spec.sampler == "qmc":  # its sequence goes on from the study, under one seed
        return optuna.samplers.QMCSampler(
            scramble=True,
            seed=spec.sampler_seed,
            independent_sampler=random,
            warn_independent_sampling=False,
            warn_asynchronous_seeding=False,
        )
    return random


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna has it."""
    if dimension.choice is not None:
        return CategoricalDistribution(dimension.choice)
    low, high = dimension.bounds
    if dimension.int_ is not None:
        return IntDistribution(int(low), int(high), log=dimension.is_log, step=dimension.step or 1)
    return FloatDistribution(low, high, log=dimension.is_log)


def _suggest(trial: Trial, path: str, dimension: Dimension) -> Any:
    found = distribution_of(dimension)
    if isinstance(found, CategoricalDistribution):
        return trial.suggest_categorical(path, found.choices)
    if isinstance(found, IntDistribution):
        return trial.suggest_int(path, found.low, found.high, step=found.step, log=found.log)
    assert isinstance(found, FloatDistribution)
    return trial.suggest_float(path, found.low, found.high, log=found.log)


def _identity(spec: SearchSpec, tuned: Tuned, data: Mapping[str, str]) -> dict[str, Any]:
    """All that a trial's figure follows from, beside its own values."""
    asked = spec.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    for key in (*_FREE, "set", "base", "arms"):
        asked.pop(key, None)
    asked["space"] = {
        path: dimension.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        for path, dimension in tuned.space.items()
    }
    return {
        **_flat(asked, ""),
        **{f"base.{path}": value for path, value in identity(tuned.config).items()},
        **{f"recordings.{name}": fingerprint for name, fingerprint in data.items()},
        "numerics_version": NUMERICS_VERSION,
    }


def _flat(document: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


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
    told: Sequence[str] = changed[:_MOST_DIFFERENCES]
    more = [f"and {len(changed) - len(told)} more"] if len(changed) > len(told) else []
    raise ConfigError(
        [
            f"study '{name}' in {url}: the search has changed since it began, so its trials cannot "
            "be held beside new ones; change it back, or give the search a new name "
            f"(only {' and '.join(_FREE)} may change)",
            *told,
            *more,
        ]
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's warnings that a sampler or an option is still called experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
