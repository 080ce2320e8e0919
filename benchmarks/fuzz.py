"""Hands damaged input to the readers, and counts tracebacks, hangs, crashes and slow refusals.

    python benchmarks/fuzz.py --specs 10000              # mutated specifications
    python benchmarks/fuzz.py --specs 500 --searches 500 --configs 500 --seconds-each 2
    python benchmarks/fuzz.py --specs 1 --first 4711     # one input again, by its index
    python benchmarks/fuzz.py --list                     # the kinds of input

Each module of `fuzzing` with a tuple ``KINDS`` adds its kinds; each kind is an option that says
how many inputs to try. Inputs with a fault stay in the folder ``--keep`` (``/tmp/fuzz``), each
with a ``fault.txt``. The exit code is 1 if there is any fault. Needs the extra `test`.
"""

import argparse
import importlib
import json
import pkgutil
import sys
import tempfile
import time
from pathlib import Path

import fuzzing
from fuzzing.runner import FAULTS, OUTCOMES, Kind, Tally, fuzz, make_case

KEPT = Path(tempfile.gettempdir()) / "fuzz"


def main() -> int:
    kinds = all_kinds()
    arguments = _arguments(kinds)
    if arguments.list:
        print("\n".join(f"{kind.name:12} at most {kind.seconds:g} s each" for kind in kinds))
        return 0
    tallies, start = [], time.monotonic()
    for kind in kinds:
        n = getattr(arguments, kind.name)
        if arguments.seconds_each is not None:
            kind = kind._replace(seconds=arguments.seconds_each)
        indices = range(arguments.first, arguments.first + n)
        if arguments.make_only:
            for index in indices:
                print(make_case(kind, index, arguments.seed, arguments.keep))
        elif n:
            tallies.append(
                fuzz(
                    kind,
                    indices,
                    seed=arguments.seed,
                    folder=arguments.keep,
                    n_children=arguments.children,
                    gigabytes=arguments.gigabytes,
                    say=lambda line: print(line, file=sys.stderr, flush=True),
                )
            )
            if len(tallies[-1].cases) < n:
                break
    if not tallies:
        return 0
    print_table(tallies)
    print(f"{time.monotonic() - start:.0f} s, seed {arguments.seed}")
    documents = [tally.document() for tally in tallies]
    if arguments.output is not None:
        arguments.output.write_text(json.dumps(documents, indent=1) + "\n")
    return int(any(document[fault] for document in documents for fault in FAULTS))


def all_kinds() -> list[Kind]:
    """The kinds of every module of `fuzzing`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(fuzzing.__path__))
    modules = [importlib.import_module(f"fuzzing.{name}") for name in names]
    kinds = [kind for module in modules for kind in getattr(module, "KINDS", ())]
    return sorted(kinds, key=lambda kind: kind.name)


def print_table(tallies: list[Tally]) -> None:
    """Print a row for each kind, and below it each fault with its count."""
    columns = ("kind", "n", *OUTCOMES, "median_seconds", "longest_seconds", "longest_cpu_seconds")
    print("  ".join(f"{name:>9}" for name in columns))
    for tally in tallies:
        document = tally.document()
        print("  ".join(f"{document[name]!s:>{max(9, len(name))}}" for name in columns))
        faults = document["faults"]
        assert isinstance(faults, dict)
        for fault, n in sorted(faults.items(), key=lambda pair: -pair[1]):
            print(f"    {n} × {fault}")


def _arguments(kinds: list[Kind]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind in kinds:
        parser.add_argument(f"--{kind.name}", type=int, default=0, metavar="N", dest=kind.name)
    parser.add_argument("--list", action="store_true", help="list the kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, metavar="INDEX", help="the first index")
    parser.add_argument("--seconds-each", type=float, help="limit of every kind, not its own")
    parser.add_argument("--children", type=int, default=2, help="processes at a time")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="address space of a child")
    parser.add_argument("--keep", type=Path, default=KEPT, help="folder of inputs with a fault")
    parser.add_argument("--output", type=Path, help="a JSON file of the counts")
    parser.add_argument("--make-only", action="store_true", help="write the inputs and stop")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
