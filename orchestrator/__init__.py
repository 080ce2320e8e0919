"""Ablations and searches over speech-BCI decoders: plans, trains, records, decides and reports.

These names are enough for a notebook; everything else is imported from its module. A name is loaded
on first use, so that ``import orchestrator`` is cheap. `docs/python.md` has examples.
"""

from typing import TYPE_CHECKING

from decoder.faces import lazy_face

if TYPE_CHECKING:
    from orchestrator.driver.preview import Preview
    from orchestrator.driver.run import AblationOutcome
    from orchestrator.notebook import (
        AblationResults,
        ComparedResults,
        compare_results,
        list_runs,
        load_spec,
        plan_ablation,
        preview_ablation,
        read_ablation,
        run_ablation,
    )
    from orchestrator.plan.plan import Plan
    from orchestrator.spec.load import Loaded
    from orchestrator.verdicts.verdicts import Verdict
else:
    __getattr__, __dir__, _ = lazy_face(
        __name__,
        {
            "driver.preview": ("Preview",),
            "driver.run": ("AblationOutcome",),
            "notebook": (
                "AblationResults",
                "ComparedResults",
                "compare_results",
                "list_runs",
                "load_spec",
                "plan_ablation",
                "preview_ablation",
                "read_ablation",
                "run_ablation",
            ),
            "plan.plan": ("Plan",),
            "spec.load": ("Loaded",),
            "verdicts.verdicts": ("Verdict",),
        },
    )

__all__ = [
    "AblationOutcome",
    "AblationResults",
    "ComparedResults",
    "Loaded",
    "Plan",
    "Preview",
    "Verdict",
    "compare_results",
    "list_runs",
    "load_spec",
    "plan_ablation",
    "preview_ablation",
    "read_ablation",
    "run_ablation",
]
