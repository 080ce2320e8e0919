"""Column names of learning curves made elsewhere, and whether their PER is in percent."""

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from statistics import median

from decoder.import_tables import squeeze

StepValues = dict[str, float]  # values at one step, by column

STEP, EPOCH, PER, VAL_LOSS = "step", "epoch", "per", "val_loss"
COLUMNS = (
    *(STEP, EPOCH, PER, VAL_LOSS, "train_loss", "grad_norm", "lr"),
    *("blank_fraction", "emitted_ratio", "n_distinct", "train_per"),
)
PER_ROUNDING = 6e-4  # logs print a PER with four digits; closer values count as equal

# Squeezed names (no case, no punctuation) in the order of preference where a row has several.
_SPELLINGS = {
    STEP: "step globalstep batch iteration iter iters trainstep batchidx batchindex nsteps steps "
    "update updates nupdates globalbatch trainbatch numbatches schritt",
    EPOCH: "epoch epochs epoche",
    PER: "valper per avgper valavgper peravg valperavg phonemeerrorrate valphonemeerrorrate perval "
    "evalper devper validationper validper valcer cer valcerper avgcer testper testcer "
    "evalcer greedyper valpergreedy pergreedy perpct perpercent valperpct valperpercent",
    VAL_LOSS: "valloss ctcloss valctcloss valavgloss avgloss testloss evalloss devloss validloss "
    "validationloss lossval ctclossavg valctc verlustval valverlust valctclossavg",
    "train_loss": "trainlossavg trainloss losstrain trainctcloss trainingloss trainlossmean "
    "runningloss avgtrainloss trainctclossavg",
    "grad_norm": "gradnormavg gradnorm gradientnorm gradnormmean gnorm totalnorm traingradnorm "
    "gradientnormavg",
    "lr": "lr learningrate currentlr lr0 lrpggroup0 lradam lradamw lrmain lernrate trainlr",
    "blank_fraction": "blankfraction blankfrac blankrate blankratio blankshare pctblank "
    "blankpercentage blankpct valblankfraction percentblank blank",
    "emitted_ratio": "emittedratio lengthratio lenratio emittedtotarget predtargetratio",
    "n_distinct": "ndistinct distinctphonemes uniquephonemes nunique",
    "train_per": "trainper traincer pertrain",
}
_COLUMN_OF = {
    name: (column, rank)
    for column, names in _SPELLINGS.items()
    for rank, name in enumerate(names.split())
}
_BY_LAST_PART = 1000  # added to the rank of a name if only its last part is known
_OTHER_VALUE = re.compile(
    r"best|lowest|min|train|target|goal|thresh|zuvor|prev|sample|example|sentence|utterance"
    r"|moving|running|rolling",
    re.IGNORECASE,
)
_UNLABELLED = re.compile(
    r"competition|(?<![a-z])comp(?![a-z])|hold[ _-]?out|held[ _-]?out|challenge|un_?label"
    r"|blind[ _-]?(test|set|split)|hidden[ _-]?(test|set|split|label)|leaderboard|submission|kaggle"
    r"|(no|without)[ _-]?(true[ _-]?)?label",
    re.IGNORECASE,
)
_PLAIN_LOSS = frozenset({"loss", "verlust"})
_HIGH_RATE, _LATER_RATE = 5.0, 2.0  # of an error rate at any time, and once a run has trained
_FEWEST_TO_JUDGE = 3  # values


_RATE = ("0 to 10, or 0 to 1,000 in percent", 0.0, 1000.0)
_FLOAT32 = ("what float32 holds, ±3.4e38", -3.4029e38, 3.4029e38)
_RANGES = {  # column → the range in words, its least and its largest value
    **dict.fromkeys((STEP, EPOCH), ("0 to 1e12", 0.0, 1e12)),
    **dict.fromkeys((PER, "train_per"), _RATE),
    "grad_norm": ("0 to 3.4e38", 0.0, 3.4029e38),
    "blank_fraction": ("0 to 1, or 0 to 100 in percent", 0.0, 100.0),
    **dict.fromkeys(("emitted_ratio", "n_distinct"), ("0 to 1e6", 0.0, 1e6)),
}


