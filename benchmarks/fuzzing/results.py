"""Damaged files of a results folder, read by the commands and by the driver.

One file is damaged: a flipped bit, a truncation, a JSON value or key, or something that is no file
in its place. No run may then be read with other values than the sound ones. Records of earlier
versions, without a checksum, cannot show every altered value, so theirs are not compared.
"""

import functools
import json
import os
import random
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Literal, NamedTuple

from typer.testing import CliRunner

from decoder.errors import UserError
from fuzzing.runner import Kind
from fuzzing.sound_results import drive, ignore, make_sound, search, sound_values, unseal
from orchestrator.cli.app import app
from orchestrator.driver.reporting import rebuild_report
from orchestrator.report.evaluation import evaluate_records
from orchestrator.store.ledger import read_history, read_records
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan

_OF_TRAINING = ("timing", "pack", "environment")  # differ if a run is trained again
_QUICK = ("status", "runs", "compare", "tables")
_CALLS = "calls.json"  # beside the copy: which calls read it
# What a JSON value is swapped for.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 7, 2**31, 2**64, 10**400, 0.5, -0.5, 1e-300, 1e306),
    *(float("nan"), float("inf"), "", "x", "ok", "\x00", "é" * 300, [], [1], [[-5, 99, -1]]),
    *({}, {"a": 1}, {"code": None}, [[[[]]]]),
)
Damage = Callable[[Path, random.Random], object]


class _Sound(NamedTuple):
    """A sound folder, and run id → (record, history) of it."""

    folder: Path
    values: Mapping[str, tuple[Any, Any]]


@functools.cache
def _sound(older: bool) -> _Sound:
    """A sound folder that stays until this process ends; `older` records have no checksum."""
    above = Path(tempfile.mkdtemp(prefix="sound-results-"))
    # Children of multiprocessing run no functions of `atexit`.
    Finalize(None, shutil.rmtree, (above, True), exitpriority=0)
    folder = above / "whole"
    make_sound(folder)
    results = Results(folder / "results")
    if older:
        unseal(results)
    return _Sound(folder, sound_values(results))


def make_results(draw: random.Random, folder: Path, *, older: bool = False) -> Path:
    """A results folder with one damaged file, for the quick commands, and at times the driver."""
    return _make(draw, folder, older, [*_QUICK, *(["run"] if draw.random() < 0.1 else [])])


def make_for_reports(draw: random.Random, folder: Path) -> Path:
    """A results folder with one damaged file, of which both whole reports are written."""
    return _make(draw, folder, False, ["report", "search"])


def _make(draw: random.Random, folder: Path, older: bool, calls: list[str]) -> Path:
    copy = folder / "copy"
    shutil.copytree(_sound(older).folder, copy)
    (folder / _CALLS).write_text(json.dumps({"older": older, "calls": calls}))
    path, damage = damageable(Results(copy / "results"), draw), draw.choice(DAMAGES)
    damage(path, draw)
    return copy


def flip_bit(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(draw.choice((1, 1, 3))):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.choice((0, draw.randrange(path.stat().st_size)))])


def append(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes() + draw.choice((b"}", b"\x00" * 40, b"\n1,2,3\n")))


def swap_value(path: Path, draw: random.Random) -> None:
    """Swap a value, deep or not, of a JSON file; a digit of another file."""
    _change_json(path, draw, lambda at, key: at.__setitem__(key, draw.choice(VALUES)))


def delete_key(path: Path, draw: random.Random) -> None:
    _change_json(path, draw, lambda at, key: at.__delitem__(key))


