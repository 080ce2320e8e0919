"""Which learning curves of one folder are of which run, where several runs wrote there."""

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import PurePosixPath
from typing import NamedTuple

from decoder.atomic import sha256_of
from orchestrator.history.reading.columns import PER, STEP, StepValues
from orchestrator.history.reading.curve_formats import CurveFile
from orchestrator.history.reading.merge_curves import passes, same_pers, without_other_splits

_FEWEST_EVALUATIONS = 3  # of a pass over all steps; fewer may be parts of one run
# Words of file names that say what a file is and not of which run; numbers and dates are none.
_GENERIC_WORDS = (
    "log logs train training trained trainer val valid validation dev test eval evaluation metrics "
    "metric history losses loss per cer stats state results result scores score output out err "
    "stdout stderr slurm console nohup curve curves epoch epochs step steps json jsonl csv tsv txt "
    "file final best old new copy backup job run part resumed resume restart"
)
_GENERIC = frozenset(_GENERIC_WORDS.split())
_ROTATED = re.compile(r"([._-]?(old|bak|backup|prev|copy)|\.\d{1,2}|~| \(\d+\))+$", re.IGNORECASE)
_OWN_NUMBER = re.compile(r"(?:run|exp|experiment|trial|seed|fold|model|lauf|versuch)[ _-]*\d+")


class RunCurves(NamedTuple):
    """The learning curves of one run of a folder.

    Attributes:
        name: of the run within the folder; "" for the run that has the folder's own name.
        why: what separates it from the other runs of the folder.
    """

    name: str
    files: tuple[CurveFile, ...]
    why: str = ""


def separate_runs(files: Sequence[CurveFile]) -> list[RunCurves]:
    """The runs that wrote the files of one folder; there is always one.

    Runs are separate where a file announces them, where one file goes over all steps several
    times, and where files of unlike names go over the same steps with other values.
    """
    whole = [part for file in files for part in _whole_passes(file)]
    announced = [file for file in whole if file.run]
    others = [file for file in whole if not file.run]
    runs = _announced(announced) + _by_name(others)
    with_rows = [run for run in runs if any(file.rows for file in run.files)]
    if len(with_rows) < 2:
        return [RunCurves("", tuple(files if not announced else whole))]
    placed = {file.path for run in with_rows for file in run.files}
    for file in others:  # what the last run of a job wrote besides its log, such as JOB.err
        of_job = [at for at, run in enumerate(with_rows) if _stem(run.files[0]) == _stem(file)]
        if file.path not in placed and of_job:
            run = with_rows[of_job[-1]]
            with_rows[of_job[-1]] = run._replace(files=(*run.files, file))
    return with_rows


def _whole_passes(file: CurveFile) -> list[CurveFile]:
    """A file that goes over the same steps several times as one file for each time."""
    if file.run:
        return [file]
    of_file = passes(file.rows)
    ends = {(_first(rows), _last(rows)) for rows in of_file}
    pers = [_pers(rows) for rows in of_file]
    if (
        len(of_file) < 2
        or len(ends) > 1
        or min(map(len, pers)) < _FEWEST_EVALUATIONS
        or any(same_pers(one, two) for one, two in pairwise(pers))
    ):
        return [file]
    return [
        replace(
            file,
            rows=list(rows),
            run=f"run{number}",
            note=replace(file.note, digest=sha256_of(f"{file.note.digest} {number}".encode())),
        )
        for number, rows in enumerate(of_file, 1)
    ]


def _announced(files: Sequence[CurveFile]) -> list[RunCurves]:
    """One run for each name in a file; two files that agree on its PERs are of one run."""
    runs: dict[str, list[CurveFile]] = {}
    several = len({file.path for file in files}) > 1
    for file in files:
        known = (name for name, own in runs.items() if name.endswith(file.run))
        name = f"{_stem(file)}-{file.run}" if several else file.run
        name = next((one for one in known if _is_copy(file, runs[one][0])), name)
        runs.setdefault(name, []).append(file)
    return [
        RunCurves(name, tuple(own), f"{own[0].path} holds several runs; this one is '{own[0].run}'")
        for name, own in runs.items()
    ]


def _by_name(files: Sequence[CurveFile]) -> list[RunCurves]:
    """Files of unlike names over the same steps, with other values, as one run each."""
    compared = without_other_splits([file for file in files if file.pers], [])
    start = min((min(file.pers) for file in compared), default=0.0)
    groups: list[list[CurveFile]] = []
    for file in sorted(compared, key=lambda file: min(file.pers) > start):
        alike = [g for g in groups if not any(_are_two_runs(file, one) for one in g)]
        if min(file.pers) > start and len(groups) > 1:  # goes on, but it is not known what
            alike = [g for g in alike if any(_is_copy(file, one) for one in g)]
        if alike:
            alike[0].append(file)
        else:
            groups.append([file])
    if len(groups) < 2:
        return [RunCurves("", tuple(files))] if files else []
    stems = [_stem(group[0]) for group in groups]
    names = [
        stem if stems.count(stem) == 1 else PurePosixPath(group[0].path).name
        for stem, group in zip(stems, groups, strict=True)
    ]
    why = f"the folder holds {len(groups)} runs; this one is the files named "
    return [
        RunCurves(name, tuple(group), why + name) for name, group in zip(names, groups, strict=True)
    ]


def _are_two_runs(one: CurveFile, two: CurveFile) -> bool:
    """Whether two files are of different runs, rather than of one that was restarted.

    A part of one run begins where the part before it was saved, not at the first step again. Only
    a log that a program rotates (``training_log.1``) keeps the name of its run.
    """
    if one.unit != two.unit or _is_copy(one, two) or min(one.pers) != min(two.pers):
        return False
    if _own_words(one) != _own_words(two):
        return True
    numbers = [_numbers(file) for file in (one, two)]
    parents = {PurePosixPath(file.path).parent for file in (one, two)}
    return len(parents) == 1 and all(numbers) and numbers[0] != numbers[1]


def _is_copy(one: CurveFile, two: CurveFile) -> bool:
    """Whether two files hold one curve: they share enough steps, or their name, and agree."""
    n_shared = len(one.pers.keys() & two.pers.keys())
    shortest = min(len(one.pers), len(two.pers))
    enough = n_shared >= _FEWEST_EVALUATIONS or _stem(one) == _stem(two) or n_shared == shortest > 1
    return enough and same_pers(one.pers, two.pers)


def _own_words(file: CurveFile) -> frozenset[str]:
    """The words in a file's name that may say of which run it is."""
    name = PurePosixPath(file.path).name.lower()
    numbered = {re.sub(r"\W|_", "", match) for match in _OWN_NUMBER.findall(name)}
    words = re.findall(r"\d+\.\d+[a-z]*|[a-z0-9]+", name)
    return frozenset(
        {word for word in words if not word.isdecimal() and word not in _GENERIC} | numbered
    )


def _numbers(file: CurveFile) -> frozenset[str]:
    """The numbers in a file's name, such as that of a job."""
    return frozenset(re.findall(r"\d+", _ROTATED.sub("", PurePosixPath(file.path).name)))


def _stem(file: CurveFile) -> str:
    return PurePosixPath(file.path).stem


def _pers(rows: Sequence[StepValues]) -> dict[float, float]:
    return {row[STEP]: row[PER] for row in rows if PER in row}


def _first(rows: Sequence[StepValues]) -> float:
    return min(_pers(rows), default=rows[0][STEP])


def _last(rows: Sequence[StepValues]) -> float:
    return max(_pers(rows), default=rows[-1][STEP])
