"""A driver in a process of its own, whose training only takes time and is counted in a file."""

import io
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1]))

from small_ablation import describe_recordings, pretend

from decoder.errors import UserError
from decoder.pack import Pack
from orchestrator.driver.run import run_ablation
from orchestrator.execute.backends import Execution, PackEvent
from orchestrator.execute.machine import choose_options
from orchestrator.spec.load import load_spec
from orchestrator.store.paths import Results


def note(path: Path, text: str) -> None:
    """Append a line, at once, so that lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def main(spec: str, results: str, seconds: str, *flags: str) -> int:
    """Train an ablation; each pack takes so many seconds."""
    events = Path(results).with_suffix(".events")

    def train(
        packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
    ) -> None:
        for pack in packs:
            note(events, f"start {os.getpid()} {pack.pack_id}")
            time.sleep(float(seconds))
            for run in pack.runs:
                note(events, f"train {os.getpid()} {run.run_id}")
            pretend([pack], execution, on_event)

    console = Console(file=io.StringIO() if "quiet" in flags else sys.stderr, width=400)
    options = choose_options("local", n_workers=2, threads=1, device="cpu", max_runs_per_pack=2)
    try:
        outcome = run_ablation(
            load_spec(Path(spec)),
            Results(Path(results)),
            options,
            console,
            backend=train,
            describe=describe_recordings,
            rebuild=lambda folder, *rest: note(events, f"report {os.getpid()} {folder.name}"),
            share_work="share" in flags,
        )
    except UserError as error:
        note(events, f"refused {os.getpid()} {error}")
        return error.exit_code
    note(events, f"end {os.getpid()} {outcome.n_elsewhere}")
    return outcome.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
