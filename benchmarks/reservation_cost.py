"""What reservations cost: milliseconds a run, packs one after another, beside other live drivers.

python benchmarks/reservation_cost.py [--runs 10000] [--runs-per-pack 16] [--folder DIR]
"""

import argparse
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from orchestrator.store.paths import Results
from orchestrator.store.reservations import reserving


def measure(folder: Path, n_runs: int, n_per_pack: int, n_reserved: int) -> tuple[float, float]:
    """Milliseconds a run to reserve it and give it back: pack by pack, and all at once.

    Args:
        n_reserved: other runs that another driver has reserved meanwhile.
    """
    results = Results(folder)
    runs = [f"{number:016x}" for number in range(n_runs)]
    with ExitStack() as stack:
        other = stack.enter_context(reserving(results, "other"))
        other.reserve([f"f{number:015x}" for number in range(n_reserved)])
        started = time.perf_counter()
        with reserving(results, "mine") as held:
            for start in range(0, n_runs, n_per_pack):
                assert not held.reserve(runs[start : start + n_per_pack]).busy
                held.release()
        by_pack = time.perf_counter() - started
        started = time.perf_counter()
        with reserving(results, "mine") as held:
            assert not held.reserve(runs).busy
            for run_id in runs:
                held.release([run_id])
        at_once = time.perf_counter() - started
    return 1000 * by_pack / n_runs, 1000 * at_once / n_runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--runs-per-pack", type=int, default=16)
    parser.add_argument("--folder", type=Path, default=None)
    given = parser.parse_args()
    for n_reserved in (0, 100, 10_000):
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            ms = measure(Path(folder), given.runs, given.runs_per_pack, n_reserved)
        print(
            f"{given.runs} runs, {n_reserved} reserved by another driver: "
            f"{ms[0]:.2f} ms a run by packs of {given.runs_per_pack}, {ms[1]:.2f} ms at once"
        )


if __name__ == "__main__":
    main()
