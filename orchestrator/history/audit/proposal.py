"""The ablation that would settle the most of what a group's runs leave open, as a file."""

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from decoder.atomic import write_atomically
from decoder.config import unflatten
from decoder.errors import ConfigError
from orchestrator.history.audit.comparisons import confounded_steps, difference, tested_alone
from orchestrator.history.audit.counting import DATA, Change, differing
from orchestrator.history.audit.lineup import Lineup
from orchestrator.history.audit.telling import change_text, count, joined, per_text, points
from orchestrator.history.reading.record import ForeignRun
from orchestrator.spec.load import level_names, load_spec
from orchestrator.spec.schema import AblationSpec, CollapseSpec
from orchestrator.stats.power import POWER, power_paired
from orchestrator.stats.reach import first_seeds, untestable

_FEWEST_SEEDS, _MOST_SEEDS = 6, 12
_MOST_FACTORS = 8
_MARGINS = (0.005, 0.02)  # of PER: between these, half of the difference that was seen
_ALPHA = 0.05
_FEWEST_EVALUATIONS = CollapseSpec().n_evaluations


@dataclass(frozen=True)
class Proposal:
    """An ablation of what two runs differ in.

    Attributes:
        a, b: the runs; changes: what is varied; left_out: what no field of ours says.
        document: the ablation, its ``base`` still to be named.
        base: the configuration of run `a`, nested.
        n_arms, n_seeds: its size; n_steps: of each run.
        power: chance of finding an effect of the margin, per claim; None without a spread.
        reasons: why this one, in sentences.
    """

    a: str
    b: str
    changes: tuple[Change, ...]
    left_out: tuple[Change, ...]
    document: dict[str, Any]
    base: dict[str, dict[str, Any]]
    n_arms: int
    n_seeds: int
    n_steps: int
    power: float | None
    reasons: tuple[str, ...]


def propose(lineup: Lineup) -> Proposal | str:
    """The ablation that would settle the most, checked by loading it; or why there is none.

    Candidates are the steps of the group, and the way from its first run to its best. Each
    counts, for every setting it would test, the steps that changed that setting among others;
    a setting already tested alone counts half. The highest count wins, then the larger
    difference of PER.
    """
    candidates = _candidates(lineup)
    if not candidates:
        return _why_none(lineup)
    problem = ""
    for a, b, changes in candidates:
        found = _make(lineup, a, b, changes)
        if isinstance(found, Proposal):
            return found
        problem = problem or found
    return f"None could be made of these settings: {problem}"


def write_proposal(path: Path, proposal: Proposal, results_name: str) -> Path:
    """Write the ablation and, beside it, its base; neither file may exist.

    Returns:
        The path of the base.

    Raises:
        ConfigError: a file exists already.
        StorageError: it cannot be written.
    """
    base = path.with_name(f"{path.stem}_base.yaml")
    for one in (path, base):
        if one.exists():
            raise ConfigError(f"--propose: {one} exists already; choose another name or remove it")
    write_atomically(base, base_text(proposal).encode())
    write_atomically(path, spec_text(proposal, base.name, results_name).encode())
    load_spec(path)
    return base


def spec_text(proposal: Proposal, base: str, group: str) -> str:
    """The ablation as YAML, with what it is for at its head."""
    head = [
        f"Proposed from the audit of '{group}': which of the changes from {proposal.a} to "
        f"{proposal.b} matters?",
        *proposal.reasons,
        "Check data.path in the base: it is a path of the place where the runs were trained.",
    ]
    lines = "".join(f"# {' '.join(line.split())}\n" for line in head)
    return lines + _yaml({**proposal.document, "base": base})


def base_text(proposal: Proposal) -> str:
    """The base as YAML."""
    return f"# The settings of {_comment(proposal.a)}, in full.\n" + _yaml(proposal.base)


def _yaml(document: Mapping[str, Any]) -> str:
    return yaml.safe_dump(
        dict(document), sort_keys=False, allow_unicode=True, width=96, default_flow_style=None
    )


def _comment(text: str) -> str:
    return " ".join(text.split())


