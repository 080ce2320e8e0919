"""What an ablation trains next: everything, or look after look, or a greedy path round by round."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from orchestrator.driver.grow import Prepare, grow, round_text
from orchestrator.driver.looks import take_looks
from orchestrator.driver.notify import Notifier
from orchestrator.driver.room import PackRoom
from orchestrator.driver.shared_work import WorkPlace
from orchestrator.execute.machine import Options
from orchestrator.plan.document import PlanDocument
from orchestrator.plan.looks import DECIDED, LookDecision, next_look, runs_wanted
from orchestrator.plan.plan import Plan
from orchestrator.store.ledger import read_records, with_result
from orchestrator.store.mixing import select_present
from orchestrator.store.paths import Results
from orchestrator.store.plan_file import write_plan
from orchestrator.terminal import Say


@dataclass
class Rounds:
    """The plan of an ablation, and how far it is decided.

    Attributes:
        document: of the plan, with what its looks decided.
        to_document: makes the document of a plan that has grown.
        prepare: prepares the recordings of further arms.
        room: what bounds packs.
        recorded: ids of the runs with a result.
        notifier: is told of the claims that a look decides.
    """

    plan: Plan
    document: PlanDocument
    results: Results
    options: Options
    place: WorkPlace
    prepare: Prepare
    to_document: Callable[[Plan], PlanDocument]
    room: PackRoom
    say: Say
    recorded: Collection[str]
    notifier: Notifier

    @property
    def wanted(self) -> frozenset[str]:
        """The ids of the runs that must have a result before the next look, or before the end."""
        return runs_wanted(self.document)

    @property
    def is_last(self) -> bool:
        """Whether no look or round of a greedy path may ask for more after this training."""
        return next_look(self.document) is None

    def begin(self) -> None:
        """Take in the looks that were taken before, and those that the records allow."""
        with self.place.turn():
            self._look(())

    def advance(self) -> bool:
        """Go on after training, as far as the records allow.

        Returns:
            Whether there is more to train.
        """
        before, plan = self.document.looks_taken, self.plan
        with self.place.turn():
            self._look(self.wanted)
            self._grow()
        every = read_records(self.results, self.plan.distinct, self.say, full=False)
        allow_mixed = self.document.allow_mixed
        self.recorded = with_result(select_present(every, allow_mixed=allow_mixed).used)
        return self.plan is not plan or len(self.document.looks_taken) > len(before)

    def _look(self, tried: Collection[str]) -> None:
        """Take the looks that the records allow, and tell what they decide."""
        self.document = take_looks(
            self.results, self.document, self.say, tried=tried, tell=self._tell
        )

    def _tell(self, decision: LookDecision) -> None:
        for claim in decision.claims.values():
            if claim.look == decision.look and claim.state in DECIDED:
                self.notifier.decided(claim.name, claim.state, look=claim.look)

    def _grow(self) -> None:
        """Add the rounds of a greedy path that the records determine."""
        self.room = self.place.with_cut(self.room)
        longer = grow(
            self.plan,
            self.results,
            self.options,
            self.prepare,
            allow_mixed=self.document.allow_mixed,
            room=self.room,
        )
        if longer is self.plan:
            return
        self.plan, self.document = longer, self.to_document(longer)
        write_plan(self.results, self.document)
        self.place.join(longer)
        self.say(f"greedy path: {round_text(longer)}")
