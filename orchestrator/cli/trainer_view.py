"""What `plan` and `search --dry-run` print of a trainer of the user's, which they never execute."""

import shlex
from collections.abc import Iterable

from orchestrator.spec.configuration import CommandConfig, Configuration
from orchestrator.terminal import Say


def say_trainer(config: Configuration, executed_by: str, notes: Iterable[str], say: Say) -> None:
    """Print the command, its code, and what is promised less of it; nothing for our decoder.

    Args:
        executed_by: the command of ours that executes it.
        notes: what is promised less, see `orchestrator.spec.promises`.
    """
    if not isinstance(config, CommandConfig):
        return
    trainer, commit = config.trainer, "in no git commit"
    if config.commit is not None:
        commit = f"commit {config.commit[:10]}{', with changes' if config.dirty else ''}"
    say(f"command: {shlex.join(trainer.command)} (in {trainer.cwd}; only `{executed_by}` runs it)")
    n_files = len(config.code)
    say(f"code: {n_files} {'file' if n_files == 1 else 'files'}, {commit}")
    for sentence in notes:
        say(f"note: {sentence}")
