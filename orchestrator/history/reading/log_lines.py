"""Lines of training logs: those of both official trainers, and ``name value`` pairs in others."""

import re
from dataclasses import dataclass

from orchestrator.history.reading.columns import (
    EPOCH,
    PER,
    STEP,
    VAL_LOSS,
    StepValues,
    column_names,
    number_of,
)
from orchestrator.history.reading.files import printable

_NUMBER = r"[-+]?(?:(?:\d+(?:[.,]\d+)*|\.\d+)(?:[eE][-+]?\d+)?|nan|inf|NaN|Inf)"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_TIME = re.compile(r"\b(\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d)")
# Lines of nejm-brain-to-text, model_training/rnn_trainer.py, and of neural_seq_decoder,
# neural_decoder_trainer.py, by how they begin. The values that follow are read by their names, so
# that a fork may add, leave out, rename or reorder some.
_STEP_NUMBER = r"(?P<step>\d{1,3}(?:,\d{3})+(?!\d)|\d+)"
_T15 = re.compile(
    rf"\b(?P<split>Train|Val) batch {_STEP_NUMBER}(?:\s*/\s*[\d,]*\d)?\s*[:|,-]\s*(?=\S)"
)
_T12 = re.compile(rf"(?<![\w.])batch {_STEP_NUMBER}, (?=.*\b(?:ctc loss|cer):)")
_IN_ALL_OFFICIAL = "batch "
_T15_SESSION = re.compile(r"t1[25]\.\d{4}\.\d\d\.\d\d val PER: ")
_PAIR = re.compile(
    rf"([^\W\d_][\w/.-]*(?:[ ][^\W\d_(][\w/.-]*){{0,2}}(?:[ ]?\([\w%][\w %.-]{{0,30}}\))?)"
    rf"\s*(?:[:=]\s*|\s)({_NUMBER})(?![\w.])\s?(%?)"
)
_QUOTES = str.maketrans("", "", "\"'`*")  # of names in a dict, or in Markdown
_OF_TOTAL = re.compile(r"\[\s*(\d+)\s*/\s*\d+\s*\]")  # Epoch [3/20]
_ENDED = re.compile(
    r"\btraining (?:is |was |has )?(?:complete|finished|done|ended)|(?:finished|completed?|done) "
    r"training|stopping training|total training time",
    re.IGNORECASE,
)
_EARLY = re.compile(r"Stopping training early at batch: (\d{1,12})\b")
_LOADED = re.compile("Loaded model from checkpoint: (.+)")
_ERROR = re.compile(
    r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)(?::|$)|^Traceback|CUDA out of m"
    r"|CANCELLED AT |\boom[-_]kill|OOM Killed|^(?:.*: line \d+: .*)?(?:Killed|Segmentation fault)\b"
)
_PER_WORD = r"(?<![a-z])(?:per|cer|phoneme error rate)(?![a-z])"
_EVALUATION = re.compile(  # a line of any trainer that states a PER; not the best one so far
    rf"^(?!.*(?:best|lowest|target|goal|train)).*{_PER_WORD}[^\d]{{0,30}}\d", re.IGNORECASE
)
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
        ended: whether any line said that training ended.
        stopped_early: step of early stopping.
        loaded: checkpoint from which training started.
        error: the last line that reports an error.
        ends_in_error: whether no row follows that line.
        percent: whether a percent sign follows a PER.
        n_unread: evaluations of an official trainer, by how they begin, without a readable PER.
        n_unread_others: other lines that look like evaluations and could not be read.
        unread: the first of these lines.
        n_pairs: lines read as ``name value`` pairs.
        example: the first of those lines.
        n_carried: evaluations without a step; each takes the step mentioned last.
        last_step: column (``step`` or ``epoch``) and value of the step mentioned last.
        epoch: the epoch mentioned last.
        has_per: whether the line that mentioned it has a PER, so that no later line gives it one.
    """

    trainer: str = ""
    started: str = ""
    finished: bool = False
    ended: bool = False
    stopped_early: int | None = None
    loaded: str = ""
    error: str = ""
    ends_in_error: bool = False
    percent: bool = False
    n_unread: int = 0
    n_unread_others: int = 0
    unread: str = ""
    n_pairs: int = 0
    example: str = ""
    n_carried: int = 0
    last_step: tuple[str, float] | None = None
    epoch: float | None = None
    has_per: bool = False

    def absorb(self, later: "LogState") -> None:
        """Add what later lines of the same log say."""
        self.trainer = later.trainer or self.trainer
        self.started = self.started or later.started
        self.finished, self.ended = self.finished or later.finished, later.ended
        if later.stopped_early is not None:
            self.stopped_early = later.stopped_early
        self.loaded, self.error = later.loaded or self.loaded, later.error or self.error
        self.ends_in_error = later.ends_in_error
        self.percent |= later.percent
        self.n_unread += later.n_unread
        self.n_unread_others += later.n_unread_others
        self.unread = self.unread or later.unread
        self.n_pairs += later.n_pairs
        self.example = self.example or later.example
        self.n_carried += later.n_carried
        if later.last_step is not None:
            self.last_step, self.has_per = later.last_step, later.has_per
        self.epoch = later.epoch if later.epoch is not None else self.epoch


def without_colours(text: str) -> str:
    """A line without the marks by which a terminal shows colours."""
    return _ANSI.sub("", text) if "\x1b" in text else text


def read_line(text: str, state: LogState, by_pairs: bool = False) -> StepValues | None:
    """Read one line of a log, and update `state` with what it says besides a row.

    Args:
        text: the line.
        state: of the lines before it.
        by_pairs: read pairs of name and number in the log of an official trainer, too.

    Returns:
        Column → value, PER in the unit of the log; None for a line without a step and a value.
    """
    text = without_colours(text)
    if not state.started and (stamp := _TIME.search(text)):
        state.started = stamp.group(1).replace("T", " ")
    if _IN_ALL_OFFICIAL in text and (row := _official(text, state)) is not None:
        return row or None
    if _ERROR.search(text):
        state.error, state.ends_in_error = printable(" ".join(text.split())[:300]), True
        return None
    _read_event(text, state)
    if len(text) > _LONGEST_OF_PAIRS or not _HINT.search(text) or _T15_SESSION.search(text):
        return None
    # An official log has other lines with a PER, and those of the course are official ones.
    row = None if state.trainer == "t15" and not by_pairs else _pairs(text, state)
    if PER not in (row or {}) and _EVALUATION.search(text):
        state.n_unread_others += 1
        state.unread = state.unread or printable(" ".join(text.split())[:120])
    return row


def _official(text: str, state: LogState) -> StepValues | None:
    """The values of a line of an official trainer or its forks; None for any other line."""
    text = text[:_LONGEST_OF_PAIRS]
    if match := _T15.search(text):
        state.trainer, is_training = "t15", match["split"] == "Train"
    elif match := _T12.search(text):
        state.trainer, is_training = state.trainer or "t12", False
    else:
        return None
    row: StepValues = {STEP: number_of(match["step"].replace(",", ""))}
    state.ends_in_error = False
    state.last_step, percent = (STEP, row[STEP]), state.percent
    values = _values(text[match.end() :], state)
    for column in (EPOCH, STEP):
        values.pop(column, None)
    if is_training:
        state.percent = percent  # a sign behind another PER
        names = {PER: "train_per", VAL_LOSS: "train_loss"}
        values = {names.get(name, name): value for name, value in values.items()}
    elif PER not in values:
        state.n_unread += 1
        state.unread = state.unread or printable(" ".join(text.split())[:120])
    return {**row, **values} if values else {}


def _read_event(text: str, state: LogState) -> None:
    """Lines about the start and the end of training."""
    if "raining" in text or "RAINING" in text:
        state.ended |= bool(_ENDED.search(text))
    if "Total training time: " in text:
        state.finished = state.ended = True
    elif match := _EARLY.search(text):
        state.stopped_early = int(match[1])
    elif match := _LOADED.search(text):
        state.loaded = printable(match[1].strip()[:300])


def _pairs(text: str, state: LogState) -> StepValues | None:
    """The values of a line such as ``step 200 | val PER: 23.4 % | loss=1.2``."""
    row = _values(text, state)
    _carry_step(row, state)
    if not row.keys() - set(_STEPS) or not row.keys() & set(_STEPS):
        return None
    state.n_pairs += 1
    state.ends_in_error = False
    state.example = state.example or printable(" ".join(text.split())[:120])
    return row


def _values(text: str, state: LogState) -> StepValues:
    """Column → value, of all names in a line that are known; the first of a name counts."""
    pairs: dict[str, tuple[str, str]] = {}
    plain = _OF_TOTAL.sub(r" \1 ", text.translate(_QUOTES))
    for name, number, mark in _PAIR.findall(plain):
        pairs.setdefault(name.strip(), (number, mark))
    row: StepValues = {}
    for name, column in column_names(pairs).items():
        number, mark = pairs[name]
        value = _value(number, column)
        if value is not None:
            row[column] = value
            state.percent |= bool(mark) and column == PER
    return row


def _carry_step(row: StepValues, state: LogState) -> None:
    """Remember the step of a line; give it to a later PER without a step, and the epoch to both."""
    state.epoch = row.get(EPOCH, state.epoch)
    stated = next((column for column in _STEPS if column in row), None)
    if stated is not None:
        state.last_step, state.has_per = (stated, row[stated]), PER in row
    elif PER in row and state.last_step is not None and not state.has_per:
        column, value = state.last_step
        row[column] = value
        state.n_carried += 1
    if STEP in row and state.epoch is not None:
        row.setdefault(EPOCH, state.epoch)


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
