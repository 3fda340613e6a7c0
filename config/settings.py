"""What every settings model is made of: its base, and the numbers that are used everywhere."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, SerializerFunctionWrapHandler, field_serializer

from config.values import REDACTED, Duration

# Strict: `true`, `"5"` and `5.0` are mistakes where a whole number is meant. Bounded: bytes stay within 64 bits.
PositiveInt = Annotated[int, Field(strict=True, gt=0, lt=1 << 31)]
Count = Annotated[int, Field(strict=True, ge=0, lt=1 << 31)]
Switch = Annotated[bool, Field(strict=True)]
Wait = Annotated[Duration, Field(gt=0)]


class Settings(BaseModel):
    """Base of every model: frozen, unknown keys refused."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
        # Whoever validates builds the validators; processes that are handed what was checked go without.
        defer_build=True,
    )

    @field_serializer("*", mode="wrap", when_used="json")
    def _masked(self, value: Any, serialize: SerializerFunctionWrapHandler) -> Any:
        printed = serialize(value)
        # A type may know better what of it is secret; what pydantic only starred out is secret whole.
        return REDACTED if isinstance(value, SecretStr) and printed == str(value) else printed
