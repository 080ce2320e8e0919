"""The command, with a checkpoint after every step."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from unittest.mock import patch

from decoder.pack import Pack
from orchestrator.cli.app import app
from orchestrator.execute.backends import Execution, PackEvent, local

train = local.train_locally


def train_saving_often(
    packs: Sequence[Pack], execution: Execution, on_event: Callable[[PackEvent], None]
) -> None:
    train(packs, replace(execution, checkpoint_every_seconds=0.0), on_event)


if __name__ == "__main__":
    with patch.object(local, "train_locally", train_saving_often):
        app()
