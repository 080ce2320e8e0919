"""Halves of the validation trials: one chooses the weights of the words, the other is reported."""

from collections.abc import Sequence
from typing import NamedTuple


class Place(NamedTuple):
    """Where a trial was recorded."""

    session: str
    block: int
    number: int


class Halves(NamedTuple):
    """Positions of trials, each half in the order of its sessions, blocks and numbers."""

    reported: tuple[int, ...]
    tuned: tuple[int, ...]


def halves_of(places: Sequence[Place]) -> Halves:
    """Split trials by blocks, so that both halves hold each session and the like of its parts.

    The blocks of all sessions, in order, go to the halves in turn. A session of one block is cut
    into two contiguous runs of trials. Only the places decide, so the halves are the same for every
    arm and seed, in whatever order the trials are given.

    Args:
        places: of the trials; those of one place stay in the order given.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    sessions: dict[str, dict[int, list[int]]] = {}
    for i in order:
        sessions.setdefault(places[i].session, {}).setdefault(places[i].block, []).append(i)
    halves: tuple[list[int], list[int]] = ([], [])
    turn = 0
    for blocks in sessions.values():
        parts = list(blocks.values())
        if len(parts) == 1:
            middle = (len(parts[0]) + 1) // 2
            parts = [part for part in (parts[0][:middle], parts[0][middle:]) if part]
        for part in parts:
            halves[turn % 2].extend(part)
            turn += 1
    return Halves(tuple(halves[0]), tuple(halves[1]))
