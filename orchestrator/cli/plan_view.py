"""The tables and lines that `plan` prints, and its document for ``--json``."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console

from orchestrator.cli.designs_view import print_designs, recommendation
from orchestrator.cli.trainer_view import say_trainer
from orchestrator.driver.budget import budget_text
from orchestrator.driver.cost import Cost
from orchestrator.driver.preview import Preview, SeedChoice
from orchestrator.driver.priors import Prior
from orchestrator.driver.remarks import added_texts
from orchestrator.execute.memory_limits import FreeMemory
from orchestrator.plan.contrasts import CleanContrast
from orchestrator.plan.document import ArmEntry, aliases_of, arm_entries
from orchestrator.plan.foreign_data import NOT_IDENTIFIED
from orchestrator.spec.claim_text import KEEPS_A_CLAIM
from orchestrator.spec.claims import looks_of, plans_looks
from orchestrator.spec.fraction import FractionDocument
from orchestrator.spec.promises import promised_less
from orchestrator.spec.units import difference_text, percent, unit_of
from orchestrator.stats.power_forecast import PowerForecast
from orchestrator.store.ledger import with_result
from orchestrator.terminal import finite, print_table, say_to, time_text


def preview_document(seen: Preview) -> dict[str, Any]:
    """A preview as JSON has it; numbers that are unknown or infinite are None.

    Arms, aliases and contrasts are entries of the plan document.
    """
    plan, recorded = seen.plan, with_result(seen.records)
    spec, greedy, aliases = plan.loaded.spec, seen.greedy, aliases_of(plan.loaded.spec)
    to_train = {pack.pack_id: len(pack.runs) for pack in seen.packs}
    forecast = asdict(seen.forecast)
    pack_seconds = forecast.pop("pack_seconds")
    document = {
        "name": spec.name,
        "question": spec.question,
        "design": spec.design,
        "n_runs": len(plan.distinct),
        "n_recorded": len(recorded),
        "n_failed": len(seen.records) - len(recorded),
        "n_trained_again": len(seen.again),
        "other_sources": seen.other_sources,
        "machines": list(seen.machines),
        "changed_data": [asdict(one) for one in seen.changed_data],
        "promised_less": list(promised_less(spec.trainer, spec.extra_arms)),
        "arms": [arm.model_dump(mode="json") for arm in arm_entries(plan.loaded)],
        "aliases": aliases and asdict(aliases),
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
                "forecast_seconds": pack_seconds.get(pack.pack_id),
            }
            for pack in plan.packs
        ],
        "memory": _memory_document(seen),
        "forecast": forecast,
        "budget": seen.budget and asdict(seen.budget),
        "greedy": greedy
        and {
            "n_arms_at_most": greedy.n_arms,
            "n_runs_at_most": greedy.n_runs,
            "seconds": greedy.seconds,
            "cost": greedy.cost and asdict(greedy.cost),
        },
        "contrasts": [proof.model_dump(mode="json") for proof in plan.contrasts],
        "untestable": seen.untestable,
        "what_counts": seen.what_counts,
        "cautions": seen.cautions,
        "mismatched": seen.mismatched,
        "stuck": seen.stuck,
        "lock_changed": seen.lock_changed,
        "seeds_added": {n: added.model_dump(mode="json") for n, added in seen.seeds_added.items()},
        "spreads": {name: asdict(prior) for name, prior in seen.spreads.items()},
        "rates": {name: asdict(prior) for name, prior in seen.rates.items()},
        "power_alpha": looks_of(spec)[-1].alpha,
        "power": [power._asdict() for power in seen.power],
        "n_not_needed": seen.n_not_needed,
        "next_look_seeds": seen.next_look,
        "designs": [
            {**one.expected._asdict(), "hours": one.hours, "fixed_hours": one.fixed_hours}
            for one in seen.designs
        ],
        "recommended": recommendation(seen.designs) if seen.designs else "",
        "choices": [
            {**asdict(choice), "power": [power._asdict() for power in choice.power]}
            for choice in seen.choices
        ],
    }
    return dict(finite(document))


def print_preview(console: Console, seen: Preview) -> None:
    """Print arms, packs, contrasts, power and cost."""
    say, spec = say_to(console), seen.plan.loaded.spec
    recorded = with_result(seen.records)
    say(f"{spec.name}: {spec.question}")
    n_runs = Counter(run.arm_id for run in seen.plan.runs)
    n_recorded = Counter(run.arm_id for run in seen.plan.runs if run.run_id in recorded)
    arms = [
        (arm.name, _kind(arm), n_runs[arm.arm_id], n_recorded[arm.arm_id])
        for arm in arm_entries(seen.plan.loaded)
    ]
    print_table(console, ("arm", "", "runs", "recorded"), arms)
    aliases = aliases_of(spec)
    if aliases is not None:
        _print_aliases(console, aliases)
    to_train = {pack.pack_id: len(pack.runs) for pack in seen.packs}
    packs = [
        (
            *(pack.pack_id[:6], pack.seed, len(pack.runs), to_train.get(pack.pack_id, 0)),
            _seconds(seen.forecast.pack_seconds.get(pack.pack_id))
            if pack.pack_id in to_train
            else "",
        )
        for pack in seen.plan.packs
    ]
    print_table(console, ("pack", "seed", "runs", "to train", "time"), packs)
    contrasts = [
        (proof.hypothesis, proof.from_arm, proof.to_arm, ", ".join(_changes(proof)))
        for proof in seen.plan.contrasts
    ]
    print_table(console, ("hypothesis", "from", "to", "the only settings that differ"), contrasts)
    _print_trainer(console, seen)
    _print_power(console, seen)
    for name, reason in seen.untestable.items():
        say(f"untestable: {name}: {reason}")
    for name, sentence in seen.what_counts.items():
        say(f"{name}: {sentence}")
    for name, reason in (*seen.mismatched.items(), *seen.stuck.items()):
        say(f"caution: {name}: {reason}")
    for name, reason in seen.cautions.items():
        say(f"note: {name}: {reason}")
    for name in seen.lock_changed:
        say(f"exploratory: {name}: written or changed after runs that decide it were recorded")
    for text in added_texts(seen.seeds_added):
        say(text)
    print_designs(console, seen)
    _print_choices(console, seen.choices)
    if (seen.untestable or seen.choices) and not seen.seeds_added:
        say(f"seeds can be added to the list until the first run; after it, {KEEPS_A_CLAIM}")
    _print_cost(console, seen)


def _print_trainer(console: Console, seen: Preview) -> None:
    say, spec = say_to(console), seen.plan.loaded.spec
    for data in dict.fromkeys(run.data for run in seen.plan.runs if run.data.stated):
        is_named = data.stated not in (data.path, NOT_IDENTIFIED)
        say(f"recordings: {f'{data.path} ({data.stated})' if is_named else data.stated}")
    say_trainer(seen.plan.loaded.base, "run", promised_less(spec.trainer, spec.extra_arms), say)


def _print_cost(console: Console, seen: Preview) -> None:
    say, n_recorded = say_to(console), len(with_result(seen.records))
    n_failed = len(seen.records) - n_recorded
    say(
        f"{len(seen.plan.distinct)} runs in {len(seen.plan.packs)} packs; {n_recorded} recorded"
        + (f", {n_failed} failed before" if n_failed else "")
        + (f", {seen.n_not_needed} not needed" if seen.n_not_needed else "")
    )
    if seen.again:
        say(
            f"{seen.other_sources}; `run` trains them again and keeps their records, "
            "`run --allow-mixed` uses them instead, and claims that mix sources are exploratory"
        )
    elif seen.other_sources:
        say(f"{seen.other_sources}; they are used (--allow-mixed)")
    for text in seen.machines:
        say(text)
    for changed in seen.changed_data:
        say(f"{changed.text}; `run` asks first, or takes --accept-changes")
    if memory := _memory_text(seen):
        say(memory)
    forecast = seen.forecast
    if not seen.packs:
        say(f"nothing to train: {forecast.source}")
    elif forecast.seconds is None:
        say(f"time and cost of training are unknown ({forecast.source})")
    else:
        cost = f", {_cost(forecast.cost)}" if forecast.cost is not None else ""
        say(f"training takes about {time_text(forecast.seconds)}{cost} ({forecast.source})")
    if seen.budget is not None:
        say(f"time limit {budget_text(seen.budget)}")
    if seen.greedy is not None and seen.greedy.n_arms:
        more = seen.greedy
        cost = f", {_cost(more.cost)}" if more.cost is not None else ""
        say(
            f"the greedy path adds at most {more.n_arms} arms and {more.n_runs} runs: "
            f"{_seconds(more.seconds)}{cost}, if no arm costs more than the most expensive above"
        )


def _memory_document(seen: Preview) -> dict[str, Any] | None:
    """What packs may hold, by shape; None if it is unknown."""
    free, shapes = seen.free_memory, [one for one in seen.memory if one.estimate is not None]
    if free is None or not shapes:
        return None
    return {
        "free_bytes": free.n_bytes,
        "source": free.source,
        "packs_per_gpu": free.n_sharing if free.source == "on the GPU" else None,
        "shapes": [
            {
                "max_runs_per_pack": one.n_runs,
                "n_fitting": one.n_fitting,
                "bytes_per_run": one.estimate and one.estimate.per_run,
                "bytes_shared": one.estimate and one.estimate.shared,
                "measured": one.is_measured,
            }
            for one in shapes
        ],
    }


def _memory_text(seen: Preview) -> str:
    """How many runs a pack may hold, and why; empty if it is unknown."""
    free = seen.free_memory
    known = [(one.n_runs, one, one.estimate) for one in seen.memory if one.estimate is not None]
    if free is None or not known:
        return ""
    numbers = sorted({n_runs for n_runs, _, _ in known})
    most = " to ".join(map(str, dict.fromkeys((numbers[0], numbers[-1]))))
    _, largest, estimate = max(known, key=lambda item: item[2].per_run)
    how = "measured" if largest.is_measured else "estimated"
    text = (
        f"a pack holds up to {most} {'run' if numbers == [1] else 'runs'}: about "
        f"{estimate.per_run / 2**30:.2g} GiB a run ({how}), {free.n_bytes / 2**30:.3g} GiB free "
        f"{free.source}"
    )
    if not largest.n_fitting:
        return f"{text}, which may be too little for even one run"
    return text + _gpu_text(free, estimate.of(largest.n_runs))


def _gpu_text(free: FreeMemory, pack_bytes: float) -> str:
    """How many packs of the largest shape share a GPU, and how many would fit."""
    if free.source != "on the GPU":
        return ""
    n_fitting = max(1, int(free.n_bytes * free.n_sharing / pack_bytes))
    share = math.floor(100 / n_fitting) / 100
    now = f"; {free.n_sharing} at a time on a GPU, which holds {n_fitting} of them"
    wanted = n_fitting > free.n_sharing and share >= 0.01
    return f"{now} (--gpus-per-pack {share:g})" if wanted else now


def _kind(arm: ArmEntry) -> str:
    if arm.candidate is not None:
        return f"greedy, round {arm.candidate.round}"
    return "" if arm.in_design else "extra"


def _print_aliases(console: Console, aliases: FractionDocument) -> None:
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
    print_table(console, ("effect", "aliased with"), rows)


def _print_power(console: Console, seen: Preview) -> None:
    """Print the power of each hypothesis with the seeds that decide it, and its assumptions."""
    say, hypotheses = say_to(console), seen.plan.loaded.spec.hypotheses
    rows = []
    for power in seen.power:
        claim = hypotheses[power.hypothesis]
        margin = difference_text(claim.margin, claim.outcome, signed=False)
        detectable = _detectable(power, claim.outcome)
        unit = unit_of(claim.outcome)
        rows.append(
            (power.hypothesis, f"{margin} {unit}", detectable, power.n_seeds, _power(power))
        )
    titles = ("hypothesis", "margin", "detectable at 80 % power", "seeds", "power")
    print_table(console, titles, rows)
    for outcome, spread in seen.spreads.items():
        text = _spread_text(spread, outcome)
        say(f"standard deviation over seeds of a difference in {outcome}: {text}")
    for power in seen.power:
        if power.hypothesis in seen.rates:
            outcome = hypotheses[power.hypothesis].outcome
            say(_rate_text(power, seen.rates[power.hypothesis], outcome))
    if plans_looks(seen.plan.loaded.spec):
        last = looks_of(seen.plan.loaded.spec)[-1]
        say(
            f"the power counts the last look alone, at its α = {last.alpha:g}; earlier looks add "
            "to it"
        )


def _spread_text(spread: Prior, outcome: str) -> str:
    if not math.isfinite(spread.value):
        return spread.source
    text = difference_text(spread.value, outcome, signed=False)
    return f"{text} {unit_of(outcome)} ({spread.source})"


def _rate_text(power: PowerForecast, rate: Prior, outcome: str) -> str:
    """The assumption behind the power of a claim about shares of runs."""
    where = f"{power.hypothesis}: share of {outcome} runs in the reference arms"
    if math.isfinite(rate.value):
        text = f"{where}: {percent(rate.value, 0)} ({rate.source})"
        unused = "; for a claim of no difference, the power assumes no such run in any arm"
        return text + (unused if power.basis == "best case" else "")
    best = "the power assumes the best case, 0 % or 100 %"
    return f"{where}: {rate.source}; {best if power.basis == 'best case' else 'power unknown'}"


def _print_choices(console: Console, choices: Sequence[SeedChoice]) -> None:
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
    print_table(console, ("seeds", "runs", "recorded", "cost of training", "wall time"), rows)
    by_hypothesis = zip(*(choice.power for choice in choices), strict=True)
    print_table(
        console,
        ("power of hypothesis", *(f"{choice.n_seeds} seeds" for choice in choices)),
        [(powers[0].hypothesis, *map(_power, powers)) for powers in by_hypothesis],
    )


def _detectable(power: PowerForecast, outcome: str) -> str:
    if math.isnan(power.detectable):
        return "unknown"
    if math.isinf(power.detectable):
        return "none"
    return f"{difference_text(power.detectable, outcome, signed=False)} {unit_of(outcome)}"


def _power(power: PowerForecast) -> str:
    if not power.reachable:
        return "untestable"
    return "unknown" if math.isnan(power.power) else percent(power.power, 0)


def _cost(cost: Cost) -> str:
    interval = "" if cost.low == cost.high else f" ({cost.low:.3g} to {cost.high:.3g})"
    return f"{cost.hours:.3g} {cost.unit}-hours{interval}"


def _changes(proof: CleanContrast) -> list[str]:
    return [f"{path} {json.dumps(a)} → {json.dumps(b)}" for path, (a, b) in proof.changed.items()]


def _seconds(value: float | None) -> str:
    return "unknown time" if value is None else time_text(value)
