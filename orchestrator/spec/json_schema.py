"""JSON schemas of the YAML files, with which an editor completes, checks and explains their keys.

They follow JSON Schema's draft 7, which editors know best. The keys, their types and their limits
come from the pydantic models; what a key means comes from its line in the model's docstring.
"""

import inspect
import re
from collections.abc import Collection, Mapping
from typing import Any, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from decoder.config import DecoderConfig, config_paths
from decoder.field_paths import Marks, sections
from decoder.marks import Section
from orchestrator.spec.profiles import PROFILE_KEYS
from orchestrator.spec.schema import METRICS, OUTCOMES, AblationSpec

_DRAFT = "http://json-schema.org/draft-07/schema#"
_CHANGES = "Changes"  # the definition of a mapping from config paths to values
_REFERENCE = "Reference"
_OF_PARTS = r"^parts\.[a-z]\w*\.\w+$"  # paths of the user's parts, whose files are not read
_TRAINERS = "Trainers"  # before the names of definitions for files with a trainer
# Keys that pydantic writes and no editor needs: titles, and the marks of `decoder.marks.mark`.
_DROPPED = {"title", *Marks._fields} - {"default"}
_ENTRY = re.compile(r" {4}([a-z]\w*(?:, [a-z]\w*)*): (.*)")


def ablation_schema() -> JsonSchemaValue:
    """The schema of ablation specifications, with their profiles."""
    return both_kinds(AblationSpec, profile_keys=PROFILE_KEYS)


def both_kinds(
    model: type[Section],
    keys: Mapping[str, Collection[str]] | None = None,
    profile_keys: Collection[str] = (),
) -> JsonSchemaValue:
    """The schema of a file that starts from a base of ours, or from a trainer of the user's.

    Args:
        keys: see `file_schema`, for files with a base.
        profile_keys: the keys that profiles of the file may replace; none where there are none.
    """
    ours, theirs = file_schema(model, keys), _for_trainers(file_schema(model))
    draft, description = ours.pop("$schema"), ours.pop("description")
    del theirs["$schema"], theirs["description"], theirs["properties"]["base"]
    of_trainer = theirs["properties"]["trainer"]
    of_trainer["allOf"] = of_trainer.pop("anyOf")[:1]  # null would leave it out
    definitions = {**ours.pop("$defs"), **theirs.pop("$defs")}
    for branch, start, schema in (("else", "base", ours), ("then", "trainer", theirs)):
        schema["required"] = [*schema["required"], start]
        if profile_keys:
            properties = schema["properties"]
            properties["profiles"] = {
                "type": "object",
                "description": "Profile → the keys of this file that it replaces.",
                "additionalProperties": {
                    "type": "object",
                    "properties": {
                        key: {"$ref": f"#/{branch}/properties/{key}"}
                        for key in profile_keys
                        if key in properties
                    },
                    "additionalProperties": False,
                },
            }
    return {
        "$schema": draft,
        "description": description,
        "type": "object",
        "if": {"required": ["trainer"]},
        "then": theirs,
        "else": ours,
        "$defs": definitions,
    }


def _for_trainers(schema: JsonSchemaValue) -> JsonSchemaValue:
    """A schema for files with a trainer, whose keys and metrics are not known beforehand."""
    definitions = schema["$defs"]
    definitions[_CHANGES] = {"type": "object"}
    del definitions[_REFERENCE]

    def opened(part: Any) -> Any:
        if isinstance(part, list):
            return [opened(one) for one in part]
        if not isinstance(part, dict):
            return part
        if part.get("enum") in (list(OUTCOMES), list(METRICS)):
            return {**{k: v for k, v in part.items() if k != "enum"}, "pattern": "^[a-z]"}
        found = {key: opened(one) for key, one in part.items()}
        if isinstance(reference := part.get("$ref"), str):
            found["$ref"] = reference.replace("#/$defs/", f"#/$defs/{_TRAINERS}")
        return found

    whole = cast(JsonSchemaValue, opened(schema))
    whole["$defs"] = {f"{_TRAINERS}{name}": one for name, one in whole["$defs"].items()}
    return whole


def file_schema(
    model: type[Section], keys: Mapping[str, Collection[str]] | None = None
) -> JsonSchemaValue:
    """The schema of a file that one model describes.

    Args:
        keys: property → the only keys that a mapping under this name may have, for properties
            whose type does not say so.
    """
    written = model.model_json_schema(by_alias=True, schema_generator=_Described)
    schema = cast(JsonSchemaValue, _plain(written))
    definitions = schema.setdefault("$defs", {})
    values = _path_values()
    texts = {path: one.get("description", "") for path, one in values["properties"].items()}
    for one in (schema, *definitions.values()):
        for name, allowed in (keys or {}).items():
            if name in one.get("properties", {}):
                _close(one["properties"][name], {key: texts.get(key, "") for key in allowed})
    if model is not DecoderConfig:
        definitions[_CHANGES] = values
        definitions[_REFERENCE] = _reference()
    return {"$schema": _DRAFT, **schema}


