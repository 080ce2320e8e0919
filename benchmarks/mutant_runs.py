"""Runs the tests on each mutant, in a process of its own that is forked with everything imported.

`mutants.py` starts this file in a copy of the repository. It collects the tests once and records
which test runs which line. For each mutant it forks a process, swaps the code of the changed
function there, and runs the tests of the changed lines up to the first that fails. A change that
takes effect at import (a constant, a default) needs a process forked before the project is
imported.
"""

import contextlib
import gc
import importlib
import importlib.machinery
import json
import mmap
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import _lru_cache_wrapper
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import coverage
import hypothesis
import pytest
from mutant_sites import Mutant

PYTEST = (
    *("-q", "-p", "no:cacheprovider", "--capture=sys", "--tb=no", "--timeout=0"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # plugins are imported before pytest runs
)
SPARE_SECONDS, SPARE_BYTES = 3.0, 3 << 30
RAISES, UNCHANGED = "every function raises", "nothing changes"
BROKEN = 70  # exit code of a process whose mutant could not be made
PROJECT = ("decoder", "orchestrator")


class Tests(NamedTuple):
    """What the tests do without a mutant.

    Attributes:
        seconds: test → CPU time.
        of_line: module → line → tests that run it.
        imported: modules loaded when the tests end.
    """

    seconds: dict[str, float]
    of_line: dict[str, dict[int, list[str]]]
    imported: list[str]

    def of(self, mutant: Mutant) -> list[str]:
        """The tests that run the changed lines; of a change at import, those of the module."""
        lines = self.of_line.get(mutant.path, {})
        first, last = mutant.lines
        wanted = lines if mutant.at_import else range(first, last + 1)
        return sorted({test for line in wanted for test in lines.get(line, ())})


class _Tracer:
    """Records which test runs which lines, and what each takes. Fixtures count for their users."""

    def __init__(self, paths: Sequence[str]) -> None:
        self.files = {path: str(Path(path).resolve()) for path in paths}
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, include=list(self.files.values()), messages=False
        )
        self.seconds: dict[str, float] = {}
        self.users: dict[str, list[str]] = defaultdict(list)
        self.failed: list[str] = []
        self.current = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: Any) -> Iterator[None]:
        self.current = item.nodeid
        for name in item.fixturenames:
            self.users[f"fixture {name}"].append(item.nodeid)
        self.coverage.switch_context(item.nodeid)
        start = time.process_time()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.process_time() - start

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        if fixturedef.scope != "function":
            self.coverage.switch_context(f"fixture {fixturedef.argname}")
        try:
            return (yield)
        finally:
            self.coverage.switch_context(self.current)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_runtestloop(self) -> None:
        self.coverage.start()

    def tests(self) -> Tests:
        self.coverage.stop()
        data, of_line = self.coverage.get_data(), {}
        for path, file in self.files.items():
            lines = data.contexts_by_lineno(file)
            of_line[path] = {
                line: sorted({test for c in contexts for test in self.users.get(c, [c])} - {""})
                for line, contexts in lines.items()
            }
        return Tests(self.seconds, of_line, sorted(sys.modules))


class _Loop:
    """In place of pytest's loop: tests the mutants of one module, each in a forked process."""

    def __init__(self, job: "Job", path: str, tests: Tests, report: "Report") -> None:
        self.job, self.path, self.tests, self.report = job, path, tests, report
        self.is_child = False

    def pytest_runtestloop(self, session: Any) -> bool:
        _import(self.tests.imported)
        for name in (name for name in PROJECT if name in sys.modules):
            here = Path(str(sys.modules[name].__file__)).resolve()
            assert here.is_relative_to(Path.cwd()), f"the tests import {here}, not the copy"
        for thing in gc.get_objects():
            if type(thing) is _lru_cache_wrapper and thing.__module__.startswith(PROJECT):
                thing.cache_clear()  # filled while the tests were collected
        items = {item.nodeid: item for item in session.items}
        self.numbers = {test: i for i, test in enumerate(items)}
        self.n_caught = mmap.mmap(-1, 4 * len(items))  # by each test, shared with the children
        functions = _functions(self.path)

        def body(mutant: Mutant) -> int:
            self.is_child = True
            try:
                _patch(functions, mutant, Path(self.path).read_text())
            except Exception:
                return BROKEN
            session.config._tmp_path_factory._basetemp = _new_folder()
            for test in sorted(self.tests.of(mutant), key=self._order):
                item = items[test]
                item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            return 0

        mutants = [m for m in self.job.mutants[self.path] if not m.at_import]
        controls = [_control(self.path, RAISES), _control(self.path, UNCHANGED)]
        for mutant, outcome in _in_processes([*controls, *mutants], self.job, self.tests, body):
            self.report(mutant, outcome)
        return True

    def pytest_runtest_logreport(self, report: Any) -> None:
        if self.is_child and report.failed:
            place = 4 * self.numbers[report.nodeid]
            struct.pack_into("i", self.n_caught, place, self._n_caught(report.nodeid) + 1)
            os._exit(1)

    def _n_caught(self, test: str) -> int:
        return int(struct.unpack_from("i", self.n_caught, 4 * self.numbers[test])[0])

    def _order(self, test: str) -> float:
        """First the tests that catch most mutants in a second."""
        return -(self._n_caught(test) + 0.01) / (self.tests.seconds[test] + 0.01)


