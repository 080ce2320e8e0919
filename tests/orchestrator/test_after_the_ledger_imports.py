import subprocess
import sys

MODULES = (
    *("controls", "criteria", "changes", "units", "report_grids", "report_cards"),
    *("tables", "stats", "evidence", "verdicts", "verdict_table", "wording"),
    *("figures", "report_view", "report", "rebuild"),
)


def test_everything_after_the_ledger_loads_neither_torch_nor_ray_nor_pyplot() -> None:
    code = (
        "import sys\n"
        + "".join(f"import orchestrator.{module}\n" for module in MODULES)
        + "print(*[m for m in ('torch', 'ray', 'h5py', 'matplotlib.pyplot') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == ""
