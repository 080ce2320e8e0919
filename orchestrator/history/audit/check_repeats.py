"""Checks of repeated runs: equal runs that disagree, the spread, conclusions from one seed."""

from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.history.audit.effective_settings import is_neutral
from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup
from orchestrator.history.audit.repeat_spread import RepeatSpread
from orchestrator.history.audit.wording import count, joined, names_of, per_text, points
from orchestrator.history.reading.record import ImportedRun

# Without a known spread between seeds, a larger difference of equal runs is more than hardware
# explains: the published repeats of one seed of the T15 baseline span 0.24 points.
_HARDWARE = 0.01
_ROUNDING = 2e-4


def check_repeats(group: PreparedGroup) -> Iterator[Finding]:
    """Findings about repeated configurations, and about configurations without repeats."""
    pairs = equal_pairs(group)
    disagreeing = [pair for pair in pairs if pair.disagrees]
    yield from (_disagreement(pair, group) for pair in disagreeing)
    yield from _small_differences([pair for pair in pairs if not pair.disagrees])
    yield from _seeds_without_effect(group)
    yield _spread(group, disagree=bool(disagreeing)) if group.spreads.best else _no_spread(group)
    yield from _one_seed(group)


class EqualPair(NamedTuple):
    """The lowest and the highest of the runs of one configuration and seed, if they differ.

    Attributes:
        low, high: the runs.
        gap: their difference of PER.
        limit: the largest difference that such runs may show.
    """

    low: ImportedRun
    high: ImportedRun
    gap: float
    limit: float

    @property
    def disagrees(self) -> bool:
        """Whether they differ by more than chance or hardware explains."""
        return self.gap > self.limit or self.low.outcome != self.high.outcome

    @property
    def ends(self) -> str:
        """The PER and the outcome of both."""
        low, high = self.low, self.high
        return (
            f"{per_text(low.compared_per)} ({low.outcome}) and {per_text(high.compared_per)} "
            f"({high.outcome})"
        )


def equal_pairs(group: PreparedGroup) -> list[EqualPair]:
    """One pair for each configuration and seed whose runs differ by more than rounding."""
    of_seeds = group.spreads.seeds
    limit = max(_HARDWARE, of_seeds.chance_limit()) if of_seeds is not None else _HARDWARE
    pairs = []
    for configuration in group.configurations:
        seeds: dict[int, list[ImportedRun]] = {}
        for run in configuration.comparable:
            if run.seed is not None:
                seeds.setdefault(run.seed, []).append(run)
        for runs in seeds.values():
            if len(runs) < 2:
                continue
            low, *_, high = sorted(runs, key=lambda run: run.compared_per or 0.0)
            gap = (high.compared_per or 0.0) - (low.compared_per or 0.0)
            if gap > _ROUNDING or low.outcome != high.outcome:
                pairs.append(EqualPair(low, high, gap, limit))
    return pairs


def disagreeing_runs(group: PreparedGroup) -> frozenset[str]:
    """Names of the runs that have an equal run with which they disagree."""
    pairs = (pair for pair in equal_pairs(group) if pair.disagrees)
    return frozenset(run.name for pair in pairs for run in (pair.low, pair.high))


def _disagreement(pair: EqualPair, group: PreparedGroup) -> Finding:
    low, high, gap, limit = pair
    compared = (
        f"more than the {points(limit)} that chance explains between two seeds of this group"
        if group.spreads.seeds is not None and gap > limit
        else "far more than published repeats of one seed of T15 (0.24 points)"
    )
    restarted = [run.name for run in (low, high) if run.n_restarts]
    restarts = (
        f" {joined(restarted)} {'was' if len(restarted) == 1 else 'were'} restarted; this alone "
        "may explain the difference."
        if restarted
        else ""
    )
    return Finding(
        "identical_pair_disagrees",
        Weight.OVERTURNS,
        f"{low.name} and {high.name} have the same settings and the same seed ({low.seed}), but "
        f"end {points(gap)} apart, {compared}.",
        (
            f"They end at {pair.ends}. {_other_settings(low, high, group.labels)}{restarts}",
            "Either something changed that is not in the settings, such as code, recordings or "
            "libraries, or training is not reproducible. Until the cause is known, no difference "
            "of this size between any two of these runs can be attributed to a setting.",
        ),
        (low.name, high.name),
        {"difference": gap, "seed": low.seed, "limit": limit},
    )


def _other_settings(a: ImportedRun, b: ImportedRun, labels: frozenset[str]) -> str:
    """The differences between the settings files of two runs of one configuration."""
    unequal = sorted(
        key
        for key in a.settings.keys() | b.settings.keys()
        if a.settings.get(key) != b.settings.get(key)
    )
    if not unequal:
        return "Their settings are equal, value for value."
    neutral = [key for key in unequal if is_neutral(key) or key in labels]
    in_one = [
        key for key in unequal if key not in neutral and (key in a.settings) != (key in b.settings)
    ]
    texts = []
    if neutral:
        texts.append(f"They differ in {joined(neutral, 6)}, which cannot change a result.")
    if in_one:
        texts.append(
            f"Only one of them states {joined(in_one, 6)}, with the value that is assumed for the "
            "other."
        )
    return " ".join(texts) or "They write the same values in different ways."


