"""The messages that a worker sends to the driver, one for each step of training a pack."""

import traceback
from collections.abc import Iterator
from dataclasses import dataclass

from decoder.errors import UserError
from decoder.pack import Progress
from orchestrator.execute.backends.types import Execution
from orchestrator.execute.backends.worker import Account, host_facts, is_infrastructure_fault


@dataclass(frozen=True)
class Message:
    """What one step of training gave. Without progress or error, the pack has ended.

    Attributes:
        host: ``hostname``, ``pid`` and ``device`` of the worker.
        progress: the progress that the trainer reported.
        user_error: an error that ends the whole call.
        crash: the traceback of an error that ends this pack alone.
    """

    host: dict[str, str | int]
    progress: Progress | None = None
    user_error: UserError | None = None
    crash: str | None = None

    @property
    def is_last(self) -> bool:
        """Whether the pack has ended."""
        return self.progress is None


def next_message(training: Iterator[Progress], execution: Execution) -> Message:
    """Train one step, in the worker.

    Args:
        training: the trainer of the pack.
        execution: gives the device, for the message.

    Raises:
        Exception: an infrastructure fault, after which the pack may be retried.
    """
    host = host_facts(execution)
    try:
        return Message(host, next(training, None))
    except UserError as error:
        return Message(host, user_error=error)
    except Exception as error:
        if is_infrastructure_fault(error):
            raise
        return Message(host, crash=traceback.format_exc())


def deliver(message: Message, pack_id: str, n_attempts: int, account: Account) -> None:
    """Turn a message into events, in the driver.

    Args:
        message: the message.
        pack_id: the pack that it is about.
        n_attempts: attempts at this pack so far.
        account: passes the events on.

    Raises:
        UserError: the one that the message carries.
    """
    if message.user_error is not None:
        raise message.user_error
    if message.crash is not None:
        account.fail(pack_id, message.crash, n_attempts, message.host)
    elif message.progress is None:
        account.end(pack_id, n_attempts, message.host)
    else:
        account.progress(pack_id, message.progress, message.host)
