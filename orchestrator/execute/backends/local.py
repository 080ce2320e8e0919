"""The in-process backend: one pack after another, for debugging and without Ray."""

import logging
import traceback
from collections.abc import Callable, Sequence

from orchestrator.execute.backends.local_watch import local_watch
from orchestrator.execute.backends.patience import Patience
from orchestrator.execute.backends.types import Execution, PackEvent
from orchestrator.execute.backends.worker import (
    Account,
    Message,
    TrainPack,
    host_of,
    next_message,
    train_pack,
)
from orchestrator.spec.configuration import Pack

logger = logging.getLogger(__name__)


def train_locally(
    packs: Sequence[Pack],
    execution: Execution,
    on_event: Callable[[PackEvent], None],
    *,
    train_pack: TrainPack = train_pack,
) -> None:
    """Train packs one after another in this process; `execution.n_workers` is ignored.

    After an infrastructure fault (see `is_infrastructure_fault`), a pack is retried from its
    checkpoint, up to ``max_retries`` times. Any other exception of a pack ends that pack at once
    as `PackFailed`, and the next pack begins. A pack that hangs ends this process, see
    `local_watch`: nothing in it could end the pack alone.

    Args:
        execution: threads, device, checkpoints and retries.
        on_event: called for each event, in order; an exception from it ends the call.

    Raises:
        UserError: raised by a pack; it would end every other pack too.
        Stopped: by a handler of signals, after the pack has written a checkpoint.
        KeyboardInterrupt: between two events or in the middle of training.
    """
    account = Account(packs, on_event)
    with Patience() as patience, local_watch(execution) as watch:
        for pack in packs:
            n_attempts, training = 1, train_pack(pack, execution)
            is_open = True
            while is_open:
                # Only exceptions of the trainer count against the pack, not those of on_event.
                try:
                    with watch.over(pack):
                        message = next_message(training, execution)
                except Exception as error:
                    if n_attempts <= execution.max_retries:
                        reason = traceback.format_exception_only(error)[-1].strip()
                        logger.warning("pack %s is retried after: %s", pack.pack_id, reason)
                        n_attempts, training = n_attempts + 1, train_pack(pack, execution)
                        continue
                    message = Message(host_of(execution), crash=traceback.format_exc())
                with patience.keeping():
                    account.deliver(message, pack.pack_id, n_attempts)
                is_open = not message.is_last
            patience.check()
