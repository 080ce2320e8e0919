"""Measures how many small changes of the code the tests catch: mutation testing.

    python benchmarks/mutants.py                          # every module
    python benchmarks/mutants.py verdicts/values ctc      # modules whose path holds one of these
    python benchmarks/mutants.py --sample 50 --seed 1     # some mutants of each module
    python benchmarks/mutants.py --out FOLDER             # the survivors of each module as files

Needs the extras `test` and `mutants`. The tests run in a temporary copy of the repository. The 552
mutants of `verdicts/evidence` took five minutes on two busy cores.

These mutants are left out, and counted: changes of text to be read (`messages`), of annotations
and casts (`types`), of the arguments of decorators (frozen classes, sizes of caches), and of
``strict=`` in ``zip``, which is an assertion. `mutants_equivalent.txt` lists the mutants that
change nothing that can be observed, each with the reason; they are taken off too.

A mutant that runs out of time counts as caught; one that no test runs counts as not caught.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from multiprocessing import Pool
from pathlib import Path
from typing import NamedTuple

from mutant_sites import Mutant, mutants_of

HERE = Path(__file__).resolve().parent
ROOT, EQUIVALENT = HERE.parent, HERE / "mutants_equivalent.txt"
LEFT_BEHIND = (".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "*.egg-info", "build")
_ENGINE = {
    "verdicts": ("evidence", "verdicts", "criteria", "controls", "values"),
    "stats": ("effects", "reach", "power", "shares", "power_forecast", "run_values"),
}
_DECODER = ("collapse", "metrics", "ctc", "schedules")
# The modules, and the tests near them.
SUITES = (
    (
        [f"orchestrator/{package}/{name}.py" for package in _ENGINE for name in _ENGINE[package]],
        [f"tests/orchestrator/{package}" for package in _ENGINE],
    ),
    (
        [f"decoder/{name}.py" for name in _DECODER],
        [f"tests/decoder/test_{name}.py" for name in (*_DECODER, "scoring", "objective", "optim")],
    ),
)

Key = tuple[str, str, tuple[str, ...], tuple[str, ...]]


class Result(NamedTuple):
    """The mutants of one module: all, those that are no change, and how the tested ones end."""

    path: str
    made: list[Mutant]
    equivalent: list[Mutant]
    outcomes: list[tuple[Mutant, str]]

    def row(self) -> list[str]:
        """The cells of the table, see `HEAD`."""
        count = Counter(outcome for _, outcome in self.outcomes)
        caught = count["caught"] + count["timed out"]
        n_tested = len(self.outcomes)
        return [
            self.path,
            str(len(self.made)),
            str(sum(bool(m.excluded) for m in self.made)),
            str(len(self.equivalent)),
            str(n_tested),
            str(caught),
            str(count["timed out"]),
            str(count["survived"]),
            str(count["not covered"]),
            f"{caught / n_tested:.1%}" if n_tested else "–",
        ]


HEAD = (
    "module",
    "mutants",
    "left out",
    "equivalent",
    "tested",
    "caught",
    "of these timed out",
    "survived",
    "run by no test",
    "caught, share",
)


def main() -> None:
    """Make the mutants, test them, print the table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("modules", nargs="*", help="parts of paths of modules; without any, all")
    parser.add_argument("--sample", type=int, help="mutants tested per module; without it, all")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--out", type=Path, help="folder for the survivors of each module")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    every = [path for paths, _ in SUITES for path in paths]
    chosen = [p for p in every if not options.modules or any(m in p for m in options.modules)]
    if not chosen:
        parser.error(f"no path holds {' or '.join(options.modules)}; there are {', '.join(every)}")
    listed, results, start = read_equivalent(), [], time.monotonic()
    with Pool(options.processes) as pool:
        made = dict(zip(chosen, pool.starmap(mutants_of, [(ROOT, p) for p in chosen]), strict=True))
    unknown = [k for k in listed if k[0] in made and k not in {m.key for m in made[k[0]]}]
    for paths, tests in SUITES:
        here = [path for path in chosen if path in paths]
        wanted = {path: _sampled(made[path], listed, options) for path in here}
        for path, outcomes in _test(wanted, tests, options.processes):
            equivalent = [m for m in made[path] if m.key in listed and not m.excluded]
            results.append(Result(path, made[path], equivalent, outcomes))
            print(f"{time.monotonic() - start:5.0f} s", *results[-1].row(), file=sys.stderr)
            if options.out:
                _write_survivors(options.out, results[-1])
    print(_table(results))
    rules = Counter(m.excluded for path in chosen for m in made[path] if m.excluded)
    print("\nleft out:", ", ".join(f"{n} {rule}" for rule, n in rules.most_common()))
    for key in unknown:
        print(f"\n{EQUIVALENT.name} lists a mutant that is not made:\n{_text(key)}")


