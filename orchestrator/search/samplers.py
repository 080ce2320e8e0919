"""The Optuna samplers of a search, and its dimensions as Optuna's distributions."""

import importlib.util
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler

from decoder.errors import ConfigError
from orchestrator.search.schema import Dimension, SearchSpec
from orchestrator.search.space import Space


def make_sampler(spec: SearchSpec, space: Space, number: int) -> BaseSampler:
    """The sampler that proposes the trial of this number, seeded by the number.

    Raises:
        ConfigError: the sampler needs a package that is not installed.
    """
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
    if spec.sampler == "qmc":  # all trials continue one sequence, so they share one seed
        return optuna.samplers.QMCSampler(
            scramble=True,
            seed=spec.sampler_seed,
            independent_sampler=random,
            warn_independent_sampling=False,
            warn_asynchronous_seeding=False,
        )
    return random


def distribution_of(dimension: Dimension) -> BaseDistribution:
    """A dimension as Optuna describes it."""
    if dimension.choice is not None:
        return CategoricalDistribution(dimension.choice)
    low, high = dimension.bounds
    if dimension.int_ is not None:
        return IntDistribution(int(low), int(high), log=dimension.is_log, step=dimension.step or 1)
    return FloatDistribution(low, high, log=dimension.is_log)


@contextmanager
def no_experimental_warnings() -> Iterator[None]:
    """Silence Optuna's warnings that a sampler or an option is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield
