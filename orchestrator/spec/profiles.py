"""Profiles: variants of an ablation, written in its file as keys that replace those of the file."""

import itertools
from collections.abc import Mapping
from typing import Any

from decoder.complaints import yaml_text
from decoder.errors import ENOUGH_PROBLEMS
from orchestrator.spec.names import hint
from orchestrator.spec.schema import AblationSpec

# All but the name: a profile is stored as a separate ablation, named after the file's and itself.
PROFILE_KEYS = tuple(name for name in AblationSpec.model_fields if name != "name")


def apply_profile(
    document: Mapping[str, Any], profile: str | None
) -> tuple[dict[str, Any], list[str]]:
    """Replace keys of the document by those of one of its profiles.

    Args:
        document: the file. Its key ``profiles`` maps the name of a profile to top-level keys,
            each of which replaces the file's key as a whole.

    Returns:
        The document without its profiles, named ``NAME-PROFILE`` if one is applied; and every
        mistake in the profiles, including those that are not applied.
    """
    document = dict(document)
    profiles = document.pop("profiles", None) or {}
    if not isinstance(profiles, dict):
        return document, [
            "profiles: must map names of profiles to keys of this file, but got "
            f"{yaml_text(profiles)}"
        ]
    problems: list[str] = []
    for name, changes in profiles.items():
        if len(problems) > ENOUGH_PROBLEMS:
            break
        if not isinstance(changes, dict):
            problems.append(
                f"profiles.{name}: must map keys of this file to their values, but got "
                f"{yaml_text(changes)}"
            )
            continue
        problems += [
            f"profiles.{name}: '{key}' is not a key that a profile can replace"
            f"{hint(str(key), PROFILE_KEYS)}"
            for key in itertools.islice(
                (key for key in changes if key not in PROFILE_KEYS), ENOUGH_PROBLEMS
            )
        ]
    if profile is None or problems:
        return document, problems
    if profile not in profiles:
        return document, [f"profiles: '{profile}' is not a profile{hint(profile, profiles)}"]
    return {**document, **profiles[profile], "name": f"{document.get('name')}-{profile}"}, []
