"""What to run next: the ablation that would decide most of what a group's runs leave open."""

import os
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from decoder.config import unflatten
from decoder.errors import ConfigError
from orchestrator.history.audit.effective_settings import DATA
from orchestrator.history.audit.prepared_group import PreparedGroup
from orchestrator.history.audit.run_pairs import per_difference
from orchestrator.history.audit.setting_changes import SettingChange, setting_changes
from orchestrator.history.audit.wording import change_text, count, joined, per_text, points
from orchestrator.history.reading.record import ImportedRun, Settings
from orchestrator.plan.leave_one_out import (
    TwoLevelFactor,
    ablation_text,
    base_path,
    leave_one_out_ablation,
    write_ablation,
    yaml_text,
)
from orchestrator.spec.load import load_spec
from orchestrator.spec.names import level_names
from orchestrator.spec.schema import AblationSpec, CollapseSpec
from orchestrator.spec.units import percent
from orchestrator.stats.power import POWER, power_paired
from orchestrator.stats.reach import first_seeds

_MOST_SEEDS = 12
_MOST_FACTORS = 8
_MARGINS = (0.005, 0.02)  # of PER: the margin is half of the observed difference, within these
_ALPHA = 0.05
_FEWEST_EVALUATIONS = CollapseSpec().n_evaluations


@dataclass(frozen=True)
class Proposal:
    """An ablation of the changes from one run to another.

    Attributes:
        a, b: names of the runs.
        changes: the changes that it tests.
        left_out: the changes that no field of our configuration expresses.
        ablation: its specification.
        base: the configuration of run `a`, nested.
        n_arms: number of arms.
        n_seeds: number of seeds.
        n_steps: of each run.
        power: chance that one claim finds an effect of the margin; None without a known spread.
        reasons: why this one, in sentences.
    """

    a: str
    b: str
    changes: tuple[SettingChange, ...]
    left_out: tuple[SettingChange, ...]
    ablation: AblationSpec
    base: Mapping[str, Settings]
    n_arms: int
    n_seeds: int
    n_steps: int
    power: float | None
    reasons: tuple[str, ...]

    @property
    def summary(self) -> str:
        """Its size and what it varies, in one sentence."""
        arms = f"{count(self.n_arms, 'arm')} × {count(self.n_seeds, 'seed')}"
        if len(self.changes) > 1:
            return (
                f"This ablation would decide the most: {arms} = {self.n_arms * self.n_seeds} runs "
                f"of {self.n_steps:,} steps. It starts from {self.b} and takes out each change "
                f"from {self.a} while the others stay."
            )
        return (
            f"This ablation would decide the most: {arms} of {self.n_steps:,} steps. It tests the "
            f"one change from {self.a} to {self.b} on new seeds."
        )


class _Candidate(NamedTuple):
    """Two runs whose changes an ablation could test."""

    a: ImportedRun
    b: ImportedRun
    changes: Sequence[SettingChange]

    @property
    def usable(self) -> list[SettingChange]:
        """The changes that a field of our configuration expresses, except of the recordings."""
        return [
            change
            for change in self.changes
            if change.paths and change.key != DATA and not change.key.startswith("data.path")
        ]

    @property
    def gap(self) -> float:
        """PER of `b` minus that of `a`; NaN if one has none."""
        return per_difference(self.a, self.b)


def propose(group: PreparedGroup) -> Proposal | str:
    """The ablation that would decide the most, checked by loading it; or why there is none.

    Candidates are every run with its closest earlier run, and the group's first run with its
    lowest. A candidate scores, for each setting it would test, the number of runs that changed
    this setting together with others; a setting that was tested alone scores half. The highest
    score wins, then the larger difference of PER.
    """
    candidates = _candidates(group)
    if not candidates:
        return _why_none(group)
    problems = []
    for candidate in candidates:
        proposal = _make(group, candidate)
        if isinstance(proposal, Proposal):
            return proposal
        problems.append(proposal)
    return f"None: the settings of these runs make no valid ablation: {problems[0]}"


