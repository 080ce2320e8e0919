"""Lines of training logs: those of both official trainers, and ``name value`` pairs in others."""

import re
from dataclasses import dataclass

from orchestrator.history.reading.columns import (
    COLUMNS,
    EPOCH,
    PER,
    STEP,
    StepValues,
    column_names,
    number_of,
)
from orchestrator.history.reading.files import printable

_NUMBER = r"[-+]?(?:\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?|nan|inf|NaN|Inf)"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)")
# Lines of nejm-brain-to-text, model_training/rnn_trainer.py, and of neural_seq_decoder,
# neural_decoder_trainer.py: pattern → trainer.
_OFFICIAL_TEXTS = {
    rf"Train batch (?P<step>\d+): loss: (?P<train_loss>{_NUMBER}) "
    rf"grad norm: (?P<grad_norm>{_NUMBER}) time: {_NUMBER}": "t15",
    rf"Val batch (?P<step>\d+): PER \(avg\): (?P<per>{_NUMBER}) "
    rf"CTC Loss \(avg\): (?P<val_loss>{_NUMBER}) time: {_NUMBER}": "t15",
    rf"batch (?P<step>\d+), ctc loss:\s*(?P<val_loss>{_NUMBER}), "
    rf"cer:\s*(?P<per>{_NUMBER}), time/batch:\s*{_NUMBER}": "t12",
}
_OFFICIAL = {re.compile(text): trainer for text, trainer in _OFFICIAL_TEXTS.items()}
_IN_ALL_OFFICIAL = "batch "
_T15_SESSION = re.compile(r"t1[25]\.\d{4}\.\d\d\.\d\d val PER: ")
_PAIR = re.compile(
    rf"([^\W\d_][\w/.-]*(?:[ ][^\W\d_(][\w/.-]*){{0,2}}(?:[ ]?\((?:avg|%)\))?)"
    rf"\s*(?:[:=]\s*|\s)({_NUMBER})(?![\w.])\s?(%?)"
)
_EARLY = re.compile(r"Stopping training early at batch: (\d{1,12})\b")
_LOADED = re.compile("Loaded model from checkpoint: (.+)")
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)(?::|$)|^Traceback|CUDA out of m")
_HINT = re.compile(r"per|cer|loss|verlust|epoch|epoche", re.IGNORECASE)
_STEPS = (STEP, EPOCH)
_LONGEST_OF_PAIRS = 2_000  # characters; the time of the search grows with their square


@dataclass
class LogState:
    """What the lines of a log said so far, besides the rows of its learning curve.

    Attributes:
        trainer: ``t15`` or ``t12`` after the first line of an official trainer.
        started: the first time stamp; "" without one.
        finished: whether the line was seen that the T15 trainer writes at the end of training.
        stopped_early: step of early stopping.
        loaded: checkpoint from which training started.
        error: the last line that reports an error.
        percent: whether a percent sign follows a PER.
        n_pairs: lines read as ``name value`` pairs.
        example: the first of those lines.
        n_carried: evaluations without a step; each takes the step mentioned last.
        last_step: column (``step`` or ``epoch``) and value of the step mentioned last.
    """

    trainer: str = ""
    started: str = ""
    finished: bool = False
    stopped_early: int | None = None
    loaded: str = ""
    error: str = ""
    percent: bool = False
    n_pairs: int = 0
    example: str = ""
    n_carried: int = 0
    last_step: tuple[str, float] | None = None


def read_line(text: str, state: LogState) -> StepValues | None:
    """Read one line of a log, and update `state` with what it says besides a row.

    Returns:
        Column → value, PER in the unit of the log; None for a line without a step and a value.
    """
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if not state.started and (stamp := _TIME.search(text)):
        state.started = stamp.group(1).replace("T", " ")
    for pattern, trainer in _OFFICIAL.items() if _IN_ALL_OFFICIAL in text else ():
        if match := pattern.search(text):
            state.trainer = trainer if state.trainer != "t15" else "t15"
            found = match.groupdict()
            return {column: number_of(found[column]) for column in COLUMNS if column in found}
    if _ERROR.search(text):
        state.error = printable(" ".join(text.split())[:300])
        return None
    _read_event(text, state)
    if state.trainer == "t15" or len(text) > _LONGEST_OF_PAIRS or not _HINT.search(text):
        return None
    return _pairs(text, state)


def _read_event(text: str, state: LogState) -> None:
    """Lines of the T15 trainer about the start and the end of training."""
    if "Total training time: " in text:
        state.finished = True
    elif match := _EARLY.search(text):
        state.stopped_early = int(match[1])
    elif match := _LOADED.search(text):
        state.loaded = printable(match[1].strip()[:300])


def _pairs(text: str, state: LogState) -> StepValues | None:
    """The values of a line such as ``step 200 | val PER: 23.4 % | loss=1.2``."""
    if _T15_SESSION.search(text):
        return None
    pairs = {name.strip(): (number, mark) for name, number, mark in _PAIR.findall(text)}
    row: StepValues = {}
    for name, column in column_names(pairs).items():
        number, mark = pairs[name]
        value = _value(number, column)
        if value is not None:
            row[column] = value
            state.percent |= bool(mark) and column == PER
    _carry_step(row, state)
    if not row.keys() - set(_STEPS) or not row.keys() & set(_STEPS):
        return None
    state.n_pairs += 1
    state.example = state.example or printable(" ".join(text.split())[:120])
    return row


def _carry_step(row: StepValues, state: LogState) -> None:
    """Remember the step of a line; give it to a later PER without a step."""
    for column in _STEPS:
        if column in row:
            state.last_step = (column, row[column])
            return
    if PER in row and state.last_step is not None:
        column, value = state.last_step
        row[column] = value
        state.n_carried += 1


def _value(text: str, column: str) -> float | None:
    """A number with thousands separators (``1,000`` steps) or a decimal comma (``0,231``)."""
    if "," in text:
        thousands = re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", text) is not None
        whole = thousands and (column in _STEPS or "." in text)
        text = text.replace(",", "") if whole else text.replace(",", ".")
    try:
        return number_of(text)
    except ValueError:
        return None
