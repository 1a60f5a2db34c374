"""What of the standard library would take longer to load than all of an edit: of typing, contextlib and json.

Every container waits for what is imported here. The names are the library's own for whoever checks types.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing's own costs its import; checkers know the name
if TYPE_CHECKING:
    from contextlib import suppress as suppress
    from typing import Any as Any
    from typing import NamedTuple as NamedTuple
else:
    Any = object

    class suppress:  # noqa: N801 - the library's own name
        """contextlib.suppress."""

        def __init__(self, *kinds):
            self._kinds = kinds

        def __enter__(self):
            return None

        def __exit__(self, kind, error, traceback):
            return kind is not None and issubclass(kind, self._kinds)

    def _field(index: int) -> property:
        return property(lambda values: values[index])

    class _Fields(type):
        """Makes a tuple's fields of the annotations in the body of its class."""

        def __new__(cls, name, bases, body):
            fields = tuple(body.get("__annotations__", ()))
            defaults = {field: body[field] for field in fields if field in body}
            body.update((field, _field(index)) for index, field in enumerate(fields))
            return type.__new__(cls, name, bases, {**body, "__slots__": (), "_fields": fields, "_defaults": defaults})

    class NamedTuple(tuple, metaclass=_Fields):
        """typing.NamedTuple for classes with annotations; generics and the functional form it does not know."""

        def __new__(cls, *values, **named):
            fields = cls._fields
            given = {**cls._defaults, **dict(zip(fields, values)), **named}  # noqa: B905 - Python 3.9 has no strict
            if len(values) > len(fields) or given.keys() != set(fields):
                raise TypeError(f"{cls.__name__} takes {', '.join(fields)}; it got {values} and {named}")
            return tuple.__new__(cls, [given[field] for field in fields])

        def _asdict(self):
            return dict(zip(self._fields, self))  # noqa: B905

        def _replace(self, **named):
            return type(self)(**{**self._asdict(), **named})

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self._asdict().items())})"


class _Reading:
    """How `_json` reads: as json.loads does by default."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float, parse_int = float, int
    parse_constant = float  # NaN, Infinity


def loads(text: str | bytes) -> Any:
    """json.loads, for text or UTF-8. Raises ValueError."""
    text = (text.decode() if isinstance(text, bytes) else text).strip(" \t\n\r")
    try:
        from _json import make_scanner  # CPython's; json has it, too, once it has loaded `re` and `enum`

        value, end = make_scanner(_Reading)(text, 0)  # type: ignore[arg-type]
        if end == len(text):
            return value
    except (ImportError, StopIteration):
        pass
    import json  # another Python, or a text that is no JSON: it tells why

    return json.loads(text)


def dumps(value: Any) -> str:
    """json.dumps without white space. Raises TypeError for what JSON does not have."""
    try:
        from _json import encode_basestring_ascii, make_encoder
    except ImportError:
        import json

        return json.dumps(value, separators=(",", ":"))
    return "".join(make_encoder(None, _unknown, encode_basestring_ascii, None, ":", ",", False, False, True)(value, 0))


def _unknown(value: object) -> Any:
    raise TypeError(f"JSON has no {type(value).__name__}")
