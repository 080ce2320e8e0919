"""What to run next: the ablation that would decide most of what a group's runs leave open."""

import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from decoder.errors import ConfigError
from decoder.field_paths import unflatten
from orchestrator.history.audit.effective_settings import DATA
from orchestrator.history.audit.prepared_group import PreparedGroup
from orchestrator.history.audit.run_pairs import RunPair
from orchestrator.history.audit.setting_changes import SettingChange
from orchestrator.history.audit.wording import sentences
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
        pair: the runs, and all changes from the first to the second.
        changes: the changes that it tests.
        ablation: its specification.
        base: the configuration of the first run, nested.
        n_arms: number of arms.
        margin: smallest difference of PER that counts.
        power: chance that one claim finds an effect of the margin; None without a known spread.
        n_confounded: number of the group's runs that changed one of `changes` and more.
        remarks: what is special about the base.
    """

    pair: RunPair
    changes: tuple[SettingChange, ...]
    ablation: AblationSpec
    base: Mapping[str, Settings]
    n_arms: int
    margin: float
    power: float | None
    n_confounded: int
    remarks: tuple[str, ...]

    @property
    def left_out(self) -> list[SettingChange]:
        """The changes that no field of our configuration expresses."""
        return [change for change in self.pair.changes if change not in self.changes]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """Its size and what it varies, in one sentence; then why this one."""
        facts = {"it": self, "enough_power": POWER}
        return (*sentences("proposal.j2", "proposal", facts), *self.remarks)


def propose(group: PreparedGroup) -> Proposal | str:
    """The ablation that would decide the most, checked by loading it; or why there is none.

    Candidates are every run with its closest earlier run, and the group's first run with its
    lowest. A candidate scores, for each setting it would test, the number of runs that changed
    this setting together with others; a setting that was tested alone scores half. The highest
    score wins, then the larger difference of PER.
    """
    problems = []
    for pair in _candidates(group):
        proposal = _make(group, pair)
        if isinstance(proposal, Proposal):
            return proposal
        problems.append(proposal)
    if problems:
        return f"None: the settings of these runs make no valid ablation: {problems[0]}"
    if not any(run.mapped.config for run in group.runs):
        return "None: no run has settings that a configuration of our decoder can express."
    if not any(one.closest.changes for one in group.run_changes):
        return "None: no two runs differ in a setting that counts."
    return (
        "None: our configuration has no field for what the runs differ in, or they differ in more "
        f"than {_MOST_FACTORS} settings at once."
    )


def write_proposal(path: Path, proposal: Proposal, group: str) -> Path:
    """Write the ablation, and its base into the same folder; the result is the path of the base.

    Args:
        path: of the ablation.
        proposal: what to write.
        group: name of the group, for the comment at the top.

    Raises:
        ConfigError: a file exists already.
        StorageError: a file cannot be written.
    """
    base = base_path(path)
    settings = yaml_text(proposal.base, [f"The complete settings of {proposal.pair.a.name}."])
    write_ablation(path, spec_text(proposal, base.name, group), settings, option="--propose")
    return base


def spec_text(proposal: Proposal, base: str, group: str) -> str:
    """The ablation as YAML, with a comment at the top that says what it is for."""
    head = [
        f"Proposed by the audit of '{group}': which of the changes from {proposal.pair.a.name} to "
        f"{proposal.pair.b.name} matters?",
        *proposal.sentences[1:],
        "Check data.path in the base: it is a path on the machine where the runs were trained.",
    ]
    return ablation_text(proposal.ablation.model_copy(update={"base": base}), head)


def _usable(pair: RunPair) -> tuple[SettingChange, ...]:
    """The changes that a field of our configuration expresses, except of the recordings."""
    return tuple(
        change
        for change in pair.changes
        if change.paths and change.key != DATA and not change.key.startswith("data.path")
    )


def _candidates(group: PreparedGroup) -> list[RunPair]:
    """Every usable candidate, the best first."""
    candidates = {(pair.a.name, pair.b.name): pair for _, pair in group.run_changes}
    first, lowest = next((run for run in group.ended_well if run.settings), None), group.lowest
    if (
        first is not None
        and lowest is not None
        and lowest is not first
        and lowest.settings
        and group.settings[first.name].kind == group.settings[lowest.name].kind
    ):
        candidates[first.name, lowest.name] = group.pair(first, lowest)
    n_confounded = Counter(change.key for one in group.confounded for change in one.closest.changes)

    def rank(pair: RunPair) -> tuple[float, float]:
        score = sum(
            max(1, n_confounded[change.key]) * (0.5 if change.key in group.tested_alone else 1.0)
            for change in _usable(pair)
        )
        return (-score, -abs(pair.gap or 0.0))

    usable = [
        pair
        for pair in candidates.values()
        if pair.a.mapped.config and pair.b.mapped.config and 0 < len(_usable(pair)) <= _MOST_FACTORS
    ]
    return sorted(usable, key=rank)


def _make(group: PreparedGroup, pair: RunPair) -> Proposal | str:
    """The proposal of one candidate; or why it is no valid ablation."""
    low, high = _MARGINS
    margin = round(min(high, max(low, abs(pair.gap or 0.0) / 2)), 3)
    try:
        ablation = _ablation(group, pair, margin)
        n_seeds, power = _seeds(group, ablation, margin)
        ablation = ablation.model_copy(update={"seeds": tuple(range(1, n_seeds + 1))})
        base, remarks = _base(pair.a)
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "base.yaml").write_text(yaml_text(base), encoding="utf-8")
            Path(folder, "spec.yaml").write_text(ablation_text(ablation), encoding="utf-8")
            n_arms = len(load_spec(Path(folder, "spec.yaml")).arms)
    except ConfigError as error:
        return error.problems[0].rpartition(os.sep)[2]
    except ValidationError as error:
        return str(error.errors()[0]["msg"])
    usable = _usable(pair)
    keys = {change.key for change in usable}
    n_confounded = sum(
        any(change.key in keys for change in one.closest.changes) for one in group.confounded
    )
    return Proposal(
        pair, usable, ablation, base, n_arms, margin, power, n_confounded, tuple(remarks)
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


def _ablation(group: PreparedGroup, pair: RunPair, margin: float) -> AblationSpec:
    """The ablation with the fewest seeds that make its claims testable."""
    a, b, _ = pair
    old, new = group.settings[a.name].whole, group.settings[b.name].whole
    factors = [
        TwoLevelFactor(
            change.key,
            level_names(old[change.key], new[change.key]),
            {path: old[path] for path in change.paths},
            {path: new[path] for path in change.paths},
        )
        for change in _usable(pair)
    ]
    return leave_one_out_ablation(
        "from_audit",
        " ".join(f"Which of the changes from {a.name} to {b.name} changes PER?".split()),
        "base.yaml",
        factors,
        direction="decrease" if pair.gap is not None and pair.gap <= 0 else "increase",
        margin=margin,
    )


def _seeds(group: PreparedGroup, ablation: AblationSpec, margin: float) -> tuple[int, float | None]:
    """Seeds that make the claims testable and give power, and the power; None without a spread.

    Runs of one seed are assumed to differ as runs of two seeds do, as pairing can only help.
    """
    fewest, spread = len(ablation.seeds), group.spreads.best
    if spread is None:
        return fewest, None
    sd_of_difference = spread.sd * 2**0.5
    alpha = _ALPHA / len(ablation.hypotheses)

    def power(n: int) -> float:
        return power_paired(margin, sd_of_difference, n, alpha)

    needed = first_seeds(lambda n: power(n) >= POWER) or _MOST_SEEDS
    n_seeds = max(fewest, min(needed, _MOST_SEEDS))
    return n_seeds, power(n_seeds)
