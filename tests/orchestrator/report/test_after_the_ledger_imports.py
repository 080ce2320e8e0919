import subprocess
import sys

MODULES = (
    *("stats.effects", "spec.units", "tables.tables"),
    *("verdicts.change_effects", "verdicts.controls", "verdicts.criteria"),
    *("verdicts.evidence", "verdicts.verdicts"),
    *(
        "report.cards",
        "report.figures",
        "report.grids",
        "report.pages",
        "report.rebuild",
        "report.rules",
    ),
    *("report.verdict_table", "report.view", "report.wording"),
    *("serve.app", "serve.server"),
)


HEAVY = ("torch", "ray", "h5py", "matplotlib.pyplot", "scipy.stats")


def test_everything_after_the_ledger_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        + "".join(f"import orchestrator.{module}\n" for module in MODULES)
        + f"print(*[m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""