def _sampled(
    made: Sequence[Mutant], listed: dict[Key, str], options: argparse.Namespace
) -> list[Mutant]:
    wanted = [m for m in made if not m.excluded and m.key not in listed]
    if options.sample is None or options.sample >= len(wanted):
        return wanted
    return random.Random(options.seed).sample(wanted, options.sample)


def _test(
    mutants: dict[str, list[Mutant]], tests: Sequence[str], n_processes: int
) -> Iterator[tuple[str, list[tuple[Mutant, str]]]]:
    """Test the mutants in a copy of the repository; yields each module when it is done."""
    if not mutants:
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
        job = Path(folder) / "job.json"
        job.write_text(json.dumps({"mutants": mutants, "tests": tests, "n_processes": n_processes}))
        process = subprocess.Popen(
            [sys.executable, str(HERE / "mutant_runs.py"), str(job)],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=(Path(folder) / "log").open("w"),
            text=True,
        )
        assert process.stdout is not None
        outcomes: list[tuple[Mutant, str]] = []
        known = {m.key + (m.start,): m for listed in mutants.values() for m in listed}
        for line in process.stdout:
            said = json.loads(line)
            if "error" in said:
                raise SystemExit(said["error"])
            if "done" in said:
                yield said["done"], outcomes
                outcomes = []
            else:
                m = Mutant(*said["mutant"])
                key = (m.path, m.function, tuple(m.before), tuple(m.after), m.start)
                outcomes.append((known[key], said["outcome"]))
        if process.wait() != 0:
            raise SystemExit((Path(folder) / "log").read_text()[-4000:])


def _write_survivors(folder: Path, result: Result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    name = result.path.removesuffix(".py").replace("/", ".")
    left = [(m, how) for m, how in result.outcomes if how in ("survived", "not covered")]
    left.sort(key=lambda one: one[0].start)
    lines = [f"{result.path}: {len(left)} of {len(result.outcomes)} not caught\n"]
    for m, how in left:
        note = "  # run by no test" if how == "not covered" else ""
        lines.append(f"{_text(m.key)}@ line {m.start + 1}{note}\n")
    (folder / f"{name}.txt").write_text("\n".join(lines))


def _text(key: Key) -> str:
    path, function, before, after = key
    lines = [f"{path} {function}", *(f"- {x}" for x in before), *(f"+ {x}" for x in after)]
    return "\n".join(lines) + "\n"


def read_equivalent(file: Path = EQUIVALENT) -> dict[Key, str]:
    """The mutants that change nothing that can be observed → the reason.

    The file has a block for each: ``path function``, the lines before (``-``) and after (``+``)
    the change as in the files of survivors, and ``= reason``. Lines from ``#`` and ``@`` on are
    comments.
    """
    found = {}
    for block in file.read_text().split("\n\n"):
        lines = [x for x in block.splitlines() if x and not x.startswith(("#", "@"))]
        if not lines:
            continue
        path, function = lines[0].split(" ", 1)
        parts = {
            mark: tuple(x[1:].strip() for x in lines[1:] if x.startswith(mark)) for mark in "-+="
        }
        if not parts["="]:
            raise SystemExit(f"{file.name}: no reason (= …) for {lines}")
        found[path, function, parts["-"], parts["+"]] = " ".join(parts["="])
    return found


def _table(results: Sequence[Result]) -> str:
    rows = [HEAD, tuple("---" for _ in HEAD), *(result.row() for result in results)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    main()
