"""Damages the files of a results folder, one at a time, and runs the commands that read them.

    python benchmarks/fuzz_results.py [--cases N] [--seed S] [--report-every N]

A case damages one file: a flipped bit, a truncation, a JSON value or key, or something that is no
file in its place. Then `status`, `runs`, `compare` and `report` run in this process, and in every
tenth case the driver. Counted are tracebacks, calls that take longer than 5 s, and damaged values
that a command used: those of a run that differ from the sound ones. Older records, without a
checksum, cannot show every altered value, so their damaged values are counted apart.
"""

import argparse
import io
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from typer.testing import CliRunner

from decoder.errors import UserError
from decoder.pack import HISTORY_COLUMNS, Pack, Progress, Run, RunResult
from orchestrator.cli.app import app
from orchestrator.driver.reporting import rebuild_report
from orchestrator.driver.run import run_ablation
from orchestrator.execute.backends import Execution, PackEvent
from orchestrator.execute.machine import choose_options
from orchestrator.plan.recordings import Recordings
from orchestrator.report.evaluation import evaluate_records
from orchestrator.search.driver import run_search
from orchestrator.search.load import load_search
from orchestrator.spec.arms import Arm
from orchestrator.spec.load import load_spec
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan

LONGEST_SECONDS = 5.0
_OF_TRAINING = ("timing", "pack", "environment")  # differ if a run is trained again
OPTIONS = choose_options("local", n_workers=1, threads=1, device="cpu")
DATA = Recordings("f" * 16, "synthetic:tiny", Path("nowhere"), ("day1",), 24, 8, 16, 41, 20)
BASE = {
    "data": {"path": "synthetic:tiny", "batch_size": 4, "days_per_batch": 2},
    "model": {"n_units": 8, "n_layers": 1},
    "optim": {"lr_warmup_steps": 2},
    "train": {"n_steps": 80, "eval_every_steps": 20},
}
CLAIM = {"factor": "noise", "from": "official", "to": "weak"}
ABLATION = {
    "name": "one",
    "question": "Does it matter?",
    "base": "base.yaml",
    "factors": {"noise": {"official": {}, "weak": {"augment.white_noise_std": 0.25}}},
    "seeds": [0, 1, 2],
    "hypotheses": {
        "h": {
            "claim": "Weak noise raises PER.",
            "contrast": CLAIM,
            "outcome": "per",
            "direction": "increase",
            "margin": 0.02,
        }
    },
}
SEARCH = {
    "name": "hunt",
    "question": "Which rate?",
    "base": "base.yaml",
    "space": {"optim.lr_max": {"log": [0.0005, 0.05]}},
    "n_candidates": 4,
    "seeds": [1, 2],
    "sampler": "random",
    "stopping": {"method": "asha", "min_steps": 20, "reduction_factor": 2},
}
# What a JSON value is swapped for.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**64, 10**400, 0.5, -0.5, 1e-300, 1e306),
    *(float("nan"), float("inf"), "", "x", "ok", "\x00", "é" * 300, [], [1], [[-5, 99, -1]]),
    *({}, {"a": 1}, {"code": None}, [[[[]]]]),
)
Damage = Callable[[Path, random.Random], object]
# What the commands used, by case: run id → (record, history).
Sound = Mapping[str, tuple[Any, Any]]


def instant(
    packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
) -> None:
    """A backend that trains nothing; the same run gets the same result."""
    for pack in packs:
        ended, paused = [], {}
        for run in pack.runs:
            rows = _rows(run)
            until = min(execution.until_step or 10**9, run.config.train.n_steps)
            if until < run.config.train.n_steps:
                paused[run.run_id] = tuple(row for row in rows if row["step"] <= until)
            else:
                sessions, confusions = {"day1": (3, 10)}, ((0, 4, 1), (3, 3, 8), (3, 0, 2))
                ended.append(
                    RunResult(
                        run.run_id, "ok", tuple(rows), until, 1234, 0, 3.0, len(pack.runs), 2**20,
                        per_session=sessions, confusions=confusions,
                        grad_norm_quantiles={"p50": 1.5, "max": 9.25},
                    )
                )  # fmt: skip
        on_event(PackEvent(pack.pack_id, Progress(1, {}, tuple(ended), paused=paused)))


def _rows(run: Run) -> list[dict[str, float]]:
    per = 0.2 + int(run.run_id[:4], 16) / 2**18
    counts = {"n_edits": 3, "n_reference": 10, "n_edits_even": 2, "n_reference_even": 5}
    return [
        {**dict.fromkeys(HISTORY_COLUMNS, 1 / 3), **counts, "step": step, "per": per}
        | {"n_distinct": 20, "emitted_ratio": 0.9}
        for step in range(20, run.config.train.n_steps + 1, 20)
    ]


def _describe(arms: Sequence[Arm], datasets: Path, say: Any) -> dict[str, Recordings]:
    return {arm.arm_id: DATA for arm in arms}


