"""JSON Schemas and choices in the forms that decoders take: each allows a subset of what was asked for."""

from __future__ import annotations

from typing import Any

# Keywords of one schema that hold schemas: a map of them, a list of them, one of them.
_MAPS = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items",)

LONGEST_LIST = 64  # items, where the schema sets no bound
LONGEST_PER_TOKEN = 3  # characters of a string: what `max_tokens` could hold at best, in English JSON


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
    """Close every object and require all its properties, as OpenAI's strict mode wants.

    That only narrows: whatever satisfies the closed schema satisfies the one given. Defaults and titles,
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


def can_be_strict(schema: Any) -> bool:
    """Say whether a strict mode takes a closed schema: none knows maps with free keys, `oneOf` or `allOf`."""
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
    """Leave out the keywords that an API refuses: what then comes is held against the whole schema afterwards."""
    if not isinstance(schema, dict):
        return schema
    return {
        name: inner for name, inner in _each(schema, lambda each: only_keywords(each, known)).items() if name in known
    }


def bounded(schema: Any, longest: int) -> Any:
    """Bound every string and list that the schema leaves open.

    A small model in an open string writes until its tokens are spent and never closes it. Digits need no
    bound of ours: llama.cpp's own grammar for numbers has one.

    Args:
        schema: a JSON Schema.
        longest: most characters of a string, where the schema sets no bound.
    """
    if not isinstance(schema, dict):
        return schema
    copy = _each(schema, lambda inner: bounded(inner, longest))
    kinds = copy.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "string" in kinds and not copy.keys() & {"enum", "const", "pattern", "format"}:
        copy.setdefault("maxLength", max(longest, copy.get("minLength", 0)))
    if "array" in kinds and "items" in copy:
        copy.setdefault("maxItems", max(LONGEST_LIST, copy.get("minItems", 0)))
    return copy


def choice_grammar(choices: tuple[str, ...]) -> str:
    """Write a GBNF grammar that allows exactly these texts.

    See https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md.
    """
    return "root ::= " + " | ".join(f'"{"".join(map(_literal, choice))}"' for choice in choices)


def _literal(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else f"\\U{ord(character):08X}"
