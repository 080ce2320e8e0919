"""The one-line answer of an ablation, and the effects that no hypothesis asked about."""

from pathlib import Path
from typing import Any

from decoder.atomic import write_atomically
from orchestrator.report.evaluation import ReportInput
from orchestrator.report.prose import prose
from orchestrator.spec.claims import is_equivalence
from orchestrator.stats.run_values import learned_nothing
from orchestrator.terminal import json_text
from orchestrator.verdicts.unasked import Unasked

_MOST_NAMED = 2  # changes that no hypothesis asked about and that the line names


def one_line_answer(given: ReportInput) -> str:
    """Which factor did it and by how much, the best arm, and what else turned out to help."""
    confirmed = [
        verdict
        for verdict in given.verdicts
        if verdict.word == "supported"
        and not (verdict.altered or verdict.mixed or verdict.hypothesis.exploratory)
        and not is_equivalence(verdict.hypothesis)
    ]
    confirmed.sort(key=lambda v: v.claimed_effect / v.hypothesis.margin, reverse=True)
    helped: dict[tuple[str, ...], list[Unasked]] = {}  # a change → its effects, the largest first
    for one in given.unasked:
        if one.effect < 0:
            change = (one.factor, one.from_level, one.to_level, one.outcome)
            helped.setdefault(change, []).append(one)
    named = list(helped.values())[:_MOST_NAMED]
    return " ".join(
        prose(
            "answer",
            confirmed=confirmed,
            words=[verdict.word for verdict in given.verdicts],
            best=_best_arm(given),
            helped=named,
            n_unnamed=len(given.unasked) - sum(map(len, named)),
            judged=given.plan.judged is not None,
        )
    )


def answer_document(given: ReportInput) -> dict[str, Any]:
    """The answer as JSON has it: the line, the word on each hypothesis, and what no one asked."""
    return {
        "answer": one_line_answer(given),
        "verdicts": {
            verdict.name: {
                "verdict": verdict.word,
                "reason": verdict.reason,
                "effect": verdict.evidence.shown.effect,
                "exploratory": verdict.exploratory,
                "registered": not verdict.unregistered,
                "caveats": list(verdict.caveats),
            }
            for verdict in given.verdicts
        },
        "seen_not_asked": [one._asdict() for one in given.unasked],
    }


def write_answer(path: Path, given: ReportInput) -> Path:
    """Write ``verdicts.json``."""
    write_atomically(path, json_text(answer_document(given)).encode() + b"\n")
    return path


def _best_arm(given: ReportInput) -> tuple[str, float] | None:
    """The arm with the lowest mean PER, of those of which more than half the runs learned."""
    runs = given.tables.runs
    whole = runs.groupby("arm")["per"].transform(lambda per: per.notna().all())
    runs = runs[whole].assign(stuck=learned_nothing(runs["outcome"], runs["per"])[whole])
    means = runs.groupby("arm").agg({"per": "mean", "stuck": "mean"})
    means = means[means["stuck"] < 0.5]
    if means.empty:
        return None
    arm = str(means["per"].idxmin())
    return arm, float(means["per"].min())
