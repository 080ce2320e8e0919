"""How a run of a trainer of the user's ends: the rules in words. The first that applies counts."""

from typing import Literal

Rule = Literal["not finite", "time limit", "machine", "exit code", "no metric", "finished"]
RULES: dict[Rule, str] = {
    "not finite": "a NaN or infinite value in the last evaluation or at the end of a mapped loss, "
    "whatever the exit code, is a diverged run",
    "time limit": "a run that takes longer than trainer.hours has failed and is not tried again",
    "machine": "one that cannot be started, is killed by a signal that is not ours, or finds no "
    "room on the disk is tried again, from trainer.resume if that is given, and has then failed",
    "exit code": "any other exit code than 0 is a failure that is not tried again",
    "no metric": "exit code 0 without an evaluation in the course is a failure",
    "finished": "exit code 0 and a finite last evaluation is a result",
}
