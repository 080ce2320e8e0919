"""Proves that compared arms differ in the claimed factor and in nothing else."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel

from decoder.errors import ConfigError
from orchestrator.spec.arms import Arm, factor_paths
from orchestrator.spec.compared import varied_factors
from orchestrator.spec.configuration import NOT_SET, as_written, flatten, resolve
from orchestrator.spec.load import Loaded


class CleanContrast(BaseModel, frozen=True):
    """Proof that two compared arms differ in the paths of the factor and in nothing else.

    In a fractional design each side is a group of arms. The proof is then that every other path
    takes each of its values equally often on both sides.

    Attributes:
        from_arm, to_arm: the arms; in a fractional design, descriptions of the two groups.
        changed: config path → its value in each arm.
    """

    hypothesis: str
    from_arm: str
    to_arm: str
    changed: Mapping[str, tuple[Any, Any]]


def prove_contrasts(loaded: Loaded) -> tuple[CleanContrast, ...]:
    """Prove, for every pair of arms that a hypothesis compares, that only the factor differs.

    Raises:
        ConfigError: every pair that differs in other paths, with those paths.
    """
    spec, arms = loaded.spec, {arm.arm_id: arm for arm in loaded.arms}
    prove = _prove_balance if spec.design == "fractional" else _prove_pairs
    proofs, problems = [], []
    for name in loaded.compared:
        for proof, complaint in prove(loaded, name, arms):
            proofs.append(proof)
            problems += [f"{loaded.path}: hypotheses.{name}: {complaint}"] if complaint else []
    if problems:
        raise ConfigError(problems)
    return tuple(proofs)


Proofs = Iterable[tuple[CleanContrast, str]]  # each with a complaint, empty if it holds


def _prove_pairs(loaded: Loaded, name: str, arms: Mapping[str, Arm]) -> Proofs:
    """Each pair of arms differs only in the factor's paths, and in paths that refer to those."""
    spec, hypothesis = loaded.spec, loaded.spec.hypotheses[name]
    # (from, to), twice if an interaction
    found = [arms[side.arm_id] for side in reversed(loaded.compared[name])]
    factors = varied_factors(spec, hypothesis)
    pairs = [(found[i], found[i + 1], factors) for i in range(0, len(found), 2)]
    if hypothesis.interaction is not None:
        other = frozenset({hypothesis.interaction.factor})
        pairs += [(found[0], found[2], other), (found[1], found[3], other)]
    for one, two, varied in pairs:
        declared = {path for factor in varied for path in factor_paths(spec, factor)}
        changed = _difference(as_written(one.config), as_written(two.config))
        stray = sorted(
            path
            for path in changed
            if declared.isdisjoint((*one.comes_from(path), *two.comes_from(path)))
        )
        complaint = ""
        if stray or not changed:
            what = f"also differ in {', '.join(stray)}" if stray else "do not differ"
            named = " and ".join(f"'{factor}'" for factor in sorted(varied))
            complaint = (
                f"arms {one.arm_id} and {two.arm_id} must differ in factor {named} alone, but they "
                f"{what}"
            )
        # Includes fields whose default follows another field, such as the day layers' rate.
        following = _difference(flatten(resolve(one.config)), flatten(resolve(two.config)))
        proof = CleanContrast(
            hypothesis=name,
            from_arm=one.arm_id,
            to_arm=two.arm_id,
            changed=changed | following,
        )
        yield proof, complaint


def _prove_balance(loaded: Loaded, name: str, arms: Mapping[str, Arm]) -> Proofs:
    """Every path that the factor does not set is balanced between the two sides of a fraction."""
    spec, hypothesis = loaded.spec, loaded.spec.hypotheses[name]
    sides = loaded.compared[name]
    to = [arms[side.arm_id] for side in sides if side.weight > 0]
    reference = [arms[side.arm_id] for side in sides if side.weight <= 0]
    varied = {hypothesis.contrast.factor}
    varied |= {hypothesis.interaction.factor} if hypothesis.interaction else set()
    declared = {path for factor in varied for path in factor_paths(spec, factor)}
    flat = {arm.arm_id: as_written(arm.config) for arm in (*to, *reference)}
    followers = {
        path
        for arm in (*to, *reference)
        for path in arm.derived
        if not declared.isdisjoint(arm.comes_from(path))
    }
    stray = sorted(
        path
        for path in set().union(*flat.values()) - declared - followers
        if Counter(repr(flat[arm.arm_id].get(path, NOT_SET)) for arm in to)
        != Counter(repr(flat[arm.arm_id].get(path, NOT_SET)) for arm in reference)
    )
    complaint = (
        f"its two sides are not balanced in {', '.join(stray)}; do not derive these values from "
        "an aliased factor"
        if stray
        else ""
    )
    contrast = hypothesis.contrast
    one = next(arm for arm in reference if arm.levels[contrast.factor] == contrast.from_level)
    two = next(arm for arm in to if arm.levels[contrast.factor] == contrast.to_level)
    changed = {
        path: values
        for path, values in _difference(flatten(one.config), flatten(two.config)).items()
        if path in declared | followers
    }
    proof = CleanContrast(
        hypothesis=name,
        from_arm=f"{contrast.factor}={contrast.from_level} ({len(reference)} arms)",
        to_arm=f"{contrast.factor}={contrast.to_level} ({len(to)} arms)",
        changed=changed,
    )
    yield proof, complaint


def _difference(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Path → its values, where two flat configurations differ."""
    pairs = {
        path: (one.get(path, NOT_SET), two.get(path, NOT_SET))
        for path in dict.fromkeys((*one, *two))
    }
    return {path: pair for path, pair in pairs.items() if pair[0] != pair[1]}
