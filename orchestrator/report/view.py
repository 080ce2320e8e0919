"""What a report says, section by section, as plain text: what the two templates lay out."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.plan.document import PlanDocument
from orchestrator.report.cards import Card, make_cards
from orchestrator.report.error_grids import choices_grid, errors_grid, sessions_grid
from orchestrator.report.figures import Saved
from orchestrator.report.greedy import greedy_grid, greedy_notes
from orchestrator.report.grids import (
    Grid,
    aliases_grid,
    arms_grid,
    changes_text,
    controls_grid,
    criteria_grid,
    data_grid,
    effects_grid,
    listed,
    machine_grid,
    steps_text,
    varied_grid,
)
from orchestrator.report.wording import explain, first_sentence, verdict_title
from orchestrator.spec.claims import families_of
from orchestrator.spec.load import AblationSpec
from orchestrator.spec.units import difference_text, noun, p_value, percent, unit_of
from orchestrator.tables.tables import Tables
from orchestrator.verdicts.controls import Control, NoiseFloor, seed_noise
from orchestrator.verdicts.criteria import CriterionResult
from orchestrator.verdicts.greedy import Round
from orchestrator.verdicts.verdicts import Verdict


class Found(NamedTuple):
    """Everything a report is made from.

    Attributes:
        plan: the plan document.
        configs: arm → the configuration it was trained with, for the arms recorded so far.
        tables: the tables.
        verdicts: one a hypothesis.
        figures: already on disk below the ablation's folder.
        criteria: one a criterion and arm.
        controls: outcome → how far each control came out from its twin.
        floors: outcome → noise floor.
        rounds: of the greedy path, if there is one.
    """

    plan: PlanDocument
    configs: Mapping[str, Mapping[str, Any]]
    tables: Tables
    verdicts: Sequence[Verdict]
    figures: Sequence[Saved]
    criteria: Sequence[CriterionResult]
    controls: Mapping[str, Sequence[Control]]
    floors: Mapping[str, NoiseFloor]
    rounds: Sequence[Round] = ()


class Answer(NamedTuple):
    """One hypothesis: its verdict word, and the two sentences that carry it."""

    name: str
    claim: str
    word: str
    title: str
    finding: str
    decision: str


class Failure(NamedTuple):
    """A run that did not reach its budget."""

    title: str
    traceback: str


class View(NamedTuple):
    """A report's content, in order; a section without content is left out."""

    name: str
    question: str
    summary: str
    warnings: tuple[str, ...]
    answers: tuple[Answer, ...]
    explored: tuple[Answer, ...]
    criteria: Grid | None
    effects: Grid | None
    explored_effects: Grid | None
    greedy: Grid | None
    greedy_notes: tuple[str, ...]
    figures: tuple[Saved, ...]
    aliases: Grid | None
    arms: Grid
    choices: Grid | None
    errors: Grid | None
    sessions: Grid | None
    noise: tuple[str, ...]
    controls: Grid | None
    cards: tuple[Card, ...]
    cards_left_out: int
    varied: Grid
    common: str
    rules: tuple[str, ...]
    data: Grid
    failures: tuple[Failure, ...]
    limits: tuple[str, ...]
    machine: Grid


def make_view(found: Found) -> View:
    """Put every section into words."""
    plan, tables, spec = found.plan, found.tables, found.plan.spec
    confirmatory = [v for v in found.verdicts if not v.hypothesis.exploratory]
    explored = [v for v in found.verdicts if v.hypothesis.exploratory]
    cards = make_cards(plan, found.configs, tables, found.criteria)
    noise = (found.floors, found.controls)
    has_controls = any(found.controls.values())
    return View(
        name=plan.name,
        question=" ".join(plan.question.split()),
        summary=_summary(plan, spec, tables.runs),
        warnings=_warnings(plan, tables.runs),
        answers=tuple(make_answer(verdict) for verdict in confirmatory),
        explored=tuple(make_answer(verdict) for verdict in explored),
        criteria=criteria_grid(found.criteria) if found.criteria else None,
        effects=effects_grid(confirmatory, *noise, "Holm") if confirmatory else None,
        explored_effects=effects_grid(explored, *noise, "BH") if explored else None,
        greedy=greedy_grid(plan.arms, spec, tables.runs, found.rounds) if found.rounds else None,
        greedy_notes=greedy_notes(spec, found.rounds) if spec.greedy else (),
        figures=tuple(found.figures),
        aliases=aliases_grid(plan.aliases) if plan.aliases else None,
        arms=arms_grid(tables.arms),
        choices=choices_grid(tables.arms),
        errors=errors_grid(tables.confusions),
        sessions=sessions_grid(tables.sessions),
        noise=_noise(tables.runs, found.floors, has_controls, len(spec.seeds)),
        controls=controls_grid(found.controls) if has_controls else None,
        cards=cards,
        cards_left_out=len(plan.arms) - len(cards),
        varied=varied_grid(spec),
        common=changes_text(spec.set),
        rules=_rules(spec, found.verdicts),
        data=data_grid(plan, tables.runs),
        failures=_failures(tables.failures),
        limits=_limits(plan, spec, tables.runs),
        machine=machine_grid(tables.runs),
    )


