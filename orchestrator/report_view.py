"""What a report says, section by section, as plain text: what the two templates lay out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.figures import Saved
from orchestrator.spec import AblationSpec, Changes
from orchestrator.tables import Tables, data_name, spec_of
from orchestrator.verdicts import Verdict, families_of
from orchestrator.wording import (
    UNIT,
    amount,
    contrast_text,
    explain,
    first_sentence,
    interval_text,
    number,
    p_value,
    percent,
    test_title,
    verdict_title,
    where_text,
)


class Answer(NamedTuple):
    """One hypothesis: its verdict word, and the two sentences that carry it."""

    name: str
    claim: str
    word: str
    title: str
    finding: str
    decision: str


class Grid(NamedTuple):
    """A table of text; `numeric` tells the columns that are set to the right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]


class Failure(NamedTuple):
    """A run that did not reach its budget."""

    title: str
    traceback: str


class View(NamedTuple):
    """A report's content, in order."""

    name: str
    question: str
    summary: str
    warnings: tuple[str, ...]
    answers: tuple[Answer, ...]
    effects: Grid
    figures: tuple[Saved, ...]
    arms: Grid
    noise: str
    varied: Grid
    common: str
    rules: tuple[str, ...]
    data: Grid
    failures: tuple[Failure, ...]
    limits: tuple[str, ...]
    machine: Grid


def make_view(
    plan: Mapping[str, Any],
    tables: Tables,
    verdicts: Sequence[Verdict],
    figures: Sequence[Saved],
    noise: float | None,
) -> View:
    """Put every section into words.

    Args:
        plan: the plan document.
        tables: its tables.
        verdicts: its verdicts.
        figures: the figures drawn.
        noise: standard deviation of the final PER over seeds; None if unknown.
    """
    spec = spec_of(plan)
    return View(
        name=plan["name"],
        question=" ".join(str(plan["question"]).split()),
        summary=_summary(plan, spec, tables.runs),
        warnings=_warnings(plan, tables.runs),
        answers=tuple(_answer(verdict) for verdict in verdicts),
        effects=_effects(verdicts),
        figures=tuple(figures),
        arms=_arms(tables.arms),
        noise=_noise(noise),
        varied=_varied(spec),
        common=_changes_text(spec.set),
        rules=_rules(spec, verdicts),
        data=_data(plan, tables.runs),
        failures=_failures(tables.failures),
        limits=_limits(plan, spec, tables.runs),
        machine=_machine(tables.runs),
    )


def _summary(plan: Mapping[str, Any], spec: AblationSpec, runs: pd.DataFrame) -> str:
    n_arms, n_seeds = len(plan["arms"]), len(spec.seeds)
    n_recorded = int((~runs["outcome"].isin(["missing", "failed"])).sum())
    return (
        f"{n_recorded} of {len(runs)} runs have a result: {n_arms} arms × {n_seeds} "
        f"seed{'s' * (n_seeds != 1)}, {_steps(runs)} each, on {data_name(plan)}."
    )


def _warnings(plan: Mapping[str, Any], runs: pd.DataFrame) -> tuple[str, ...]:
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
    if plan["lock_changed"]:
        names = ", ".join(plan["lock_changed"])
        found.append(f"Altered after runs of theirs existed, hence exploratory: {names}.")
    return tuple(found)


def _answer(verdict: Verdict) -> Answer:
    return Answer(
        name=verdict.name,
        claim=" ".join(verdict.hypothesis.claim.split()),
        word=verdict.word,
        title=verdict_title(verdict) + (", exploratory" if verdict.exploratory else ""),
        finding=first_sentence(verdict),
        decision=explain(verdict),
    )