def _control(path: str, function: str) -> Mutant:
    """A module in which every function raises, which the tests must notice, or one as it is."""
    return Mutant(path, function, (), (), (1, 1), True, "", 0, 0, "")


class _Order:
    """Runs some tests only, the fast ones first."""

    def __init__(self, wanted: Sequence[str], seconds: Mapping[str, float]) -> None:
        self.wanted, self.seconds = set(wanted), seconds

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        kept = [item for item in items if item.nodeid in self.wanted]
        items[:] = sorted(kept, key=lambda item: self.seconds[item.nodeid])


class Job(NamedTuple):
    """What to do: module → its mutants, the folders of tests, and the processes at a time."""

    mutants: dict[str, list[Mutant]]
    tests: list[str]
    n_processes: int


class Report:
    """Writes one line of JSON for each mutant tested."""

    def __init__(self) -> None:
        self.file = os.fdopen(os.dup(1), "w", buffering=1)
        os.dup2(2, 1)

    def __call__(self, mutant: Mutant, outcome: str) -> None:
        if outcome == "broken":
            self.error(f"{mutant.path}: cannot swap the code of {mutant.key}")
        wanted = {RAISES: "caught", UNCHANGED: "survived"}.get(mutant.function)
        if wanted not in (None, outcome):
            self.error(f"{mutant.path}, {mutant.function}, {outcome}: the tests do not measure")
        if wanted is None:
            self._write(mutant, outcome)

    def _write(self, mutant: Mutant, outcome: str) -> None:
        print(json.dumps({"mutant": mutant, "outcome": outcome}), file=self.file)

    def error(self, message: str) -> None:
        """End the whole job with a message."""
        print(json.dumps({"error": message}), file=self.file, flush=True)
        os._exit(1)

    def done(self, path: str) -> None:
        """Say that a module is done."""
        print(json.dumps({"done": path}), file=self.file)


def _in_processes(
    mutants: Sequence[Mutant], job: Job, tests: Tests, body: Callable[[Mutant], int]
) -> Iterator[tuple[Mutant, str]]:
    """Run `body` for each mutant in a forked process, and yield how each ends."""
    running: dict[int, Mutant] = {}
    left = list(mutants)[::-1]
    while left or running:
        if left and len(running) < job.n_processes:
            mutant = left.pop()
            names = tests.of(mutant)
            if not names:
                yield mutant, "not covered"
                continue
            pid = os.fork()
            if pid == 0:
                _limit(sum(tests.seconds[name] for name in names))
                code = 1
                try:
                    code = body(mutant)
                finally:
                    os._exit(code)
            running[pid] = mutant
            continue
        pid, status = os.wait()
        if pid in running:
            yield running.pop(pid), _outcome(os.waitstatus_to_exitcode(status))


def _outcome(code: int) -> str:
    if code in (0, BROKEN):
        return "survived" if code == 0 else "broken"
    return "timed out" if -code in (signal.SIGPROF, signal.SIGALRM) else "caught"


def _limit(seconds: float) -> None:
    """Limit this process to some times what the tests take, and to some gigabytes more."""
    for kind in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(kind, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, 3 * seconds + SPARE_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 4 * (3 * seconds + SPARE_SECONDS))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + SPARE_BYTES, resource.RLIM_INFINITY))
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)


Functions = dict[tuple[str, int], list[FunctionType]]


def _functions(path: str) -> Functions:
    """The living functions of a module, by qualified name and first line."""
    file, found = str(Path(path).resolve()), defaultdict(list)
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename == file:
            code = thing.__code__
            found[code.co_qualname, code.co_firstlineno].append(thing)
    return found


