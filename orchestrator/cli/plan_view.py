"""What `plan` prints: as a plain document for ``--json``, and as tables for people."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from orchestrator.driver.cost import Cost
from orchestrator.driver.preview import GreedyBound, Preview, SeedChoice
from orchestrator.driver.priors import Prior
from orchestrator.plan.document import (
    ArmEntry,
    aliases_of,
    arm_entries,
    contrast_entries,
    run_entry,
)
from orchestrator.spec.claims import looks_of
from orchestrator.spec.fraction import FractionDocument
from orchestrator.spec.units import difference_text, unit_of
from orchestrator.stats.power import PowerForecast
from orchestrator.store.ledger import with_result
from orchestrator.terminal import finite, print_table, say_to, time_text


def preview_document(seen: Preview) -> dict[str, Any]:
    """What a `run` would do. Numbers that are unknown or infinite are null."""
    plan, recorded = seen.plan, with_result(seen.records)
    aliases = aliases_of(plan.loaded.spec)
    to_train = {pack.pack_id: len(pack.runs) for pack in seen.packs}
    document: dict[str, Any] = {
        "name": plan.loaded.spec.name,
        "question": plan.loaded.spec.question,
        "design": plan.loaded.spec.design,
        "n_runs": len(plan.distinct),
        "n_recorded": len(recorded),
        "n_failed": len(seen.records) - len(recorded),
        "arms": [arm.model_dump(mode="json") for arm in arm_entries(plan.loaded)],
        "aliases": asdict(aliases) if aliases else None,
        "runs": [
            {**run_entry(run).model_dump(), "recorded": run.run_id in recorded} for run in plan.runs
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
        "contrasts": [proof.model_dump(mode="json") for proof in contrast_entries(plan)],
        "untestable": dict(seen.untestable),
        "cautions": dict(seen.cautions),
        "lock_changed": list(seen.lock_changed),
        "spreads": {
            outcome: {"value": spread.value, "source": spread.source}
            for outcome, spread in seen.spreads.items()
        },
        "rates": {
            name: {"value": rate.value, "source": rate.source} for name, rate in seen.rates.items()
        },
        "power_alpha": looks_of(plan.loaded.spec)[-1].alpha,
        "power": _power_document(seen.power),
        "choices": [
            {
                "n_seeds": choice.n_seeds,
                "n_runs": choice.n_runs,
                "n_recorded": choice.n_recorded,
                "seconds": choice.seconds,
                "cost": _cost_document(choice.cost),
                "power": _power_document(choice.power),
            }
            for choice in seen.choices
        ],
    }
    return dict(finite(document))


def print_preview(console: Console, seen: Preview) -> None:
    """What a `run` would do, as tables."""
    say, document = say_to(console), preview_document(seen)
    say(f"{document['name']}: {document['question']}")
    by_arm: dict[str, list[bool]] = {}
    for run in document["runs"]:
        by_arm.setdefault(run["arm_id"], []).append(run["recorded"])
    arms = [
        (arm.name, _kind(arm), len(runs), sum(runs))
        for arm in arm_entries(seen.plan.loaded)
        for runs in [by_arm[arm.arm_id]]
    ]
    print_table(console, ("arm", "", "runs", "recorded"), arms)
    aliases = aliases_of(seen.plan.loaded.spec)
    if aliases is not None:
        _print_aliases(console, aliases)
    packs = [
        (
            *(pack["pack_id"][:6], pack["seed"], pack["n_runs"], pack["n_to_train"]),
            _seconds(pack["forecast_seconds"]) if pack["n_to_train"] else "",
        )
        for pack in document["packs"]
    ]
    print_table(console, ("pack", "seed", "runs", "to train", "forecast"), packs)
    contrasts = [
        (proof.hypothesis, proof.from_arm, proof.to_arm, ", ".join(_changes(proof.changed)))
        for proof in seen.plan.contrasts
    ]
    print_table(console, ("hypothesis", "from", "to", "differs in, and nothing else"), contrasts)
    _print_power(console, seen)
    for name, reason in seen.untestable.items():
        say(f"untestable: {name}: {reason}")
    for name, reason in seen.cautions.items():
        say(f"note: {name}: {reason}")
    for name in seen.lock_changed:
        say(f"exploratory: {name}: written or changed after runs that decide it were recorded")
    _print_choices(console, seen.choices)
    failed = f", {document['n_failed']} failed before" if document["n_failed"] else ""
    say(
        f"{document['n_runs']} runs in {len(document['packs'])} packs; "
        f"{document['n_recorded']} recorded{failed}"
    )
    cost = f", {_cost(seen.forecast.cost)}" if seen.forecast.cost is not None else ""
    say(f"training takes about {_seconds(seen.forecast.seconds)}{cost} ({seen.forecast.source})")
    if seen.greedy is not None and seen.greedy.n_arms:
        more = seen.greedy
        cost = f", {_cost(more.cost)}" if more.cost is not None else ""
        say(
            f"the greedy path adds at most {more.n_arms} arms, {more.n_runs} runs: "
            f"{_seconds(more.seconds)}{cost}, if none costs more than the dearest arm above"
        )


def _kind(arm: ArmEntry) -> str:
    if arm.candidate is not None:
        return f"greedy, round {arm.candidate.round}"
    return "" if arm.in_design else "extra"


def _print_aliases(console: Console, aliases: FractionDocument) -> None:
    """Generators, and every interaction with those it cannot be told from."""
    say = say_to(console)
    letters = ", ".join(f"{letter} = {name}" for letter, name in aliases.letters.items())
    say(
        f"fraction of {aliases.n_arms} arms, resolution {aliases.resolution}: "
        f"{', '.join(aliases.generators)} ({letters})"
    )
    words = aliases.defining_relation
    more = aliases.n_defining_words - len(words)
    say(f"I = {' = '.join(words)}{f' = ... ({more} more)' if more else ''}")
    rows = [
        (effect, ", ".join(others) or "clear of main effects and two-factor interactions")
        for effect, others in aliases.aliases.items()
    ]
    print_table(console, ("effect", "cannot be told from"), rows)


def _print_power(console: Console, seen: Preview) -> None:
    """What each hypothesis can find with the seeds of the file, and what that assumes."""
    say, hypotheses = say_to(console), seen.plan.loaded.spec.hypotheses
    rows = []
    for found in seen.power:
        claim = hypotheses[found.hypothesis]
        margin = difference_text(claim.margin, claim.outcome, signed=False)
        detectable = _detectable(found, claim.outcome)
        unit = unit_of(claim.outcome)
        rows.append((found.hypothesis, f"{margin} {unit}", detectable, _power(found)))
    n_seeds = len(seen.plan.loaded.spec.seeds)
    titles = ("hypothesis", "margin", "detectable at 80 % power", f"power with {n_seeds} seeds")
    print_table(console, titles, rows)
    for outcome, spread in seen.spreads.items():
        value = ""
        if math.isfinite(spread.value):
            text = difference_text(spread.value, outcome, signed=False)
            value = f"{text} {unit_of(outcome)}, "
        say(f"spread of {outcome} differences from seed to seed: {value}{spread.source}")
    for found in seen.power:
        if found.hypothesis in seen.rates:
            say(
                _rate_text(
                    found, seen.rates[found.hypothesis], hypotheses[found.hypothesis].outcome
                )
            )
    looks = seen.plan.loaded.spec.looks
    if looks:
        say(
            f"power is that of the last look alone, at its α = {looks[-1].alpha:g}; what an "
            "earlier look decides comes on top"
        )


def _rate_text(found: PowerForecast, rate: Prior, outcome: str) -> str:
    """What the power of a claim about shares of runs rests on."""
    where = f"{found.hypothesis}: runs {outcome} in the reference arm"
    if math.isfinite(rate.value):
        text = f"{where}: {100 * rate.value:.0f} %, {rate.source}"
        unused = "; of a claim of no difference the power is that at no event in any arm"
        return text + (unused if found.basis == "best case" else "")
    best = "best case: none of them, or every one"
    return f"{where}: {rate.source}; {best if found.basis == 'best case' else 'power unknown'}"


def _print_choices(console: Console, choices: Sequence[SeedChoice]) -> None:
    """Cost and power for each number of seeds."""
    if not choices:
        return
    rows = [
        (
            choice.n_seeds,
            choice.n_runs,
            choice.n_recorded,
            "unknown" if choice.cost is None else _cost(choice.cost),
            _seconds(choice.seconds),
        )
        for choice in choices
    ]
    print_table(console, ("seeds", "runs", "recorded", "cost of the rest", "wall time"), rows)
    by_hypothesis = zip(*(choice.power for choice in choices), strict=True)
    print_table(
        console,
        ("power of hypothesis", *(f"{choice.n_seeds} seeds" for choice in choices)),
        [(found[0].hypothesis, *map(_power, found)) for found in by_hypothesis],
    )


def _detectable(found: PowerForecast, outcome: str) -> str:
    if math.isnan(found.detectable):
        return "unknown"
    if math.isinf(found.detectable):
        return "none"
    return f"{difference_text(found.detectable, outcome, signed=False)} {unit_of(outcome)}"


def _power(found: PowerForecast) -> str:
    if not found.reachable:
        return "untestable"
    return "unknown" if math.isnan(found.power) else f"{100 * found.power:.0f} %"


def _power_document(power: Sequence[PowerForecast]) -> list[dict[str, Any]]:
    return [
        {
            **found._asdict(),
            "power": found.power,
            "detectable": found.detectable,
        }
        for found in power
    ]


def _greedy_document(bound: GreedyBound | None) -> dict[str, Any] | None:
    if bound is None:
        return None
    return {
        "n_arms_at_most": bound.n_arms,
        "n_runs_at_most": bound.n_runs,
        "seconds": bound.seconds,
        "cost": _cost_document(bound.cost),
    }


def _cost_document(cost: Cost | None) -> dict[str, Any] | None:
    if cost is None:
        return None
    return {"hours": cost.hours, "low": cost.low, "high": cost.high, "unit": cost.unit}


def _cost(cost: Cost) -> str:
    interval = "" if cost.low == cost.high else f" ({cost.low:.3g} to {cost.high:.3g})"
    return f"{cost.hours:.3g} {cost.unit}-hours{interval}"


def _changes(changed: Mapping[str, Sequence[Any]]) -> list[str]:
    return [f"{path} {json.dumps(a)} → {json.dumps(b)}" for path, (a, b) in changed.items()]


def _seconds(value: float | None) -> str:
    return "an unknown time" if value is None else time_text(value)
