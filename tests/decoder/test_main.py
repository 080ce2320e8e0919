"""`python -m decoder`: signals end it as an exception does."""

import argparse
import signal

import pytest

from decoder import __main__ as command


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_the_command_clean_up_and_gives_its_exit_code(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleaned = []

    def evaluate(options: argparse.Namespace) -> None:
        try:
            signal.raise_signal(number)
        finally:
            cleaned.append(number)

    monkeypatch.setattr(command, "_evaluate", evaluate)
    with pytest.raises(SystemExit) as caught:
        command.main(["evaluate", "--checkpoint", "weights.safetensors"])
    assert caught.value.code == 128 + number and cleaned == [number]
    assert signal.getsignal(number) is signal.SIG_DFL
