"""What the report of a search says, section by section, as plain text."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from orchestrator.report.figures.style import Saved
from orchestrator.report.grids import Grid, changes_text, data_grid, machine_grid
from orchestrator.report.view import Answer, make_answer
from orchestrator.search.confirm import Winner
from orchestrator.search.outcome import Confirmation, Confirmed
from orchestrator.search.rungs import brackets_of
from orchestrator.search.schema import SECONDS, Dimension
from orchestrator.search.spec import LoadedSearch
from orchestrator.spec.units import difference_text, interval_words, noun, unit_of, value_text

_MOST_CANDIDATES = 12
_NEAR = 0.05  # of a range: so close to an end the best may lie beyond it
_SAMPLERS = {
    "tpe": "Optuna's TPE",
    "cmaes": "Optuna's CMA-ES",
    "gp": "Optuna's Gaussian process",
    "random": "random draws",
    "grid": "a grid",
    "qmc": "a scrambled Sobol sequence",
}


class SearchView(NamedTuple):
    """A report of a search, ready to be laid out; empty sections are left out."""

    name: str
    question: str
    summary: str
    warnings: tuple[str, ...]
    findings: tuple[str, ...]
    answers: tuple[Answer, ...]
    explored: tuple[Answer, ...]
    confirmed: Grid | None
    figures: tuple[Saved, ...]
    candidates: Grid
    left_out: int
    space: Grid
    common: str
    rules: tuple[str, ...]
    data: Grid | None
    limits: tuple[str, ...]
    machine: Grid | None


def make_search_view(
    loaded: LoadedSearch,
    candidates: pd.DataFrame,
    winners: Sequence[Winner],
    found: Confirmation | None,
    figures: Sequence[Saved],
) -> SearchView:
    """Put every section into words.

    Args:
        loaded: the search.
        candidates: the table of candidates.
        winners: of all arms.
        found: the confirmation, as far as there is one.
        figures: already on disk below the search's folder.
    """
    spec = loaded.spec
    verdicts = found.verdicts if found else ()
    best = _ranked(loaded, candidates)
    return SearchView(
        name=spec.name,
        question=" ".join(spec.question.split()),
        summary=_summary(loaded, candidates),
        warnings=_warnings(loaded, candidates, winners, found),
        findings=tuple(_finding(loaded, row, found.rows) for row in found.rows if row.rank == 1)
        if found
        else (),
        answers=tuple(make_answer(v) for v in verdicts if not v.hypothesis.exploratory),
        explored=tuple(make_answer(v) for v in verdicts if v.hypothesis.exploratory),
        confirmed=_confirmed_grid(loaded, found.rows) if found else None,
        figures=tuple(figures),
        candidates=_candidates_grid(loaded, best.head(_MOST_CANDIDATES)),
        left_out=max(0, len(best) - _MOST_CANDIDATES),
        space=_space_grid(loaded),
        common=changes_text(spec.set),
        rules=_rules(loaded),
        data=data_grid(found.plan, found.tables.runs) if found else None,
        limits=_limits(loaded),
        machine=machine_grid(found.tables.runs) if found else None,
    )


def settings_text(params: Mapping[str, Any]) -> str:
    """``optim.lr_max 0.0123, optim.epsilon 2.1e-06``."""
    return ", ".join(f"{path} {_setting(value)}" for path, value in params.items())


def _setting(value: Any) -> str:
    is_number = isinstance(value, float) and not isinstance(value, bool)
    return f"{value:.3g}" if is_number else str(value)


def _summary(loaded: LoadedSearch, candidates: pd.DataFrame) -> str:
    spec = loaded.spec
    counts = candidates["state"].value_counts()
    n_arms = len(loaded.arms)
    full = sum(t.config.train.n_steps * spec.n_candidates * len(spec.seeds) for t in loaded.arms)
    spent = int(candidates["n_steps"].sum())
    n_finished, n_stopped = int(counts.get("finished", 0)), int(counts.get("stopped", 0))
    return (
        f"{n_finished + n_stopped} of "
        f"{spec.n_candidates * n_arms} candidates tried"
        f"{f' in {n_arms} arms' if n_arms > 1 else ''}, {len(spec.seeds)} seeds each: "
        f"{n_finished} trained to the end, {n_stopped} stopped early. "
        f"{spent:,} training steps were spent, {100 * spent / full:.0f} % of what training all to "
        "the end takes."
    )


def _warnings(
    loaded: LoadedSearch,
    candidates: pd.DataFrame,
    winners: Sequence[Winner],
    found: Confirmation | None,
) -> tuple[str, ...]:
    told = []
    failed = candidates[(candidates["state"] == "failed") & candidates["reason"].notna()]
    if len(failed):
        told.append(
            f"{len(failed)} candidates have no figure: "
            f"{'; '.join(dict.fromkeys(str(reason) for reason in failed['reason']))}."
        )
    for winner in winners:
        if winner.rank == 1:
            told += _near_ends(loaded, winner)
    if loaded.spec.confirm is None:
        told.append(
            "Nothing was confirmed: the best figure of a search flatters itself. Add 'confirm'."
        )
    elif found is None:
        told.append("The best candidates are not confirmed yet; start the search again to finish.")
    elif any(row.n_seeds < len(loaded.spec.confirm.seeds) for row in found.rows):
        told.append("Runs of the confirmation are missing; start the search again to finish.")
    return tuple(told)


def _near_ends(loaded: LoadedSearch, winner: Winner) -> list[str]:
    """Settings of the best candidate beside an end of their range: better ones may lie beyond."""
    [space] = [tuned.space for tuned in loaded.arms if tuned.name == winner.arm]
    told = []
    for path, value in winner.params.items():
        dimension = space[path]
        if dimension.choice is not None:
            continue
        low, high = dimension.bounds
        scale = math.log if dimension.is_log else float
        place = (scale(value) - scale(low)) / (scale(high) - scale(low))
        if min(place, 1 - place) < _NEAR:
            end = "upper" if place > 0.5 else "lower"
            told.append(
                f"The best {path} ({_setting(value)}) lies at the {end} end of its range "
                f"({_range(dimension)}); better ones may lie beyond, so widen it."
            )
    return told


def _finding(loaded: LoadedSearch, row: Confirmed, rows: Sequence[Confirmed]) -> str:
    """What the search saw, what is left of it on fresh seeds, and the base; plain sentences."""
    spec = loaded.spec
    name, base = spec.first, next(r for r in rows if r.arm == row.arm and r.rank == 0)
    of_arm = f"{row.arm}: " if spec.arms else ""
    unit = unit_of(name)
    text = (
        f"{of_arm}The best candidate ({settings_text(row.params)}) had a {noun(name)} of "
        f"{value_text(row.search_figure, name)} on the seeds it was chosen by. "
    )
    if math.isnan(row.mean):
        return text + "It has not been confirmed yet."
    flattery = spec.sign * row.gap
    text += (
        f"On {row.n_seeds} fresh seeds it has {value_text(row.mean, name)} (95 % interval "
        f"{_between(row, name)}): "
    )
    size = difference_text(abs(row.gap), name, signed=False)
    if not size.strip("0."):
        text += "choosing it by its figure did not flatter it. "
    elif flattery > 0:
        text += f"choosing it by its figure flattered it by {size} {unit}. "
    else:
        text += f"{size} {unit} better than it was chosen by. "
    if math.isnan(base.mean):
        return text
    return text + (
        f"The base has {value_text(base.mean, name)} on the same fresh seeds; best minus base is "
        f"{difference_text(row.difference, name)} {unit} (95 % interval, paired by seed: "
        f"{interval_words(row.difference_interval, name)})."
    )


def _between(row: Confirmed, name: str) -> str:
    if not math.isfinite(row.interval.low):
        return "none"
    return f"{value_text(row.interval.low, name)} to {value_text(row.interval.high, name)}"


def _confirmed_grid(loaded: LoadedSearch, rows: Sequence[Confirmed]) -> Grid:
    name = loaded.spec.first
    n_fresh = max(row.n_seeds for row in rows)
    return Grid(
        (
            *("configuration", "candidate", "settings", "in the search"),
            *(f"on {n_fresh} fresh seeds", "95 % interval", "gap", "minus base", "95 % interval"),
        ),
        tuple(
            (
                row.level,
                "–" if row.candidate is None else str(row.candidate),
                settings_text(row.params) or "–",
                value_text(row.search_figure, name),
                value_text(row.mean, name),
                _between(row, name),
                difference_text(row.gap, name),
                difference_text(row.difference, name),
                interval_words(row.difference_interval, name) if row.rank else "–",
            )
            for row in rows
        ),
        (False, True, False, True, True, True, True, True, True),
    )


def _ranked(loaded: LoadedSearch, candidates: pd.DataFrame) -> pd.DataFrame:
    """Candidates with a figure: those at the end of their budget first, then how far they came."""
    tried = candidates[candidates["state"].isin(["finished", "stopped"])].copy()
    tried["_order"] = loaded.spec.sign * tried["figure"].astype(float)
    return tried.sort_values(
        ["step", "_order", "candidate"], ascending=[False, True, True], kind="stable"
    )


def _candidates_grid(loaded: LoadedSearch, rows: pd.DataFrame) -> Grid:
    spec = loaded.spec
    more = [name for name in spec.objectives if name != spec.first]
    paths = list(dict.fromkeys(path for tuned in loaded.arms for path in tuned.space))
    arm = ["arm"] if spec.arms else []
    cells = []
    for row in rows.to_dict("records"):
        settings = [_setting(row[p]) if pd.notna(row[p]) else "–" for p in paths]
        figures = [value_text(float(row["figure"]), spec.first)]
        figures += [value_text(float(row[name]), name) for name in more]
        finished = row["state"] == "finished"
        state = "trained to the end" if finished else "stopped"
        # Collapse is of a whole budget; a run that was stopped might have escaped.
        stuck = "collapsed" if finished else "on the blank plateau"
        ending = {"ok": "", "collapsed": stuck, "diverged": "diverged"}[row["ending"]]
        cells.append(
            (
                *([row["arm"]] if arm else []),
                str(row["candidate"]), *settings, *figures, f"{int(row['step']):,}",
                f"{state}{f', {ending}' if ending else ''}",
            )
        )  # fmt: skip
    header = (*arm, "candidate", *paths, noun(spec.first), *more, "at step", "how it ended")
    numeric = [True] * len(header)
    numeric[-1] = False
    numeric[: len(arm)] = [False] * len(arm)
    return Grid(header, tuple(cells), tuple(numeric))


def _space_grid(loaded: LoadedSearch) -> Grid:
    rows = []
    for tuned in loaded.arms:
        rows += [
            (*([tuned.name] if loaded.spec.arms else []), path, _range(d), _condition(d))
            for path, d in tuned.space.items()
        ]
    header = (*(["arm"] if loaded.spec.arms else []), "setting", "searched", "where")
    return Grid(header, tuple(rows), (False,) * len(header))


def _range(dimension: Dimension) -> str:
    if dimension.choice is not None:
        return ", ".join(_setting(value) for value in dimension.choice)
    low, high = (_setting(end) for end in dimension.bounds)
    kind = "whole numbers, " if dimension.kind == "int" else ""
    return f"{kind}{low} to {high}{', logarithmic' if dimension.is_log else ''}"


def _condition(dimension: Dimension) -> str:
    return ", ".join(f"{path} = {value}" for path, value in dimension.when.items()) or "always"


def _rules(loaded: LoadedSearch) -> tuple[str, ...]:
    spec = loaded.spec
    first = loaded.arms[0].config.train
    brackets = brackets_of(spec.stopping, first.n_steps, first.eval_every_steps)
    rules = [
        f"Candidates come from {_SAMPLERS[spec.sampler]}, {spec.batch} at a time; a candidate's "
        f"figure is the mean over {len(spec.seeds)} seeds. The best is that with the best "
        f"{noun(spec.first)} among those trained to the end of their budget.",
        "A collapsed run counts with the figure it was measured at, a diverged one with the worst "
        "there is. Only runs that failed for reasons other than their numbers are tried again.",
    ]
    if spec.stopping.method != "none":
        told = " or ".join(" and ".join(f"{r:,}" for r in b.rungs) for b in brackets if b.rungs)
        rules.append(
            f"{'ASHA' if spec.stopping.method == 'asha' else 'Hyperband'}: at step {told} the best "
            f"1/{spec.stopping.reduction_factor} of all candidates seen there go on. Schedules are "
            "those of the full budget, so a stopped run is the beginning of a full one. Stopped "
            "runs enter no test."
        )
    if spec.confirm:
        rules.append(
            "The confirmation is an ablation of its own on seeds that had no part in the choice. "
            "Claimed is only that the first of the ranking beats the base, and what the file "
            "claims of arms; lower ranks are looked through. Choosing again among the confirmed "
            "would flatter again."
        )
    if SECONDS in spec.objectives:
        rules.append(
            "Seconds are a run's share of its pack's wall time on this machine; of a diverged run, "
            "scaled to the full budget."
        )
    return tuple(rules)


def _limits(loaded: LoadedSearch) -> tuple[str, ...]:
    return (
        "Between the candidates the space was not looked at; a better setting may lie there, or "
        "outside.",
        "The settings are best for these recordings, this model size and this budget. Learning "
        "rates in particular move with both.",
        "Maps and importances describe the candidates that were proposed, which crowd where "
        "figures were good.",
    )
