"""Plans: arms and seeds become runs, runs become packs, and the plan file says why they compare."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "contrasts": ("CleanContrast",),
        "differences": ("ConfigDifference",),
        "document": (
            "ArmEntry",
            "PlanDocument",
            "RecordingsEntry",
            "RunEntry",
            "SeedsAdded",
            "aliases_of",
            "arm_entries",
            "plan_document",
        ),
        "foreign_data": ("NOT_IDENTIFIED",),
        "judged": ("Judged", "JudgedRun", "NOT_REGISTERED"),
        "leave_one_out": (
            "TwoLevelFactor",
            "ablation_text",
            "base_path",
            "leave_one_out_ablation",
            "write_ablation",
            "yaml_text",
        ),
        "looks": (
            "ClaimState",
            "DECIDED",
            "LookDecision",
            "STATE_TEXTS",
            "State",
            "decided_texts",
            "next_look",
            "rule_of_looks",
            "runs_not_needed",
            "runs_wanted",
            "spare_runs",
        ),
        "packs": (
            "MAX_RUNS_PER_PACK",
            "Planned",
            "PlannedPack",
            "PlannedRun",
            "Room",
            "busy_time",
            "make_packs",
            "packs_to_train",
            "work_of",
        ),
        "plan": ("Plan", "joined", "make_plan"),
        "recordings": ("PrepareData", "Recordings", "prepare_data"),
        "starts": ("remarks_on_starts", "started"),
    },
)
