"""Finds recorded runs that were trained with another version of the user's code.

The code is part of a run's id, so that such runs are trained again without a word; the word is
said here.
"""

from contextlib import suppress

from decoder.errors import ConfigError, StorageError
from orchestrator.plan.plan import Plan
from orchestrator.spec.configuration import CommandConfig, Configuration
from orchestrator.spec.names import listed
from orchestrator.store.ledger import config_of, read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan


def changed_code(plan: Plan, results: Results) -> str:
    """What changed of the user's code since the last plan of this ablation, for how many runs.

    Returns:
        A sentence; empty where no recorded run has other code.
    """
    now = _code_of(plan.loaded.base)
    if not now:
        return ""
    with suppress(ConfigError, StorageError):
        last = read_plan(results, plan.loaded.spec.name)
        old = [run_id for run_id in last.run_ids if run_id not in plan.distinct]
        records = read_records(results, old, lambda _: None, move_aside=False, full=False)
        changed: set[str] = set()
        n_runs = 0
        for run_id in with_result(records):
            then = _code_of(config_of(records[run_id]))
            if then and then != now:
                n_runs += 1
                changed |= {path for path, _ in then.items() ^ now.items()}
        if n_runs:
            of_trainer = isinstance(plan.loaded.base, CommandConfig)
            what = "the trainer's code has" if of_trainer else "files of your own parts have"
            return (
                f"{what} changed ({listed(sorted(changed))}) since {n_runs} recorded runs, which "
                "stay; the same settings are other runs with other code"
            )
    return ""


def _code_of(config: Configuration | None) -> dict[str, str]:
    """File of a trainer, or of parts of the user's → its SHA-256."""
    if isinstance(config, CommandConfig):
        return dict(config.code)
    return {} if config is None else {name: config.files[name] for name in config.extensions}
