"""Watches the recordings of a pack in training, so that bad ones never become a run's outcome.

A run that diverges counts as a result. So before one does, its input is looked at:

1. The trials of a batch from which a loss or gradient is not finite must be finite themselves; and
   if a run ends without a finite validation loss, so must the validation trials.
2. If every run of the pack is not finite at the first step, every byte of the packed features is
   verified. No update has been made by then, so no setting of the optimizer can be the reason.
3. Before a result or a checkpoint leaves the pack, the files must be those that were opened. If
   their size, time stamps or inode changed, they are verified.

If all is sound, the divergence is genuine, also that of every run at the first step. On sound
recordings none of it costs more than a look at two files.
"""

import math
from collections.abc import Iterable

from decoder.data.recordings import find_flaw
from decoder.data.store import Dataset, Split
from decoder.data.trials import Trials
from decoder.errors import DataError


class DataWatch:
    """Watches the recordings of one pack.

    Args:
        trials: what the pack trains on.
        seed: of the pack.
        n_batches: batches of a step.
    """

    def __init__(self, trials: Trials, seed: int, n_batches: int) -> None:
        self._trials, self._seed, self._n_batches = trials, seed, n_batches

    @property
    def _dataset(self) -> Dataset:
        return self._trials.dataset

    def check_files(self) -> None:
        """Verify the packed features if their files changed since they were opened.

        Raises:
            StoreDamagedError: they are not what was packed.
        """
        if self._dataset.files is not None:
            self._dataset.files.check()

    def check_step(self, step: int, *, every_run: bool) -> None:
        """Look at the input of a step at which a loss or gradient is not finite.

        Args:
            step: counted from 0.
            every_run: whether none of the pack is finite.

        Raises:
            StoreDamagedError: the packed features are not what was packed.
            DataError: they are, but trials of the step are not finite.
        """
        first = step * self._n_batches
        for index in range(first, first + self._n_batches):
            trials = self._trials.draw(self._seed, index).index.tolist()
            self._check_finite("train", self._dataset.train, trials)
        if step == 0 and every_run and self._dataset.files is not None:
            self._dataset.files.check("no run is finite at the first step", every_byte=True)

    def check_validation(self) -> None:
        """Look at the validation trials, after a run without a finite validation loss.

        Raises:
            StoreDamagedError, DataError: see `check_step`.
        """
        for batch in self._trials.validation:
            self._check_finite("val", self._dataset.val, batch.tolist())

    def _check_finite(self, name: str, split: Split, trials: Iterable[int]) -> None:
        for trial in dict.fromkeys(trials):
            flaw = find_flaw(split.trial_features(trial), None, math.inf)
            if flaw is None:
                continue
            session = self._dataset.sessions[split.day[trial]]
            where = (
                f"{name} trial {trial}, which is trial {split.trial_number[trial]} of block "
                f"{split.block[trial]} of session {session}, holds "
                f"{flaw.text}"
            )
            if self._dataset.files is not None:
                self._dataset.files.check(where, every_byte=True)
            raise DataError(
                f"{self._dataset.path}: {where}; such recordings cannot be trained on, and no run "
                "that they reached is recorded; mend the recordings or leave out the session"
            )
