"""Converts JSON Schemas and choices to the forms that decoders take; each form allows a subset of the original."""

from __future__ import annotations

from typing import Any

# Keywords of a schema that contain schemas: a map of them, a list of them, one of them.
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items",)

_NUMBER_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")

LONGEST_LIST = 64  # items, if the schema sets no bound
# For llguidance, which would otherwise allow any white space in an answer, half of its tokens, and refuse a schema with
# a keyword that it does not know; the answer is later validated against the whole schema.
LLGUIDANCE = {"whitespace_flexible": False, "lenient": True}
LARGEST = 10**15  # bound of numbers, if the schema sets none: exact in every JSON parser
LONGEST_PER_TOKEN = 3  # characters of a string per token: about the most that English JSON gets out of `max_tokens`


def _each(schema: dict[str, Any], change: Any) -> dict[str, Any]:
    """Copy a schema, with `change` applied to the schemas inside it."""
    copy = dict(schema)
    for key in _MAPS:
        if isinstance(copy.get(key), dict):
            copy[key] = {name: change(inner) for name, inner in copy[key].items()}
    for key in _LISTS:
        if isinstance(copy.get(key), list):
            copy[key] = [change(inner) for inner in copy[key]]
    for key in _SINGLE:
        if isinstance(copy.get(key), dict):
            copy[key] = change(copy[key])
    return copy


def closed(schema: Any) -> Any:
    """Close every object and require all its properties, as OpenAI's strict mode requires.

    This only narrows the schema: whatever satisfies the closed one satisfies the original. Defaults and titles,
    which strict mode refuses or ignores, are left out. See
    https://platform.openai.com/docs/guides/structured-outputs.
    """
    if not isinstance(schema, dict):
        return schema
    copy = _each(schema, closed)
    copy.pop("default", None)
    if isinstance(copy.get("title"), str):
        del copy["title"]
    if "properties" in copy:
        copy["additionalProperties"] = False
        copy["required"] = list(copy["properties"])
    return copy


def is_object(schema: dict[str, Any]) -> bool:
    """Whether a schema is of an object and says so itself, not by a reference: OpenAI refuses any other."""
    return schema.get("type") == "object"


def can_be_strict(schema: Any) -> bool:
    """Whether strict modes accept a closed schema; none supports maps with free keys, `oneOf` or `allOf`."""
    if isinstance(schema, dict):
        is_object = schema.get("type") == "object"
        if is_object and schema.get("additionalProperties") is not False:
            return False
        if isinstance(schema.get("oneOf"), list) or isinstance(schema.get("allOf"), list):  # else they name properties
            return False
        return all(can_be_strict(inner) for inner in schema.values())
    if isinstance(schema, list):
        return all(can_be_strict(inner) for inner in schema)
    return True


def only_keywords(schema: Any, known: frozenset[str]) -> Any:
    """Leave out keywords that an API refuses; the answer is later validated against the whole schema."""
    if not isinstance(schema, dict):
        return schema
    return {
        name: inner for name, inner in _each(schema, lambda each: only_keywords(each, known)).items() if name in known
    }


def bounded(schema: Any, longest: int, *, every: bool = False) -> Any:
    """Bound every string and list that the schema leaves unbounded.

    In an unbounded string or number, a small model may write until its tokens are spent.

    Args:
        schema: a JSON Schema.
        longest: most characters of a string, if the schema sets no bound.
        every: also bound numbers and strings with a pattern; not every decoder can enforce both.
    """
    if not isinstance(schema, dict):
        return schema
    copy = _each(schema, lambda inner: bounded(inner, longest, every=every))
    kinds = copy.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if copy.keys() & {"enum", "const"}:
        return copy
    if "string" in kinds and not copy.keys() & ({"format"} if every else {"pattern", "format"}):
        copy.setdefault("maxLength", max(longest, copy.get("minLength", 0)))
    if every and {"integer", "number"} & set(kinds):
        _bound_number(copy)
    if "array" in kinds and "items" in copy:
        copy.setdefault("maxItems", max(LONGEST_LIST, copy.get("minItems", 0)))
    return copy


def _bound_number(schema: dict[str, Any]) -> None:
    """Set the bounds that a number lacks, keeping those of the schema."""
    said = [value for key in _NUMBER_BOUNDS if isinstance(value := schema.get(key), int | float)]
    if not schema.keys() & {"minimum", "exclusiveMinimum"}:
        schema["minimum"] = min(-LARGEST, *said) if said else -LARGEST
    if not schema.keys() & {"maximum", "exclusiveMaximum"}:
        schema["maximum"] = max(LARGEST, *said) if said else LARGEST


def choice_grammar(choices: tuple[str, ...]) -> str:
    """Write a GBNF grammar that allows exactly these texts.

    See https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md.
    """
    return "root ::= " + " | ".join(f'"{"".join(map(_literal, choice))}"' for choice in choices)


def _literal(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
