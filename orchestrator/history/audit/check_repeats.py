"""Checks of repeated runs: equal runs that disagree, the spread, conclusions from one seed."""

from collections.abc import Iterator
from itertools import combinations
from typing import NamedTuple

from decoder.neutral_settings import is_neutral
from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup
from orchestrator.history.audit.repeat_spread import by_seed
from orchestrator.history.audit.wording import count, names_of
from orchestrator.history.reading.columns import PER_ROUNDING
from orchestrator.history.reading.record import ImportedRun

# Without a known spread between seeds, a larger difference of equal runs is more than hardware
# explains: the published repeats of one seed of the T15 baseline span 0.24 points.
_HARDWARE = 0.01
_ROUNDING = 2e-4
_FEWEST_EVALUATIONS = 3  # of a learning curve; shorter ones may be equal by chance


def check_repeats(group: PreparedGroup) -> Iterator[Finding]:
    """Findings about repeated configurations, and about configurations without repeats."""
    pairs = equal_pairs(group)
    disagreeing = [pair for pair in pairs if pair.disagrees]
    yield from (_disagreement(pair, group) for pair in disagreeing)
    yield from _evaluations_disagree(group)
    agreeing = [pair for pair in pairs if not pair.disagrees]
    if agreeing:
        largest = max(pair.gap for pair in agreeing)
        runs = names_of(run for low, high, *_ in agreeing for run in (low, high))
        facts = {"pairs": agreeing, "largest": largest}
        yield Finding("machine_noise", Weight.NOTE, facts, runs, {"largest": largest})
    yield from _seeds_without_effect(group)
    yield _spread(group, disagree=bool(disagreeing))
    yield from _one_seed(group)


class EqualPair(NamedTuple):
    """The lowest and the highest of the runs of one configuration and seed, if they differ.

    Attributes:
        low, high: the runs.
        gap: their difference of PER.
        limit: the largest difference that such runs may show.
        disagrees: whether they differ by more than that, or in their outcome.
    """

    low: ImportedRun
    high: ImportedRun
    gap: float
    limit: float
    disagrees: bool


def equal_pairs(group: PreparedGroup) -> list[EqualPair]:
    """One pair for each configuration and seed whose runs differ by more than rounding.

    Runs without a learning curve are compared with each other only.
    """
    of_seeds = group.spreads.seeds
    limit = max(_HARDWARE, of_seeds.chance_limit()) if of_seeds is not None else _HARDWARE
    pairs = []
    for configuration in group.configurations:
        runs_alike = (
            [run for run in runs if bool(run.history) is with_course]
            for runs in by_seed(configuration.comparable)
            for with_course in (True, False)  # a file of its own may be of another checkpoint
        )
        for runs in filter(None, runs_alike):
            in_order = sorted(runs, key=lambda run: run.compared_per or 0.0)
            low, high = in_order[0], in_order[-1]
            gap = (high.compared_per or 0.0) - (low.compared_per or 0.0)
            unlike = low.outcome != high.outcome
            if gap > _ROUNDING or unlike:
                pairs.append(EqualPair(low, high, gap, limit, gap > limit or unlike))
    return pairs


def disagreeing_runs(group: PreparedGroup) -> frozenset[str]:
    """Names of the runs that have an equal run with which they disagree."""
    pairs = (pair for pair in equal_pairs(group) if pair.disagrees)
    return frozenset(run.name for pair in pairs for run in (pair.low, pair.high))


def _disagreement(pair: EqualPair, group: PreparedGroup) -> Finding:
    low, high, gap, limit, _ = pair
    one, two = low.settings, high.settings
    unequal = sorted(key for key in one.keys() | two.keys() if one.get(key) != two.get(key))
    neutral = [key for key in unequal if is_neutral(key) or key in group.labels]
    return Finding(
        "identical_pair_disagrees",
        Weight.OVERTURNS,
        {
            "pair": pair,
            "more_than_seeds": group.spreads.seeds is not None and gap > limit,
            "unequal": unequal,
            "neutral": neutral,
            "in_one": [k for k in unequal if k not in neutral and (k in one) != (k in two)],
        },
        (low.name, high.name),
        {"difference": gap, "seed": low.seed, "limit": limit},
    )


