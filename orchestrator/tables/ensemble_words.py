"""WER of all of an arm's seeds together: decoded once, and then read from a file."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from decoder.atomic import sha256_of, write_atomically
from decoder.config import DecoderConfig
from decoder.errors import StorageError, UserError
from decoder.pack import LOGITS_NAME
from decoder.regular import read_json
from orchestrator.store.ledger import config_of
from orchestrator.store.paths import Results
from orchestrator.store.record import Record
from orchestrator.terminal import Say


class EnsembleWords:
    """Decodes ensembles to words as their runs were, with the search of this project.

    A decoder of the user's is not started, because reports run no program of a user's. What was
    decoded is kept in `Results.ensemble_words`, since it takes as long as the words of a run.

    Args:
        results: holds the logits and the packed recordings.
        records: run id → record.
        say: receives a line about each ensemble that cannot be decoded.
    """

    def __init__(self, results: Results, records: Mapping[str, Record], say: Say) -> None:
        self._results, self._records, self._say = results, records, say
        self._known = _read(results.ensemble_words)

    def wer(self, run_ids: Sequence[str]) -> float:
        """WER of the averaged log posteriors of runs of one arm; NaN if they have no words."""
        record = self._records.get(run_ids[0])
        config = config_of(record) if record is not None else None
        if record is None or not isinstance(config, DecoderConfig):
            return math.nan
        if config.evaluation.words.decoder != "beam":
            return math.nan
        try:
            paths = [self._results.run(run_id) / LOGITS_NAME for run_id in sorted(run_ids)]
            digests = [read_json(path.with_suffix(".json"))["sha256"] for path in paths]
            how = {"logits": digests, "words": config.evaluation.words.model_dump(mode="json")}
            how |= {"files": dict(config.files), "data": record["dataset"]["fingerprint"]}
            key = sha256_of(json.dumps(how, sort_keys=True).encode())
            if key not in self._known:
                self._known[key] = self._decode(config, record["dataset"]["fingerprint"], paths)
                self._keep()
        except (UserError, OSError, ValueError, KeyError, TypeError) as error:
            self._say(f"ensembles: WER of arm of run {run_ids[0]} is not known; {error}")
            return math.nan
        n_edits, n_reference = self._known[key]
        return n_edits / n_reference if n_reference else math.nan

    def _decode(
        self, config: DecoderConfig, fingerprint: str, paths: Sequence[Path]
    ) -> tuple[int, int]:
        from decoder.data.store import open_dataset
        from decoder.logits import read_logits
        from decoder.word_evaluation import ensemble_errors  # torch

        self._say(f"decoding {len(paths)} runs together to words")
        dataset = open_dataset(self._results.datasets / fingerprint)
        errors = ensemble_errors(config, dataset, [read_logits(path) for path in paths])
        return errors.n_edits, errors.n_reference

    def _keep(self) -> None:
        try:
            content = json.dumps(self._known, indent=1)
            write_atomically(self._results.ensemble_words, content.encode())
        except StorageError as error:
            self._say(f"ensembles: what was decoded is not kept; {error}")


def _read(path: Path) -> dict[str, tuple[int, int]]:
    """What was decoded before; nothing if the file is missing or damaged."""
    try:
        found = read_json(path)
        return {str(key): (int(edits), int(words)) for key, (edits, words) in found.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
