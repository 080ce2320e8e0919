"""Training of planned packs: options, backends, progress display, records, orderly stops."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "backends": ("Backend", "PackEvent"),
        "machine": ("BackendName", "Options", "choose_options", "count_gpus", "device_name"),
        "progress": ("Display",),
        "recording": ("Recorder",),
        "stopping": ("Stopped", "stop_switch"),
        "training": ("Trainer", "started_backend"),
    },
)
