"""The figures of a search, in the order of its report; each is drawn if the data allow it."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from orchestrator.report.figures.style import Saved, save
from orchestrator.search.confirm import Winner
from orchestrator.search.figures.contour import contour_data, draw_contour
from orchestrator.search.figures.curves import candidate_curves, draw_candidate_curves
from orchestrator.search.figures.importance import draw_importance, importance_data
from orchestrator.search.figures.marks import Setting
from orchestrator.search.figures.parallel import draw_parallel, parallel_data
from orchestrator.search.figures.pareto import draw_pareto, pareto_data
from orchestrator.search.figures.progress import draw_progress, progress_data
from orchestrator.search.figures.settings import draw_settings, settings_data
from orchestrator.search.importance import Importance, importances
from orchestrator.search.outcome import Confirmed
from orchestrator.search.space import Space
from orchestrator.search.spec import LoadedSearch
from orchestrator.search.tables import SearchTables


def draw_search(
    folder: Path,
    loaded: LoadedSearch,
    tables: SearchTables,
    winners: Sequence[Winner],
    confirmed: Sequence[Confirmed],
) -> list[Saved]:
    """Draw every figure as SVG and PNG.

    Args:
        folder: where the files go.
        loaded: the search.
        tables: its tables.
        winners: of all arms.
        confirmed: what the confirmation found so far.
    """
    tried = tables.candidates[tables.candidates["state"].isin(["finished", "stopped"])]
    present = set(tried["arm"])
    arms = [tuned for tuned in loaded.arms if tuned.name in present]
    if not arms:
        return []
    names, spec = [tuned.name for tuned in arms], loaded.spec
    shown = {
        (row.arm, f"best {row.rank}" if row.rank else "base"): row.mean
        for row in confirmed
        if row.rank < 2 and row.mean == row.mean
    }
    bases = [row.mean for row in confirmed if row.rank == 0 and row.mean == row.mean]
    saved = [
        save(
            draw_progress(progress_data(spec.first, spec.sign, names, tables.candidates, shown)),
            folder, "progress", "Best so far against cost",
            "Each mark is a candidate where it ended. The staircase is the best so far of those "
            "trained to the end; the lines across are means on fresh seeds, which had no part in "
            "the choice.",
        ),
        save(
            draw_settings(
                settings_data(
                    spec.first,
                    [(tuned.name, settings_of(tuned.space)) for tuned in arms],
                    tables.candidates,
                    bases[0] if len(bases) == 1 else float("nan"),
                )
            ),
            folder, "settings", "Every candidate against each setting",
            "Figures where each candidate ended: those stopped early had fewer steps to learn, "
            "and compare among themselves. A seed that diverged counts as the worst there is.",
        ),
    ]  # fmt: skip
    if len(spec.objectives) == 2:
        figure = draw_pareto(pareto_data(spec.objectives, names, tables.candidates))
        caption = (
            "Candidates trained to the end. On the line are those that no other beats in both "
            "objectives; the first alone decides what is confirmed."
        )
        saved.append(save(figure, folder, "pareto", "Both objectives", caption))
    for tuned in arms:
        saved += _of_arm(folder, loaded, tables, winners, tuned.name, tuned.space)
    shares = [
        (t.name, importances(spec, t.space, tables.candidates[tables.candidates["arm"] == t.name]))
        for t in arms
    ]
    if any(found for _, found in shares):
        saved.append(_importance(folder, shares))
    if not tables.courses.empty:
        best = {(w.arm, w.number): w.rank for w in winners}
        curves = candidate_curves(spec.first, names, *tables, best)
        saved.append(
            save(
                draw_candidate_curves(curves), folder, "courses", "Learning curves",
                "Mean over the seeds. A curve that ends in a ring was stopped at a rung (dotted "
                "lines).",
            )
        )  # fmt: skip
    return saved


def settings_of(space: Space) -> list[Setting]:
    """The dimensions of a space as axes."""
    return [
        Setting(path, d.is_log, tuple(str(value) for value in d.choice or ()))
        for path, d in space.items()
    ]


def _of_arm(
    folder: Path,
    loaded: LoadedSearch,
    tables: SearchTables,
    winners: Sequence[Winner],
    arm: str,
    space: Space,
) -> list[Saved]:
    spec, settings = loaded.spec, settings_of(space)
    suffix, title = (f"_{arm}", f" ({arm})") if spec.arms else ("", "")
    saved = []
    best = [winner.number for winner in winners if winner.arm == arm]
    if len(settings) > 1:
        data = parallel_data(spec.first, spec.sign, arm, settings, tables.candidates, best)
        caption = (
            "One line a candidate, coloured by its figure at the last step that all of them "
            "reached; the best at the end of the budget in bold."
        )
        figure = draw_parallel(data)
        saved.append(save(figure, folder, f"parallel{suffix}", f"All settings{title}", caption))
    numbers = [setting for setting in settings if not setting.choices]
    for x, y in list(pairwise(numbers))[:1]:
        found = contour_data(spec.first, spec.sign, arm, x, y, tables.candidates)
        if found is not None:
            caption = (
                "Colour is linear between the candidates, at the last step that all of them "
                "reached; where there are few it is a guess."
            )
            figure = draw_contour(found)
            saved.append(save(figure, folder, f"contour{suffix}", f"Two settings{title}", caption))
    return saved


def _importance(folder: Path, shares: Sequence[tuple[str, Sequence[Importance]]]) -> Saved:
    caption = (
        "PED-ANOVA (Watanabe, Bansal and Hutter 2023) over all candidates, at the last step that "
        "all of them reached: which settings set the best quarter apart. It says where the best "
        "lie, not by how much the figure moves."
    )
    figure = draw_importance(importance_data(shares))
    return save(figure, folder, "importance", "Which settings matter", caption)
