"""The in-process backend: one pack after another, for debugging and without Ray."""

import logging
import traceback
from collections.abc import Callable, Sequence

from decoder.errors import UserError
from decoder.pack import Pack
from orchestrator.execute.backends.types import Execution, PackEvent
from orchestrator.execute.backends.worker import (
    Account,
    TrainPack,
    host_facts,
    is_infrastructure_fault,
    train_pack,
)

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
    as `PackFailed`, and the next pack begins.

    Args:
        packs: packs to train, in this order.
        execution: threads, device, checkpoints and retries.
        on_event: called for each event, in order; an exception from it ends the call.
        train_pack: trains one pack.

    Raises:
        UserError: raised by a pack; it would end every other pack too.
        KeyboardInterrupt: between two events or in the middle of training.
    """
    account = Account(packs, on_event)
    host = host_facts(execution)
    for pack in packs:
        _train_with_retries(pack, execution, account, host, train_pack)


def _train_with_retries(
    pack: Pack,
    execution: Execution,
    account: Account,
    host: dict[str, str | int],
    train_pack: TrainPack,
) -> None:
    for n_attempts in range(1, execution.max_retries + 2):
        training = train_pack(pack, execution)
        while True:
            # Only exceptions of the trainer count against the pack, not those of on_event.
            try:
                progress = next(training, None)
            except UserError:
                raise
            except Exception as error:
                text = traceback.format_exc()
                if is_infrastructure_fault(error) and n_attempts <= execution.max_retries:
                    logger.warning("pack %s is retried after: %r", pack.pack_id, error)
                    break
                account.fail(pack.pack_id, text, n_attempts, host)
                return
            if progress is None:
                account.end(pack.pack_id, n_attempts, host)
                return
            account.progress(pack.pack_id, progress, host)
