"""The files that ship, for tests that go through all of them.

They are listed, not searched for: files that a user adds beside them are none of the tests'
business. `tests/test_shipped_ablations.py` compares the list of ablations with the documentation.
"""

from pathlib import Path

ROOT = Path(__file__).parents[2]
ABLATIONS = ROOT / "ablations"
BASES = tuple(
    ABLATIONS / "base" / f"{name}.yaml"
    for name in ("t12_official", "t12_small", "t15_official", "t15_small")
)
QUESTIONS = tuple(
    ABLATIONS / f"{name}.yaml"
    for name in (
        "blank_collapse",
        "comparison_document",
        "data_efficiency",
        "epsilon_times_reduction",
        "fine_tune",
        "next_week",
        "own_parts",
        "patience",
        "run12_hybrid",
        "spec_augment",
        "t15_blank_collapse_full",
        "words",
    )
)
TRAINERS = tuple(ABLATIONS / f"{name}.yaml" for name in ("official_t15_trainer", "tiny_trainer"))
EXAMPLES = tuple(
    ABLATIONS / "examples" / name
    for name in ("tiny_trainer.py", "tiny_trainer.yaml", "word_decoder.py")
)
SEARCHES = (ABLATIONS / "lr_search.yaml",)

DOCS = tuple(
    ROOT / "docs" / f"{name}.md"
    for name in (
        "ablations",
        "commands",
        "design",
        "extensions",
        "gpu",
        "judging",
        "licences",
        "python",
        "results",
        "searches",
        "slurm",
        "trainers",
        "verdicts",
        "words",
    )
)
EXAMPLE = ROOT / "results" / "example"
EXAMPLE_TABLES = tuple(
    EXAMPLE / f"{name}.csv"
    for name in ("arms", "confusions", "criteria", "history", "runs", "sessions", "verdicts")
)
PAGES = (
    *(ROOT / f"{name}.md" for name in ("CHANGELOG", "CONTRIBUTING", "README", "SECURITY")),
    *DOCS,
    ROOT / "benchmarks" / "README.md",
    ROOT / "results" / "README.md",
    EXAMPLE / "report.md",
)
