"""What else differs between two arms, and what of it forbids to pool their runs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from decoder.config import config_paths
from orchestrator.query.compare.sides import Row, SideArm, varying_paths
from orchestrator.stats.run_values import COUNTED

_VERSIONS = (
    ("torch", "host_torch"),
    ("Python", "host_python"),
    ("NumPy", "numpy"),
    ("device", "host_device"),
)
_NOT_SET = "not set"
_DIGITS = 8  # of a hash, where people read it


class Difference(NamedTuple):
    """One thing in which two arms differ.

    Attributes:
        name: a configuration path, or ``code``, ``data``, ``seeds``, a version.
        a, b: what each has, as text.
    """

    name: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{self.name} {self.a} → {self.b}"


class Mixture(NamedTuple):
    """What must not be pooled.

    Attributes:
        what: ``code`` or ``data``.
        a, b: every version on each side, as text.
    """

    what: str
    a: str
    b: str


def what_differs(a: SideArm, b: SideArm, leave_out: Sequence[str] = ()) -> list[Difference]:
    """Configuration, data, code, versions, seeds: everything but `leave_out`.

    A field that one side does not tell is not a difference, and nor is where recordings lie; a
    setting of foreign software is one where the other side does not set it.

    Args:
        a, b: the arms.
        leave_out: the configuration paths they were joined on.
    """
    marks = config_paths()
    found = [
        Difference(path, *(text_of(arm.config.get(path, _NOT_SET)) for arm in (a, b)))
        for path in varying_paths([a.config, b.config])
        if path not in leave_out
        and (path not in marks or (path in a.config and path in b.config))
        and not (path in marks and marks[path].not_identity)
    ]
    read: list[tuple[str, Callable[[Row], Any]]] = [("data", _data), ("code", _code)]
    read += [(name, _column(column)) for name, column in _VERSIONS]
    for name, of_run in read:
        one, two = (_joined(of_run(run) for run in _counted(arm)) for arm in (a, b))
        if one and two and one != two:
            found.append(Difference(name, one, two))
    seeds = [_seeds(arm) for arm in (a, b)]
    if all(seeds) and seeds[0] != seeds[1]:
        found.append(Difference("seeds", *seeds))
    return found


def mixtures(a: SideArm, b: SideArm, *, numerics_decide: bool) -> list[Mixture]:
    """Code and data of which the runs of two arms hold more than one.

    A side that does not say what code or data it used differs from one that does.

    Args:
        a, b: the arms.
        numerics_decide: whether sources of one numerics version count as the same code.
    """

    def code(run: Row) -> Any:
        sources = None if numerics_decide else run.get("decoder_sha256")
        return (sources, run.get("numerics_version"), run.get("trainer"))

    found = []
    read: tuple[tuple[str, Callable[[Row], Any], Callable[[Row], Any]], ...]
    read = (("code", code, _code), ("data", lambda run: run.get("dataset"), _data))
    for what, identity, tell in read:
        if len({identity(run) for arm in (a, b) for run in _counted(arm)}) > 1:
            told = [_joined(tell(run) for run in _counted(arm)) or "not told" for arm in (a, b)]
            found.append(Mixture(what, *told))
    return found


def untold(arms: Iterable[SideArm]) -> list[str]:
    """Of ``code`` and ``data``, what no run of these arms tells."""
    runs = [run for arm in arms for run in _counted(arm)]
    read: tuple[tuple[str, Callable[[Row], Any]], ...] = (("code", _code), ("data", _data))
    return [what for what, of_run in read if not any(of_run(run) for run in runs)]


def _column(name: str) -> Callable[[Row], Any]:
    return lambda run: run.get(name)


def _counted(arm: SideArm) -> list[Row]:
    return [run for run in arm.runs if run.get("outcome") in COUNTED]


def _code(run: Row) -> str | None:
    if run.get("trainer"):
        return f"the {run['trainer']} trainer"
    sources = run.get("decoder_sha256")
    if not sources and run.get("numerics_version") is None:
        return None
    commit = f"commit {str(run['git_commit'])[:_DIGITS]}" if run.get("git_commit") else "no commit"
    changed = " with changes" if run.get("git_dirty") else ""
    return (
        f"{commit}{changed} (sources {str(sources)[:_DIGITS]}, numerics version "
        f"{run.get('numerics_version')})"
    )


def _data(run: Row) -> str | None:
    fingerprint = run.get("dataset")
    name = str(run.get("dataset_path") or "").rstrip("/").rpartition("/")[2]
    if not fingerprint or name == fingerprint:
        return name or None
    return f"{name} ({str(fingerprint)[:_DIGITS]})"


def _seeds(arm: SideArm) -> str:
    seeds = sorted({run["seed"] for run in arm.runs if run.get("seed") is not None})
    whole = all(isinstance(seed, int) for seed in seeds)
    if whole and len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]}–{seeds[-1]}"
    return ", ".join(str(seed) for seed in seeds)


def _joined(values: Iterable[Any]) -> str:
    return " and ".join(sorted({str(value) for value in values if value not in (None, "")}))


def text_of(value: Any) -> str:
    """A setting as text."""
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
