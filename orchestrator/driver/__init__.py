"""The driver of an ablation: plan, forecast, train, record, report."""

from decoder.faces import lazy_face

__getattr__, __dir__, __all__ = lazy_face(
    __name__,
    {
        "budget": ("budget_text",),
        "changed_data": ("changes_since",),
        "cost": ("Cost", "measure_pace"),
        "event_files": ("EventFiles",),
        "export": ("export_ablation",),
        "live_page": ("LivePage",),
        "notify": ("Notifier", "SILENT", "both", "command_line", "notifying"),
        "page_writer": ("ASKED",),
        "preview": ("DesignCost", "Preview", "SeedChoice", "make_preview"),
        "priors": ("Prior",),
        "remarks": ("added_texts", "note_other_code", "note_recordings"),
        "reporting": ("rebuild_report", "renew_index", "telling_decided"),
        "room": ("find_room",),
        "run": ("AblationOutcome", "FAILED_FOR_GOOD", "Stopwatch", "run_ablation"),
    },
)
