"""What lies in the results folder: its paths, records, plans and locks, and who may write them."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "former": ("mark_damaged",),
        "ledger": (
            "config_of",
            "history_csv",
            "make_record",
            "read_history",
            "read_records",
            "recent_records",
            "restore_former",
            "source_of_record",
            "with_result",
            "write_run",
        ),
        "locks": ("DriverSeat", "check_free", "current_holder", "driver_seat"),
        "mixing": (
            "WEIGHT_NAMES",
            "keep_others",
            "kept_of_present",
            "machines_text",
            "mixed_claims",
            "mixed_text",
            "select",
            "select_for_report",
            "select_present",
            "sources_text",
        ),
        "paths": ("Results", "default_results"),
        "plan_file": ("read_plan", "write_plan"),
        "provenance": ("version_of",),
        "record": ("Record", "RecordCode", "RecordDataset", "RecordEnvironment", "first_mistake"),
        "registration": ("check_lock", "register"),
        "reservation_files": ("Driver", "UNKNOWN", "reserved_now"),
        "reservations": ("Reservations", "reserving"),
        "sources": ("UNPROVEN", "source_of", "training_sha256"),
        "tidy": ("tidy_up",),
        "under_way": (
            "drop_other_sources",
            "keep_cut",
            "packs_under_way",
            "recorded_cut",
            "sources_of_checkpoints",
            "steps_under_way",
        ),
    },
)
