"""Verdicts on hypotheses, success criteria, controls and effects of changes, from the tables."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "change_effects": (
            "Change",
            "along_path",
            "arm_of_changes",
            "by_size",
            "left_out",
            "main_effects",
        ),
        "controls": (
            "Control",
            "NoiseFloor",
            "arm_configs",
            "compare_controls",
            "control_arms",
            "kind_of",
            "noise_floor",
            "seed_noise",
        ),
        "criteria": ("CriterionResult", "criteria_table", "evaluate", "rule_text"),
        "evidence": ("ComparedArm",),
        "greedy": ("Round", "arm_means", "greedy_rounds", "greedy_table", "n_greedy_arms_left"),
        "sequential": ("take_look",),
        "unasked": ("Unasked", "find_unasked"),
        "values": ("arm_runs", "values_of"),
        "verdict": ("Verdict",),
        "verdicts": ("Verdict", "Word", "decide"),
    },
)
