"""The finding about what could not be read, or only with a reservation."""

from collections.abc import Callable, Iterator, Sequence

from orchestrator.history.audit.lineup import Lineup
from orchestrator.history.audit.telling import Finding, count, joined
from orchestrator.history.reading.files import FileNote
from orchestrator.history.reading.record import ForeignRun

# What decides most in this field and stands in no official settings file.
_WORTH_STATING = ("loss.ctc_reduction", "optim.epsilon", "optim.algorithm", "loss.zero_infinity")


def unread_findings(lineup: Lineup) -> Iterator[Finding]:
    """One finding, or none if everything was read."""
    details = [
        *_without_settings(lineup),
        *files_text(
            lineup.runs,
            lambda note: note.role in ("unreadable", "refused") and "weights" not in note.note,
        ),
        *(f"{remark}." for remark in lineup.remarks),
    ]
    if details:
        yield Finding(
            "not_read",
            3,
            "Some of what lies in the folders could not be read, or is read with a reservation.",
            tuple(details),
        )


def files_text(runs: Sequence[ForeignRun], wanted: Callable[[FileNote], bool]) -> Iterator[str]:
    """One sentence for each name of a file and reason why it was not read."""
    found: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for note in run.files:
            if note.note and wanted(note):
                found.setdefault((note.path.rpartition("/")[2], note.note), []).append(run.name)
    for (name, why), names in found.items():
        yield f"{name} of {joined(list(dict.fromkeys(names)), 4)}: {why}."


def _without_settings(lineup: Lineup) -> Iterator[str]:
    bare = [run.name for run in lineup.runs if not run.settings]
    if bare:
        yield f"No settings, so in no comparison: {joined(bare)}."
    problems: dict[str, list[str]] = {}
    assumed: dict[tuple[str, ...], list[ForeignRun]] = {}
    for run in lineup.runs:
        if run.settings and not run.mapped.config:
            text = run.mapped.problem.removeprefix(f"{run.settings_from}: ")
            problems.setdefault(text, []).append(run.name)
        stated = tuple(path for path in _WORTH_STATING if path in run.mapped.taken)
        if stated:
            assumed.setdefault((run.mapped.codebase, *stated), []).append(run)
    for problem, names in problems.items():
        yield (
            "Compared by the settings' own names alone, as they cannot be said in ours: "
            f"{joined(names)} ({problem})."
        )
    for (codebase, *taken), runs in assumed.items():
        yield (
            f"{joined(taken)} {'is' if len(taken) == 1 else 'are'} not among the settings of "
            f"{count(len(runs), 'run')} and taken to be as in the official {codebase.upper()} "
            "trainer; a change of code there would not be seen."
        )
