"""What decides the type of an observation: values of attributes and names of spans, in one order of rules."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from config.conventions import ANY_VALUE, Convention

TypeOfText = dict[str, str]


@dataclass(frozen=True, slots=True)
class TypeRules:
    """The rules of all conventions, best first.

    Attributes:
        rules: values of an attribute, or names of spans, → type.
        rule_of_key: attribute key → index of its rule.
        rule_of_scope: index of a convention → index of the rule for the names of its scopes' spans.
    """

    rules: list[TypeOfText]
    rule_of_key: dict[str, int]
    rule_of_scope: dict[int, int]

    def type_by_value(self, rule: int, value: str) -> str:
        """The type that a rule gives for an attribute's value, empty for none."""
        known, text = self.rules[rule], value.strip('"').lower()
        if text in known or not text:
            return known.get(text, "")
        patterns = (kind for pattern, kind in known.items() if pattern != ANY_VALUE and matches(pattern, text))
        return next(patterns, known.get(ANY_VALUE, ""))

    def type_by_name(self, rule: int, span_name: str) -> str:
        """The type that a rule gives for a span's name, empty for none."""
        known = self.rules[rule]
        return known.get(span_name, "") or next(
            (kind for pattern, kind in known.items() if matches(pattern, span_name)), ""
        )


def compile_type_rules(conventions: Sequence[Convention]) -> TypeRules:
    """The rules by (type_precedence, place in the file); a key named by several conventions keeps its first place."""
    found = TypeRules([], {}, {})
    for index in sorted(range(len(conventions)), key=lambda index: _precedence(conventions[index])):
        convention = conventions[index]
        if convention.span_types:
            found.rule_of_scope[index] = len(found.rules)
            found.rules.append(dict(convention.span_types))
        for key, values in convention.types.items():
            rule = found.rule_of_key.setdefault(key, len(found.rules))
            if rule == len(found.rules):
                found.rules.append({})
            found.rules[rule] = {value.lower(): kind for value, kind in values.items()} | found.rules[rule]
    return found


def _precedence(convention: Convention) -> int:
    return convention.precedence if convention.type_precedence is None else convention.type_precedence


_ANY_TEXT: Final = "*"


def matches(pattern: str, text: str) -> bool:
    """Whether a name fits: exactly, or as far as a `*` at the end or the start of the pattern says."""
    if pattern.endswith(_ANY_TEXT):
        return text.startswith(pattern[:-1])
    if pattern.startswith(_ANY_TEXT):
        return text.endswith(pattern[1:])
    return text == pattern