def attribute_texts(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """What a model's docstring says: of the model as a whole, and of each attribute.

    A field without an entry takes the entry that mentions it in double backticks.
    """
    whole, texts, inside, names = [], dict[str, str](), False, list[str]()
    for line in inspect.cleandoc(model.__doc__ or "").splitlines():
        if line == "Attributes:":
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        if not inside:
            whole.append(line)
        elif entry := _ENTRY.fullmatch(line):
            names = entry[1].split(", ")
            texts |= dict.fromkeys(names, entry[2])
        elif line != "Attributes:":
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    for name in model.model_fields:
        mention = (text for text in list(texts.values()) if f"``{name}``" in text)
        if name not in texts and (text := next(mention, None)) is not None:
            texts[name] = text
    paragraphs = "\n".join(whole).strip().split("\n\n")
    return (
        "\n\n".join(_for_yaml(" ".join(part.split())) for part in paragraphs if part.strip()),
        {name: _for_yaml(text.strip()) for name, text in texts.items()},
    )


class _Described(GenerateJsonSchema):
    """Takes descriptions from docstrings' sections of attributes."""

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        written = super().model_schema(schema)
        model = cast(type[BaseModel], schema["cls"])
        whole, texts = attribute_texts(model)
        written["description"] = whole
        for name, field in model.model_fields.items():
            if name in texts:
                of_field = written["properties"][field.alias or name]
                of_field["description"] = texts[name]
        return written


def _for_yaml(text: str) -> str:
    """A docstring's text as an editor shows it: Markdown, and null where Python has None."""
    return re.sub(r"\bNone\b", "null", text.replace("``", "`"))


def _plain(value: Any) -> Any:
    """A part of a schema in draft 7 and without what an editor would only be confused by."""
    if not isinstance(value, dict):
        return value
    if value.get("x-keys") == "config paths":
        text = {"description": value["description"]} if "description" in value else {}
        return {"allOf": [{"$ref": f"#/$defs/{_CHANGES}"}], **text}
    value = dict(value)
    if "prefixItems" in value:  # called so since draft 2019-09
        value["items"] = [_plain(item) for item in value.pop("prefixItems")]
    if "patternProperties" in value:  # keys that match no pattern would be allowed
        ((pattern, values),) = value.pop("patternProperties").items()
        value |= {"propertyNames": {"pattern": pattern}, "additionalProperties": values}
    if isinstance(value.get("default"), dict):
        del value["default"]  # a section's defaults are those of its keys
    if "$ref" in value and len(value) > 1:  # draft 7 ignores what stands beside a reference
        value["allOf"] = [{"$ref": value.pop("$ref")}]
    plain: dict[str, Any] = {}
    for key, part in value.items():
        if key in _DROPPED:
            continue
        if key in ("properties", "$defs"):
            plain[key] = {name: _plain(one) for name, one in part.items()}
        elif key in ("anyOf", "allOf"):
            plain[key] = [_plain(one) for one in part]
        else:
            plain[key] = _plain(part)
    return plain


def _close(mapping: dict[str, Any], texts: Mapping[str, str]) -> None:
    """Allow these keys alone, each with its description, in place of any."""
    values = mapping["additionalProperties"]
    mapping.pop("propertyNames", None)
    mapping["properties"] = {
        key: {"allOf": [values], "description": text} if text else values
        for key, text in texts.items()
    }
    mapping["patternProperties"] = {_OF_PARTS: values, "^own_[a-z]": values}
    mapping["additionalProperties"] = False


def _path_values() -> dict[str, Any]:
    """A mapping from config paths to values of their types, or to references."""
    properties = {}
    for section, model in sections().items():
        schema = _plain(model.model_json_schema(schema_generator=_Described))
        for name, of_field in schema["properties"].items():
            of_field.pop("default", None)  # a path left out keeps the base's value
            text = of_field.pop("description", None)
            kinds = of_field.pop("anyOf", None) or [of_field]
            if f"{section}.{name}" in sections():
                continue
            properties[f"{section}.{name}"] = {
                **({"description": text} if text else {}),
                "anyOf": [*kinds, {"$ref": f"#/$defs/{_REFERENCE}"}],
            }
    return {
        "type": "object",
        "properties": properties,
        "patternProperties": {_OF_PARTS: {}},
        "additionalProperties": False,
    }


def _reference() -> dict[str, Any]:
    """The value of another config path."""
    names = "|".join([*map(re.escape, config_paths()), _OF_PARTS.strip("^$")])
    return {
        "type": "string",
        "pattern": rf"^\$\{{\s*({names})\s*\}}$",
        "description": "The value of another config path, such as ${optim.lr_max}.",
    }
