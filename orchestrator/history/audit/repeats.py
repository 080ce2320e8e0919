"""Findings about repetition: what repeats show, pairs that disagree, conclusions on one seed."""

from collections.abc import Iterator, Sequence

from orchestrator.history.audit.counting import is_neutral
from orchestrator.history.audit.lineup import Lineup
from orchestrator.history.audit.spread import Arm, Spread
from orchestrator.history.audit.telling import Finding, count, joined, per_text, points
from orchestrator.history.reading.record import ForeignRun

# Without seeds to go by, a larger difference of equal runs is not put down to the machine: the
# published same-seed reruns of the T15 baseline span 0.24 points.
_MACHINE = 0.01
_ROUNDING = 2e-4


def repeat_findings(lineup: Lineup) -> Iterator[Finding]:
    """All findings about repeated configurations, and about the lack of them."""
    found = list(_disagreements(lineup))
    yield from (one for one in found if one.kind == "identical_pair_disagrees")
    yield from _machine(found)
    yield from _seeds_without_effect(lineup)
    yield _spread(lineup, disagree=any(one.weight == 1 for one in found))
    yield from _one_seed(lineup)


def disagreeing(lineup: Lineup) -> frozenset[str]:
    """Runs that are part of an identical pair which disagrees."""
    found = (one for one in _disagreements(lineup) if one.kind == "identical_pair_disagrees")
    return frozenset(name for one in found for name in one.runs)


def limit_for_equal_runs(lineup: Lineup) -> float:
    """The largest difference that runs of one configuration and one seed may show."""
    seeds = lineup.spreads.seeds
    return max(_MACHINE, seeds.believable()) if seeds is not None else _MACHINE


def _disagreements(lineup: Lineup) -> Iterator[Finding]:
    limit = limit_for_equal_runs(lineup)
    for arm in lineup.arms:
        seeds: dict[int, list[ForeignRun]] = {}
        for run in arm.comparable:
            if run.seed is not None:
                seeds.setdefault(run.seed, []).append(run)
        for seed, runs in seeds.items():
            if len(runs) < 2:
                continue
            low, *_, high = sorted(runs, key=lambda run: run.counted or 0.0)
            gap = (high.counted or 0.0) - (low.counted or 0.0)
            if gap <= _ROUNDING and low.outcome == high.outcome:
                continue
            beyond = gap > limit or low.outcome != high.outcome
            yield _disagreement(low, high, seed, gap, limit, beyond, lineup)


def _disagreement(
    low: ForeignRun,
    high: ForeignRun,
    seed: int,
    gap: float,
    limit: float,
    beyond: bool,
    lineup: Lineup,
) -> Finding:
    names = f"{low.name} and {high.name}"
    ends = f"{per_text(low.counted)} ({low.outcome}) and {per_text(high.counted)} ({high.outcome})"
    beside = _beside(low, high, lineup.labels)
    if not beyond:
        return Finding(
            "machine_noise",
            3,
            f"{names} (seed {seed}) differ by {points(gap)}: {ends}.",
            (),
            (low.name, high.name),
            {"difference": gap, "seed": seed},
        )
    held = (
        f"more than the {points(limit)} that chance makes between two seeds here"
        if lineup.spreads.seeds is not None and gap > limit
        else "far more than reruns of one seed differ elsewhere (published T15 reruns: 0.24 points)"
    )
    return Finding(
        "identical_pair_disagrees",
        1,
        f"{names} have the same settings and the same seed ({seed}), yet end {points(gap)} apart, "
        f"{held}.",
        (
            f"They end at {ends}. {beside}{_passes(low, high)}",
            "So something changed that no setting tells, such as code, recordings or libraries, or "
            "training is not reproducible; until that is known, no difference of this size "
            "between any two of these runs can be put down to a setting.",
        ),
        (low.name, high.name),
        {"difference": gap, "seed": seed, "limit": limit},
    )


def _passes(*runs: ForeignRun) -> str:
    """Which of the runs were restarted into, which may be all that sets them apart."""
    names = [run.name for run in runs if run.n_restarts]
    if not names:
        return ""
    was = "was" if len(names) == 1 else "were"
    return f" {joined(names)} {was} restarted into, which alone may have changed the end."


def _beside(a: ForeignRun, b: ForeignRun, labels: frozenset[str]) -> str:
    """In what the files of two runs of one configuration differ all the same."""
    unequal = sorted(
        key
        for key in a.settings.keys() | b.settings.keys()
        if a.settings.get(key) != b.settings.get(key)
    )
    if not unequal:
        return "Their settings are the same, value for value."
    neutral = [key for key in unequal if is_neutral(key) or key in labels]
    lone = [
        key for key in unequal if key not in neutral and (key in a.settings) != (key in b.settings)
    ]
    texts = []
    if neutral:
        texts.append(f"They differ in {joined(neutral, 6)}, which cannot change a result.")
    if lone:
        texts.append(
            f"{joined(lone, 6)} {'is' if len(lone) == 1 else 'are'} stated by one of them alone, "
            "as what the other is taken to have had."
        )
    if not texts:
        texts.append("They write the same values in other words.")
    return " ".join(texts)


def _machine(found: Sequence[Finding]) -> Iterator[Finding]:
    """Equal runs that differ by little, in one finding."""
    small = [one for one in found if one.kind == "machine_noise"]
    if small:
        largest = max(one.figures["difference"] for one in small)
        yield Finding(
            "machine_noise",
            3,
            f"{count(len(small), 'pair')} of runs equal in settings and seed differ by up to "
            f"{points(largest)}: that much the machine alone changes.",
            tuple(one.title for one in small),
            tuple(name for one in small for name in one.runs),
            {"largest": largest},
        )


