"""Which sessions and trials a configuration trains on: sessions held out, and shares of the others.

Which ones a share takes follows from (seed, name of the session) alone. So all arms of a seed take
the same ones, and a smaller share takes some of those that a larger one takes.
"""

import hashlib
import math
import re
from collections.abc import Iterable, Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from decoder.data.store import Split
from decoder.errors import DataError
from decoder.sections import DataConfig

_DATE = re.compile(r"(\d{4})\.(\d{2})\.(\d{2})")  # as in t15.2023.08.11
_ROUNDING = 1e-9  # of a share times a number, so that 0.7 of 10 trials are 7


class Nearest(NamedTuple):
    """The trained session that is nearest to a session.

    Attributes:
        day: its index.
        days: days from it to the session, negative if it is the later one; None if the names of
            sessions hold no dates.
    """

    day: int
    days: int | None


def held_out_days(sessions: Sequence[str], data: DataConfig) -> frozenset[int]:
    """The sessions that train nothing and are evaluated apart, as indices.

    Args:
        sessions: names in day order.
        data: ``held_out_sessions`` is read.

    Raises:
        DataError: there is no session of a name; or no session would be left.
    """
    wanted = data.held_out_sessions
    if wanted is None:
        return frozenset()
    where = "data.held_out_sessions"
    if isinstance(wanted, int):
        if wanted >= len(sessions):
            raise DataError(
                f"{where}: {wanted} of {len(sessions)} sessions would be held out, and none would "
                f"be left to train on; hold out at most {len(sessions) - 1}"
            )
        return frozenset(range(len(sessions) - wanted, len(sessions)))
    if unknown := [name for name in wanted if name not in sessions]:
        raise DataError(
            f"{where}: there is no session {', '.join(unknown[:3])}; the {len(sessions)} sessions "
            f"are {', '.join(sessions[:3])}{', ...' if len(sessions) > 3 else ''}"
        )
    if len(wanted) == len(sessions):
        raise DataError(
            f"{where}: names all {len(sessions)} sessions, and none is left to train on; take one "
            "out"
        )
    return frozenset(sessions.index(name) for name in wanted)


def trials_to_train(
    split: Split, sessions: Sequence[str], data: DataConfig, seed: int
) -> NDArray[np.bool_]:
    """The training trials that a configuration takes, usable or not.

    Args:
        split: the training trials.
        sessions: names in day order.
        data: ``held_out_sessions``, ``train_sessions_share`` and ``train_share`` are read.
        seed: of the run; it has no effect if both shares are 1.

    Returns:
        (n_trials,) whether each trial is taken.

    Raises:
        DataError: see `held_out_days`.
    """
    apart = held_out_days(sessions, data)
    days = [int(day) for day in np.unique(split.day) if int(day) not in apart]
    if data.train_sessions_share < 1.0:
        days.sort(key=lambda day: _lot(seed, sessions[day]))
        days = days[: _n_taken(data.train_sessions_share, len(days))]
    taken = np.isin(split.day, days)
    if data.train_share < 1.0:
        for day in days:
            of_day = np.flatnonzero(split.day == day)
            drawn = np.random.default_rng(_lot(seed, sessions[day])).permutation(of_day)
            taken[drawn[_n_taken(data.train_share, len(of_day)) :]] = False
    return taken


def validates_apart(
    day: NDArray[np.int64], sessions: Sequence[str], data: DataConfig
) -> NDArray[np.bool_]:
    """Which validation trials are of sessions held out.

    Args:
        day: (n,) session of each usable validation trial.
        sessions, data: see `held_out_days`.

    Raises:
        DataError: see `held_out_days`; or one of the two parts would have no trials.
    """
    apart = np.isin(day, sorted(held_out_days(sessions, data)))
    if data.held_out_sessions is not None and (apart.all() or not apart.any()):
        whose = "only the sessions held out have" if apart.all() else "no session held out has"
        raise DataError(
            f"data.held_out_sessions: {whose} validation trials, so there would be no PER of "
            f"{'the others' if apart.all() else 'theirs'}; hold out other sessions"
        )
    return apart


def nearest_trained(
    sessions: Sequence[str], trained: Iterable[int], days: Iterable[int]
) -> dict[int, Nearest]:
    """For each of some sessions the trained one that is nearest by date, the earlier of two.

    If a name holds no date, the order of the sessions stands for the dates.

    Args:
        sessions: names in day order.
        trained: indices of the trained sessions, at least one.
        days: indices of the sessions that ask.
    """
    dates = [date_of(name) for name in sessions]
    known = [found.toordinal() for found in dates if found is not None]
    dated = len(known) == len(sessions)
    places = known if dated else list(range(len(sessions)))
    ordered = sorted(trained, key=lambda day: places[day])
    nearest = {}
    for day in days:
        found = min(ordered, key=lambda other: abs(places[day] - places[other]))
        nearest[day] = Nearest(found, places[day] - places[found] if dated else None)
    return nearest


def date_of(session: str) -> date | None:
    """The date in the name of a session; None if there is none."""
    found = _DATE.search(session)
    try:
        return date(*map(int, found.groups())) if found else None
    except ValueError:
        return None


def _n_taken(share: float, n: int) -> int:
    return min(n, math.ceil(share * n - _ROUNDING))


def _lot(seed: int, session: str) -> int:
    """A number that decides the order of sessions, and of the trials of one."""
    digest = hashlib.blake2b(f"{seed}/train_share/{session}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
