"""Backends: train planned packs in this process or on Ray, and report their progress."""

from orchestrator.execute.backends.types import (
    Backend,
    Execution,
    PackEvent,
    PackFailed,
    RayUnavailableError,
)

__all__ = ["Backend", "Execution", "PackEvent", "PackFailed", "RayUnavailableError"]