def drive(folder: Path) -> int:
    """Run the driver on the ablation, without a report; its exit code."""
    outcome = run_ablation(
        load_spec(folder / "one.yaml"),
        Results(folder / "results"),
        OPTIONS,
        Console(file=io.StringIO()),
        backend=instant,
        describe=_describe,
        rebuild=lambda *given: None,
    )
    return outcome.exit_code


def make_sound(folder: Path) -> None:
    """A results folder with an ablation, a search, an index, and a group of imported runs."""
    folder.mkdir(parents=True)
    for name, document in (("base", BASE), ("one", ABLATION), ("hunt", SEARCH)):
        (folder / f"{name}.yaml").write_text(json.dumps(document))
    results = Results(folder / "results")
    assert drive(folder) == 0
    run_search(
        load_search(folder / "hunt.yaml"),
        results,
        OPTIONS,
        Console(file=io.StringIO()),
        backend=instant,
        prepare=_describe,
    )
    results.memory.write_text("[]")
    results.driver("one").write_text('{"pid": 1, "host": "x", "since": "now", "n_running": 2}')
    imported = folder / "trained" / "run1"
    imported.mkdir(parents=True)
    (imported / "args.json").write_text(json.dumps({"seed": 1, "lr": 0.02}))
    (imported / "metrics.csv").write_text("step,val_PER\n100,0.5\n200,0.4\n")
    arguments = ["import-runs", str(imported.parent), "--as", "group"]
    done = CliRunner().invoke(app, [*arguments, "--results", str(results.root)])
    assert done.exit_code == 0, done.output


def sound_values(results: Results) -> dict[str, tuple[Any, Any]]:
    """Run id → record and history of every run."""
    run_ids = [path.parent.name for path in results.runs.glob("*/record.json")]
    records = read_records(results, run_ids, _ignore, move_aside=False)
    assert len(records) == len(run_ids)
    return {run_id: (record, read_history(results, run_id)) for run_id, record in records.items()}


def unseal(results: Results) -> None:
    """Take the checksums out of the records, as versions without one wrote them."""
    for path in results.runs.glob("*/record.json"):
        document = json.loads(path.read_bytes())
        del document["record_sha256"]
        path.write_text(json.dumps(document, indent=1))


def flip_bit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(rng.choice((1, 1, 3))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.choice((0, rng.randrange(path.stat().st_size)))])


def append(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes() + rng.choice((b"}", b"\x00" * 40, b"\n1,2,3\n")))


def swap_value(path: Path, rng: random.Random) -> None:
    """Swap a value, deep or not, of a JSON file; a digit of another file."""
    _change_json(path, rng, lambda at, key: at.__setitem__(key, rng.choice(VALUES)))


def delete_key(path: Path, rng: random.Random) -> None:
    _change_json(path, rng, lambda at, key: at.__delitem__(key))


def _change_json(path: Path, rng: random.Random, change: Callable[[Any, Any], object]) -> None:
    if path.suffix != ".json":
        content = path.read_bytes()
        digits = [at for at, byte in enumerate(content) if chr(byte).isdigit()] or [0]
        at = rng.choice(digits)
        path.write_bytes(content[:at] + bytes([48 + (content[at] + 1) % 10]) + content[at + 1 :])
        return
    document = json.loads(path.read_bytes())
    places = list(_places(document))
    if not places:
        path.write_text(json.dumps(rng.choice(VALUES)))
        return
    # Of a random key at first, so that the long configuration does not take nearly all cases.
    first = rng.choice([at for at in places if at[0] is document])
    inner = list(_places(first[0][first[1]]))
    change(*(rng.choice([first, *inner]) if inner else first))
    path.write_text(json.dumps(document))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value inside a JSON value."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def nonsense(path: Path, rng: random.Random) -> None:
    kinds = (b"null", b"[]", b"{}", b"[" * 50_000, b"\xff\xfe", b"1" * 5000, b"NaN")
    path.write_bytes(rng.choice(kinds))


def in_place(path: Path, rng: random.Random) -> None:
    """Something that is no file."""
    path.unlink()
    kind = rng.choice(("folder", "pipe", "socket", "loop", "dangling", "zero", "proc"))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
        os.chdir(here)
    else:
        places = {"zero": "/dev/zero", "proc": "/proc/self/environ", "dangling": "/nowhere/x"}
        path.symlink_to(places.get(kind, path))


DAMAGES: tuple[Damage, ...] = (
    *(flip_bit, flip_bit, truncate, append, swap_value, swap_value, swap_value),
    *(delete_key, nonsense, in_place, in_place),
)


