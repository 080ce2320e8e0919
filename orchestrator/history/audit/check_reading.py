"""The check of what could not be read, or only with an assumption."""

from collections.abc import Callable, Iterator, Sequence

from orchestrator.history.audit.findings import Finding, Weight
from orchestrator.history.audit.prepared_group import PreparedGroup
from orchestrator.history.audit.wording import count, joined
from orchestrator.history.reading.files import FileNote
from orchestrator.history.reading.record import ImportedRun

# Config paths that matter most for training and are in no official settings file.
_WORTH_STATING = ("loss.ctc_reduction", "optim.epsilon", "optim.algorithm", "loss.zero_infinity")


def check_reading(group: PreparedGroup) -> Iterator[Finding]:
    """One finding, or none if everything was read."""
    details = [
        *_settings(group),
        *unread_files(
            group.runs,
            lambda note: (
                note.role in ("unreadable", "refused") and not note.note.startswith("weights")
            ),
        ),
        *(f"{remark}." for remark in group.remarks),
    ]
    if details:
        yield Finding(
            "not_read",
            Weight.NOTE,
            "Some content of the folders could not be read, or was read with an assumption.",
            tuple(details),
        )


def unread_files(runs: Sequence[ImportedRun], wanted: Callable[[FileNote], bool]) -> Iterator[str]:
    """One sentence for each file name and reason why such files were not read.

    Args:
        runs: whose files are considered.
        wanted: chooses the files.
    """
    names: dict[tuple[str, str], list[str]] = {}
    for run in runs:
        for note in run.files:
            if note.note and wanted(note):
                names.setdefault((note.path.rpartition("/")[2], note.note), []).append(run.name)
    for (file_name, why), of_runs in names.items():
        yield f"{file_name} of {joined(list(dict.fromkeys(of_runs)), 4)}: {why}."


def _settings(group: PreparedGroup) -> Iterator[str]:
    """Runs whose settings are missing, unknown here, or completed with official values."""
    without = [run.name for run in group.runs if not run.settings]
    if without:
        yield f"Without settings, and so in no comparison: {joined(without)}."
    problems: dict[str, list[str]] = {}
    assumed: dict[tuple[str, ...], int] = {}
    for run in group.runs:
        if run.settings and not run.mapped.config:
            text = run.mapped.problem.removeprefix(f"{run.settings_from}: ")
            problems.setdefault(text, []).append(run.name)
        silent = [path for path in _WORTH_STATING if path in run.mapped.taken]
        if silent:
            key = (run.mapped.codebase, *silent)
            assumed[key] = assumed.get(key, 0) + 1
    for problem, names in problems.items():
        yield (
            f"The settings of {joined(names)} have no equivalent here ({problem}); they are "
            "compared by their own names only."
        )
    for (codebase, *paths), n_runs in assumed.items():
        yield (
            f"The settings of {count(n_runs, 'run')} do not state {joined(paths)}; the values of "
            f"the official {codebase.upper()} trainer are assumed, so a change in its code would "
            "go unnoticed."
        )