def _summary(plan: PlanDocument, spec: AblationSpec, runs: pd.DataFrame) -> str:
    n_arms, n_seeds = len(plan.arms), len(spec.seeds)
    n_recorded = int((~runs["outcome"].isin(["missing", "failed"])).sum())
    return (
        f"{n_recorded} of {len(runs)} runs have a result: {n_arms} arms × {n_seeds} "
        f"seed{'s' * (n_seeds != 1)}, {steps_text(runs)} each, on {plan.data_name}."
    )


def _warnings(plan: PlanDocument, runs: pd.DataFrame) -> tuple[str, ...]:
    found = []
    n_missing = int((runs["outcome"] == "missing").sum())
    n_failed = int((runs["outcome"] == "failed").sum())
    if n_missing:
        found.append(
            f"{len(runs) - n_missing} of {len(runs)} runs are recorded. No verdict is drawn from "
            "arms with missing runs; start the same command again to finish."
        )
    if n_failed:
        found.append(
            f"{n_failed} of {len(runs)} runs failed for reasons other than their numbers; a "
            "verdict on their arms stands only if it holds whatever they would have given."
        )
    if plan.lock_changed:
        names = ", ".join(plan.lock_changed)
        found.append(f"Altered after runs of theirs existed, hence exploratory: {names}.")
    return tuple(found)


def make_answer(verdict: Verdict) -> Answer:
    """One hypothesis in words."""
    return Answer(
        name=verdict.name,
        claim=" ".join(verdict.hypothesis.claim.split()),
        word=verdict.word,
        title=verdict_title(verdict) + (", exploratory" if verdict.exploratory else ""),
        finding=first_sentence(verdict),
        decision=explain(verdict),
    )


def _noise(
    runs: pd.DataFrame, floors: Mapping[str, NoiseFloor], has_controls: bool, n_seeds: int
) -> tuple[str, ...]:
    """What two runs of one configuration differ by, outcome by outcome."""
    found = []
    spread = seed_noise(runs)
    if spread is not None:
        found.append(
            "Between seeds alone the final PER varies by "
            f"{difference_text(spread, 'per', signed=False)} points (standard deviation, pooled "
            "over the arms whose runs are all ok)."
        )
    for outcome, floor in floors.items():
        if floor.source == "none":
            continue
        unit = unit_of(outcome)
        whence = (
            f"from {floor.n} differences between an arm and its repetition on fresh seeds"
            if floor.source == "controls"
            else "from the spread over seeds"
        )
        text = (
            f"Noise floor of {noun(outcome)}: ±"
            f"{difference_text(floor.half_width, outcome, signed=False)} {unit} between two single "
            f"runs of the same configuration in 95 of 100 cases ({whence}), ±"
            f"{difference_text(floor.of_mean(n_seeds), outcome, signed=False)} for a mean over "
            f"{n_seeds} seeds"
        )
        if floor.same_seed is not None:
            again = difference_text(floor.same_seed, outcome, signed=False)
            text += (
                f"; the same seed trained twice differs by at most {again} {unit} "
                f"({floor.n_same_seed} seeds)"
            )
        found.append(f"{text}.")
    if not has_controls and found:
        found.append(
            "The ablation has no control (an arm repeated on fresh seeds, or with the same seeds), "
            "so the spread over seeds stands in for one."
        )
    return tuple(found)