def _change_json(path: Path, draw: random.Random, change: Callable[[Any, Any], object]) -> None:
    if path.suffix != ".json":
        content = path.read_bytes()
        digits = [at for at, byte in enumerate(content) if chr(byte).isdigit()] or [0]
        at = draw.choice(digits)
        path.write_bytes(content[:at] + bytes([48 + (content[at] + 1) % 10]) + content[at + 1 :])
        return
    document = json.loads(path.read_bytes())
    places = list(_places(document))
    if not places:
        path.write_text(json.dumps(draw.choice(VALUES)))
        return
    # Of a random key at first, so that the long configuration does not take nearly all cases.
    first = draw.choice([at for at in places if at[0] is document])
    inner = list(_places(first[0][first[1]]))
    change(*(draw.choice([first, *inner]) if inner else first))
    path.write_text(json.dumps(document))


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value inside a JSON value."""
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from _places(value[key])


def nonsense(path: Path, draw: random.Random) -> None:
    kinds = (b"null", b"[]", b"{}", b"[" * 50_000, b"\xff\xfe", b"1" * 5000, b"NaN")
    path.write_bytes(draw.choice(kinds))


def in_place(path: Path, draw: random.Random) -> None:
    """Something that is no file."""
    path.unlink()
    kind = draw.choice(("folder", "pipe", "socket", "loop", "dangling", "zero", "proc"))
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket must be short
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
        os.chdir(here)
    else:
        places = {"zero": "/dev/zero", "proc": "/proc/self/environ", "dangling": "/nowhere/x"}
        path.symlink_to(places.get(kind, path))


DAMAGES: tuple[Damage, ...] = (
    *(flip_bit, flip_bit, truncate, append, swap_value, swap_value, swap_value),
    *(delete_key, nonsense, in_place, in_place),
)


def damageable(results: Results, draw: random.Random) -> Path:
    """A file to damage: a record or a history in two of three cases."""
    runs = [path for path in results.runs.glob("*/*") if path.is_file()]
    others = [
        *results.runs.glob(".index*"),
        *(p for p in results.root.glob("*.json") if p.is_file()),
        *(p for p in (results.root / "imported").rglob("*.json")),
        *(p for p in results.ablations.rglob("*") if p.suffix == ".json" and p.is_file()),
        *(p for p in results.of_searches.ablations.rglob("*.csv") if p.parent.name == "courses"),
        *(results.of_searches.ablation("hunt") / n for n in ("search.json", "study.db")),
        results.of_searches.best("hunt"),
    ]
    return draw.choice(sorted(runs if draw.random() < 2 / 3 else others))


def read_results(folder: Path) -> Literal["ok", "refused"]:
    """What the commands make of a folder; ``refused`` if one of them ends with an error.

    Raises:
        AssertionError: a damaged value was used.
    """
    told = json.loads(folder.with_name(_CALLS).read_text())
    results, sound = Results(folder / "results"), _sound(told["older"]).values
    refused = False
    for name in told["calls"]:
        try:
            refused |= bool(_call(name, folder, results))
        except UserError:
            refused = True
        if not told["older"]:
            trained_again = name in ("run", "search")
            used = _damaged(results, sound, trained_again=trained_again)
            assert not used, f"{name}: damaged values are used of {used}"
    return "refused" if refused else "ok"


def _call(name: str, folder: Path, results: Results) -> int:
    """Call one command; its exit code."""
    if name == "run":
        return drive(folder)
    if name == "search":
        search(folder)
        return 0
    if name == "tables":
        rebuild_report(
            results, read_plan(results, "one"), ignore, lambda _, *given: evaluate_records(*given)
        )
        return 0
    words = {
        "status": ("status", "--json"),
        "runs": ("runs", "--columns", "all", "--json"),
        "compare": ("compare", "one", "hunt", "--json"),
        "report": ("report", "one"),
    }
    done = CliRunner().invoke(app, [*words[name], "--results", str(results.root)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code


def _damaged(
    results: Results, sound: Mapping[str, tuple[Any, Any]], *, trained_again: bool
) -> list[str]:
    """The runs that are read with other values than the sound ones.

    Args:
        trained_again: whether they may have been, at another time and in another pack.
    """
    try:
        records = read_records(results, sound, ignore, move_aside=False)
        histories = {run_id: read_history(results, run_id) for run_id in records}
    except UserError:
        return []
    damaged = []
    for run_id, record in records.items():
        before, rows = sound[run_id]
        if trained_again:
            record, before = ({**one, **dict.fromkeys(_OF_TRAINING)} for one in (record, before))
        if (record, histories[run_id]) != (before, rows):
            damaged.append(run_id)
    return damaged


KINDS = (
    Kind("results", make_results, read_results, seconds=5.0),
    Kind("older", functools.partial(make_results, older=True), read_results, seconds=5.0),
    Kind("reports", make_for_reports, read_results, seconds=10.0),
)
