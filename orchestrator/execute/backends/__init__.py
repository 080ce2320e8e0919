"""Backends: train planned packs in this process or on Ray, and report their progress.

A new backend is a module here, a name in `machine.BackendName` and `cli.options.BackendChoice`, and
a case in `training.started_backend`; CONTRIBUTING.md has the steps.
"""

from orchestrator.execute.backends.splitting import is_out_of_memory
from orchestrator.execute.backends.types import (
    Backend,
    Execution,
    PackEvent,
    PackFailed,
    RayUnavailableError,
)

__all__ = [
    "Backend",
    "Execution",
    "PackEvent",
    "PackFailed",
    "RayUnavailableError",
    "is_out_of_memory",
]