def number_of(text: str) -> float:
    """The number that a text is; one too large for a float is the largest float, not infinite.

    Raises:
        ValueError: it is no number.
    """
    value = float(text)
    if math.isinf(value) and "inf" not in text.lower():
        return math.copysign(sys.float_info.max, value)
    return value


def allowed_range(column: str, value: float) -> str:
    """The range of a column, if a value is outside it; "" for one inside it, or not finite."""
    words, least, largest = _RANGES.get(column, _FLOAT32)
    return "" if least <= value <= largest or not math.isfinite(value) else words


def last_part(name: str) -> str:
    """The last part of a dotted name, without case and punctuation: ``a.lr_max`` → ``lrmax``."""
    return squeeze(name.rpartition(".")[2])


def is_unlabelled(text: str) -> bool:
    """Whether the name of a split or of a file says that its trials have no true labels."""
    return bool(_UNLABELLED.search(text))


def is_evaluation(row: Mapping[str, float]) -> bool:
    """Whether a row of a learning curve has a PER or a validation loss."""
    return PER in row or VAL_LOSS in row


def column_names(names: Iterable[str]) -> dict[str, str]:
    """Map the names in a file to columns; names that are not known are left out.

    Each column appears once. If only the last part of a name is known (``metrics/PER``), it
    counts only if no other name fits the same column.

    Returns:
        Name in the file → column.
    """
    candidates: dict[str, list[tuple[int, str]]] = {}
    plain_loss = None
    for name in names:
        known = _column_of(name)
        if known is not None:
            candidates.setdefault(known[0], []).append((known[1], name))
        elif squeeze(name) in _PLAIN_LOSS:
            plain_loss = name
    best = {
        column: min(ranked)[1]
        for column, ranked in candidates.items()
        if len(ranked) == 1 or min(ranked)[0] < _BY_LAST_PART
    }
    if plain_loss is not None:
        column = VAL_LOSS if PER in best and VAL_LOSS not in best else "train_loss"
        best.setdefault(column, plain_loss)
    return {name: column for column, name in best.items()}


def _column_of(name: str) -> tuple[str, int] | None:
    """Column and rank by the whole name, or by its last part: ``metrics/val_per``, ``Val PER``."""
    squeezed = squeeze(name)
    if squeezed in _COLUMN_OF:
        return _COLUMN_OF[squeezed]
    if _OTHER_VALUE.search(name):
        return None
    words = name.split(" ")
    ends = [" ".join(words[at:]) for at in range(1, len(words))]  # the longest first
    for end in (*ends, *(name.rpartition(separator)[2] for separator in "/.")):
        if squeeze(end) in _COLUMN_OF:
            column, rank = _COLUMN_OF[squeeze(end)]
            return column, rank + _BY_LAST_PART
    return None


def percent_reason(values: Sequence[float], in_order: bool = True) -> str:
    """Why the error rates of one file and field are in percent; "" if they are rates.

    All values of the field decide together, the later half most: a rate exceeds 1 where a run
    emits too many phonemes, as at the start of training, but does not stay far above. Few values
    are in percent if they exceed 5, which no run ends at.

    Args:
        values: finite rates.
        in_order: whether they are in the order of training; else all count like the later half.
    """
    if not values:
        return ""
    low, high = min(values), max(values)
    few = len(values) < _FEWEST_TO_JUDGE
    limit = _HIGH_RATE if few else _LATER_RATE
    judged = values if not in_order else values[-1:] if few else values[len(values) // 2 :]
    later = median(judged)
    if high <= _HIGH_RATE or later <= limit:
        return ""
    if 0 < low <= 1:
        return (
            f"PER ranges from {low:g} to {high:g}; read as percent, because a rate does not stay "
            f"above {limit:g}, but the values up to 1 look like rates: the file may mix both units"
        )
    return (
        f"PER from {low:g} to {high:g} is read as percent, because a rate does not stay above "
        f"{limit:g}"
    )
