"""What is promised less of runs of a user's trainer than of runs of our decoder, in words."""

from collections.abc import Iterator

from orchestrator.spec.schema import AblationSpec


def promised_less(spec: AblationSpec) -> tuple[str, ...]:
    """A sentence or two on each promise that does not hold; none for our decoder."""
    return tuple(_sentences(spec))


def _sentences(spec: AblationSpec) -> Iterator[str]:
    trainer = spec.trainer
    if trainer is None:
        return
    to = " and ".join(trainer.seed) or "{seed}"
    repeats = [name for name, extra in spec.extra_arms.items() if extra.replicate]
    seen = (
        f"arm {repeats[0]} trains a second time with the same seeds, and shows what they leave open"
        if repeats
        else "no arm is trained twice with the same seeds, so this is not measured"
    )
    yield (
        f"The seed is passed on ({to}), and not proven: arms of one seed share initial weights, "
        f"batches and noise only as far as the trainer makes them, and {seen}."
    )
    yield (
        f"That compared arms differ in nothing but the factor is proven on the settings in "
        f"{trainer.base}. Whether the trainer uses a setting, or has others that are not there, is "
        "not known."
    )
    if "collapsed" not in trainer.outcomes:
        yield (
            "Collapse and escape are not known, since the trainer's course has no emitted_ratio "
            "and n_distinct under trainer.metrics."
        )
