"""How many runs a design with seeds in steps takes, before its first run."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from orchestrator.spec.compared import Compared
from orchestrator.spec.schema import AblationSpec

Scenario = Literal["no effect", "the margin", "twice the margin"]


class ExpectedRuns(NamedTuple):
    """What a design with looks costs if every effect has one size, beside fixed seeds.

    Attributes:
        scenario: the true effect of every claim.
        n_runs: mean number of runs with the looks.
        power: mean share of the claims that are decided as they should be: supported, or refuted if
            there is no effect (the other way round for a claim of no difference). At an effect of
            the margin, the share that is supported.
        fixed_seeds: seeds per arm of the design without looks that has this power.
        fixed_runs: its number of runs.
    """

    scenario: Scenario
    n_runs: float
    power: float
    fixed_seeds: int
    fixed_runs: int


def expected_runs(
    spec: AblationSpec,
    compared: Mapping[str, Sequence[Compared]],
    n_arms: int,
    spreads: Mapping[str, float],
    rates: Mapping[str, float] | None = None,
) -> tuple[ExpectedRuns, ...]:
    """Expected runs under no effect, effects of the margin and of twice the margin.

    Args:
        spec: the ablation; it has looks.
        compared: hypothesis → the arms that it compares.
        n_arms: arms in all; those that no claim compares train the seeds of the first look.
        spreads: outcome → standard deviation of per-seed differences of two arms, as in
            `orchestrator.stats.power_forecast.forecast_power`; not needed for shares.
        rates: hypothesis → share of runs in the reference arms.

    Returns:
        One entry per scenario; empty if no claim has a known spread.
    """
    raise NotImplementedError
