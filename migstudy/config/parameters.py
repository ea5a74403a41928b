"""What the parameters of every task have in common: types and ranges checked, profiles, and texts from the command line."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Literal, Self

Profile = Literal["smoke", "quick", "paper"]


class Parameters:
    """What the parameters of every task have in common: types and ranges checked, profiles, texts.

    Subclasses are frozen dataclasses with a field `profile`; None stands for the profile's value.
    """

    profiles: ClassVar[Mapping[str, Mapping[str, Any]]]
    least: ClassVar[Mapping[str, float]]
    most: ClassVar[Mapping[str, float]] = {}

    def __post_init__(self) -> None:
        kinds = self.types()
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, checked(field.name, getattr(self, field.name), kinds[field.name]))
        for name, low in self.least.items():
            value = getattr(self, name)
            high = self.most.get(name, float("inf"))
            if value is not None and not low <= value <= high:  # also refuses NaN
                most = f" and at most {high}" if name in self.most else ""
                raise ValueError(f"{name}={value!r}: it must be at least {low}{most}")

    @classmethod
    @cache  # hints are walked anew at every call, and runs are compared by the hundred
    def types(cls) -> dict[str, Any]:
        """Name -> type of every parameter."""
        hints = typing.get_type_hints(cls)
        return {field.name: hints[field.name] for field in dataclasses.fields(cls)}

    def resolved(self) -> Self:
        """The same with every None replaced by the profile's value."""
        blanks = {k: v for k, v in self.profiles[self.profile].items() if getattr(self, k) is None}
        return dataclasses.replace(self, **blanks)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_namespace(cls, names: Mapping[str, Any]) -> Self:
        """From a notebook's globals: the names that are fields."""
        return cls(**{f.name: names[f.name] for f in dataclasses.fields(cls) if f.name in names})

    @classmethod
    def from_strings(cls, options: Mapping[str, str], **given: Any) -> Self:
        """From `name=value` texts; raises ValueError naming the parameter, what it takes and the nearest name."""
        return cls(**given, **{name: parsed(name, text, cls.types()) for name, text in options.items()})


def alternatives(kind: Any) -> tuple:
    """The members of a union, or the type alone."""
    return typing.get_args(kind) if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union else (kind,)


def describe(kind: Any) -> str:
    """What a type takes, in words: `int or None`, `one of joint, limb`."""
    words = []
    for option in alternatives(kind):
        if typing.get_origin(option) is Literal:
            words.append("one of " + ", ".join(map(str, typing.get_args(option))))
        else:
            words.append("None" if option is type(None) else option.__name__)
    return " or ".join(words)


def checked(name: str, value: Any, kind: Any) -> Any:
    """The value when it has the type (an int also passes for a float); raises ValueError naming the parameter."""
    for option in alternatives(kind):
        if typing.get_origin(option) is Literal:
            if value in typing.get_args(option) and isinstance(value, str):
                return value
        elif option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        elif type(value) is option:
            return value
    raise ValueError(f"{name}={value!r}: it takes {describe(kind)}")


def parsed(name: str, text: str, kinds: Mapping[str, Any]) -> Any:
    """The value that a text stands for, by the parameter's type; raises ValueError for an unknown name or a bad text."""
    import difflib

    if name not in kinds:
        near = difflib.get_close_matches(name, kinds, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(kinds)}"
        raise ValueError(f"there is no parameter {name!r}; {hint}")
    for option in alternatives(kinds[name]):
        if option is type(None) and text.lower() in ("none", "null"):
            return None
        if option is bool and text.lower() in ("true", "false", "1", "0", "yes", "no"):
            return text.lower() in ("true", "1", "yes")
        if option in (int, float):
            try:
                return option(text)
            except ValueError:
                continue
        if option is str or typing.get_origin(option) is Literal and text in typing.get_args(option):
            return text
    raise ValueError(f"{name}={text!r}: it takes {describe(kinds[name])}")
