"""Finds runs of a user's trainer that are recorded with other code, which is never used for them.

The code is part of a run's id, so that such runs are trained again without a word; the word is
said here.
"""

from contextlib import suppress

from decoder.errors import ConfigError, StorageError
from orchestrator.plan.plan import Plan
from orchestrator.spec.configuration import CommandConfig
from orchestrator.spec.names import listed
from orchestrator.store.ledger import config_of, read_records, with_result
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import read_plan


def changed_code(plan: Plan, results: Results) -> str:
    """What changed in a trainer since the last plan of this ablation, and how many runs it costs.

    Returns:
        A sentence; empty for our decoder, and where no recorded run has other code.
    """
    now = plan.loaded.base
    if not isinstance(now, CommandConfig):
        return ""
    with suppress(ConfigError, StorageError):
        last = read_plan(results, plan.loaded.spec.name)
        old = [run_id for run_id in last.run_ids if run_id not in plan.distinct]
        records = read_records(results, old, lambda _: None, move_aside=False, full=False)
        changed: set[str] = set()
        n_runs = 0
        for run_id in with_result(records):
            then = config_of(records[run_id])
            if isinstance(then, CommandConfig) and then.code != now.code:
                n_runs += 1
                changed |= {path for path, _ in set(then.code.items()) ^ set(now.code.items())}
        if n_runs:
            return (
                f"the trainer's code has changed ({listed(sorted(changed))}) since {n_runs} "
                "recorded runs, which stay; the same settings are other runs with other code"
            )
    return ""
