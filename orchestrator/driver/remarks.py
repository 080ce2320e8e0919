"""Remarks for the user before training: changed files, other code, claims without a chance."""

from collections.abc import Iterable, Mapping

from decoder.config import DecoderConfig
from decoder.errors import ConfigError, StorageError
from decoder.pack import LOGITS_NAMES, WEIGHTS_NAME
from orchestrator.plan.document import PlanDocument, SeedsAdded
from orchestrator.plan.plan import Plan
from orchestrator.plan.recordings import Recordings
from orchestrator.plan.starts import remarks_on_starts
from orchestrator.spec.claim_text import KEEPS_A_CLAIM, mismatched_claims
from orchestrator.spec.load import Loaded
from orchestrator.spec.names import listed
from orchestrator.store.ledger import with_result
from orchestrator.store.mixing import machines_text, select, sources_text
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan
from orchestrator.store.record import Record
from orchestrator.store.sources import training_sha256
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
    for text in added_texts(document.seeds_added):
        say(text)


def added_texts(seeds_added: Mapping[str, SeedsAdded]) -> list[str]:
    """For hypotheses to which seeds were added after their runs: what happened, and what would
    have kept the claim; one text for all of which the same is true."""
    names: dict[str, list[str]] = {}
    for name, added in seeds_added.items():
        names.setdefault(added.sentence, []).append(name)
    return [f"{listed(of)}: {text}; {KEEPS_A_CLAIM}" for text, of in names.items()]


def note_starts(plan: Plan, say: Say) -> None:
    """Remark on sessions for which the weights that runs start from have no day layer."""
    for text in remarks_on_starts((run.config, run.data) for run in plan.runs):
        say(text)


def note_other_code(records: Mapping[str, Record], say: Say, therefore: str = "") -> None:
    """Remark on recorded runs that were trained with other source code and are used.

    Args:
        therefore: what follows from it.
    """
    done = with_result(records)
    others = select(records, training_sha256()).others
    if others:
        say(f"{sources_text(others, len(done))}; they are used{therefore and f', and {therefore}'}")


def check_machines(
    records: Iterable[Record],
    say: Say,
    *,
    strict: bool,
    torch: str | None = None,
    device: str | None = None,
) -> tuple[str, ...]:
    """Remark on runs of different versions of PyTorch or devices, or refuse them.

    Args:
        strict: whether they are refused.
        torch, device: what trains the missing runs, see `orchestrator.store.mixing.machines_text`.

    Raises:
        ConfigError: they differ, and `strict`.
    """
    texts = machines_text(records, torch, device)
    if texts and strict:
        raise ConfigError(
            [
                f"{text}; --strict allows one alone: leave it out, or give another --results folder"
                for text in texts
            ]
        )
    for text in texts:
        say(text)
    return texts


def note_missing_weights(
    plan: Plan, results: Results, records: Mapping[str, Record], say: Say
) -> None:
    """Remark on recorded runs that lack the weights or logits that the file asks for."""
    done = {
        run_id: run.config.train
        for run_id, run in plan.distinct.items()
        if isinstance(run.config, DecoderConfig)
        and run_id in records
        and records[run_id]["status"] == "ok"
    }
    asked = {
        "weights": {i: [WEIGHTS_NAME] for i, t in done.items() if t.keep_weights != "none"},
        "logits": {i: [LOGITS_NAMES[split] for split in t.kept_logits] for i, t in done.items()},
    }
    for what, of_runs in asked.items():
        n_missing = sum(
            not all((results.run(run_id) / name).exists() for name in names)
            for run_id, names in of_runs.items()
        )
        if n_missing:
            say(
                f"{n_missing} recorded runs have no {what}, although train.keep_{what} asks for "
                f"them; {what} do not change a result, so these runs are not trained again"
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
