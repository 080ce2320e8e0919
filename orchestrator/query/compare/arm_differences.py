"""Everything else that differs between two arms, and which of it forbids pooling their runs."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from pydantic import JsonValue

from decoder.config import config_paths
from decoder.entries import unused_paths
from orchestrator.query.compare.sides import SideArm
from orchestrator.stats.run_values import COUNTED
from orchestrator.store.sources import UNPROVEN
from orchestrator.tables.run_row import RunRow, varying_paths

_VERSIONS = (
    ("torch", "host_torch"),
    ("Python", "host_python"),
    ("NumPy", "numpy"),
    ("device", "host_device"),
    ("kernel", "host_kernel"),
)
_NOT_SET = "not set"
_DIGITS = 8  # of a hash, where people read it


class OtherDifference(NamedTuple):
    """One thing in which two arms differ.

    Attributes:
        name: a configuration path, ``code``, ``data``, ``seeds``, or software with a version.
        a, b: what each arm has, as text; every version where its runs have several.
    """

    name: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.name} {self.a} → {self.b}"


def other_differences(
    a: SideArm, b: SideArm, leave_out: Sequence[str] = ()
) -> list[OtherDifference]:
    """Configuration, data, code, versions and seeds in which two arms differ.

    A field of ours that one side does not record is no difference, and nor is the folder of the
    recordings, or another commit whose sources train the same. A setting of other software is a
    difference if only one side sets it.

    Args:
        leave_out: configuration paths that are not compared, since the arms were joined on them.
    """
    marks = config_paths()
    unused = unused_paths(a.config, b.config)
    differences = [
        OtherDifference(path, *(setting_text(arm.config.get(path, _NOT_SET)) for arm in (a, b)))
        for path in varying_paths([a.config, b.config])
        if path not in (*leave_out, *unused)
        and (path not in marks or (path in a.config and path in b.config))
        and not (path in marks and marks[path].not_identity)
    ]
    parts: list[tuple[str, Callable[[RunRow], str]]] = [("data", _data), ("code", _code)]
    parts += [(name, partial(RunRow.text, name=column)) for name, column in _VERSIONS]
    of_runs = [
        OtherDifference(name, *(_distinct(map(text, _counted(arm))) for arm in (a, b)))
        for name, text in parts
    ]
    of_runs.append(OtherDifference("seeds", _seeds(a), _seeds(b)))
    if len({_code_id(run) for arm in (a, b) for run in _counted(arm)}) == 1:
        of_runs = [one for one in of_runs if one.name != "code"]
    return differences + [one for one in of_runs if one.a and one.b and one.a != one.b]


def mismatches(a: SideArm, b: SideArm, *, numerics_decide: bool) -> list[OtherDifference]:
    """``code`` and ``data`` that the runs of two arms do not share, so that they are not pooled.

    A side that does not record its code or data differs from one that does.

    Args:
        numerics_decide: whether sources of one numerics version count as the same code.
    """
    runs = [run for arm in (a, b) for run in _counted(arm)]
    sources = {None if numerics_decide else run.source for run in runs}
    code = {_code_id(run)[1:] for run in runs}
    differs = (
        ("code", _code, len(sources) > 1 or len(code) > 1),
        ("data", _data, len({run.dataset for run in runs}) > 1),
    )
    return [
        OtherDifference(
            name, *(_distinct(map(text, _counted(arm))) or "not recorded" for arm in (a, b))
        )
        for name, text, is_mixed in differs
        if is_mixed
    ]


def not_recorded(arms: Iterable[SideArm]) -> list[str]:
    """Of ``code`` and ``data``, those that no run of these arms records."""
    runs = [run for arm in arms for run in _counted(arm)]
    return [what for what, text in (("code", _code), ("data", _data)) if not any(map(text, runs))]


def setting_text(value: JsonValue) -> str:
    """A setting as text."""
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _counted(arm: SideArm) -> list[RunRow]:
    return [run for run in arm.runs if run.outcome in COUNTED]


def _code_id(run: RunRow) -> tuple[str | None, int | None, str | None]:
    """What makes the code of a run the same as that of another."""
    return run.source, run.numerics_version, run.trainer


def _code(run: RunRow) -> str:
    """The code of a run as text; empty where it is not recorded."""
    if run.trainer:
        return f"the {run.trainer} trainer"
    if run.source is None and run.numerics_version is None:
        return ""
    commit = f"commit {run.git_commit[:_DIGITS]}" if run.git_commit else "no commit"
    changed = " with changes" if run.git_dirty else ""
    return (
        f"{commit}{changed} (sources {_source_text(run)}, numerics version {run.numerics_version})"
    )


def _source_text(run: RunRow) -> str:
    return str(run.source).removeprefix(UNPROVEN)[:_DIGITS]


def _data(run: RunRow) -> str:
    """The recordings of a run as text; empty where they are not recorded."""
    name = (run.dataset_path or "").rstrip("/").rpartition("/")[2]
    if not run.dataset or name == run.dataset:
        return name
    return f"{name} ({run.dataset[:_DIGITS]})"


def _seeds(arm: SideArm) -> str:
    seeds = sorted({run.seed for run in arm.runs if run.seed is not None})
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(map(str, seeds))


def _distinct(texts: Iterable[str]) -> str:
    return " and ".join(sorted({text for text in texts if text}))