def _small_differences(pairs: list[EqualPair]) -> Iterator[Finding]:
    """One finding about all equal runs that differ a little."""
    if pairs:
        largest = max(pair.gap for pair in pairs)
        yield Finding(
            "machine_noise",
            Weight.NOTE,
            f"{count(len(pairs), 'pair')} of runs with equal settings and seed "
            f"{'differs' if len(pairs) == 1 else 'differ'} by up to {points(largest)}: hardware "
            "and libraries alone cause differences of this size.",
            tuple(
                f"{low.name} and {high.name} (seed {low.seed}) differ by {points(gap)}: "
                f"{pair.ends}."
                for pair in pairs
                for low, high, gap, _ in [pair]
            ),
            tuple(run.name for pair in pairs for run in (pair.low, pair.high)),
            {"largest": largest},
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
        yield Finding(
            "seed_without_effect",
            Weight.OVERTURNS,
            f"{count(len(pairs), 'pair')} of runs with different seeds "
            f"{'has' if len(pairs) == 1 else 'have'} the same PER at every evaluation: the stated "
            "seed was not used, so these runs are not independent repeats.",
            tuple(f"{a.name} (seed {a.seed}) and {b.name} (seed {b.seed})." for a, b in pairs),
            names_of(run for pair in pairs for run in pair),
        )


def _no_spread(group: PreparedGroup) -> Finding:
    exact = group.spreads.same is not None and group.spreads.seeds is None
    return Finding(
        "no_spread",
        Weight.OVERTURNS,
        "No configuration was trained to its end on two seeds"
        + (" (repeats of one seed agree exactly)" if exact else "")
        + ", so it is not known how much of any difference is chance.",
        (
            "For orientation only: three seeds of the published T12 baseline span 0.37 points "
            "of PER (20.59 to 20.96 %), repeats of one seed of T15 0.24 points.",
        ),
        figures={"sd": None},
    )


def _spread(group: PreparedGroup, disagree: bool) -> Finding:
    spreads, spread = group.spreads, group.spreads.best
    assert spread is not None
    of_seeds = spread is spreads.seeds
    limit = spread.chance_limit()
    details = [
        _spread_text(spread, of_seeds),
        f"With means of 3 runs the limit is {points(spread.chance_limit(3, 3))}, with means of 6 "
        f"runs {points(spread.chance_limit(6, 6))}.",
    ]
    if of_seeds and spreads.same is not None:
        details.append(_spread_text(spreads.same, of_seeds=False))
    if not of_seeds:
        details.append("Different seeds vary at least as much, so the true limit is higher.")
    if not of_seeds and disagree:
        details.append(
            "This includes the runs that disagree although their settings and seeds are equal; "
            "the limit may be lower once the cause is known and they are trained again."
        )
    if spread.freedom < 3:
        details.append(
            f"The estimate is rough, because it rests on {count(spread.n_runs, 'run')}; the "
            "cheapest way to lower the limit is to repeat any one configuration two or three "
            "more times."
        )
    if spreads.n_left_out:
        details.append(
            f"Not included: {count(spreads.n_left_out, 'repeated run')} that collapsed, diverged "
            "or ended early."
        )
    return Finding(
        "spread",
        Weight.OVERTURNS,
        f"Two single runs must differ by more than {points(limit)} of PER; chance alone explains "
        "smaller differences in 19 of 20 cases.",
        tuple(details),
        figures={
            "sd": spread.sd,
            "sd_low": spread.interval.low,
            "sd_high": spread.interval.high,
            "n_runs": spread.n_runs,
            "n_configurations": spread.n_configurations,
            "degrees_of_freedom": spread.freedom,
            "smallest_believable": limit,
            "of": "seeds" if of_seeds else "same seed",
        },
    )


def _spread_text(spread: RepeatSpread, of_seeds: bool) -> str:
    what = "that differ only in the seed" if of_seeds else "with the same settings and seed"
    return (
        f"{count(spread.n_runs, 'run')} of {count(spread.n_configurations, 'configuration')} "
        f"{what} have a standard deviation of {points(spread.sd)} (95 % interval: "
        f"{100 * spread.interval.low:.2f} to {100 * spread.interval.high:.2f}); the largest "
        f"difference between two of them is {points(spread.largest)}."
    )


def _one_seed(group: PreparedGroup) -> Iterator[Finding]:
    """How many configurations were trained on one seed only."""
    with_results = [one for one in group.configurations if one.comparable]
    single = [one for one in with_results if one.n_seeds == 1]
    if not single or len(group.configurations) < 2:
        return
    runs = [run for one in with_results for run in one.comparable]
    seeds = sorted({run.seed for run in runs if run.seed is not None})
    n_unstated = sum(run.seed is None for run in runs)
    details = []
    if len(seeds) == 1 and not n_unstated:
        details.append(
            f"All of them use seed {seeds[0]}, so a setting that helps only on this seed "
            "cannot be distinguished from one that always helps."
        )
    elif seeds:
        details.append(f"Seeds used: {joined([str(seed) for seed in seeds])}.")
    if n_unstated:
        do = "does" if n_unstated == 1 else "do"
        details.append(f"{count(n_unstated, 'run')} {do} not state a seed.")
    repeated = [one for one in with_results if one.n_seeds > 1]
    if repeated:
        names = [f"{one.runs[0].name} ({count(one.n_seeds, 'seed')})" for one in repeated]
        details.append(f"Trained on more than one seed: {joined(names)}.")
    yield Finding(
        "one_seed",
        Weight.WEAKENS,
        f"{len(single)} of {count(len(with_results), 'configuration')} "
        f"{'was' if len(single) == 1 else 'were'} trained on one seed only, so every conclusion "
        "from them may depend on that seed.",
        tuple(details),
        tuple(run.name for one in single for run in one.comparable),
        {"n_single": len(single), "n_configurations": len(with_results), "seeds": seeds},
    )
