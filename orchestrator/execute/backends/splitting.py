"""Packs that run out of memory: halves of them go on from the checkpoint, down to single runs.

The checkpoint folder of a pack says how it was split (``split.json``) and holds a folder for each
part, which may be split again. A part without a checkpoint continues from the folder above it. The
folder stays until every part has ended, and so do the results in it, so that a pack that is
interrupted in the middle of its parts goes on where it was. The parts train one after the other.
"""

import errno
import gc
import json
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from decoder.atomic import write_atomically
from decoder.life import is_asked_to_stop
from decoder.pack import Progress
from decoder.regular import read_json
from orchestrator.spec.configuration import Pack, Run

SPLIT_NAME = "split.json"
# Words in an error that say that the CPU or the GPU ran out of memory.
_OUT_OF_MEMORY = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "bad_alloc",
    "status_alloc_failed",  # cuBLAS and cuDNN
)

# Trains a pack in its own checkpoint folder; the folders are those that it was split from, nearest
# first.
TrainPart = Callable[[Pack, Path, Sequence[Path]], Iterator[Progress]]


class Part(NamedTuple):
    """A part of a pack, and its checkpoint folder."""

    pack: Pack
    folder: Path


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, on the CPU or on the GPU."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY)


def train_in_parts(
    pack: Pack,
    folder: Path,
    train_part: TrainPart,
    most: int | None = None,
    split_from: Sequence[Path] = (),
) -> Iterator[Progress]:
    """Train a pack, in two halves if it runs out of memory, and so on down to single runs.

    Args:
        folder: the checkpoint folder of the pack.
        train_part: trains a pack or a part of one.
        most: a pack of more runs is split before it trains; None trains any number.
        split_from: the folders above, nearest first.

    Yields:
        What `train_part` yields, and a remark for each split.

    Raises:
        Exception: whatever `train_part` raises; out of memory only for a single run.
    """
    parts = parts_of(pack, folder)
    is_paused = False
    if not parts and most is not None and len(pack.runs) > most:
        n_parts = -(-len(pack.runs) // most)
        yield Progress(0, remarks=(_split(pack, folder, n_parts, f"holds more than {most}"),))
        parts = parts_of(pack, folder)
    if not parts:
        ended: set[str] = set()
        try:
            for progress in train_part(pack, folder, split_from):
                ended |= {result.run_id for result in progress.finished}
                yield progress
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            if len(pack.runs) == 1:
                error.add_note(
                    "one run alone does not fit into memory; give it more, for example with fewer "
                    "--workers, or make data.batch_size or the model smaller"
                )
                raise
        # Here the error is gone, and with it the frames that hold the tensors of the whole pack.
        _free_memory()
        yield Progress(0, remarks=(_split(pack, folder, 2, "does not fit into memory", ended),))
        parts = parts_of(pack, folder)
    for part in parts:
        if is_asked_to_stop():
            return
        for progress in train_in_parts(*part, train_part, most, (folder, *split_from)):
            is_paused |= bool(progress.paused)
            yield progress
    if not split_from and not is_paused and not is_asked_to_stop():
        shutil.rmtree(folder, ignore_errors=True)


def split_further(pack: Pack, folder: Path, waiting: Collection[str]) -> str | None:
    """Split the part that trains when a worker is lost, from outside of that worker.

    Args:
        folder: the checkpoint folder of the pack.
        waiting: the runs without a result; the first part with one of them trains.

    Returns:
        A remark; None if that part has only one run left.
    """
    parts = parts_of(pack, folder)
    for part in parts:
        if any(run.run_id in waiting for run in part.pack.runs):
            return split_further(*part, waiting)
    ended = {run.run_id for run in pack.runs} - set(waiting)
    if parts or len(pack.runs) - len(ended) < 2:
        return None
    return _split(pack, folder, 2, "lost every worker, perhaps for lack of memory", ended)


def parts_of(pack: Pack, folder: Path) -> list[Part]:
    """The parts with runs of this pack, in the order in which they train; empty if it is whole."""
    try:
        groups = list(read_json(folder / SPLIT_NAME)["parts"])
        known = {str(run_id) for group in groups for run_id in group}
    except (OSError, ValueError, KeyError, TypeError):
        return []  # there is none, or it is damaged: the pack is split again if need be
    groups.append([run.run_id for run in pack.runs if run.run_id not in known])
    parts = []
    for index, group in enumerate(groups):
        runs = tuple(run for run in pack.runs if run.run_id in group)
        if runs:
            parts.append(Part(replace(pack, runs=runs), folder / f"part-{index}"))
    return parts


def _split(pack: Pack, folder: Path, n_parts: int, reason: str, ended: Collection[str] = ()) -> str:
    """Write how a pack is split into parts of nearly equal size, and say so.

    Args:
        ended: runs with a result, which take no memory; they stay in the last part, where a retry
            finds them.
    """
    left = [run for run in pack.runs if run.run_id not in ended]
    groups = _cut(left, min(n_parts, max(1, len(left))))
    sizes = [len(group) for group in groups]
    groups[-1] += [run for run in pack.runs if run.run_id in ended]
    content = json.dumps({"parts": [[run.run_id for run in group] for group in groups]})
    write_atomically(folder / SPLIT_NAME, content.encode())
    sizes_text = f"{', '.join(map(str, sizes[:-1]))} and {sizes[-1]}"
    return (
        f"pack {pack.pack_id[:6]} (seed {pack.seed}): with {len(left)} runs it {reason}; it goes "
        f"on from its last checkpoint in parts of {sizes_text} runs, one after the other "
        f"(--max-runs-per-pack {max(sizes)} makes such packs from the start)"
    )


def _cut(runs: list[Run], n_parts: int) -> list[list[Run]]:
    """Consecutive parts whose sizes differ by at most one, the larger ones first."""
    size, n_larger = divmod(len(runs), n_parts)
    starts = [index * size + min(index, n_larger) for index in range(n_parts + 1)]
    return [runs[start:end] for start, end in zip(starts, starts[1:], strict=False)]


def _free_memory() -> None:
    """Give back what the failed attempt held."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
