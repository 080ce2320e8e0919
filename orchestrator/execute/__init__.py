"""Training of planned packs: options, backends, progress display, records, orderly stops."""

from decoder.faces import lazy_face

__all__ = [
    "Backend",
    "BackendName",
    "Display",
    "Options",
    "PackEvent",
    "Recorder",
    "Stopped",
    "Trainer",
    "choose_options",
    "count_gpus",
    "started_backend",
    "stop_switch",
]

__getattr__, __dir__ = lazy_face(
    __name__,
    {
        "backends": (
            "Backend",
            "PackEvent",
        ),
        "machine": (
            "BackendName",
            "Options",
            "choose_options",
            "count_gpus",
        ),
        "progress": ("Display",),
        "recording": ("Recorder",),
        "stopping": (
            "Stopped",
            "stop_switch",
        ),
        "training": (
            "Trainer",
            "started_backend",
        ),
    },
)
