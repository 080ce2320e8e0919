"""Remarks for the user before training: changed files, other code, claims without a chance."""

from collections.abc import Iterable, Mapping

from decoder.errors import StorageError
from decoder.pack import WEIGHTS_NAME
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.plan import Plan
from orchestrator.plan.recordings import Recordings
from orchestrator.spec.claim_text import mismatched_claims
from orchestrator.spec.load import Loaded
from orchestrator.store import provenance
from orchestrator.store.ledger import Record
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.terminal import Say


def note_changes(results: Results, document: PlanDocument, say: Say) -> None:
    """Remark on a file that changed since its last run, and on hypotheses altered after runs."""
    if results.plan(document.name).exists():
        try:
            if read_plan(results, document.name).spec_hash != document.spec_hash:
                say(f"{document.spec_file} has changed since '{document.name}' was last run")
        except StorageError as error:
            say(f"{error}; this run replaces it")
    for hypothesis in document.lock_changed:
        say(
            f"hypothesis '{hypothesis}' was written or changed after runs that decide it, so "
            "its verdict will be labelled exploratory"
        )


def note_other_code(records: Mapping[str, Record], say: Say) -> None:
    """Remark on recorded runs that were trained with other source code of the decoder."""
    own = provenance.decoder_sha256()
    others = [
        record["environment"].get("code", {})
        for record in records.values()
        if record["environment"].get("code", {}).get("decoder_sha256") != own
    ]
    if others:
        commits = sorted({str(code.get("git_commit"))[:10] for code in others})
        say(
            f"{len(others)} of {len(records)} recorded runs were trained with other source code "
            f"of the decoder (commit {', '.join(commits)}); its numerics version is the same, so "
            "they are used"
        )


def note_missing_weights(
    plan: Plan, results: Results, records: Mapping[str, Record], say: Say
) -> None:
    """Remark on recorded runs that lack the weights that the file asks for."""
    n_missing = sum(
        run.config.train.keep_weights != "none"
        and run_id in records
        and records[run_id]["status"] == "ok"
        and not (results.run(run_id) / WEIGHTS_NAME).exists()
        for run_id, run in plan.distinct.items()
    )
    if n_missing:
        say(
            f"{n_missing} recorded runs have no weights, although train.keep_weights asks for "
            "them; weights do not change a result, so these runs are not trained again"
        )


def note_recordings(recordings: Iterable[Recordings], say: Say) -> None:
    """Remark on trials that are left out or not evaluated, as `data check` lists them."""
    for data in dict.fromkeys(recordings):
        for remark in data.remarks:
            say(f"{data.path}: {remark}")


def note_claims(loaded: Loaded, say: Say) -> None:
    """Remark on hypotheses that no result can support, or whose words contradict them."""
    for note in loaded.notes:
        say(f"note: {note}")
    for name, reason in mismatched_claims(loaded.spec).items():
        say(f"caution: {name}: {reason}")
    if loaded.spec.hypotheses:
        from orchestrator.stats.reach import untestable  # scipy

        for name, limit in untestable(loaded.spec).items():
            say(f"untestable: {name}: {limit.reason}")