def damageable(results: Results, rng: random.Random) -> Path:
    """A file to damage: a record or a history in two of three cases."""
    runs = [path for path in results.runs.glob("*/*") if path.is_file()]
    others = [
        *results.runs.glob(".index*"),
        *(p for p in results.root.glob("*.json") if p.is_file()),
        *(p for p in (results.root / "imported").rglob("*.json")),
        *(p for p in results.ablations.rglob("*") if p.suffix == ".json" and p.is_file()),
        *(p for p in results.of_searches.ablations.rglob("*.csv") if p.parent.name == "courses"),
        *(results.of_searches.ablation("hunt") / n for n in ("search.json", "study.db")),
        results.of_searches.best("hunt"),
    ]
    return rng.choice(sorted(runs if rng.random() < 2 / 3 else others))


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TimeoutError` in the block after this time."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"took longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def commands(folder: Path, with_report: bool) -> dict[str, Callable[[], None]]:
    """Name → a call that reads the folder."""
    results = Results(folder / "results")

    def call(*words: str) -> Callable[[], None]:
        def run() -> None:
            done = CliRunner().invoke(app, [*words, "--results", str(results.root)])
            if done.exception is not None and not isinstance(done.exception, SystemExit):
                raise done.exception

        return run

    def tables() -> None:
        document = read_plan(results, "one")
        rebuild_report(results, document, _ignore, lambda _, *given: evaluate_records(*given))

    return {
        "status": call("status", "--json"),
        "runs": call("runs", "--columns", "all", "--json"),
        "compare": call("compare", "one", "hunt", "--json"),
        "tables": tables,
        **({"report": call("report", "one")} if with_report else {}),
        **({"report of the search": call("report", "hunt")} if with_report else {}),
    }


def fuzz_results(
    n_cases: int,
    seed: int = 0,
    report_every: int = 20,
    *,
    older: bool = False,
    drive_every: int = 10,
) -> tuple[Counter[str], list[str]]:
    """Damage a file `n_cases` times; see the module.

    Args:
        seed: of the damage.
        report_every: how often the whole reports are written, which takes seconds.
        older: whether records have no checksum.
        drive_every: how often the driver runs, which must mend what `run` can mend.

    Returns:
        Counts, and the first tracebacks.
    """
    rng, counts, found = random.Random(seed), Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as above:
        whole, folder = Path(above) / "whole", Path(above) / "copy"
        make_sound(whole)
        if older:
            unseal(Results(whole / "results"))
        results = Results(folder / "results")
        sound = sound_values(Results(whole / "results"))
        for case in range(n_cases):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(whole, folder)
            path, damage = damageable(results, rng), rng.choice(DAMAGES)
            damage(path, rng)
            what = f"case {case}: {damage.__name__} {path.relative_to(folder)}"
            counts["cases"] += 1
            for name, call in commands(folder, with_report=case % report_every == 0).items():
                counts.update(_call(f"{what}: {name}", call, found))
            n_used = _n_damaged(results, sound)
            if case % drive_every == 0:
                counts.update(_call(f"{what}: run", lambda: counts.update(_drive(folder)), found))
                n_used += _n_damaged(results, sound, trained_again=True)
            counts["damaged values used"] += n_used
            if n_used:
                found.append(f"{what}: damaged values are used")
    return counts, found


def _drive(folder: Path) -> list[str]:
    return [f"run exit {drive(folder)}"]


def _call(what: str, call: Callable[[], None], found: list[str]) -> list[str]:
    """The name of what is wrong with a call, if anything; `found` gets its text."""
    started = time.monotonic()
    try:
        with time_limit(LONGEST_SECONDS if "report" not in what else 60.0):
            call()
    except TimeoutError:
        found.append(f"{what} took {time.monotonic() - started:.1f} s")
        return ["hangs"]
    except Exception as error:
        if not isinstance(error, UserError):  # those are printed as a line
            found.append("".join([f"{what}\n", *traceback.format_exception(error)]))
            return ["tracebacks"]
    return []


def _n_damaged(results: Results, sound: Sound, *, trained_again: bool = False) -> int:
    """How many runs the commands read with other values than the sound ones.

    Args:
        trained_again: whether they may have been, at another time and in another pack.
    """
    try:
        records = read_records(results, sound, _ignore, move_aside=False)
        histories = {run_id: read_history(results, run_id) for run_id in records}
    except UserError:
        return 0
    n_damaged = 0
    for run_id, record in records.items():
        before, rows = sound[run_id]
        if trained_again:
            record, before = ({**one, **dict.fromkeys(_OF_TRAINING)} for one in (record, before))
        n_damaged += (record, histories[run_id]) != (before, rows)
    return n_damaged


def _ignore(text: str) -> None:
    """Remarks do not matter."""


def main() -> int:
    """Print the counts of both kinds of records; 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--report-every", type=int, default=20)
    options = parser.parse_args()
    is_sound = True
    for older in (False, True):
        counts, found = fuzz_results(options.cases, options.seed, options.report_every, older=older)
        print("records without a checksum" if older else "records with a checksum", dict(counts))
        for text in found[:40]:
            print(text)
        bad = ("tracebacks", "hangs", *(() if older else ("damaged values used",)))
        is_sound &= not any(counts[name] for name in bad)
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
