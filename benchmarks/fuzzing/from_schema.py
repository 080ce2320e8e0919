"""Draws documents from a JSON schema, mostly valid ones, to reach the checks behind it."""

import random
from typing import Any

from fuzzing.mutate import ODD_VALUES

_NAMES = ("a", "b", "c", "weak", "0.005", "base")
_PATHS = (
    *("optim.lr_max", "optim.epsilon", "model.n_units", "model.n_layers", "data.batch_size"),
    *("augment.white_noise_std", "train.n_steps", "loss.ctc_reduction", "augment.smooth_size_bins"),
)
_DEPTH = 12


class Drawn:
    """Draws one document.

    Args:
        schema: draft 7, as `orchestrator.cli.schema_command.schema_of` returns it.
        odd: the share of values that are replaced by odd ones.
    """

    def __init__(self, draw: random.Random, schema: dict[str, Any], odd: float) -> None:
        self.draw, self.schema, self.odd = draw, schema, odd

    def document(self) -> Any:
        """The whole document."""
        return self.value(self.schema, 0)

    def value(self, schema: dict[str, Any], depth: int) -> Any:
        """A value of one part of the schema."""
        draw = self.draw
        if depth and draw.random() < self.odd:
            return draw.choice(ODD_VALUES)
        if "$ref" in schema:
            at: Any = self.schema
            for part in schema["$ref"].removeprefix("#/").split("/"):
                at = at[part.replace("~1", "/")]
            return self.value(at, depth + 1) if depth < _DEPTH else None
        for key in ("anyOf", "allOf"):
            if key in schema:
                return self.value(draw.choice(schema[key]), depth + 1)
        if "enum" in schema or "const" in schema:
            return draw.choice(schema.get("enum") or [schema["const"]])
        kind = schema.get("type")
        kind = draw.choice(kind) if isinstance(kind, list) else kind
        match kind:
            case "object":
                return self._mapping(schema, depth)
            case "array":
                return self._list(schema, depth)
            case "integer" | "number":
                return self._number(schema, kind)
            case "boolean":
                return draw.random() < 0.5
            case "string":
                return draw.choice(_NAMES if "pattern" in schema else ("x", "Is it so?", "per"))
            case _:
                return None if kind == "null" else draw.choice(ODD_VALUES)

    def _mapping(self, schema: dict[str, Any], depth: int) -> dict[Any, Any]:
        known, required = schema.get("properties", {}), schema.get("required", ())
        share = 0.9 if depth == 0 else 0.3 if len(known) < 20 else 2 / len(known)
        mapping = {
            name: self.value(part, depth + 1)
            for name, part in known.items()
            if name in required or self.draw.random() < share
        }
        others = schema.get("additionalProperties")
        if isinstance(others, dict) and depth < _DEPTH:
            names = self.draw.sample(_NAMES, self.draw.choice((1, 2, 2, 3)))
            mapping |= {name: self.value(others, depth + 1) for name in names}
        if "base" in known:
            mapping["base"] = "base/t15_small.yaml"
        return mapping

    def _list(self, schema: dict[str, Any], depth: int) -> list[Any]:
        items = schema.get("items", {})
        if isinstance(items, list):
            return [self.value(item, depth + 1) for item in items]
        n = max(schema.get("minItems", 0), self.draw.choice((0, 1, 2, 3, 6)))
        return [self.value(items, depth + 1) for _ in range(n)]

    def _number(self, schema: dict[str, Any], kind: str) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", -10))
        high = schema.get("maximum", schema.get("exclusiveMaximum", 10**9))
        at = self.draw.random()
        if at < 0.2:
            value = self.draw.choice((low, high))
        elif at < 0.6:
            value = low + self.draw.randrange(1, 10)
        else:
            value = low + self.draw.random() ** 8 * (high - low)
        return int(value) if kind == "integer" else float(value)