def write_proposal(path: Path, proposal: Proposal, group: str) -> Path:
    """Write the ablation, and its base into the same folder; neither file may exist.

    Args:
        path: of the ablation.
        proposal: what to write.
        group: name of the group, for the comment at the top.

    Returns:
        The path of the base.

    Raises:
        ConfigError: a file exists already.
        StorageError: a file cannot be written.
    """
    base = base_path(path)
    settings = yaml_text(proposal.base, [f"The complete settings of {proposal.a}."])
    write_ablation(path, spec_text(proposal, base.name, group), settings, option="--propose")
    return base


def spec_text(proposal: Proposal, base: str, group: str) -> str:
    """The ablation as YAML, with a comment at the top that says what it is for."""
    head = [
        f"Proposed by the audit of '{group}': which of the changes from {proposal.a} to "
        f"{proposal.b} matters?",
        *proposal.reasons,
        "Check data.path in the base: it is a path on the machine where the runs were trained.",
    ]
    return ablation_text(proposal.ablation.model_copy(update={"base": base}), head)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _candidates(group: PreparedGroup) -> list[_Candidate]:
    """Every usable candidate, the best first."""
    candidates = {
        (one.closest.name, one.run.name): _Candidate(one.closest, one.run, one.from_closest)
        for one in group.run_changes
    }
    first, lowest = next((run for run in group.ended_well if run.settings), None), group.lowest
    if first is not None and lowest is not None and lowest is not first and lowest.settings:
        one, two = group.settings[first.name], group.settings[lowest.name]
        if one.kind == two.kind:
            changes = setting_changes(one, two)
            candidates[first.name, lowest.name] = _Candidate(first, lowest, changes)
    n_confounded = Counter(change.key for one in group.confounded for change in one.from_closest)

    def rank(candidate: _Candidate) -> tuple[float, float]:
        score = sum(
            max(1, n_confounded[change.key]) * (0.5 if change.key in group.tested_alone else 1.0)
            for change in candidate.usable
        )
        return (-score, -abs(candidate.gap) if candidate.gap == candidate.gap else 0.0)

    usable = [
        candidate
        for candidate in candidates.values()
        if candidate.a.mapped.config
        and candidate.b.mapped.config
        and 0 < len(candidate.usable) <= _MOST_FACTORS
    ]
    return sorted(usable, key=rank)


def _why_none(group: PreparedGroup) -> str:
    if not any(run.mapped.config for run in group.runs):
        return "None: no run has settings that a configuration of our decoder can express."
    if not any(one.from_closest for one in group.run_changes):
        return "None: no two runs differ in a setting that counts."
    return (
        "None: our configuration has no field for what the runs differ in, or they differ in more "
        f"than {_MOST_FACTORS} settings at once."
    )


def _make(group: PreparedGroup, candidate: _Candidate) -> Proposal | str:
    """The proposal of one candidate; or why it is no valid ablation."""
    usable, gap = candidate.usable, candidate.gap
    low, high = _MARGINS
    known = gap == gap and gap != 0
    margin = round(min(high, max(low, abs(gap) / 2)), 3) if known else low
    try:
        ablation = _ablation(group, candidate, margin)
        n_seeds, power = _seeds(group, ablation, margin)
        ablation = ablation.model_copy(update={"seeds": tuple(range(1, n_seeds + 1))})
        base, remarks = _base(candidate.a)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "base.yaml").write_text(yaml_text(base), encoding="utf-8")
            Path(folder, "spec.yaml").write_text(ablation_text(ablation), encoding="utf-8")
            loaded = load_spec(Path(folder, "spec.yaml"))
    except ConfigError as error:
        return error.problems[0].rpartition(os.sep)[2]
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    return Proposal(
        candidate.a.name,
        candidate.b.name,
        tuple(usable),
        tuple(change for change in candidate.changes if change not in usable),
        ablation,
        base,
        len(loaded.arms),
        n_seeds,
        int(candidate.a.mapped.config["train.n_steps"]),
        power,
        (*_reasons(group, candidate, margin), *_seed_reasons(candidate, n_seeds, power), *remarks),
    )