def _candidates(lineup: Lineup) -> list[tuple[ForeignRun, ForeignRun, Sequence[Change]]]:
    """Pairs with something to settle, the most telling first."""
    pairs: dict[tuple[str, str], tuple[ForeignRun, ForeignRun, Sequence[Change]]] = {}
    for step in lineup.steps:
        pairs[step.closest.name, step.run.name] = (step.closest, step.run, step.from_closest)
    fit = [run for run in lineup.runs if run.outcome == "ok" and run.counted is not None]
    if fit:
        best = min(fit, key=lambda run: run.counted or 0.0)
        first = next(iter(run for run in fit if run.settings), None)
        if first is not None and best is not first and best.settings:
            one, two = lineup.known[first.name], lineup.known[best.name]
            if one.kind == two.kind:
                pairs[first.name, best.name] = (first, best, differing(one, two))
    n_open = {change.key: 0 for step in confounded_steps(lineup) for change in step.from_closest}
    for step in confounded_steps(lineup):
        for change in step.from_closest:
            n_open[change.key] += 1
    alone = tested_alone(lineup)

    def rank(pair: tuple[ForeignRun, ForeignRun, Sequence[Change]]) -> tuple[float, float]:
        a, b, changes = pair
        settled = sum(
            max(1, n_open.get(c.key, 0)) * (0.5 if c.key in alone else 1.0)
            for c in _usable(changes)
        )
        gap = difference(a, b)
        return (-settled, -abs(gap) if gap == gap else 0.0)

    usable = [
        pair
        for pair in pairs.values()
        if pair[0].mapped.config
        and pair[1].mapped.config
        and 0 < len(_usable(pair[2])) <= _MOST_FACTORS
    ]
    return sorted(usable, key=rank)


def _usable(changes: Sequence[Change]) -> list[Change]:
    """Those that a field of ours says; recordings are no factor."""
    return [c for c in changes if c.paths and c.key != DATA and not c.key.startswith("data.path")]


def _why_none(lineup: Lineup) -> str:
    if not any(run.mapped.config for run in lineup.runs):
        return "None: no run has settings that can be said in terms of a decoder here."
    if not any(step.from_closest for step in lineup.steps):
        return "None: no two runs differ in a setting that counts."
    return (
        f"None: what the runs differ in has no field here, or is more than {_MOST_FACTORS} "
        "settings at once."
    )


def _make(
    lineup: Lineup, a: ForeignRun, b: ForeignRun, changes: Sequence[Change]
) -> Proposal | str:
    usable = _usable(changes)
    left_out = tuple(change for change in changes if change not in usable)
    gap = difference(a, b)
    known = gap == gap and gap != 0
    low, high = _MARGINS
    margin = round(min(high, max(low, abs(gap) / 2)), 3) if known else low
    document = _document(lineup, a, b, usable, margin, "decrease" if gap <= 0 else "increase")
    try:
        n_seeds, power = _seeds(lineup, document, margin, len(usable))
        document["seeds"] = list(range(1, n_seeds + 1))
        base, remark = _base(a)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "base.yaml").write_text(_yaml(base), encoding="utf-8")
            Path(folder, "spec.yaml").write_text(
                _yaml({**document, "base": "base.yaml"}), encoding="utf-8"
            )
            loaded = load_spec(Path(folder, "spec.yaml"))
    except ConfigError as error:
        return error.problems[0].rpartition(f"{os.sep}")[2]
    return Proposal(
        a.name,
        b.name,
        tuple(usable),
        left_out,
        document,
        base,
        len(loaded.arms),
        n_seeds,
        int(a.mapped.config["train.n_steps"]),
        power,
        (*_reasons(lineup, a, b, usable, left_out, margin, n_seeds, power), *remark),
    )


