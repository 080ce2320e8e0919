"""What the columns of foreign courses are called here, and whether a PER is in percent."""

import math
import re
from collections.abc import Iterable, Mapping

from decoder.import_tables import squeeze

Row = dict[str, float]

STEP, EPOCH, PER = "step", "epoch", "per"
COLUMNS = (
    *(STEP, EPOCH, PER, "val_loss", "train_loss", "grad_norm", "lr"),
    *("blank_fraction", "emitted_ratio", "n_distinct", "train_per"),
)

# Squeezed names (no case, no punctuation) in the order of preference where a row has several.
_SPELLINGS = {
    STEP: "step globalstep batch iteration iter iters trainstep batchidx batchindex nsteps steps "
    "update updates nupdates globalbatch trainbatch numbatches schritt",
    EPOCH: "epoch epochs epoche",
    PER: "valper per avgper valavgper peravg valperavg phonemeerrorrate valphonemeerrorrate perval "
    "evalper devper validationper validper valcer cer valcerper avgcer testper testcer "
    "evalcer greedyper valpergreedy pergreedy perpct perpercent valperpct valperpercent",
    "val_loss": "valloss ctcloss valctcloss valavgloss avgloss testloss evalloss devloss validloss "
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
_BY_LAST_PART = 1000  # added to the rank of a name of which only the last part is known
_OTHER_FIGURE = re.compile(r"best|lowest|min|train|target|goal|thresh|zuvor|prev", re.IGNORECASE)
_PLAIN_LOSS = frozenset({"loss", "verlust"})
_PERCENT_NAMES = ("pct", "percent", "%", "prozent")


def column_names(names: Iterable[str]) -> dict[str, str]:
    """Name in the file → column here, for the names that are known; each column once.

    A name known by its last part alone (``metrics/PER``) counts if it is the only one.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    plain = None
    for name in names:
        known = _find(name)
        if known is not None:
            found.setdefault(known[0], []).append((known[1], name))
        elif squeeze(name) in _PLAIN_LOSS:
            plain = name
    best = {
        column: min(candidates)[1]
        for column, candidates in found.items()
        if len(candidates) == 1 or min(candidates)[0] < _BY_LAST_PART
    }
    if plain is not None:
        column = "val_loss" if PER in best and "val_loss" not in best else "train_loss"
        best.setdefault(column, plain)
    return {name: column for column, name in best.items()}


def _find(name: str) -> tuple[str, int] | None:
    """By the whole name, or by its last part: ``metrics/val_per``, ``Val PER``, ``lr-AdamW``."""
    squeezed = squeeze(name)
    if squeezed in _COLUMN_OF:
        return _COLUMN_OF[squeezed]
    if _OTHER_FIGURE.search(name):
        return None
    for mark in ("/", ".", " "):
        head, _, tail = name.rpartition(mark)
        if head and squeeze(tail) in _COLUMN_OF:
            column, rank = _COLUMN_OF[squeeze(tail)]
            return column, rank + _BY_LAST_PART
    return None


def says_percent(name: str) -> bool:
    """Whether a column's name says that it is in percent."""
    return any(mark in name.lower() for mark in _PERCENT_NAMES)


def is_percent(values: Iterable[float]) -> tuple[bool, str]:
    """Whether the PERs of one file are in percent, and the reason in words.

    A PER in [0, 1] is above 1 only for a run that emits far too much, and never above 10, as
    there are not ten frames to a phoneme. One in percent is never below 1 throughout.

    Args:
        values: PERs of one file; those that are not finite are passed over.
    """
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return False, ""
    low, high = min(finite), max(finite)
    if high > 10:
        if low <= 1 and low > 0:
            return True, (
                f"PER runs from {low:g} to {high:g}: taken as percent, as a rate is never above "
                "10; but values up to 1 are as unlikely, so the file may mix both"
            )
        return True, f"PER up to {high:g}: in percent, as a rate is never above 10"
    if low > 5:
        return True, f"PER never below {low:g}: in percent, as no rate stays above 5"
    return False, f"PER from {low:g} to {high:g}: a rate in [0, 1]"


def as_rates(rows: Iterable[Mapping[str, float]], percent: bool) -> list[Row]:
    """The rows with PER as a rate."""
    if not percent:
        return [dict(row) for row in rows]
    return [{k: v / 100 if k in (PER, "train_per") else v for k, v in row.items()} for row in rows]
