"""What a field of a settings model wants, read from its annotation: text, a list, a mapping or another model."""

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from config.settings import Settings
from config.values import Spelling

Mark = TypeVar("Mark")


def declared(field: FieldInfo) -> Any:
    """The field's type as it was written, validators and markers included."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def parts(target: Any) -> Iterator[Any]:
    """The plain types and the markers of a type, through Annotated and unions; a Literal gives its values' types."""
    origin = get_origin(target)
    if origin is Annotated:
        yield from parts(target.__origin__)
        yield from target.__metadata__
    elif origin in (Union, UnionType):
        for member in get_args(target):
            yield from parts(member)
    elif origin is Literal:
        yield from (type(value) for value in get_args(target))
    else:
        yield target


def marker(target: Any, kind: type[Mark]) -> Mark | None:
    """The first marker of this kind."""
    return next((part for part in parts(target) if isinstance(part, kind)), None)


def model_of(target: Any) -> type[Settings] | None:
    """The settings model that the type asks for."""
    return next((part for part in parts(target) if isinstance(part, type) and issubclass(part, Settings)), None)


def is_text(target: Any) -> bool:
    """Whether it is text in code."""
    return any(part in (str, SecretStr) for part in parts(target))


def is_spelled(target: Any) -> bool:
    """Whether it is written as text in YAML, though it may be a number in code."""
    return is_text(target) or marker(target, Spelling) is not None


def is_secret(target: Any) -> bool:
    """Whether its value must never be shown."""
    return SecretStr in parts(target)


def item_type(target: Any) -> Any:
    """The type of a list's items or of a mapping's values; Any when it is neither."""
    for part in parts(target):
        if get_origin(part) is tuple:
            return get_args(part)[0]
        if get_origin(part) is dict:
            return get_args(part)[1]
    return Any
