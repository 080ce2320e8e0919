"""Lines of training logs: those of both official trainers, and pairs of name and number."""

import re
from dataclasses import dataclass

from orchestrator.history.reading.columns import EPOCH, PER, STEP, Row, column_names
from orchestrator.history.reading.files import shown

_NUMBER = r"[-+]?(?:\d+(?:[.,]\d+)*(?:[eE][-+]?\d+)?|nan|inf|NaN|Inf)"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)")
# Of nejm-brain-to-text, model_training/rnn_trainer.py.
_T15_TRAIN = re.compile(
    rf"Train batch (\d+): loss: ({_NUMBER}) grad norm: ({_NUMBER}) time: {_NUMBER}"
)
_T15_VAL = re.compile(
    rf"Val batch (\d+): PER \(avg\): ({_NUMBER}) CTC Loss \(avg\): ({_NUMBER}) time: {_NUMBER}"
)
_T15_BEST = re.compile(rf"Best avg val PER achieved: ({_NUMBER})")
_T15_END = re.compile(r"Total training time: ")
_T15_EARLY = re.compile(r"Stopping training early at batch: (\d+)")
_T15_LOADED = re.compile(r"Loaded model from checkpoint: (.+)")
_T15_SESSION = re.compile(r"t1[25]\.\d{4}\.\d\d\.\d\d val PER: ")
# Of neural_seq_decoder, neural_decoder_trainer.py.
_T12 = re.compile(
    rf"batch (\d+), ctc loss:\s*({_NUMBER}), cer:\s*({_NUMBER}), time/batch:\s*{_NUMBER}"
)
_PAIR = re.compile(
    rf"([^\W\d_][\w/.-]*(?:[ ][^\W\d_(][\w/.-]*){{0,2}}(?:[ ]?\((?:avg|%)\))?)"
    rf"\s*(?:[:=]\s*|\s)({_NUMBER})(?![\w.])\s?(%?)"
)
_ERROR = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)(?::|$)|^Traceback|CUDA out of m")
_HINT = re.compile(r"per|cer|loss|verlust|epoch|epoche", re.IGNORECASE)
_STEPS = (STEP, EPOCH)


@dataclass
class LogState:
    """What a log said so far, beside its rows.

    Attributes:
        trainer: ``t15`` or ``t12`` once a line of an official trainer was seen.
        started: the first time stamp; "" without one.
        finished: whether the line was seen that a trainer writes at its end.
        stopped_early: step at which a trainer stopped by itself.
        loaded: checkpoint that it began from.
        error: the last line that tells of an error.
        stated_best: the best PER that it claims, as written.
        percent: whether a PER was followed by a percent sign.
        n_pairs: lines read by the rule of pairs, and `example` the first of them.
        n_carried: evaluations without a step, taken to be at the step last mentioned.
    """

    trainer: str = ""
    started: str = ""
    finished: bool = False
    stopped_early: int | None = None
    loaded: str = ""
    error: str = ""
    stated_best: float | None = None
    percent: bool = False
    n_pairs: int = 0
    example: str = ""
    n_carried: int = 0
    last_step: tuple[str, float] | None = None


def read_line(text: str, state: LogState) -> Row | None:
    """The figures in one line of a log, or None; what else it says goes into `state`."""
    if "\x1b" in text:
        text = _ANSI.sub("", text)
    if not state.started and (stamp := _TIME.search(text)):
        state.started = stamp.group(1).replace("T", " ")
    row = _official(text, state)
    if row is not None:
        return row
    if _ERROR.search(text):
        state.error = shown(" ".join(text.split())[:300])
        return None
    if not _HINT.search(text) or state.trainer == "t15":
        _note_end(text, state)
        return None
    return _pairs(text, state)


def _official(text: str, state: LogState) -> Row | None:
    if match := _T15_TRAIN.search(text):
        state.trainer = "t15"
        step, loss, norm = map(float, match.groups())
        return {STEP: step, "train_loss": loss, "grad_norm": norm}
    if match := _T15_VAL.search(text):
        state.trainer = "t15"
        step, per, loss = map(float, match.groups())
        return {STEP: step, PER: per, "val_loss": loss}
    if match := _T12.search(text):
        state.trainer = state.trainer or "t12"
        step, loss, per = map(float, match.groups())
        return {STEP: step, PER: per, "val_loss": loss}
    return None


def _note_end(text: str, state: LogState) -> None:
    if match := _T15_BEST.search(text):
        state.stated_best = float(match.group(1))
    elif _T15_END.search(text):
        state.finished = True
    elif match := _T15_EARLY.search(text):
        state.stopped_early = int(match.group(1))
    elif match := _T15_LOADED.search(text):
        state.loaded = shown(match.group(1).strip()[:300])


def _pairs(text: str, state: LogState) -> Row | None:
    """Figures of a line such as ``step 200 | val PER: 23.4 % | loss=1.2``."""
    _note_end(text, state)
    if _T15_SESSION.search(text):
        return None
    found = {name.strip(): (number, mark) for name, number, mark in _PAIR.findall(text)}
    columns = column_names(found)
    row: Row = {}
    for name, column in columns.items():
        number, mark = found[name]
        value = _value(number, column)
        if value is not None:
            row[column] = value
            state.percent |= bool(mark) and column == PER
    _carry_step(row, state)
    if len(row.keys() - set(_STEPS)) == 0 or not row.keys() & set(_STEPS):
        return None
    state.n_pairs += 1
    state.example = state.example or shown(" ".join(text.split())[:120])
    return row


def _carry_step(row: Row, state: LogState) -> None:
    """Remember the step a line tells; give it to a later PER that has none."""
    for column in _STEPS:
        if column in row:
            state.last_step = (column, row[column])
            return
    if PER in row and state.last_step is not None:
        column, value = state.last_step
        row[column] = value
        state.n_carried += 1


def _value(text: str, column: str) -> float | None:
    """A number as people write it: ``1,000`` steps, a PER of ``0,231``."""
    if "," in text:
        thousands = re.fullmatch(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?", text) is not None
        whole = thousands and (column in _STEPS or "." in text)
        text = text.replace(",", "") if whole else text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return None
