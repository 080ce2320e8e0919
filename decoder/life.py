"""Signs of life of a training process, and the request to stop; one of each in a process.

Training counts its signs, and whoever watches it reads them from another thread: a counter that
stands still shows a process that hangs. The request goes the other way: training writes a
checkpoint at the next step, and ends.
"""

from typing import NamedTuple


class Signs(NamedTuple):
    """What a process has shown up to now.

    Attributes:
        n_signs: how often it showed that it goes on.
        step: optimizer steps done by the pack that trains.
    """

    n_signs: int
    step: int


class _Life:
    n_signs = 0
    step = 0
    is_asked_to_stop = False


_life = _Life()


def show_sign(step: int | None = None) -> None:
    """Show that this process goes on; it takes less than a microsecond.

    Call it where a long phase can take place, from any thread.

    Args:
        step: optimizer steps done, if they have changed.
    """
    _life.n_signs += 1
    if step is not None:
        _life.step = step


def signs() -> Signs:
    """The signs of this process up to now."""
    return Signs(_life.n_signs, _life.step)


def ask_to_stop(wanted: bool = True) -> None:
    """Ask the training in this process to stop at its next step, or withdraw the request."""
    _life.is_asked_to_stop = wanted


def is_asked_to_stop() -> bool:
    """Whether training in this process is to write a checkpoint and end."""
    return _life.is_asked_to_stop
