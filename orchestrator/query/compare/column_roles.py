"""What each column of a CSV table holds: a result, a setting, a factor, or neither."""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from pydantic import JsonValue

from decoder.config import config_paths
from decoder.import_forks import FORKS
from decoder.import_tables import squeeze
from decoder.neutral_settings import is_neutral
from orchestrator.history.reading.columns import EPOCH, STEP, column_names
from orchestrator.spec.schema import METRICS

Role = Literal["metric", "setting", "factor", "special", ""]

_LOWEST = frozenset({"bestper", "bestvalper", "minper", "lowestper"})
_NO_RESULT = (STEP, EPOCH, "lr", "grad_norm")  # in a table of runs these are settings
_NAMES = ("arm", "model", "method", "variant", "config", "configuration", "experiment", "name")
_SPECIAL = {  # squeezed header → what it holds
    **dict.fromkeys(("seed", "randomseed", "rngseed", "randomstate"), "seed"),
    **dict.fromkeys(("rep", "repeat", "replicate", "fold"), "seed"),
    **dict.fromkeys(("runid", "run", "id"), "run_id"),
    **dict.fromkeys(("outcome", "status", "state"), "outcome"),
}
# Words of headers, without case. A column of numbers is a result by its last word, or by what comes
# before it; any other that varies is a setting, so that its rows are no repeats of one another.
_RESULT_WORDS = (
    "per wer cer ser loss acc accuracy f1 bleu recall auc rmse mse mae nll ppl perplexity runtime "
    "time seconds secs sec minutes hours duration elapsed timestamp memory latency throughput"
)
_BOOKKEEPING_NAMES = (
    "index idx no number row trial trialid trialnumber rank unnamed0 sweep sweepid user host state "
    "tags notes created createdat updated commitmessage jobtype"
)
_RESULTS = frozenset(_RESULT_WORDS.split())
_BOOKKEEPING = frozenset(_BOOKKEEPING_NAMES.split())
_SPLITS = {"val", "valid", "validation", "dev", "test", "eval", "train", "avg", "average", "mean"}
_AFTER_SPLIT = {"score", "error", "errors", "err", "rate", "ratio", "metric", "distance", "correct"}
_OF_CURVE = {"best", "last", "final", "lowest"}
_SUMMARY = re.compile(r"[\s_.-]*(min|max|mean|avg|std|sem|median|var)$", re.IGNORECASE)
_COUNTERS = {"step", "globalstep", "epoch", "iteration", "iter", "score", "error", "errorrate"}
_LONGEST_LEVEL = 60  # characters of a text that is a setting


class ColumnRoles(NamedTuple):
    """What the columns of a table hold: header → name of ours, except for `special`.

    Attributes:
        metrics: numbers that can be compared; every column that holds one and has no other role.
        settings: settings of the configuration; those that we have no field for have their own
            headers as names.
        factors: levels of factors, such as the ``factor.NAME`` columns of our own tables.
        special: ``seed``, ``name``, ``run_id`` or ``outcome`` → header, as far as there is one.
        others: headers of every other column.
    """

    metrics: Mapping[str, str]
    settings: Mapping[str, str]
    factors: Mapping[str, str]
    special: Mapping[str, str]
    others: tuple[str, ...]


