"""How errors and signals leave Ray's event loop."""

import signal

import pytest

from orchestrator.execute.backends.escape import Escape
from orchestrator.execute.stopping import Stopped


def stop(save_seconds: float) -> Stopped:
    return Stopped(signal.SIGTERM, save_seconds)


def test_a_stop_waits_where_packs_train_until_they_have_saved() -> None:
    escape = Escape()
    with pytest.raises(KeyboardInterrupt), escape.waiting():
        escape.carry(stop(60.0))
        escape.check()  # the packs save
        escape.save_until = None  # they have
        escape.check()
    assert isinstance(escape.error, Stopped)


def test_a_stop_waits_no_longer_than_its_time() -> None:
    escape = Escape()
    with pytest.raises(KeyboardInterrupt), escape.waiting():
        escape.carry(stop(0.0))
        escape.check()


def test_a_stop_leaves_at_once_where_no_packs_train() -> None:
    escape = Escape()
    with pytest.raises(KeyboardInterrupt):
        escape.carry(stop(60.0))


def test_an_error_leaves_at_once_and_the_first_one_is_kept() -> None:
    escape, error = Escape(), ValueError("broken")
    with escape.waiting():
        with pytest.raises(KeyboardInterrupt):
            escape.carry(error)
        with pytest.raises(KeyboardInterrupt):
            escape.carry(stop(60.0))
    assert escape.error is error
