"""The document that `plan --json` prints."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TypedDict

from pydantic import JsonValue

from orchestrator.driver.cost import Cost
from orchestrator.driver.preview import GreedyBound, Preview
from orchestrator.driver.priors import Prior
from orchestrator.plan.document import aliases_of, arm_entries
from orchestrator.spec.claims import looks_of
from orchestrator.stats.power import PowerForecast
from orchestrator.store.ledger import with_result
from orchestrator.terminal import finite


class RunDocument(TypedDict):
    """A planned run; see `orchestrator.plan.document.RunEntry`."""

    run_id: str
    arm_id: str
    seed: int
    block: int
    recorded: bool


class PackDocument(TypedDict):
    """A planned pack. ``forecast_seconds`` is None if nothing is trained or the time is unknown."""

    pack_id: str
    seed: int
    n_runs: int
    n_to_train: int
    forecast_seconds: float | None


class CostDocument(TypedDict):
    """Device hours; see `orchestrator.driver.cost.Cost`."""

    hours: float
    low: float
    high: float
    unit: str


class ForecastDocument(TypedDict):
    """Time and cost of training; see `orchestrator.driver.cost.TimeForecast`."""

    seconds: float | None
    cost: CostDocument | None
    source: str


class GreedyDocument(TypedDict):
    """Bounds for a greedy path; see `orchestrator.driver.preview.GreedyBound`."""

    n_arms_at_most: int
    n_runs_at_most: int
    seconds: float | None
    cost: CostDocument | None


class PriorDocument(TypedDict):
    """A spread or a rate; see `orchestrator.driver.priors.Prior`."""

    value: float | None
    source: str


class PowerDocument(TypedDict):
    """The power of a hypothesis; see `orchestrator.stats.power.PowerForecast`."""

    hypothesis: str
    n_seeds: int
    reachable: bool
    power: float | None
    detectable: float | None
    basis: str


class ChoiceDocument(TypedDict):
    """A number of seeds; see `orchestrator.driver.preview.SeedChoice`."""

    n_seeds: int
    n_runs: int
    n_recorded: int
    seconds: float | None
    cost: CostDocument | None
    power: list[PowerDocument]


class PreviewDocument(TypedDict):
    """A preview of `run`. Arms, aliases and contrasts are entries of the plan document."""

    name: str
    question: str
    design: str
    n_runs: int
    n_recorded: int
    n_failed: int
    arms: list[dict[str, JsonValue]]
    aliases: dict[str, JsonValue] | None
    runs: list[RunDocument]
    packs: list[PackDocument]
    forecast: ForecastDocument
    greedy: GreedyDocument | None
    contrasts: list[dict[str, JsonValue]]
    untestable: dict[str, str]
    cautions: dict[str, str]
    lock_changed: list[str]
    spreads: dict[str, PriorDocument]
    rates: dict[str, PriorDocument]
    power_alpha: float
    power: list[PowerDocument]
    choices: list[ChoiceDocument]


def preview_document(seen: Preview) -> PreviewDocument:
    """A preview as JSON has it; numbers that are unknown or infinite are None."""
    plan, recorded = seen.plan, with_result(seen.records)
    spec = plan.loaded.spec
    aliases = aliases_of(spec)
    to_train = {pack.pack_id: len(pack.runs) for pack in seen.packs}
    return {
        "name": spec.name,
        "question": spec.question,
        "design": spec.design,
        "n_runs": len(plan.distinct),
        "n_recorded": len(recorded),
        "n_failed": len(seen.records) - len(recorded),
        "arms": [arm.model_dump(mode="json") for arm in arm_entries(plan.loaded)],
        "aliases": finite(asdict(aliases)) if aliases else None,
        "runs": [
            {
                "run_id": run.run_id,
                "arm_id": run.arm_id,
                "seed": run.seed,
                "block": run.block,
                "recorded": run.run_id in recorded,
            }
            for run in plan.runs
        ],
        "packs": [
            {
                "pack_id": pack.pack_id,
                "seed": pack.seed,
                "n_runs": len(pack.runs),
                "n_to_train": to_train.get(pack.pack_id, 0),
                "forecast_seconds": seen.forecast.pack_seconds.get(pack.pack_id),
            }
            for pack in plan.packs
        ],
        "forecast": {
            "seconds": seen.forecast.seconds,
            "cost": _cost_document(seen.forecast.cost),
            "source": seen.forecast.source,
        },
        "greedy": _greedy_document(seen.greedy),
        "contrasts": [proof.model_dump(mode="json") for proof in plan.contrasts],
        "untestable": dict(seen.untestable),
        "cautions": dict(seen.cautions),
        "lock_changed": list(seen.lock_changed),
        "spreads": _prior_documents(seen.spreads),
        "rates": _prior_documents(seen.rates),
        "power_alpha": looks_of(spec)[-1].alpha,
        "power": _power_documents(seen.power),
        "choices": [
            {
                "n_seeds": choice.n_seeds,
                "n_runs": choice.n_runs,
                "n_recorded": choice.n_recorded,
                "seconds": choice.seconds,
                "cost": _cost_document(choice.cost),
                "power": _power_documents(choice.power),
            }
            for choice in seen.choices
        ],
    }


def _cost_document(cost: Cost | None) -> CostDocument | None:
    if cost is None:
        return None
    return {"hours": cost.hours, "low": cost.low, "high": cost.high, "unit": cost.unit}


def _greedy_document(bound: GreedyBound | None) -> GreedyDocument | None:
    if bound is None:
        return None
    return {
        "n_arms_at_most": bound.n_arms,
        "n_runs_at_most": bound.n_runs,
        "seconds": bound.seconds,
        "cost": _cost_document(bound.cost),
    }


def _prior_documents(priors: Mapping[str, Prior]) -> dict[str, PriorDocument]:
    return {
        name: {"value": finite(prior.value), "source": prior.source}
        for name, prior in priors.items()
    }


def _power_documents(power: Sequence[PowerForecast]) -> list[PowerDocument]:
    return [
        {
            "hypothesis": forecast.hypothesis,
            "n_seeds": forecast.n_seeds,
            "reachable": forecast.reachable,
            "power": finite(forecast.power),
            "detectable": finite(forecast.detectable),
            "basis": forecast.basis,
        }
        for forecast in power
    ]
