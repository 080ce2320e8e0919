"""The report of a search, section by section, as plain text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from decoder.errors import ConfigError
from orchestrator.report.claims import Answer, make_answers
from orchestrator.report.faults import Faults
from orchestrator.report.figures.style import Saved
from orchestrator.report.grids import (
    Grid,
    changes_text,
    make_grid,
    numbers,
    texts,
)
from orchestrator.report.source_grids import data_grid, machine_grid
from orchestrator.search.confirmation import Confirmation, Confirmed, Winner
from orchestrator.search.load import LoadedSearch
from orchestrator.search.rungs import brackets_for
from orchestrator.search.schema import SearchSpec
from orchestrator.search.settings import (
    Place,
    beyond_end,
    from_cell,
    places,
    range_text,
    setting_text,
    settings_text,
)
from orchestrator.search.space import Params, Space, configure, is_active
from orchestrator.spec.configuration import n_steps_of
from orchestrator.spec.units import difference_text, interval_words, noun, unit_of, value_text
from orchestrator.stats.effects import Interval

_MOST_CANDIDATES = 12
_NO_ROWS = Grid((), (), ())  # in place of a table that cannot be made


class SearchView(NamedTuple):
    """A report of a search, ready to be laid out; empty sections are left out.

    The templates write the method and its limits in words, from `spec`, `outcome` and `rungs`.
    """

    spec: SearchSpec
    summary: str
    warnings: tuple[str, ...]
    findings: tuple[str, ...]
    best: Grid | None
    answers: tuple[Answer, ...]
    exploratory: tuple[Answer, ...]
    confirmed: Grid | None
    figures: tuple[Saved, ...]
    candidates: Grid
    n_not_shown: int
    space: Grid
    common: str
    outcome: str
    rungs: str
    data: Grid | None
    machine: Grid | None


def make_search_view(
    loaded: LoadedSearch,
    candidates: pd.DataFrame,
    winners: Sequence[Winner],
    confirmation: Confirmation | None,
    figures: Sequence[Saved],
    faults: Faults,
    mixed: str = "",
) -> SearchView:
    """Put every section into words; the figures lie below the search's folder already.

    Args:
        faults: what of the report could not be made; a part that cannot be put into words is left
            out, and is one of them.
        mixed: that runs of the candidates were trained by different code, if they were.
    """
    spec, attempt = loaded.spec, faults.attempt

    def answers(exploratory: bool) -> tuple[Answer, ...]:
        if confirmation is None:
            return ()
        return make_answers(confirmation.plan, confirmation.verdicts, exploratory=exploratory)

    rows = confirmation.rows if confirmation else ()
    first = [winner for winner in winners if winner.rank == 1]
    ranked = _ranked(loaded, candidates)
    view = SearchView(
        spec=spec,
        summary=_summary(loaded, candidates),
        warnings=attempt(
            "the remarks on the search",
            lambda: tuple(_warnings(loaded, candidates, first, rows, mixed)),
            (),
        ),
        findings=attempt("the findings", lambda: tuple(_findings(loaded, first, rows)), ()),
        best=attempt("the table of the best settings", lambda: _best_grid(loaded, first), None),
        answers=attempt("the answers", lambda: answers(False), ()),
        exploratory=attempt("the exploratory answers", lambda: answers(True), ()),
        confirmed=attempt(
            "the table of the confirmation",
            lambda: _confirmed_grid(loaded, rows) if rows else None,
            None,
        ),
        figures=tuple(figures),
        candidates=attempt(
            "the table of candidates",
            lambda: _candidates_grid(loaded, ranked.head(_MOST_CANDIDATES)),
            _NO_ROWS,
        ),
        n_not_shown=max(0, len(ranked) - _MOST_CANDIDATES),
        space=attempt("the table of the search space", lambda: _space_grid(loaded), _NO_ROWS),
        common=changes_text(spec.set),
        outcome=noun(spec.first),
        rungs=_rungs_text(loaded),
        data=attempt(
            "the table of data",
            lambda: data_grid(confirmation.plan, confirmation.runs) if confirmation else None,
            None,
        ),
        machine=attempt(
            "the table of machines",
            lambda: machine_grid(confirmation.plan, confirmation.runs) if confirmation else None,
            None,
        ),
    )
    broken = tuple(f"{fault.line}." for fault in faults.found)
    return view._replace(warnings=view.warnings + broken)


def winner_places(loaded: LoadedSearch, winner: Winner) -> list[Place]:
    """Where the settings of a winner lie in the ranges of its arm."""
    [space] = [arm.space for arm in loaded.arms if arm.name == winner.arm]
    return places(space, winner.params, is_grid=loaded.spec.sampler == "grid")


def near_open_ends(loaded: LoadedSearch, winner: Winner) -> list[Place]:
    """The settings near an end of their range, where the decoder takes values beyond it."""
    [arm] = [arm for arm in loaded.arms if arm.name == winner.arm]
    found = []
    for place in winner_places(loaded, winner):
        if place.near is None:
            continue
        beyond = beyond_end(arm.space[place.path], place.near)
        try:
            configure(arm.config, winner.params, {place.path: beyond}, where="")
        except ConfigError:
            continue  # no range can be widened to there
        found.append(place)
    return found


def _summary(loaded: LoadedSearch, candidates: pd.DataFrame) -> str:
    spec, n_arms = loaded.spec, len(loaded.arms)
    n_finished, n_stopped = (int((candidates["state"] == s).sum()) for s in ("finished", "stopped"))
    full = sum(n_steps_of(a.config) * spec.n_candidates * len(spec.seeds) for a in loaded.arms)
    spent = int(candidates["n_steps"].sum())
    return (
        f"{n_finished + n_stopped} of {spec.n_candidates * n_arms} candidates tried"
        f"{f' in {n_arms} arms' if n_arms > 1 else ''}, "
        f"{len(spec.seeds)} seed{'s' * (len(spec.seeds) > 1)} each: "
        f"{n_finished} trained to the end, {n_stopped} stopped early. "
        f"The search took {spent:,} training steps, {100 * spent / full:.0f} % of what training "
        "every candidate to the end takes."
    )


def _warnings(
    loaded: LoadedSearch,
    candidates: pd.DataFrame,
    first: Sequence[Winner],
    rows: Sequence[Confirmed],
    mixed: str,
) -> list[str]:
    warnings = []
    if mixed:
        warnings.append(
            f"{mixed[:1].upper()}{mixed[1:]}. The scores of the candidates may differ for that "
            "reason; another search, by another name, compares all of them by one code."
        )
    failed = candidates[(candidates["state"] == "failed") & candidates["reason"].notna()]
    if len(failed):
        reasons = "; ".join(dict.fromkeys(str(reason) for reason in failed["reason"]))
        warnings.append(f"Candidates without a score: {len(failed)} ({reasons}).")
    for winner in first:
        front = f"{winner.arm}: " if loaded.spec.arms else ""
        warnings += [
            f"{front}The best {place.path} ({setting_text(place.value)}) lies near the "
            f"{place.near} end of its range ({place.range}). Better values may lie beyond: "
            "widen the range."
            for place in near_open_ends(loaded, winner)
        ]
        own = candidates[candidates["arm"] == winner.arm]
        [ending] = own.loc[own["candidate"] == winner.number, "ending"]
        if ending != "ok":
            warnings.append(
                f"{front}A run of the best candidate ({settings_text(winner.params)}) {ending}, "
                "so its settings are no safe choice."
            )
    if loaded.spec.confirm is None:
        warnings.append(
            "Nothing was confirmed. The best score of a search is too good, because it was chosen "
            "for being good; add 'confirm' to measure it on fresh seeds."
        )
    elif not rows:
        warnings.append("The best candidates are not confirmed yet; run the search again.")
    elif any(row.n_seeds < len(loaded.spec.confirm.seeds) for row in rows):
        warnings.append("Runs of the confirmation are missing; run the search again.")
    return warnings


def _findings(
    loaded: LoadedSearch, first: Sequence[Winner], rows: Sequence[Confirmed]
) -> Iterator[str]:
    """One for each arm: what its best candidate reached, and whether it was confirmed."""
    best = {winner.arm: winner for winner in first}
    confirmed = {row.arm: row for row in rows if row.rank == 1}
    for arm in loaded.arms:
        front = f"{arm.name}: " if loaded.spec.arms else ""
        row, winner = confirmed.get(arm.name), best.get(arm.name)
        if row is not None and not math.isnan(row.mean):
            yield front + _finding(loaded, row, rows)
        elif winner is not None:
            text = _chosen(loaded, winner.params, winner.figure)
            yield f"{front}Unconfirmed: {text[0].lower()}{text[1:]}"
        else:
            yield f"{front}No candidate was trained to its end, so there is no best one yet."


def _chosen(loaded: LoadedSearch, params: Params, score: float) -> str:
    name, n_seeds = loaded.spec.first, len(loaded.spec.seeds)
    seeds = "seed it was" if n_seeds == 1 else f"{n_seeds} seeds it was"
    return (
        f"The best candidate ({settings_text(params)}) had a {noun(name)} of "
        f"{value_text(score, name)} on the {seeds} chosen by."
    )


def _finding(loaded: LoadedSearch, row: Confirmed, rows: Sequence[Confirmed]) -> str:
    """The best candidate's score in the search and on fresh seeds, and the base's."""
    name, unit = loaded.spec.first, unit_of(loaded.spec.first)
    base = next(r for r in rows if r.arm == row.arm and r.rank == 0)
    text = f"{_chosen(loaded, row.params, row.search_figure)} "
    size = difference_text(abs(row.gap), name, signed=False)
    if not size.strip("0."):
        selection = "no optimism of selection shows"
    elif loaded.spec.sign * row.gap > 0:
        selection = f"the optimism of selection is {size} {unit}"
    else:
        selection = f"that is {size} {unit} better than in the search"
    text += (
        f"On {row.n_seeds} fresh seeds it has {value_text(row.mean, name)} (95 % interval "
        f"{_interval_text(row.interval, name)}): {selection}. "
    )
    if math.isnan(base.mean):
        return text
    return text + (
        f"The base has {value_text(base.mean, name)} on the same fresh seeds; best minus base is "
        f"{difference_text(row.difference, name)} {unit} (95 % interval, paired by seed: "
        f"{interval_words(row.difference_interval, name)})."
    )


def _interval_text(interval: Interval, name: str) -> str:
    if not math.isfinite(interval.low):
        return "none"
    return f"{value_text(interval.low, name)} to {value_text(interval.high, name)}"


def _best_grid(loaded: LoadedSearch, first: Sequence[Winner]) -> Grid | None:
    """The settings of the best candidate of each arm, and their place in their ranges."""
    arm = ["arm"] if loaded.spec.arms else []
    cells = [
        (*(winner.arm for _ in arm), place.path, setting_text(place.value), place.range, place.text)
        for winner in first
        for place in winner_places(loaded, winner)
    ]
    columns = (*texts(*arm, "setting"), *numbers("best"), *texts("range", "place in the range"))
    return make_grid(columns, cells) if cells else None


def _confirmed_grid(loaded: LoadedSearch, rows: Sequence[Confirmed]) -> Grid:
    name = loaded.spec.first
    on_fresh = f"on {max(row.n_seeds for row in rows)} fresh seeds"
    columns = (
        *texts("configuration"),
        *numbers("candidate"),
        *texts("settings"),
        *numbers("in the search", on_fresh, "95 % interval", "gap", "minus base", "95 % interval"),
    )
    cells = [
        (
            row.level,
            "–" if row.candidate is None else str(row.candidate),
            settings_text(row.params) or "–",
            value_text(row.search_figure, name),
            value_text(row.mean, name),
            _interval_text(row.interval, name),
            difference_text(row.gap, name),
            difference_text(row.difference, name),
            interval_words(row.difference_interval, name) if row.rank else "–",
        )
        for row in rows
    ]
    return make_grid(columns, cells)


def _ranked(loaded: LoadedSearch, candidates: pd.DataFrame) -> pd.DataFrame:
    """Candidates with a score: those that were trained longest first, then by score."""
    tried = candidates[candidates["state"].isin(["finished", "stopped"])].copy()
    tried["_order"] = loaded.spec.sign * tried["figure"].astype(float)
    return tried.sort_values(
        ["step", "_order", "candidate"], ascending=[False, True, True], kind="stable"
    )


def _candidates_grid(loaded: LoadedSearch, rows: pd.DataFrame) -> Grid:
    spec = loaded.spec
    more = list(spec.objectives)[1:]
    paths = list(dict.fromkeys(path for arm in loaded.arms for path in arm.space))
    arm = ["arm"] if spec.arms else []
    spaces = {tuned.name: tuned.space for tuned in loaded.arms}
    cells = []
    for row in rows.to_dict("records"):
        finished = row["state"] == "finished"
        state = "trained to the end" if finished else "stopped"
        # A run is collapsed at the end of its budget; before it, it may still escape.
        plateau = "collapsed" if finished else "on the blank plateau"
        ending = {"ok": "", "collapsed": f", {plateau}", "diverged": ", diverged"}[row["ending"]]
        cells.append(
            (
                *(row[name] for name in arm),
                str(row["candidate"]),
                *(_searched(spaces[row["arm"]], row, path) for path in paths),
                value_text(float(row["figure"]), spec.first),
                *(value_text(float(row[name]), name) for name in more),
                f"{int(row['step']):,}",
                f"{state}{ending}",
            )
        )
    scores = numbers("candidate", *paths, noun(spec.first), *more, "at step")
    return make_grid((*texts(*arm), *scores, *texts("how it ended")), cells)


def _searched(space: Space, row: Mapping[Any, Any], path: str) -> str:
    """A candidate's value of a path; a dash where it is not searched, ``null`` where chosen."""
    chosen = {one: from_cell(dimension, row[one]) for one, dimension in space.items()}
    if path not in space or not is_active(space[path], chosen):
        return "–"
    return setting_text(chosen[path])


def _space_grid(loaded: LoadedSearch) -> Grid:
    arm = ["arm"] if loaded.spec.arms else []
    cells = [
        (
            *(tuned.name for _ in arm),
            path,
            range_text(dimension),
            changes_text(dimension.when) or "always",
        )
        for tuned in loaded.arms
        for path, dimension in tuned.space.items()
    ]
    return make_grid(texts(*arm, "setting", "values", "searched if"), cells)


def _rungs_text(loaded: LoadedSearch) -> str:
    """The rungs of the first arm; one list for each bracket that has rungs."""
    brackets = brackets_for(loaded.spec.stopping, loaded.arms[0].config)
    return " or ".join(" and ".join(f"{r:,}" for r in b.rungs) for b in brackets if b.rungs)