def assign_roles(
    table: Mapping[str, Sequence[JsonValue]],
    metric: str,
    on: Sequence[str] = (),
    factors: Collection[str] = (),
) -> ColumnRoles:
    """What each column holds, by its header; `metric`, `on` and `factors` come first.

    A table with ``run_id``, ``outcome`` and ``per`` is one of ours, and its numbers keep their
    names. In other tables, the spellings of both official codebases and their forks are known.

    Args:
        table: header → its values, see `setting_value`.
        metric, on, factors: see `read_table`.
    """
    headers = list(table)
    ours = {"run_id", "outcome", "per"} <= set(headers)
    known = {} if ours else column_names(headers)
    names: dict[Role, dict[str, str]] = {"metric": {}, "setting": {}, "factor": {}, "special": {}}
    left = []
    role: Role
    named = (metric, *on, *factors)
    for header in sorted(headers, key=lambda header: header not in named):
        column = known.get(header)
        if column is not None and column not in _NO_RESULT and header not in named:
            role, name = "metric", column
        else:
            role, name = _role(header, table[header], metric, (*on, *factors), ours)
        if not role or name in names[role].values():
            left.append(header)
        else:
            names[role][header] = name
    special = {name: header for header, name in names["special"].items()}
    arm_name = next((h for name in _NAMES for h in left if squeeze(h) == name), None)
    makes_repeats = ours or names["setting"] or names["factor"] or "seed" in special
    if arm_name is None and not makes_repeats:
        by_run = special.get("run_id", "")  # without anything that makes repeats, a run is an arm
        if any(isinstance(value, str) for value in table.get(by_run, ())):
            arm_name = by_run
    rest = [header for header in headers if header in left and header != arm_name]
    n_rows = max(map(len, table.values()), default=0)
    own = {} if ours else {h: h for h in rest if _is_setting(h, table[h], n_rows)}
    rest = [header for header in rest if header not in own]
    numeric = {h: h for h in rest if any(isinstance(value, float) for value in table[h])}
    return ColumnRoles(
        metrics=names["metric"] | numeric,
        settings=names["setting"] | own,
        factors=names["factor"],
        special=special if arm_name is None else special | {"name": arm_name},
        others=tuple(header for header in rest if header not in numeric),
    )


def _is_result(header: str) -> bool:
    """Whether a column of numbers holds results, by its header."""
    header = _SUMMARY.sub("", header)  # of a chart of a tracker: val_per__MIN
    of_tracker = header.startswith("_") or squeeze(header) in _COUNTERS
    if of_tracker or header in METRICS:
        return True
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", re.sub(r"\(.*?\)|\[.*?\]|%", "", header))
    words = re.findall(r"[a-z]+[0-9]*", spaced.lower())
    if not words:
        return False
    return (
        words[-1] in _RESULTS
        or not _OF_CURVE.isdisjoint(words)
        or (words[0] in ("wer", "cer") and len(words) > 1 and words[-1] != "weight")
        or (words[0] in _SPLITS and words[-1] in _AFTER_SPLIT)
        or {"error", "rate"} <= set(words)
    )


def _is_setting(header: str, values: Sequence[JsonValue], n_rows: int) -> bool:
    """Whether a column of no known name is a setting: it varies, and is no result or label."""
    bare = squeeze(header)
    if bare in _BOOKKEEPING or is_neutral(header) or is_neutral(bare):
        return False
    stated = [value for value in values if value is not None]
    kinds = {type(value) for value in stated}
    if str in kinds:
        distinct = {str(value) for value in values}
        texts = [value for value in stated if isinstance(value, str)]
        return 1 < len(distinct) < n_rows and max(map(len, texts)) <= _LONGEST_LEVEL
    return bool(stated) and not (kinds == {float} and _is_result(header))


def _role(
    header: str, values: Sequence[JsonValue], metric: str, factors: Sequence[str], ours: bool
) -> tuple[Role, str]:
    """What a column holds, and its name there; empty for a column of no known kind."""
    bare = squeeze(re.sub(r"\(.*?\)|\[.*?\]|%", "", header))
    if header in factors:
        return "factor", header
    if header == metric:
        return "metric", metric
    if header.startswith("factor."):
        return "factor", header.removeprefix("factor.")
    if header in config_paths():
        return "setting", header
    if bare in _SPECIAL:
        return "special", _SPECIAL[bare]
    if ours:
        return "", ""
    if bare in _LOWEST:
        return "metric", "best_per"
    path = _config_path(last_word(header), values)
    return ("setting", path) if path else ("", "")


def last_word(header: str) -> str:
    """``epsilon`` of ``config/optim.epsilon``."""
    return squeeze(re.split(r"[./]", header)[-1])


def _config_path(name: str, values: Sequence[JsonValue]) -> str | None:
    """The field of ours that a squeezed name stands for, in our spelling or a fork's."""
    paths = [path for path in config_paths() if squeeze(path.partition(".")[2]) == name]
    if len(paths) == 1:
        return paths[0]
    return next((path for value in values for path in fork_fields(name, value)), None)


def fork_fields(name: str, value: JsonValue) -> Mapping[str, JsonValue]:
    return FORKS[name](value, {}).fields if name in FORKS else {}