def _rules(spec: AblationSpec, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    collapse, families = spec.collapse, families_of(spec)
    decided = [
        f"Supported: Holm-adjusted p below α = {p_value(spec.alpha)} and an estimate of at least "
        "the margin; strongly, if the whole 95 % interval is beyond it.",
        "Refuted: the one-sided 95 % upper bound of the claimed effect is below the margin. "
        "Equivalent: both one-sided bounds lie inside ± the margin; reversed: the bound is below "
        "zero; negligible: otherwise. A large p never refutes.",
        "Inconclusive: neither of the two.",
        "The same seed means the same initial weights, trials, noise and dropout masks in all arms "
        "of one shape, so effects are taken per seed. Arms that differ in batch, width, patches, "
        "cut or smoothing share the seed, but not every draw.",
        "Tests are two-sided: sign-flip for PER and for interactions, Boschloo for collapse, "
        "log-rank permutation for steps to escape; exact, but for sign flips of more than 14 seeds "
        "and log-ranks of more than 8 a side, which take a fixed Monte-Carlo sample.",
        "Intervals: paired t over seeds; for shares of runs Newcombe–Wilson. One-sided bounds: t "
        "with Johnson's term for skewness; for two shares checked exactly, for differences of "
        "differences and averages of shares from Clopper–Pearson limits.",
    ]
    rules = [
        *(decided if verdicts else []),
        "A diverged run counts as collapsed, with a PER of 100 %, never escaped. A collapsed run "
        "keeps the PER it was measured at.",
        "On the blank plateau: emitted length at most "
        f"{percent(collapse.emitted_ratio, 0)} of the target length, or at most "
        f"{collapse.n_distinct} distinct phonemes emitted. Collapsed: the last "
        f"{collapse.n_evaluations} evaluations all on the plateau. Escape: the first evaluation "
        "after the last one on the plateau.",
    ]
    rules += [
        f"Corrected together (family {family}): {', '.join(names)}."
        for family, names in families.items()
    ]
    claims = spec.hypotheses.values()
    if any(hypothesis.direction == "none" for hypothesis in claims):
        rules.append(
            "A claim of no difference is supported when two one-sided tests put the effect inside "
            "± the margin, and refuted when the effect is shown to be at least the margin."
        )
    if any(hypothesis.exploratory for hypothesis in claims):
        rules.append(
            "Exploratory hypotheses are corrected together by Benjamini–Hochberg, apart from all "
            "confirmatory ones."
        )
    if spec.looks:
        looks = ", ".join(f"{p_value(look.alpha)} at {look.seeds} seeds" for look in spec.looks)
        rules.append(
            f"Planned looks share α: {looks}; they share the 5 % of each refuting bound alike. "
            "A claim decided at one look keeps its verdict; between looks nothing is tested."
        )
    if spec.criteria:
        rules.append(
            "A diverged run meets no criterion, but for a value reached before it diverged; "
            "'reaches' counts from above, for emitted_ratio and n_distinct from below and only "
            "after the run has left the blank plateau for good, as an untrained decoder emits "
            "plenty."
        )
    if verdicts:
        rules.append(
            "Claims, margins, seeds, budgets and α were hashed and stored before the runs they are "
            "decided by; a hypothesis written or altered after that is called exploratory."
        )
    return tuple(rules)


def _failures(failures: pd.DataFrame) -> tuple[Failure, ...]:
    found = []
    for row in failures.to_dict("records"):
        how = "diverged" if row["outcome"] == "diverged" else "failed"
        title = (
            f"{row['arm']}, seed {row['seed']}: {how} after {row['n_steps_done']:,} steps "
            f"(run {row['run_id']})"
        )
        found.append(Failure(title, row["traceback_end"]))
    return tuple(found)


def _limits(plan: PlanDocument, spec: AblationSpec, runs: pd.DataFrame) -> tuple[str, ...]:
    every = runs["eval_every_steps"].dropna().unique()
    limits = [
        f"Collapse means: within {steps_text(runs)}. The same settings given more steps may "
        "escape.",
        f"The verdicts hold for {plan.data_name}, this model size and this budget. Nothing here "
        "says that they carry over to other recordings, sizes or budgets.",
        "Intervals and tests describe the variation between seeds, not between data sets.",
        "The final PER is that of the last evaluation; the best one decides nothing.",
    ]
    if "synthetic" in plan.data_name:
        limits.insert(2, "The recordings are synthetic: no neural data were decoded.")
    if any(h.outcome == "escape_step" for h in spec.hypotheses.values()):
        limits.append(
            f"Steps to escape are known to the nearest evaluation, every {listed(every)} steps."
        )
    return tuple(limits)
