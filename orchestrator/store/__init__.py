"""What lies in the results folder: its paths, records, plans and locks, and who may write them."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "ledger": (
            "Record",
            "config_of",
            "history_csv",
            "make_record",
            "read_history",
            "read_records",
            "recent_records",
            "with_result",
            "write_run",
        ),
        "locks": ("DriverSeat", "current_holder", "driver_seat"),
        "paths": ("Results", "default_results"),
        "plan_file": ("read_plan", "write_plan"),
        "provenance": ("version_of",),
        "registration": ("check_lock", "register"),
    },
)
