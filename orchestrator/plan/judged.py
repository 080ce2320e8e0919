"""What a plan document adds for runs that existed before their hypotheses: `judge` writes it."""

from collections.abc import Mapping
from functools import cached_property

from pydantic import BaseModel, ConfigDict, JsonValue

NOT_REGISTERED = "not registered before the runs"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class JudgedRun(_Part):
    """A run from outside the store, as it was read.

    Attributes:
        run_id: stands for the run, such as ``imported/GROUP/NAME``.
        columns: column of the runs table → value, as far as they are known.
        settings: name → value, as far as they are known.
        dataset, dataset_path, trainer: recordings and software, as far as they are known.
        history: its evaluations, with the columns of a history that are known.
    """

    run_id: str
    columns: Mapping[str, str | int | float | bool | None]
    settings: Mapping[str, JsonValue] = {}
    dataset: str | None = None
    dataset_path: str | None = None
    trainer: str | None = None
    history: tuple[Mapping[str, float], ...] = ()


class Judged(_Part):
    """Where the runs of a judgement come from, and what stands against comparing them.

    Attributes:
        sources: what was named on the command line.
        block: what pairs the runs, in words.
        blocks: number of a block → its name, where the two differ.
        conditions: factor → level → the condition that its runs meet.
        where: the condition that all runs meet; "" without one.
        runs: the runs that the store has no record of.
        caveats: hypothesis → what else differs between its arms, and what is not recorded.
        remarks: how the sources were read, and which runs were left out.
        endings_known: whether every run says how it ended; those that do not count as ok.
    """

    sources: tuple[str, ...]
    block: str
    blocks: Mapping[str, str] = {}
    conditions: Mapping[str, Mapping[str, str]]
    where: str = ""
    runs: tuple[JudgedRun, ...] = ()
    caveats: Mapping[str, tuple[str, ...]] = {}
    remarks: tuple[str, ...] = ()
    endings_known: bool = True

    @cached_property
    def foreign(self) -> dict[str, JudgedRun]:
        """Run id → run, for the runs that the store has no record of."""
        return {run.run_id: run for run in self.runs}

    @property
    def n_with_result(self) -> int:
        """How many of these have a result."""
        return sum(run.columns["outcome"] in ("ok", "collapsed", "diverged") for run in self.runs)
