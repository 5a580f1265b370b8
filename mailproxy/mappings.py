"""Mappings of group_data as fields of pydantic: checked entry by entry, and each distinct content once."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, GetPydanticSchema, ValidationError, WrapValidator

from mailproxy.entries import Entries
from mailproxy.names import named_twice


def mapping(name: Any, value: Any, validator: Any = None) -> GetPydanticSchema:
    """Make Entries a field of pydantic: a dict of annotated names and values, checked entry by entry."""
    shape = Annotated[dict[name, value], BeforeValidator(_distinct), AfterValidator(Entries)]
    whole = Annotated[shape, validator or WrapValidator(_as_is)]
    return GetPydanticSchema(lambda _source, handler: handler(whole))


def once_per_content() -> Callable[[Any, Callable[[Any], Entries]], Entries]:
    """Make a validator that works on each distinct content once and then returns the same object, or error, for it."""
    known: list[tuple[Any, Entries | ValidationError]] = []

    def validate(raw: Any, handler: Callable[[Any], Entries]) -> Entries:
        if isinstance(raw, Entries):
            return raw
        found = next((result for seen, result in known if seen is raw or seen == raw), None)
        if found is None:
            try:
                found = handler(raw)
            except ValidationError as error:
                found = error
            known.append((raw, found))
        if isinstance(found, ValidationError):
            raise found
        return found

    return validate


def _as_is(raw: Any, handler: Callable[[Any], Entries]) -> Entries:
    return raw if isinstance(raw, Entries) else handler(raw)


def _distinct(raw: Any) -> Any:
    """Refuse names that are one and the same to Postfix."""
    if isinstance(raw, dict) and all(isinstance(key, str) for key in raw):
        for given, first in named_twice(raw).items():
            raise ValueError(f"names one twice, as {first!r} and as {given!r}; expected it once")
    return raw