def _base(run: ForeignRun) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """A run's configuration, nested; evaluated often enough for a collapse to be told."""
    flat, remarks = dict(run.mapped.config), []
    if not any("data.path" in paths for paths in run.mapped.fields.values()):
        flat["data.path"] = "data/your_recordings"
        remarks.append("The settings do not say data.path in a way that can be used here: set it.")
    n_steps, every = int(flat["train.n_steps"]), int(flat["train.eval_every_steps"])
    if n_steps >= _FEWEST_EVALUATIONS * every:
        return unflatten(flat), remarks
    flat["train.eval_every_steps"] = max(1, n_steps // 10)
    remarks.append(
        f"It is evaluated every {flat['train.eval_every_steps']:,} steps instead of every "
        f"{every:,}, as a collapse shows in the last {_FEWEST_EVALUATIONS} evaluations."
    )
    return unflatten(flat), remarks


def _document(
    lineup: Lineup,
    a: ForeignRun,
    b: ForeignRun,
    changes: Sequence[Change],
    margin: float,
    direction: str,
) -> dict[str, Any]:
    one, two = lineup.known[a.name].whole, lineup.known[b.name].whole
    factors, hypotheses = {}, {}
    verb = "lowers" if direction == "decrease" else "raises"
    others = "With the other changes made, " if len(changes) > 1 else ""
    for name, change in _factor_names(changes).items():
        before, after = level_names(change.before, change.after)
        factors[name] = {
            before: {path: one[path] for path in change.paths},
            after: {path: two[path] for path in change.paths},
        }
        hypotheses[f"{name}_matters"[:64]] = {
            "claim": f"{others}{change.key} {after} instead of {before} {verb} PER.",
            "contrast": {"factor": name, "from": before, "to": after},
            "outcome": "per",
            "direction": direction,
            "margin": margin,
        }
    return {
        "name": "from_audit",
        "question": f"Which of the changes from {_comment(a.name)} to {_comment(b.name)} "
        "changes PER?",
        "base": "base.yaml",
        "factors": factors,
        "design": "leave_one_out" if len(changes) > 1 else "one_factor",
        "seeds": list(range(1, _FEWEST_SEEDS + 1)),
        "hypotheses": hypotheses,
    }


def _factor_names(changes: Sequence[Change]) -> dict[str, Change]:
    names: dict[str, Change] = {}
    for change in changes:
        field = re.sub(r"[^A-Za-z0-9_]+", "_", change.key.partition(".")[2])[:40] or "setting"
        name = field if field not in names else f"{change.key.partition('.')[0]}_{field}"
        names[name] = change
    return names


def _seeds(
    lineup: Lineup, document: dict[str, Any], margin: float, n_claims: int
) -> tuple[int, float | None]:
    """Seeds that the claims need to be testable together and, where a spread was seen, for power.

    Runs of one seed are taken to differ as runs of two do: pairing can only help.
    """
    fewest = max(
        _FEWEST_SEEDS,
        *(
            found.seeds_needed or 0
            for found in untestable(AblationSpec.model_validate(document)).values()
        ),
        0,
    )
    spread = lineup.spreads.best
    if spread is None or spread.sd <= 0:
        return fewest, None
    of_difference = spread.sd * 2**0.5

    def power(n: int) -> float:
        return power_paired(margin, of_difference, n, _ALPHA / n_claims)

    needed = first_seeds(lambda n: power(n) >= POWER) or _MOST_SEEDS
    n_seeds = max(fewest, min(needed, _MOST_SEEDS))
    return n_seeds, power(n_seeds)


def _reasons(
    lineup: Lineup,
    a: ForeignRun,
    b: ForeignRun,
    changes: Sequence[Change],
    left_out: Sequence[Change],
    margin: float,
    n_seeds: int,
    power: float | None,
) -> list[str]:
    keys = {change.key for change in changes}
    n_steps = sum(
        any(change.key in keys for change in step.from_closest) for step in confounded_steps(lineup)
    )
    listing = joined([change_text(change) for change in changes], 10)
    reasons = [
        f"From {a.name} ({per_text(a.counted)}) to {b.name} ({per_text(b.counted)}) "
        f"{count(len(changes), 'thing')} changed: {listing}."
    ]
    if n_steps:
        reasons.append(
            f"{count(n_steps, 'step')} of the group changed "
            f"{'it' if len(changes) == 1 else 'one of them'} among others; no other two runs would "
            "speak to more."
        )
    reasons.append(
        f"The smallest effect that is to count is {points(margin)}; change `margin` if you mean "
        "another."
    )
    if power is None:
        reasons.append(
            f"{n_seeds} seeds are the fewest that can decide {count(len(changes), 'such claim')}; "
            "no spread was seen to tell the chance of finding it."
        )
    else:
        enough = "" if power >= POWER else f", which is less than {POWER:.0%}: the spread is large"
        reasons.append(
            f"{n_seeds} seeds find an effect of that size with a chance of {power:.0%} a claim, "
            f"by the spread that repeats show{enough}."
        )
        if power < POWER:
            reasons.append(
                f"Cheaper first: train {a.name} again with three to five other seeds. Those few "
                "runs tell the spread, and with it whether this ablation can settle anything."
            )
    if left_out:
        reasons.append(
            f"Not in it, as no field here says it: {joined([c.name for c in left_out], 8)}."
        )
    return reasons