def _effects(verdicts: Sequence[Verdict]) -> Grid:
    columns = (
        ("hypothesis", False),
        ("verdict", False),
        ("effect", True),
        ("95 % interval", True),
        ("margin", True),
        ("unit", False),
        ("p", True),
        ("p, Holm", True),
        ("test", False),
        ("seeds as claimed", True),
        ("contrast", False),
        ("where", False),
    )
    rows = []
    for verdict in verdicts:
        hypothesis, evidence = verdict.hypothesis, verdict.evidence
        outcome = hypothesis.outcome
        sign = "≥ +" if hypothesis.direction == "increase" else "≤ −"
        rows.append(
            (
                verdict.name,
                verdict_title(verdict),
                amount(evidence.shown.effect, outcome),
                interval_text(evidence.shown.interval, outcome),
                sign + amount(hypothesis.margin, outcome, signed=False),
                UNIT[outcome],
                p_value(evidence.p if evidence.scenarios else None),
                p_value(verdict.p_adjusted),
                test_title(verdict),
                f"{verdict.wins} of {len(evidence.differences)}",
                contrast_text(hypothesis),
                where_text(hypothesis) or "–",
            )
        )
    return _grid(columns, rows)


def _arms(arms: pd.DataFrame) -> Grid:
    columns = (
        ("arm", False),
        ("runs", True),
        ("final PER", True),
        ("95 % t interval", True),
        ("median", True),
        ("collapsed", True),
        ("diverged", True),
        ("no result", True),
        ("escaped", True),
        ("steps to escape", True),
        ("emitted / target", True),
    )
    rows = [
        (
            row["arm"],
            str(row["n"]),
            percent(row["per_mean"]),
            _percent_interval(row["per_low"], row["per_high"]),
            percent(row["per_median"]),
            str(row["n_collapsed"]),
            str(row["n_diverged"]),
            str(row["n_failed"] + row["n_missing"]),
            f"{row['n_escaped']}/{row['n']}",
            number(row["escape_step_mean"]),
            number(row["emitted_ratio_mean"], 2),
        )
        for row in arms.to_dict("records")
    ]
    return _grid(columns, rows)


def _noise(noise: float | None) -> str:
    if noise is None:
        return ""
    return (
        f"Between seeds alone the final PER varies by {amount(noise, 'per', signed=False)} points "
        "(standard deviation, pooled over the arms whose runs are all ok). Two single runs of one "
        f"and the same arm differ by up to {amount(2.77 * noise, 'per', signed=False)} points in "
        "95 of 100 cases."
    )


def _varied(spec: AblationSpec) -> Grid:
    rows = [
        (factor, level, _changes_text(changes) or "as in the base")
        for factor, levels in spec.factors.items()
        for level, changes in levels.items()
    ]
    for name, extra in spec.extra_arms.items():
        levels = ", ".join(f"{factor} = {level}" for factor, level in extra.levels.items())
        what = "; ".join(part for part in (levels, _changes_text(extra.set)) if part)
        note = f" ({extra.note})" if extra.note else ""
        rows.append(("extra arm", name, f"{what or 'as in the base'}{note}"))
    return _grid((("factor", False), ("level", False), ("configuration", False)), rows)


def _changes_text(changes: Changes) -> str:
    return ", ".join(f"{path} = {value}" for path, value in changes.items())


