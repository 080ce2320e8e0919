"""Claims for tests that are not about their wording."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.plan.document import ArmEntry, PlanDocument, RecordingsEntry
from orchestrator.spec.schema import AblationSpec


def claim(**changes: Any) -> dict[str, Any]:
    """A hypothesis as a file has it: the mean loss raises PER by five points; with changes."""
    return {
        "claim": "The mean is worse.",
        "contrast": {"factor": "loss", "from": "sum", "to": "mean"},
        "outcome": "per",
        "direction": "increase",
        "margin": 0.05,
        **changes,
    }


def bare_plan(
    spec: AblationSpec | Mapping[str, Any],
    arms: Mapping[str, Mapping[str, str]],
    lock_changed: Sequence[str] = (),
) -> PlanDocument:
    """A plan without runs, which is all that a decision needs beside the runs table.

    Args:
        spec: the ablation, or its file's content.
        arms: arm id → levels, all of the design.
        lock_changed: hypotheses altered after their runs.
    """
    parsed = spec if isinstance(spec, AblationSpec) else AblationSpec.model_validate(spec)
    return PlanDocument(
        name=parsed.name,
        question=parsed.question,
        spec_file="ablations/t.yaml",
        spec=parsed,
        spec_hash="0",
        dataset=RecordingsEntry(
            fingerprint="0" * 16,
            path="synthetic:small",
            sessions=("t15.2000.01.01",),
            n_train_trials=8,
            n_val_trials=4,
        ),
        arms=tuple(
            ArmEntry(arm_id=arm, levels=levels, in_design=True) for arm, levels in arms.items()
        ),
        runs=(),
        lock_changed=tuple(lock_changed),
    )
