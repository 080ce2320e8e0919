"""Which run each line of a log is of: a log that a loop of runs wrote is split where one begins."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.history.reading.columns import EPOCH, STEP, StepValues, is_evaluation
from orchestrator.history.reading.files import printable
from orchestrator.history.reading.log_lines import LogState, read_line, without_colours

_LONGEST_NAME = 60
_STAMP = r"(?:\[?\d{4}-\d\d-\d\d[ T][\d:,.]{5,20}\]?\W{0,5}(?:INFO\W{1,5})?)?"
_WORDS = r"run|experiment|exp|config(?:uration)?|trial|job|model|seed|fold"
# What announces a run; the kinds are the names of the groups, which hold the run's name.
_ANNOUNCED = re.compile(
    rf"""{_STAMP}\s*(?:
    [=\-\#*>~]{{2,}}\s*(?:starting\s|running\s|new\s|training\s)?(?:{_WORDS})\b
        [\s:\#=-]*(?P<header>.*)
    | \[(?:{_WORDS})[\s:\#=-]*(?P<bracket>[^\]\s][^\]]*)\].*
    | \W{{0,20}}(?:run|config|experiment|trial|job)\s+\#?(?P<numbered>\d+\s*(?:/|of)\s*\d+\b.*)
    | \W{{0,20}}(?:starting|running|launching|beginning)\s+(?:with\s+)?(?:{_WORDS}|training)\b
        [\s:\#=-]*(?P<sentence>\S*?)[\s.]*
    | \W{{0,20}}training\s+(?:with\s+)?(?:{_WORDS})\b[\s:\#=-]*(?P<subject>\S+?)[\s.]*
    | [=\-\#*>~]{{3,}}\s*(?P<heading>\w[^=\#*]{{0,60}}(?:=[^=\#*]{{1,40}})*?)\s*[=\-\#*<~]{{3,}}\s*
    | \W{{0,20}}(?:run|experiment|exp)[\s_]name\s*[:=]\s*(?P<title>.+)
    | wandb:\s(?:Syncing\srun|Agent\sStarting\sRun:)\s(?P<wandb>\S+).*
    | \[HYDRA\]\s*\#(?P<hydra>\d+\s:.*)
    | \[\d+/\d+\]\s+(?P<listed>\S+\.(?:ya?ml|json|toml))\b.*
    | (?:OUT|(?:out|output|run|log)[\s_]?dir(?:ectory)?)\s*[=:]\s*(?P<folder>\S+)\s*
    | [+$\s]*(?:[A-Z_]+=\S+\s+)*(?:python3?|torchrun|srun|accelerate\slaunch)\s
        (?:.*\s)?[\w./-]+\.py\b(?P<command>.*)
    )$""",
    re.IGNORECASE | re.VERBOSE,
)
_MAY_ANNOUNCE = re.compile(
    r"^[=\-#*>~]{3}|run|config|exp|trial|job|model|seed|fold|training|\[|dir|out|\.py",
    re.IGNORECASE,
)
_STEP_AND_VALUE = re.compile(
    r"(?=.*(?:step|batch|epoch|iter)\w*\W{0,3}\d).*(?:per|cer|loss)\W{0,10}\d", re.IGNORECASE
)
_HEADING = "heading"  # the kind that may also announce a part of a run
_PROCESS = "Using device: "  # the T15 trainer's first line
_NO_NAMES = {"run", "loop", "job", "now", "training", "experiment", "model", "process", "script"}
_OF_CONFIG = re.compile(r"(?:^|\s)(?:-c|--?config(?:[_-]\w+)?|config)[\s=]+(\S+)")


@dataclass
class LogRun:
    """One run in a log.

    Attributes:
        name: as the log announces it; "" if it does not.
        log: what its lines say besides the rows.
        kind: how it was announced: a group of `_ANNOUNCED`, or "".
        first: its first step; None before its first row.
        reached: whether rows are evaluations → the last step of such rows.
    """

    name: str = ""
    log: LogState = field(default_factory=LogState)
    kind: str = ""
    first: float | None = None
    reached: dict[bool, float] = field(default_factory=dict)

    def goes_back(self, row: Mapping[str, float]) -> bool:
        """Whether a row is of a step that the run has left behind."""
        evaluated, step = is_evaluation(row), _step(row)
        if evaluated in self.reached:
            return step <= self.reached[evaluated]
        return step < max(self.reached.values(), default=step)

    def add(self, row: Mapping[str, float]) -> None:
        """Note the step of a row of this run."""
        step = _step(row)
        self.first = step if self.first is None else self.first
        self.reached[is_evaluation(row)] = step


class LogRuns:
    """The runs of one log, as far as its lines were read.

    A new run begins where a line announces one by another name, where steps go back after the
    line that says that training ended, and where a process starts again from the first step. A
    process that goes on from a later step is a restart of the same run, and so is one that starts
    again in the log of one run.

    Attributes:
        runs: in the order of the log; there is always one.
        empty: names of runs that were announced and wrote no row.
    """

    def __init__(self, by_pairs: bool = False, of_one_run: bool = False) -> None:
        """
        Args:
            by_pairs: see `log_lines.read_line`.
            of_one_run: whether the log is beside the settings of one run.
        """
        self.runs = [LogRun()]
        self.empty: list[str] = []
        self._by_pairs, self._of_one_run = by_pairs, of_one_run
        self._next: LogRun | None = None  # announced, without a row so far

    def read(self, line: str) -> StepValues | None:
        """Read the next line; a row is of the last of `runs`. See `log_lines.read_line`."""
        line = without_colours(line)
        if _PROCESS in line:
            self._announce("", "")
        elif (
            _MAY_ANNOUNCE.search(line)
            and (match := _ANNOUNCED.match(line[:500]))
            and not _STEP_AND_VALUE.match(line[:500])
        ):
            kind = match.lastgroup or ""
            self._announce(_seed_name(_name(match[kind]), match[0]), kind)
        run = self._next or self.runs[-1]
        row = read_line(line, run.log, self._by_pairs)
        if row is None:
            return None
        if self._next is not None:
            self._settle(self._next, row)
        elif run.log.ended and run.goes_back(row):
            self.runs.append(LogRun())
            row = read_line(line, self.runs[-1].log, self._by_pairs) or row
        self.runs[-1].add(row)
        return row

    def _announce(self, name: str, kind: str) -> None:
        """Note that a line announces a run, or a process that starts."""
        run = self._next or self.runs[-1]
        if run.first is not None:
            self._next = LogRun(name, kind=kind if name else "")
        elif kind == _HEADING and run.name:
            return
        elif name and kind == run.kind and name != run.name:  # the one before wrote nothing
            self.empty.append(run.name)
            run.name, run.log = name, LogState()
        elif name and (not run.name or run.kind == _HEADING):
            run.name, run.kind = name, kind

    def _settle(self, announced: LogRun, row: StepValues) -> None:
        """Decide by its first row whether what was announced is another run."""
        here, self._next = self.runs[-1], None
        another_name = announced.name != "" and announced.name != here.name
        another_name &= announced.kind != _HEADING  # of a part of a run, perhaps
        if another_name and here.name and announced.kind == here.kind:
            is_new = True
        elif another_name or here.log.ended:
            is_new = here.goes_back(row)
        else:  # the same run again
            first = here.first if here.first is not None else 0.0
            again = _step(row) <= first and here.goes_back(row)
            is_new = again and not (announced.log.loaded or self._of_one_run)
        if is_new:
            self.runs.append(announced)
        else:
            here.log.absorb(announced.log)


def _step(row: Mapping[str, float]) -> float:
    return row.get(STEP, row.get(EPOCH, 0.0))


def _seed_name(name: str, line: str) -> str:
    """``seed=3`` for the name ``3`` in a line such as ``Running seed 3``."""
    is_seed = name.isdecimal() and re.search(rf"\bseed\W*{name}\b", line, re.IGNORECASE)
    return f"seed={name}" if is_seed else name


def _name(text: str) -> str:
    """The name of a run in the text that announces it; "" if there is none."""
    text = " ".join(text.strip(" \t=-#*<>~[]:.").split())
    if match := _OF_CONFIG.search(text):
        text = match[1]
    if re.fullmatch(r"\S+", text):
        text = re.sub(r"\.(ya?ml|json|toml)$", "", text.rstrip("/").rpartition("/")[2])
    text = printable(text)[:_LONGEST_NAME].strip()
    if not re.search(r"\w", text) or text.lower() in _NO_NAMES:
        return ""
    return re.sub(r"[/\\\s]+", "-", text)
