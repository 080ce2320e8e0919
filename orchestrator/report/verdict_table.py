"""The verdicts of an ablation as one tidy table."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict

import pandas as pd

from orchestrator.report.wording import explain, first_sentence, test_title
from orchestrator.verdicts.evidence import ComparedArm
from orchestrator.verdicts.verdicts import Verdict


def verdicts_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row per hypothesis.

    Effects and intervals are ``to`` minus ``from``; ``claimed_effect`` and ``upper_bound``
    (one-sided, with the error ``bound_error``) are in the claimed direction. If looks are planned,
    ``corrected_effect``, ``corrected_low`` and ``corrected_high`` are corrected for stopping early.
    """
    rows = []
    for verdict in verdicts:
        hypothesis, evidence = verdict.hypothesis, verdict.evidence
        shown = evidence.shown
        rows.append(
            {
                "hypothesis": verdict.name,
                "verdict": verdict.word,
                "reason": verdict.reason,
                "strong": verdict.strong,
                "mostly_learned_nothing": verdict.mostly_learned_nothing,
                "exploratory": verdict.exploratory,
                "registered": not verdict.unregistered,
                "claim": hypothesis.claim,
                "outcome": hypothesis.outcome,
                "direction": hypothesis.direction,
                "margin": hypothesis.margin,
                "effect": shown.effect,
                "low": shown.interval.low,
                "high": shown.interval.high,
                "interval": f"95 % {evidence.interval_name}",
                **_corrected(verdict),
                "bound_low": shown.bounds.low,
                "bound_high": shown.bounds.high,
                "claimed_effect": verdict.claimed_effect,
                "upper_bound": verdict.claimed_bounds.high,
                "p": evidence.p if evidence.scenarios else math.nan,
                "p_adjusted": math.nan if verdict.p_adjusted is None else verdict.p_adjusted,
                "test": test_title(verdict),
                "correction": verdict.correction.method,
                "family": verdict.correction.family,
                "n_family": verdict.n_family,
                "alpha": verdict.alpha,
                "look": verdict.look,
                "n_looks": verdict.n_looks,
                "bound_error": evidence.bound_error,
                "n_seeds": len(evidence.differences),
                "n_seeds_planned": evidence.cells[0].n_planned,
                "n_seeds_as_claimed": verdict.wins,
                "seed_correlation": evidence.pairing.correlation,
                "blocking_saved": evidence.pairing.saved,
                "detectable_effect": verdict.detectable,
                "seeds_needed": verdict.seeds_needed,
                "arms": json.dumps([_cell_row(cell) for cell in evidence.cells]),
                "differences": json.dumps({str(k): v for k, v in evidence.differences.items()}),
                "caveats": json.dumps(list(verdict.caveats), ensure_ascii=False),
                "finding": first_sentence(verdict),
                "decision": explain(verdict),
            }
        )
    table = pd.DataFrame(rows, columns=list(rows[0]) if rows else ["hypothesis", "verdict"])
    return table.astype({"seeds_needed": "Int64"}) if rows else table


def _corrected(verdict: Verdict) -> dict[str, float]:
    if verdict.rule is None:
        return {}
    low, high = verdict.corrected_interval or (math.nan, math.nan)
    effect = math.nan if verdict.corrected_effect is None else verdict.corrected_effect
    return {"corrected_effect": effect, "corrected_low": low, "corrected_high": high}


def _cell_row(cell: ComparedArm) -> dict[str, str | float | None]:
    return {**asdict(cell), "mean": None if math.isnan(cell.mean) else cell.mean}
