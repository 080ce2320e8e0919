"""Runs damaged inputs in child processes, and counts refusals, tracebacks, hangs and crashes.

A child that hangs or dies (a segmentation fault in a C library) is counted and replaced.
"""

import multiprocessing
import random
import resource
import shutil
import signal
import time
import traceback
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from decoder.errors import UserError

Outcome = Literal["ok", "refused", "traceback", "hang", "crash", "slow"]
OUTCOMES = get_args(Outcome)
FAULTS = ("traceback", "hang", "crash", "slow")
_CASES_PER_CHILD = 200
_MOST_OF_TRACEBACK = 20_000  # characters
MOST_PROBLEMS, MOST_CHARACTERS = 101, 3_000  # of an error, and of one of its problems
_UNSAFE = ("Cc", "Cs", "Zl", "Zp")
_TURNING = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_MOST_TO_MAKE = 120  # seconds
# In wall time, which grows where other processes work: how many times the limit is slow, or a hang.
_SLOW, _HANGS = 15, 30


class Kind(NamedTuple):
    """One kind of input.

    Attributes:
        name: the word in options and tables.
        make: draws one input, writes it into an empty folder, and returns its path. The same
            state of the generator makes the same input.
        run: reads the input as a user's command would. It returns ``ok`` or ``refused``, the
            latter if the error is one that a user can act on; it lets any other exception pass.
        seconds: the most CPU time that one input may take; in wall time it may take 15 times
            as much before it is slow, 30 times as much before it hangs.
    """

    name: str
    make: Callable[[random.Random, Path], Path]
    run: Callable[[Path], Literal["ok", "refused"]]
    seconds: float = 2.0


class Case(NamedTuple):
    """How one input ended.

    Attributes:
        seconds: wall time of `Kind.run`.
        cpu_seconds: CPU time of `Kind.run`, which does not depend on what else the machine does.
        detail: the traceback, or the signal that ended the process; empty without a fault.
    """

    index: int
    outcome: Outcome
    seconds: float
    cpu_seconds: float = 0.0
    detail: str = ""

    @property
    def headline(self) -> str:
        """The error and the place where it is raised, by which faults are grouped."""
        lines = self.detail.strip().splitlines()
        places = [line.split('"')[1:] for line in lines if line.startswith('  File "')]
        if not places:
            return self.detail[:120]
        error = next((line for line in reversed(lines) if line[:1].isalpha()), "")
        file, at = places[-1]
        return f"{error.partition(':')[0]} in {'/'.join(Path(file).parts[-3:])}{at}"


