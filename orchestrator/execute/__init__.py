"""Training of planned packs: options, backends, progress display, records, orderly stops."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "backends": ("Backend", "PackEvent", "PackFailed", "is_out_of_memory"),
        "backends.guard": ("clear_abandoned",),
        "command.logs": ("LOGS", "log_end"),
        "command.reread": ("reread_courses",),
        "export": ("ArrayJob", "Export", "SCRIPT", "check_export", "read_export", "write_export"),
        "exported_results": ("bring_back", "exported_document"),
        "machine": ("BackendName", "Options", "choose_options", "device_name", "device_to_use"),
        "memory_limits": ("FreeMemory", "free_memory"),
        "progress": ("Display",),
        "recording": ("Recorder",),
        "slurm": ("Job", "batch_script"),
        "stopping": ("Stopped", "TIME_USED_UP", "stop_switch"),
        "training": ("Trainer", "started_backend"),
    },
)