def _rules(spec: AblationSpec, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    collapse, families = spec.collapse, families_of(spec)
    rules = [
        f"Supported: Holm-adjusted p below α = {p_value(spec.alpha)} and an estimate of at least "
        "the margin; strongly, if the whole 95 % interval is beyond it.",
        "Refuted: the one-sided 95 % upper bound of the claimed effect is below the margin. "
        "Equivalent: both one-sided bounds lie inside ± the margin; reversed: the bound is below "
        "zero; negligible: otherwise. A large p never refutes.",
        "Inconclusive: neither of the two.",
        "The same seed means the same initial weights, data order and noise in every arm, so "
        "effects are taken per seed. Tests are exact and two-sided: sign-flip for PER and for "
        "interactions, Boschloo for collapse, log-rank permutation for steps to escape.",
        "Intervals: paired t over seeds; for shares of runs Newcombe–Wilson, with one-sided bounds "
        "that are checked exactly.",
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
    if verdicts:
        rules.append(
            "Claims, margins, seeds, budgets and α were hashed and stored before the first run; a "
            "verdict on a hypothesis altered since is called exploratory."
        )
    return tuple(rules)


def _data(plan: Mapping[str, Any], runs: pd.DataFrame) -> Grid:
    rows = []
    for dataset in plan.get("datasets") or [plan["dataset"]]:
        rows += [
            ("recordings", Path(str(dataset["path"])).name),
            ("fingerprint", str(dataset["fingerprint"])),
            (
                "trials",
                f"{dataset['n_train_trials']:,} for training, {dataset['n_val_trials']:,} for "
                f"validation, {len(dataset['sessions'])} sessions",
            ),
        ]
    every = runs["eval_every_steps"].dropna().unique()
    dropped = runs["n_dropped_trials"].dropna()
    spec_file = Path(str(plan["spec_file"]))
    rows += [
        ("budget", f"{_steps(runs)}, validation every {_listed(every)} steps"),
        ("parameters", _listed(runs["n_parameters"].dropna().unique())),
        ("trials without an alignment", _listed(dropped.unique())),
        ("seeds", _listed(str(seed) for seed in plan["spec"]["seeds"])),
        ("ablation file", spec_file.name if spec_file.is_absolute() else str(spec_file)),
    ]
    return _grid((("", False), ("", False)), rows)


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


def _limits(plan: Mapping[str, Any], spec: AblationSpec, runs: pd.DataFrame) -> tuple[str, ...]:
    every = runs["eval_every_steps"].dropna().unique()
    limits = [
        f"Collapse means: within {_steps(runs)}. The same settings given more steps may escape.",
        f"The verdicts hold for {data_name(plan)}, this model size and this budget. Nothing here "
        "says that they carry over to other recordings, sizes or budgets.",
        "Intervals and tests describe the variation between seeds, not between data sets.",
        "The final PER is that of the last evaluation; the best one decides nothing.",
    ]
    if "synthetic" in data_name(plan):
        limits.insert(2, "The recordings are synthetic: no neural data were decoded.")
    if any(h.outcome == "escape_step" for h in spec.hypotheses.values()):
        limits.append(
            f"Steps to escape are known to the nearest evaluation, every {_listed(every)} steps."
        )
    return tuple(limits)


def _machine(runs: pd.DataFrame) -> Grid:
    done = runs.drop_duplicates("run_id")
    seconds = done["timing_run_seconds"].dropna()
    memory = done["host_peak_memory_bytes"].dropna()
    rows = [
        (title, _listed([value for value in done[column].unique() if value]))
        for title, column in (
            ("Python", "host_python"),
            ("PyTorch", "host_torch"),
            ("device", "host_device"),
            ("host", "host_hostname"),
        )
    ]
    rows.append(
        ("code", _listed({_code_text(value): None for value in done["host_code"] if value}))
    )
    if len(seconds):
        rows.append(("training", f"{seconds.sum():,.0f} s, {seconds.mean():.1f} s a run"))
    if len(memory):
        rows.append(("peak memory", f"{memory.max() / 2**20:,.0f} MiB a process"))
    return _grid((("", False), ("", False)), rows)


def _code_text(code: str) -> str:
    """The commit and whether its sources were changed; outside git the hash of the sources."""
    try:
        facts = json.loads(code)
    except ValueError:
        return code
    if not isinstance(facts, dict) or not facts.get("git_commit"):
        digest = facts.get("decoder_sha256") if isinstance(facts, dict) else None
        return f"decoder sources {str(digest)[:12]}" if digest else code
    return f"commit {facts['git_commit'][:12]}{', changed' if facts.get('git_dirty') else ''}"


def _steps(runs: pd.DataFrame) -> str:
    return f"{_listed(sorted(runs['n_steps'].dropna().unique()))} steps"


def _listed(values: Iterable[Any]) -> str:
    texts = [f"{value:,}" if isinstance(value, Integral) else str(value) for value in values]
    return ", ".join(texts) or "–"


def _percent_interval(low: float, high: float) -> str:
    return "–" if abs(low) == float("inf") else f"{percent(low)} to {percent(high)}"


def _grid(columns: Sequence[tuple[str, bool]], rows: Sequence[tuple[str, ...]]) -> Grid:
    return Grid(
        header=tuple(title for title, _ in columns),
        rows=tuple(rows),
        numeric=tuple(numeric for _, numeric in columns),
    )