def _seeds_without_effect(lineup: Lineup) -> Iterator[Finding]:
    """Runs of one configuration that state other seeds, and have the same PERs throughout."""
    pairs = []
    for arm in lineup.arms:
        seen: dict[tuple[tuple[float, float], ...], ForeignRun] = {}
        for run in arm.runs:
            course = tuple(run.pers())
            other = seen.setdefault(course, run)
            learned = len({per for _, per in course}) > 2
            if learned and run.seed is not None and other.seed not in (None, run.seed):
                pairs.append((other, run))
    if pairs:
        yield Finding(
            "seed_without_effect",
            1,
            f"{count(len(pairs), 'pair')} of runs with different seeds have the same PER at every "
            "evaluation: the seed that is stated was not used, so such runs are no repeats.",
            tuple(f"{a.name} (seed {a.seed}) and {b.name} (seed {b.seed})." for a, b in pairs),
            tuple(dict.fromkeys(run.name for pair in pairs for run in pair)),
        )


def _spread(lineup: Lineup, disagree: bool) -> Finding:
    spreads = lineup.spreads
    if spreads.best is None:
        exactly = spreads.same is not None and spreads.seeds is None
        return Finding(
            "no_spread",
            1,
            "No configuration was trained to its end on two seeds"
            + (" (equal seeds repeat exactly)" if exactly else "")
            + ", so nothing says how much of any difference is chance.",
            (
                "For orientation only: three seeds of the published T12 baseline span 0.37 points "
                "of PER (20.59 to 20.96 %), same-seed reruns of T15 0.24 points.",
            ),
            (),
            {"sd": None},
        )
    spread = spreads.best
    of_seeds = spread is spreads.seeds
    what = "only in the seed" if of_seeds else "in nothing, seed included"
    one, two = spread.believable(), spread.believable(3, 3)
    details = [
        _spread_text(spread, what),
        f"With 3 runs a side the limit would be {points(two)}, with 6 runs "
        f"{points(spread.believable(6, 6))}.",
    ]
    if of_seeds and spreads.same is not None:
        details.append(_spread_text(spreads.same, "in nothing, seed included"))
    if not of_seeds:
        details.append(
            "Fresh seeds vary at least as much as that, so the true limit is higher, not lower."
        )
    if not of_seeds and disagree:
        details.append(
            "It includes the runs that disagree although nothing differs; once the reason is "
            "known and they are trained again, it may turn out lower."
        )
    if spread.freedom < 3:
        details.append(
            f"It rests on {count(spread.n_runs, 'run')}, so it is known very roughly; two or "
            "three more repeats of any one configuration would lower the limit most cheaply."
        )
    if spreads.n_left_out:
        details.append(
            f"Left out of it: {count(spreads.n_left_out, 'repeated run')} that collapsed, diverged "
            "or ended early."
        )
    return Finding(
        "spread",
        1,
        f"Two single runs must differ by more than {points(one)} of PER before their difference "
        "is more than chance makes in 19 of 20 cases.",
        tuple(details),
        (),
        {
            "sd": spread.sd,
            "sd_low": spread.interval.low,
            "sd_high": spread.interval.high,
            "n_runs": spread.n_runs,
            "n_configurations": spread.n_arms,
            "degrees_of_freedom": spread.freedom,
            "smallest_believable": one,
            "of": "seeds" if of_seeds else "same seed",
        },
    )


def _spread_text(spread: Spread, what: str) -> str:
    return (
        f"{count(spread.n_runs, 'run')} of {count(spread.n_arms, 'configuration')} that differ "
        f"{what} have a standard deviation of {points(spread.sd)} (95 %: "
        f"{100 * spread.interval.low:.2f} to {100 * spread.interval.high:.2f}); the largest "
        f"difference of two is {points(spread.largest)}."
    )


def n_seeds(arm: Arm) -> int:
    """Distinct seeds among the comparable runs; those without a stated seed count one each."""
    stated = {run.seed for run in arm.comparable if run.seed is not None}
    return len(stated) + sum(run.seed is None for run in arm.comparable)


def _one_seed(lineup: Lineup) -> Iterator[Finding]:
    told = [arm for arm in lineup.arms if arm.comparable]
    single = [arm for arm in told if n_seeds(arm) == 1]
    if not single or len(lineup.arms) < 2:
        return
    seeds = sorted({run.seed for arm in told for run in arm.comparable if run.seed is not None})
    n_unstated = sum(run.seed is None for arm in told for run in arm.comparable)
    details = []
    if len(seeds) == 1 and not n_unstated:
        details.append(
            f"All of them use seed {seeds[0]}: whatever is peculiar to it is in every comparison, "
            "and a setting that merely suits this seed cannot be told from one that helps."
        )
    elif seeds:
        details.append(f"Seeds used: {joined([str(seed) for seed in seeds])}.")
    if n_unstated:
        details.append(f"{count(n_unstated, 'run')} do not say which seed they used.")
    repeated = [arm for arm in told if n_seeds(arm) > 1]
    if repeated:
        names = [f"{arm.runs[0].name} ({count(n_seeds(arm), 'seed')})" for arm in repeated]
        details.append(f"On more than one seed: {joined(names)}.")
    yield Finding(
        "one_seed",
        2,
        f"{len(single)} of {count(len(told), 'configuration')} rest on one seed, and so does "
        "every conclusion drawn from them.",
        tuple(details),
        tuple(run.name for arm in single for run in arm.comparable),
        {"n_single": len(single), "n_configurations": len(told), "seeds": seeds},
    )
