"""Profiles: the same question at another size, as keys of the file that are replaced."""

from collections.abc import Mapping
from typing import Any

from decoder.complaints import did_you_mean
from orchestrator.spec.schema import AblationSpec

# A profile is an ablation of its own, beside the one it is written in.
_KEYS = [name for name in AblationSpec.model_fields if name != "name"]


def apply_profile(
    document: Mapping[str, Any], profile: str | None
) -> tuple[dict[str, Any], list[str]]:
    """The document as one of its profiles has it.

    Args:
        document: the file; under ``profiles`` profile → top-level keys, each of which replaces
            the file's own as a whole.
        profile: the wanted one; None takes the file as it stands.

    Returns:
        The document, named ``NAME-PROFILE``, without its profiles; and what is wrong with them,
        also with those that are not wanted.
    """
    document = dict(document)
    profiles = document.pop("profiles", None) or {}
    if not isinstance(profiles, dict):
        return document, [
            f"profiles: must map names of profiles to keys of this file, but got {profiles!r}"
        ]
    problems = []
    for name, changes in profiles.items():
        if not isinstance(changes, dict):
            problems.append(
                f"profiles.{name}: must map keys of this file to their values, but got {changes!r}"
            )
            continue
        problems += [
            f"profiles.{name}: '{key}' is no key a profile can replace{did_you_mean(key, _KEYS)} "
            f"(allowed: {', '.join(_KEYS)})"
            for key in changes
            if key not in _KEYS
        ]
    if profile is None or problems:
        return document, problems
    if profile not in profiles:
        known = ", ".join(str(name) for name in profiles) or "none"
        hint = did_you_mean(profile, profiles)
        return document, [f"profiles: there is no profile '{profile}'{hint} (defined: {known})"]
    return {**document, **profiles[profile], "name": f"{document.get('name')}-{profile}"}, []