def _patch(functions: Functions, mutant: Mutant, source: str) -> None:
    """Swap the code of the function that a mutant changes; of every function, for a control."""
    if mutant.function == RAISES:
        mutated = {}
        for place, living in functions.items():
            free = living[0].__code__.co_freevars
            mutated[place] = _raising(free)
    else:
        file = str(Path(mutant.path).resolve())
        module = compile(mutant.source(source), file, "exec", dont_inherit=True)
        mutated = {
            (code.co_qualname, code.co_firstlineno): code
            for code in _codes(module)
            if mutant.function in (code.co_qualname, UNCHANGED)
        }
        assert mutated.keys() & functions.keys(), f"{mutant.function} is not there"
    for place, code in mutated.items():
        for function in functions.get(place, ()):
            function.__code__ = code


def _raising(free: Sequence[str]) -> CodeType:
    names = ", ".join(free)
    inner = f"  def f(*a, **k):\n    raise RuntimeError(({names or 'None'}))\n  return f\n"
    space: dict[str, Any] = {}
    exec(f"def outer({names}):\n{inner}", space)
    code: CodeType = space["outer"](*free).__code__
    return code


def _codes(code: CodeType) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def _new_folder() -> Path:
    """For the files of one process, beside the copy, where they go with it."""
    return Path(tempfile.mkdtemp(dir=Path.cwd().parent))


def _import(names: Sequence[str]) -> None:
    for name in names:
        if name not in sys.modules and not name.startswith(("tests", "test_", "conftest")):
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _at_import(
    mutants: Sequence[Mutant], job: Job, path: str, tests: Tests
) -> Iterator[tuple[Mutant, str]]:
    """Test the changes that take effect at import, each in a process that imports the project."""
    file = str(Path(path).resolve())

    def body(mutant: Mutant) -> int:
        source = mutant.source(Path(path).read_text())
        get_code = importlib.machinery.SourceFileLoader.get_code

        def mutated(self: Any, name: str) -> CodeType | None:
            if self.path == file:
                code: CodeType = compile(source, file, "exec", dont_inherit=True)
                return code
            return get_code(self, name)

        importlib.machinery.SourceFileLoader.get_code = mutated  # type: ignore
        order = _Order(tests.of(mutant), tests.seconds)
        basetemp = f"--basetemp={_new_folder() / 'tests'}"
        return int(pytest.main([*PYTEST, "-x", basetemp, *job.tests], [order]))

    yield from _in_processes(mutants, job, tests, body)


def _in_child(body: Callable[[], None]) -> bool:
    """Run `body` in a forked process; whether it ends well."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(pid, 0)[1] == 0


def main() -> None:
    """Read the job from the file named, and write what comes of it to the standard output."""
    given = json.loads(Path(sys.argv[1]).read_text())
    mutants = {
        path: [Mutant(*fields[:2], *map(tuple, fields[2:5]), *fields[5:]) for fields in listed]
        for path, listed in given["mutants"].items()
    }
    job, report = Job(mutants, given["tests"], given["n_processes"]), Report()
    hypothesis.settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    )
    hypothesis.settings.load_profile("mutants")
    found = Path(sys.argv[1]).with_suffix(".tests.json")

    def trace() -> None:
        tracer = _Tracer(list(job.mutants))
        code = pytest.main([*PYTEST, *job.tests], [tracer])
        if code != 0:
            report.error(f"without a mutant pytest ends with {code}: {', '.join(tracer.failed)}")
        found.write_text(json.dumps(tracer.tests()))

    if not _in_child(trace):
        sys.exit(1)
    seconds, of_line, imported = json.loads(found.read_text())
    lines = {path: {int(n): names for n, names in of.items()} for path, of in of_line.items()}
    tests = Tests(seconds, lines, imported)
    _import([name for name in imported if name.split(".")[0] not in PROJECT])
    left = [UNCHANGED]  # once is enough, because it takes every test
    for path in job.mutants:

        def loop(path: str = path) -> None:
            code = pytest.main([*PYTEST, *job.tests], [_Loop(job, path, tests, report)])
            assert code == 0, f"pytest ends with {code}"

        if not _in_child(loop):
            sys.exit(1)
        later = [m for m in job.mutants[path] if m.at_import]
        if later and UNCHANGED in left:
            later = [_control(path, left.pop()), *later]
        for mutant, outcome in _at_import(later, job, path, tests):
            report(mutant, outcome)
        report.done(path)


if __name__ == "__main__":
    main()
