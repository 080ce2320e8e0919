"""Simulated sweeps with known true effects, as the tables that the verdict engine reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from orchestrator.plan.document import ArmEntry, PlanDocument, RecordingsEntry
from orchestrator.spec.schema import AblationSpec

Floats = NDArray[np.float64]
Kind = Literal[
    "normal", "skewed", "bimodal with collapse", "rare divergence", "infrastructure gaps"
]

KINDS: tuple[Kind, ...] = (
    "normal",
    "skewed",
    "bimodal with collapse",
    "rare divergence",
    "infrastructure gaps",
)
OUTCOMES = ("per", "collapsed", "escape_step")
MARGINS = {"per": 0.03, "collapsed": 0.5, "escape_step": 40.0, "diverged": 0.3}
N_STEPS = 1000
SKEWED_LOG_STD = 0.25  # of a log-normal outcome: a skewness of 0.8
_MEDIANS = {"per": 0.30, "escape_step": 300.0}
_SEED_CORRELATION = 0.5


class Runs(NamedTuple):
    """The results of the runs of many sweeps; every array is (n_sweeps, n_arms, n_seeds).

    Attributes:
        outcome: "ok", "collapsed", "diverged" or "failed".
        per: final PER as in the tables; NaN for a failed run.
        escape: step at which the run leaves the plateau; NaN if it never does.
    """

    outcome: NDArray[np.str_]
    per: Floats
    escape: Floats


@dataclass(frozen=True)
class Sweep:
    """A sweep's plan: a base arm, and for each hypothesis an arm that differs in one factor.

    Attributes:
        plan: the parts of the plan document that the engine reads.
        arms: ids, the base first.
        n_seeds: seeds per arm.
    """

    plan: PlanDocument
    arms: tuple[str, ...]
    n_seeds: int

    def table(self, runs: Runs, index: int) -> pd.DataFrame:
        """The runs table of one simulated sweep."""
        return pd.DataFrame(
            {
                "arm": np.repeat(self.arms, self.n_seeds),
                "block": np.tile(self.plan.spec.seeds, len(self.arms)),
                "outcome": runs.outcome[index].ravel(),
                "per": runs.per[index].ravel(),
                "escape_step": runs.escape[index].ravel(),
                "n_steps": N_STEPS,
            }
        )


def make_sweep(
    outcomes: Sequence[str],
    n_seeds: int,
    direction: str = "increase",
    margins: dict[str, float] | None = None,
    **changes: Any,
) -> Sweep:
    """A sweep with one hypothesis for each entry of `outcomes`, all in one family.

    Args:
        outcomes: outcome of each hypothesis.
        n_seeds: seeds per arm.
        direction: of every claim.
        margins: outcome → margin, instead of `MARGINS`.
        changes: further keys of the ablation file; ``exploratory`` and ``test`` go to the
            hypotheses.
    """
    names = [f"f{index}" for index in range(len(outcomes))]
    exploratory = bool(changes.pop("exploratory", False))
    test = changes.pop("test", None)
    spec = AblationSpec.model_validate(
        {
            "name": "calibration",
            "question": "?",
            "base": "base.yaml",
            "design": "one_factor",
            "factors": {name: {"off": {}, "on": {}} for name in names},
            "seeds": list(range(n_seeds)),
            "hypotheses": {
                name: {
                    "claim": "It matters.",
                    "contrast": {"factor": name, "from": "off", "to": "on"},
                    "outcome": outcome,
                    "direction": direction,
                    "margin": (margins or MARGINS)[outcome],
                    "exploratory": exploratory,
                    "test": test,
                }
                for name, outcome in zip(names, outcomes, strict=True)
            },
            **changes,
        }
    )
    off = dict.fromkeys(names, "off")
    on = {f"{name}+on": {**off, name: "on"} for name in names}
    return _sweep(spec, {"base": off, **on})


def make_interaction(outcome: str, n_seeds: int, margin: float, seeds: Any = None) -> Sweep:
    """Two factors crossed, and the claim that the first raises an outcome only with the second.

    Args:
        outcome: of the claim.
        n_seeds: seeds per arm.
        margin: of the claim.
        seeds: as in the ablation file; None takes a list of `n_seeds`.

    Returns:
        A sweep of the arms base, first factor on, second on, both on, in this order.
    """
    spec = AblationSpec.model_validate(
        {
            "name": "calibration",
            "question": "?",
            "base": "base.yaml",
            "factors": {name: {"off": {}, "on": {}} for name in ("first", "second")},
            "seeds": list(range(n_seeds)) if seeds is None else seeds,
            "hypotheses": {
                "only_with": {
                    "claim": "It matters only with the other.",
                    "contrast": {"factor": "first", "from": "off", "to": "on"},
                    "interaction": {"factor": "second", "from": "off", "to": "on"},
                    "outcome": outcome,
                    "direction": "increase",
                    "margin": margin,
                }
            },
        }
    )
    cells = [("off", "off"), ("on", "off"), ("off", "on"), ("on", "on")]
    return _sweep(spec, {"+".join(c): {"first": c[0], "second": c[1]} for c in cells})


def _sweep(spec: AblationSpec, arms: dict[str, dict[str, str]]) -> Sweep:
    plan = PlanDocument(
        name=spec.name,
        question=spec.question,
        spec_file="",
        spec=spec,
        spec_hash="",
        dataset=RecordingsEntry(
            fingerprint="", path="simulated", sessions=(), n_train_trials=0, n_val_trials=0
        ),
        arms=tuple(
            ArmEntry(arm_id=arm, levels=levels, in_design=True) for arm, levels in arms.items()
        ),
        runs=(),
    )
    return Sweep(plan, tuple(arms), len(spec.seeds))


def simulate(
    kind: Kind,
    outcome: str,
    shape: tuple[int, int, int],
    effect: float | Sequence[float],
    rng: np.random.Generator,
) -> Runs:
    """Simulate the runs of many sweeps in which arms differ in one outcome.

    Args:
        kind: how runs vary and fail.
        outcome: the outcome that differs.
        shape: (n_sweeps, n_arms, n_seeds).
        effect: true difference of the mean from the base, as a multiple of the outcome's margin:
            one for all arms except the base, or one for each arm.
        rng: source of all randomness.
    """
    fails = {"bimodal with collapse": 0.25}.get(kind, 0.25 if outcome == "collapsed" else 0.0)
    diverges = 0.03 if kind == "rare divergence" else 0.0
    # Failures are equally frequent in all arms and hide the effect in the runs that fail.
    by_arm = np.array([0.0] + [effect] * (shape[1] - 1) if isinstance(effect, float) else effect)
    size = {name: by_arm[None, :, None] * MARGINS[name] * (name == outcome) for name in OUTCOMES}
    shift = {name: value / (1 - diverges) for name, value in size.items()}  # (1, n_arms, 1)
    trains = 1 - fails
    if kind == "skewed":
        middle = {name: value * np.exp(SKEWED_LOG_STD**2 / 2) for name, value in _MEDIANS.items()}
        factor = {name: 1 + shift[name] / trains / middle[name] for name in _MEDIANS}
        log_noise = np.exp(SKEWED_LOG_STD * _noise(shape, rng))
        per = _MEDIANS["per"] * log_noise * factor["per"]
        log_noise = np.exp(SKEWED_LOG_STD * _noise(shape, rng))
        escape = _MEDIANS["escape_step"] * log_noise * factor["escape_step"]
    else:
        per = _MEDIANS["per"] + 0.02 * _noise(shape, rng) + shift["per"] / trains
        escape = _MEDIANS["escape_step"] + 30 * _noise(shape, rng)
        escape = escape + shift["escape_step"] / trains
    collapsed = rng.random(shape) < fails + shift["collapsed"]
    per = np.where(collapsed, 0.97 + 0.005 * rng.standard_normal(shape), per)
    diverged = rng.random(shape) < diverges
    failed = rng.random(shape) < (0.05 if kind == "infrastructure gaps" else 0.0)
    ended = np.select([failed, diverged, collapsed], ["failed", "diverged", "collapsed"], "ok")
    return Runs(
        ended,
        np.select([failed, diverged], [np.nan, 1.0], per),
        np.where((ended != "ok") | (escape > N_STEPS), np.nan, escape),
    )


def _noise(shape: tuple[int, int, int], rng: np.random.Generator) -> Floats:
    """Standard normal noise, correlated between the arms of a seed."""
    shared = rng.standard_normal((shape[0], 1, shape[2]))
    own = rng.standard_normal(shape)
    return np.sqrt(_SEED_CORRELATION) * shared + np.sqrt(1 - _SEED_CORRELATION) * own
