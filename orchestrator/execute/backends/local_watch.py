"""Ends this process if the pack that trains in it hangs, and keeps the stack of the hang."""

import faulthandler
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from decoder.life import show_sign, signs
from orchestrator.execute.backends.hang import Stillness, hang_limit, hang_text, look_every
from orchestrator.execute.backends.types import Execution
from orchestrator.execute.stopping import show_cursor
from orchestrator.spec.configuration import Pack
from orchestrator.terminal import remarks

HUNG = 4  # exit code: runs lack a result
_STACK_NAME = "hang-{pid}.txt"


def end_hung(text: str) -> None:
    """Say why, and end this process at once with the exit code `HUNG`."""
    show_cursor()
    remarks()(text)
    os._exit(HUNG)


class LocalWatch:
    """Follows the signs of life of this process from a thread, while a pack trains.

    Args:
        end: ends the process, given a line for the user.
    """

    def __init__(self, execution: Execution, end: Callable[[str], None]) -> None:
        self._execution, self._end = execution, end
        self._every = look_every(execution.hang_seconds)
        self._pack: Pack | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="watch", daemon=True)

    @contextmanager
    def over(self, pack: Pack) -> Iterator[None]:
        """Watch the block, in which a pack trains."""
        show_sign()
        self._pack = pack
        try:
            yield
        finally:
            self._pack = None

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        still = Stillness(2 * self._every)
        while not self._ended.wait(self._every):
            pack, seen = self._pack, signs()
            seconds = still.seconds(pack and (seen.n_signs, pack.pack_id))
            limit = hang_limit(self._execution.hang_seconds, still.longest)
            if pack is not None and seconds > limit:
                where = self._keep_stack()
                then = (
                    "training in one process cannot be taken up there, so this call ends (the "
                    f"stack is in {where}); call again to go on from the last checkpoint, or "
                    "give --hang-minutes more"
                )
                self._end(hang_text(pack, "no sign of life", seconds, seen.step, then))
                return

    def _keep_stack(self) -> Path | str:
        """Write the stack of every thread beside the checkpoints."""
        path = self._execution.checkpoint_dir.parent / _STACK_NAME.format(pid=os.getpid())
        with suppress(OSError), path.open("w", encoding="utf-8") as file:
            faulthandler.dump_traceback(file, all_threads=True)
            return path
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr, all_threads=True)
        return "the lines above"


@contextmanager
def local_watch(
    execution: Execution, end: Callable[[str], None] = end_hung
) -> Iterator["LocalWatch"]:
    """Watch the packs that train in this process, for the duration of the block.

    Args:
        end: see `LocalWatch`.
    """
    watch = LocalWatch(execution, end)
    if execution.hang_seconds is None:
        yield watch
        return
    watch.start()
    try:
        yield watch
    finally:
        watch.stop()