@dataclass
class Tally:
    """All cases of one kind."""

    kind: Kind
    cases: list[Case] = field(default_factory=list)

    def document(self) -> dict[str, object]:
        """Counts, times and faults as JSON values."""
        counts = Counter(case.outcome for case in self.cases)
        seconds = sorted(case.seconds for case in self.cases) or [0.0]
        faults = [case for case in self.cases if case.outcome in FAULTS]
        return {
            "kind": self.kind.name,
            "n": len(self.cases),
            **{outcome: counts[outcome] for outcome in OUTCOMES},
            "limit_seconds": self.kind.seconds,
            "median_seconds": round(seconds[len(seconds) // 2], 4),
            "longest_seconds": round(seconds[-1], 3),
            "longest_cpu_seconds": round(max((c.cpu_seconds for c in self.cases), default=0.0), 3),
            "faults": dict(Counter(f"{case.outcome}: {case.headline}" for case in faults)),
            "indices": [case.index for case in faults],
        }


@dataclass
class _Child:
    process: multiprocessing.context.ForkProcess
    connection: Connection
    index: int | None = None
    since: float = 0.0
    n_cases: int = 0
    is_made: bool = False


def fuzz(
    kind: Kind,
    indices: Sequence[int],
    *,
    seed: int,
    folder: Path,
    n_children: int = 2,
    gigabytes: float = 4.0,
    say: Callable[[str], None] = print,
) -> Tally:
    """Make and run one input for each index.

    Control-C stops it; the tally is then of the inputs so far.

    Args:
        indices: together with `seed` they decide each input, so that any one can be made again.
        folder: of the inputs; it keeps those with a fault, each with its ``fault.txt``.
        n_children: processes at a time.
        gigabytes: address space that a child may take beyond what it starts with.
        say: receives a line for each fault.
    """
    left, tally = list(reversed(indices)), Tally(kind)
    children: list[_Child] = []
    try:
        while left or any(child.index is not None for child in children):
            while len(children) < n_children and left:
                children.append(_start(kind, seed, folder, gigabytes))
            for child in children:
                if child.index is None and left:
                    child.index, child.since = left.pop(), time.monotonic()
                    child.connection.send(child.index)
            wait([child.connection for child in children], timeout=0.2)
            for child in list(children):
                case = _outcome(child, kind.seconds * _HANGS)
                if case is None:
                    continue
                tally.cases.append(case)
                _keep_or_clear(folder / f"{kind.name}-{case.index}", case)
                if case.outcome in FAULTS:
                    say(f"{kind.name} {case.index}: {case.outcome}: {case.headline}")
                child.index, child.n_cases, child.is_made = None, child.n_cases + 1, False
                died = case.outcome in ("hang", "crash")
                if died or child.n_cases >= _CASES_PER_CHILD:
                    _end(child)
                    children.remove(child)
    except KeyboardInterrupt:
        say(f"{kind.name}: stopped after {len(tally.cases)} of {len(indices)}")
    finally:
        for child in children:
            _end(child)
    tally.cases.sort()
    return tally


def said(read: Callable[[], object]) -> Literal["ok", "refused"]:
    """Whether an input is read, or refused with messages that are short and safe on a terminal."""
    try:
        read()
    except UserError as error:
        assert 0 < len(error.problems) <= MOST_PROBLEMS, len(error.problems)
        for problem in error.problems:
            assert len(problem) <= MOST_CHARACTERS, problem[:MOST_CHARACTERS]
            unsafe = [c for c in problem if unicodedata.category(c) in _UNSAFE or c in _TURNING]
            assert set(unsafe) <= {"\n", "\t"}, (unsafe, problem)
        return "refused"
    return "ok"


def make_case(kind: Kind, index: int, seed: int, folder: Path) -> Path:
    """Make the input of an index in its own, empty folder, and return its path."""
    own = folder / f"{kind.name}-{index}"
    shutil.rmtree(own, ignore_errors=True)
    own.mkdir(parents=True)
    return kind.make(random.Random(f"{kind.name}/{seed}/{index}"), own)


def _start(kind: Kind, seed: int, folder: Path, gigabytes: float) -> _Child:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(
        target=_serve, args=(theirs, ours, kind, seed, folder, gigabytes), daemon=True
    )
    process.start()
    theirs.close()
    return _Child(process, ours)


def _serve(
    connection: Connection,
    other_end: Connection,
    kind: Kind,
    seed: int,
    folder: Path,
    gigabytes: float,
) -> None:
    """The life of a child: index in, case out, until the pipe is closed."""
    other_end.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    while True:
        try:
            index = connection.recv()
        except EOFError:
            return
        try:
            path = make_case(kind, index, seed, folder)
        except Exception:
            text = _printable(traceback.format_exc())
            connection.send(Case(index, "traceback", 0.0, detail=text))
            continue
        connection.send(None)  # the time starts here
        case = _timed(kind, index, path)
        if case.outcome == "slow":  # only twice counts
            case = min(case, _timed(kind, index, path), key=lambda one: one.cpu_seconds)
        connection.send(case)


def _timed(kind: Kind, index: int, path: Path) -> Case:
    start, cpu_start = time.monotonic(), time.process_time()
    outcome: Outcome
    try:
        outcome, detail = kind.run(path), ""
    except BaseException:  # of any class: a fault must not end the child
        outcome, detail = "traceback", _printable(traceback.format_exc())
    seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
    if outcome != "traceback" and (cpu_seconds > kind.seconds or seconds > _SLOW * kind.seconds):
        detail = f"{outcome} after {seconds:.1f} s, {cpu_seconds:.1f} s of them on the CPU"
        outcome = "slow"
    return Case(index, outcome, seconds, cpu_seconds, detail)


def _printable(text: str) -> str:
    """The end of a text, in ASCII."""
    return text[-_MOST_OF_TRACEBACK:].encode("ascii", "backslashreplace").decode()


def _outcome(child: _Child, most_seconds: float) -> Case | None:
    """The case of a child that has ended or run out of time; None as long as it works."""
    if child.index is None:
        return None
    try:
        while child.connection.poll():
            case = child.connection.recv()
            if case is not None:
                assert isinstance(case, Case)
                return case
            child.since, child.is_made = time.monotonic(), True
    except (EOFError, ConnectionError):
        child.process.join()
        code = child.process.exitcode or 0
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Case(child.index, "crash", time.monotonic() - child.since, detail=name)
    seconds = time.monotonic() - child.since
    if not child.is_made:
        assert seconds < _MOST_TO_MAKE, f"{child.index} is not made after {seconds:.0f} s"
    elif seconds > most_seconds:
        return Case(child.index, "hang", seconds, detail="no answer")
    return None


def _keep_or_clear(own: Path, case: Case) -> None:
    if case.outcome in FAULTS:
        own.mkdir(parents=True, exist_ok=True)
        (own / "fault.txt").write_text(f"{case.outcome}, {case.seconds:.2f} s\n{case.detail}\n")
    else:
        shutil.rmtree(own, ignore_errors=True)


def _end(child: _Child) -> None:
    child.connection.close()
    child.process.join(timeout=0.5)
    if child.process.is_alive():
        child.process.kill()
        child.process.join()