def _base(run: ImportedRun) -> tuple[dict[str, dict[str, object]], list[str]]:
    """A run's configuration, nested, with enough evaluations to detect a collapse; and remarks."""
    flat, remarks = dict(run.mapped.config), []
    n_steps, every = int(flat["train.n_steps"]), int(flat["train.eval_every_steps"])
    if n_steps < _FEWEST_EVALUATIONS * every:
        flat["train.eval_every_steps"] = max(1, n_steps // 10)
        remarks.append(
            f"Runs are evaluated every {flat['train.eval_every_steps']:,} steps instead of every "
            f"{every:,}, because a collapse is detected in the last {_FEWEST_EVALUATIONS} "
            "evaluations."
        )
    if not any("data.path" in paths for paths in run.mapped.fields.values()):
        flat["data.path"] = "data/your_recordings"
        remarks.append("The settings state no data.path that can be used here: set it in the base.")
    return unflatten(flat), remarks


def _ablation(group: PreparedGroup, candidate: _Candidate, margin: float) -> AblationSpec:
    """The ablation with the fewest seeds that make its claims testable."""
    a, b, usable = candidate.a, candidate.b, candidate.usable
    old, new = group.settings[a.name].whole, group.settings[b.name].whole
    factors = [
        TwoLevelFactor(
            change.key,
            level_names(old[change.key], new[change.key]),
            {path: old[path] for path in change.paths},
            {path: new[path] for path in change.paths},
        )
        for change in usable
    ]
    return leave_one_out_ablation(
        "from_audit",
        f"Which of the changes from {_one_line(a.name)} to {_one_line(b.name)} changes PER?",
        "base.yaml",
        factors,
        direction="decrease" if candidate.gap <= 0 else "increase",
        margin=margin,
    )


def _seeds(group: PreparedGroup, ablation: AblationSpec, margin: float) -> tuple[int, float | None]:
    """Number of seeds that make the claims testable and, if the spread is known, give power.

    Runs of one seed are assumed to differ as runs of two seeds do, as pairing can only help.

    Returns:
        The number of seeds, and the power of each claim; None without a known spread.
    """
    fewest = len(ablation.seeds)
    spread = group.spreads.best
    if spread is None or spread.sd <= 0:
        return fewest, None
    sd_of_difference = spread.sd * 2**0.5
    alpha = _ALPHA / len(ablation.hypotheses)

    def power(n: int) -> float:
        return power_paired(margin, sd_of_difference, n, alpha)

    needed = first_seeds(lambda n: power(n) >= POWER) or _MOST_SEEDS
    n_seeds = max(fewest, min(needed, _MOST_SEEDS))
    return n_seeds, power(n_seeds)


def _reasons(group: PreparedGroup, candidate: _Candidate, margin: float) -> list[str]:
    """What changed, how often, what the smallest effect is, and what is left out."""
    a, b, usable = candidate.a, candidate.b, candidate.usable
    reasons = [
        f"From {a.name} ({per_text(a.compared_per)}) to {b.name} ({per_text(b.compared_per)}) "
        f"{count(len(usable), 'setting')} changed: "
        f"{joined([change_text(change) for change in usable], 10)}."
    ]
    keys = {change.key for change in usable}
    n_runs = sum(any(c.key in keys for c in one.from_closest) for one in group.confounded)
    if n_runs:
        reasons.append(
            f"{count(n_runs, 'run')} of the group changed "
            f"{'it' if len(usable) == 1 else 'one of them'} together with others; no other pair "
            "of runs would answer more."
        )
    reasons.append(
        f"The smallest effect that counts is {points(margin)}; change `margin` for another one."
    )
    left_out = [change.name for change in candidate.changes if change not in usable]
    if left_out:
        reasons.append(f"Left out, as our configuration has no field: {joined(left_out, 8)}.")
    return reasons


def _seed_reasons(candidate: _Candidate, n_seeds: int, power: float | None) -> list[str]:
    """Why this number of seeds, and what is cheaper if the power is low."""
    if power is None:
        return [
            f"{n_seeds} seeds are the fewest that can decide "
            f"{count(len(candidate.usable), 'such claim')}; the power is not known, as the "
            "spread between repeats is not known."
        ]
    reason = (
        f"With {n_seeds} seeds, each claim finds an effect of that size with a chance of "
        f"{percent(power, 0)}, by the spread of the repeated runs"
    )
    if power >= POWER:
        return [f"{reason}."]
    return [
        f"{reason}. That is less than {percent(POWER, 0)}, because the spread is large.",
        f"Cheaper first: train {candidate.a.name} again with three to five other seeds. These "
        "runs estimate the spread, and so whether this ablation can decide anything.",
    ]