def _evaluations_disagree(group: PreparedGroup) -> Iterator[Finding]:
    """Runs of one configuration and seed with one course, whose evaluation files disagree."""
    of_seeds = group.spreads.seeds
    limit = max(_HARDWARE, of_seeds.chance_limit()) if of_seeds is not None else _HARDWARE
    for configuration in group.configurations:
        for a, b in combinations(configuration.runs, 2):
            if a.seed != b.seed or not _same_course(a, b):
                continue
            widest = max(
                (
                    (abs(one.per - two.per), one, two)
                    for one in a.evaluations
                    for two in b.evaluations
                    if one.split == two.split
                ),
                key=lambda found: found[0],
                default=None,
            )
            if widest is not None and widest[0] > limit:
                gap, one, two = widest
                yield Finding(
                    "evaluations_disagree",
                    Weight.OVERTURNS,
                    {"a": a, "b": b, "one": one, "two": two, "gap": gap},
                    (a.name, b.name),
                    {"difference": gap, "pers": [one.per, two.per], "split": one.split},
                )


def _same_course(a: ImportedRun, b: ImportedRun) -> bool:
    """Whether two learning curves are equal but for rounding."""
    one, two = a.pers(), b.pers()
    return len(one) == len(two) >= _FEWEST_EVALUATIONS and all(
        step == other and abs(per - of_other) <= PER_ROUNDING
        for (step, per), (other, of_other) in zip(one, two, strict=True)
    )


def _seeds_without_effect(group: PreparedGroup) -> Iterator[Finding]:
    """Runs of one configuration that state different seeds but have the same PERs throughout."""
    pairs = []
    for configuration in group.configurations:
        seen: dict[tuple[tuple[float, float], ...], ImportedRun] = {}
        for run in configuration.runs:
            curve = tuple(run.pers())
            other = seen.setdefault(curve, run)
            learned = len({per for _, per in curve}) > 2
            if learned and run.seed is not None and other.seed not in (None, run.seed):
                pairs.append((other, run))
    if pairs:
        runs = names_of(run for pair in pairs for run in pair)
        yield Finding("seed_without_effect", Weight.OVERTURNS, {"pairs": pairs}, runs)


def _spread(group: PreparedGroup, disagree: bool) -> Finding:
    """The spread between repeats, or that it is not known."""
    spreads, spread = group.spreads, group.spreads.best
    if spread is None:
        repeats_agree = spreads.same is not None and spreads.seeds is None
        facts = {"repeats_agree": repeats_agree}
        return Finding("no_spread", Weight.OVERTURNS, facts, figures={"sd": None})
    of_seeds = spread is spreads.seeds
    return Finding(
        "spread",
        Weight.OVERTURNS,
        {
            "spread": spread,
            "of_seeds": of_seeds,
            "same": spreads.same,
            "disagree": disagree,
            "n_left_out": spreads.n_left_out,
        },
        figures={
            "sd": spread.sd,
            "sd_low": spread.interval.low,
            "sd_high": spread.interval.high,
            "n_runs": spread.n_runs,
            "n_configurations": spread.n_configurations,
            "degrees_of_freedom": spread.freedom,
            "smallest_believable": spread.chance_limit(),
            "of": "seeds" if of_seeds else "same seed",
        },
    )


def _one_seed(group: PreparedGroup) -> Iterator[Finding]:
    """How many configurations were trained on one seed only."""
    with_results = [one for one in group.configurations if one.comparable]
    single = [one for one in with_results if one.n_seeds == 1]
    if not single or len(group.configurations) < 2:
        return
    runs = [run for one in with_results for run in one.comparable]
    figures = {
        "n_single": len(single),
        "n_configurations": len(with_results),
        "seeds": sorted({run.seed for run in runs if run.seed is not None}),
    }
    repeated = [
        f"{one.runs[0].name} ({count(one.n_seeds, 'seed')})"
        for one in with_results
        if one.n_seeds > 1
    ]
    n_unstated = sum(run.seed is None for run in runs)
    yield Finding(
        "one_seed",
        Weight.WEAKENS,
        {**figures, "n_unstated": n_unstated, "repeated": repeated},
        tuple(run.name for one in single for run in one.comparable),
        figures,
    )
