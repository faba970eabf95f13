"""An interpreter for the part of pickle that a state dict is written in.

Why not a restricted ``pickle.Unpickler``: it still calls what ``find_class`` admits, with
arguments and states from the file (NumPy's ``_reconstruct`` and ``__setstate__`` were not made for
hostile ones), trusts claimed sizes and memo indices before it has the bytes, and accepts opcodes
that no state dict needs. Why not a scan before it: the scanner and the unpickler would have to
agree on every byte.

This interpreter imports nothing and calls nothing that the file names. A name in the file is
compared with the few below and becomes a token; applying a token is one of seven cases written out
here. Every size is checked against the bytes that are left, and values can only be put together
from what was read: memory is bounded by the file's length, the number of steps, and the bytes that
may be copied. There is no recursion.

Source: https://github.com/python/cpython/blob/main/Lib/pickletools.py
"""

import enum
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nn_io._bounded_reader import BoundedReader
from nn_io._errors import FileFormatError, shorten
from nn_io._formats._array_bytes import array_from_bytes
from nn_io._state_dict import PLAIN_DTYPES

__all__ = ["PickledArray", "Unpickler"]

# Thirty thousand arrays, in about a second and at most some 150 MB.
_MAX_STEPS = 1 << 20
_MAX_COPIED = 1 << 20  # bytes, beyond the size of the file
_MAX_LINE = 400
_LONG_TEXT = 1 << 16
_BYTE_ORDERS = ("<", ">", "|", "=")


class _Global(enum.Enum):
    NDARRAY = enum.auto()
    DTYPE = enum.auto()
    RECONSTRUCT = enum.auto()
    SCALAR = enum.auto()
    FROMBUFFER = enum.auto()
    ORDERED_DICT = enum.auto()
    ENCODE = enum.auto()
    BYTES = enum.auto()


# NumPy 1 wrote numpy.core, NumPy 2 writes numpy._core; protocols 0 to 2 have no bytes.
_GLOBALS = {
    "numpy ndarray": _Global.NDARRAY,
    "numpy dtype": _Global.DTYPE,
    "numpy.core.multiarray _reconstruct": _Global.RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _Global.RECONSTRUCT,
    "numpy.core.multiarray scalar": _Global.SCALAR,
    "numpy._core.multiarray scalar": _Global.SCALAR,
    "numpy.core.numeric _frombuffer": _Global.FROMBUFFER,
    "numpy._core.numeric _frombuffer": _Global.FROMBUFFER,
    "collections OrderedDict": _Global.ORDERED_DICT,
    "_codecs encode": _Global.ENCODE,
    "__builtin__ bytes": _Global.BYTES,
    "builtins bytes": _Global.BYTES,
}


class PickledArray:
    """An array, which is None until its BUILD."""

    def __init__(self, array: NDArray[Any] | None = None) -> None:
        self.array = array


class _DType:
    def __init__(self, code: str) -> None:
        self.code = code
        self.byte_order: str | None = None


class _Bytes:
    """Bytes of the file: the first array takes them, each further one gets a copy."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.taken = False


def _kind(value: object) -> str:
    return value.name if isinstance(value, _Global) else type(value).__name__.lstrip("_")


def _sizes(value: object, what: str) -> tuple[int, ...]:
    if not isinstance(value, tuple) or any(type(size) is not int for size in value):
        raise FileFormatError(f"has a {what} that is not a tuple of integers")
    return value


def _integer_or_bool(text: bytes) -> int:
    return text == b"01" if text in (b"00", b"01") else int(text)


class Unpickler:
    """An interpreter of one pickle."""

    def __init__(self, reader: BoundedReader) -> None:
        self.reader = reader
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.may_copy = reader.size + _MAX_COPIED

    def load(self) -> object:
        """Return the object that the pickle describes; the reader stands after its STOP."""
        for _ in range(_MAX_STEPS):
            opcode = self.reader.read(1, "the pickle")
            if opcode == b".":
                if len(self.stack) != 1 or self.marks:
                    raise FileFormatError("is a pickle that does not leave exactly one object")
                return self.stack[0]
            step = _STEPS.get(opcode)
            if step is None:
                raise FileFormatError(f"has pickle opcode {opcode!r}, which no state dict needs")
            step(self)
        raise FileFormatError(
            f"is a pickle of more than {_MAX_STEPS} steps; use .safetensors for so many arrays"
        )

    # The stack

    def push(self, value: object) -> None:
        """Push a value."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Pop the top value, which may not be below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise FileFormatError("is a pickle that pops from an empty stack")
        return self.stack.pop()

    def pop_many(self, count: int) -> list[Any]:
        """Pop the top values, in the order in which they were pushed."""
        return [self.pop() for _ in range(count)][::-1]

    def pop_to_mark(self) -> list[Any]:
        """Pop the last mark and all values above it."""
        if not self.marks:
            raise FileFormatError("is a pickle that pops a mark where there is none")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self, kind: type) -> Any:
        """Return the top value, which must be of this type."""
        value = self.pop()
        if type(value) is not kind:
            raise FileFormatError(f"is a pickle that fills a {_kind(value)} as a {kind.__name__}")
        self.push(value)
        return value

    # Arguments of opcodes

    def integer(self, width: int, signed: bool = False) -> int:
        """Read a little-endian integer."""
        return int.from_bytes(self.reader.read(width, "a number"), "little", signed=signed)

    def line(self) -> bytes:
        """Read a line, as in the text protocols."""
        return self.reader.read_line(_MAX_LINE, "an argument")

    def decimal(self, convert: Callable[[bytes], Any] = int) -> Any:
        """Read a number on a line of its own."""
        try:
            return convert(self.line().removesuffix(b"L"))
        except ValueError:
            raise FileFormatError("has an invalid number") from None

    def octets(self, width: int) -> _Bytes:
        """Read bytes with their length in front."""
        return _Bytes(self.reader.read_array(self.integer(width), "bytes"))

    def text(self, width: int) -> str:
        """Read UTF-8 text with its length in front."""
        raw = self.reader.read(self.integer(width), "a text")
        # Up to protocol 2, the data of arrays are text of characters up to U+00FF, of one byte
        # each. One other character would make Python take four bytes for every character.
        if len(raw) > _LONG_TEXT and np.frombuffer(raw, np.uint8).max() > 0xC3:
            raise FileFormatError("has a long text that is not the data of an array")
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            raise FileFormatError("has a text that is not UTF-8") from None

    def text_line(self) -> str:
        """Read text with escapes on a line of its own."""
        raw = self.reader.read_line(self.reader.left, "a text")
        if len(raw) > _LONG_TEXT and re.search(rb"\\(?!u00)", raw):
            raise FileFormatError("has a long text that is not the data of an array")
        try:
            return str(raw, "raw-unicode-escape")
        except UnicodeDecodeError:
            raise FileFormatError("has a text with an invalid escape") from None

    # Opcodes

    def protocol(self) -> None:
        """Reject unknown protocols."""
        if (version := self.integer(1)) > 5:
            raise FileFormatError(f"has pickle protocol {version}; known are 0 to 5")

    def put(self, index: int) -> None:
        """Store the top value in the memo."""
        value = self.pop()
        self.stack.append(value)
        self.memo[index] = value

    def get(self, index: int) -> None:
        """Push a memoized value."""
        if index not in self.memo:
            raise FileFormatError("is a pickle that gets what it never put into the memo")
        self.stack.append(self.memo[index])

    def set_items(self, items: list[Any]) -> None:
        """Fill the dict on top, in which no key may stand twice."""
        target = self.top(dict)
        if len(items) % 2:
            raise FileFormatError("is a pickle with a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise FileFormatError(f"has a key that is not a str: {_kind(key)}")
            if key in target:
                raise FileFormatError(f"has the key {shorten(key)} twice")
            target[key] = value

    def new_dict(self) -> None:
        """DICT."""
        items = self.pop_to_mark()
        self.push({})
        self.set_items(items)

    def extend(self, items: list[Any]) -> None:
        """Fill the list on top."""
        self.top(list).extend(items)

    def find_global(self, module: object, name: object) -> None:
        """GLOBAL and STACK_GLOBAL: push the token of a known name, refuse all others."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise FileFormatError("has a global name that is not a str")
        token = _GLOBALS.get(f"{module} {name}")
        if token is None:
            raise FileFormatError(
                f"refers to {shorten(f'{module}.{name}')}, which no state dict needs"
            )
        self.push(token)

    def reduce(self) -> None:
        """REDUCE: the seven applications of a name that a state dict is made of."""
        arguments, name = self.pop(), self.pop()
        if type(name) is not _Global or type(arguments) is not tuple:
            raise FileFormatError(f"is a pickle that calls a {_kind(name)}")
        match name, arguments:
            case _Global.ORDERED_DICT, ():
                self.push({})
            case _Global.BYTES, ():
                self.push(_Bytes(np.empty(0, np.uint8)))
            case _Global.ENCODE, (str(text), "latin1"):
                self.push(self.encoded(text))
            case _Global.DTYPE, (str(code), bool() | int(), bool() | int()) if code in PLAIN_DTYPES:
                self.push(_DType(code))
            case _Global.DTYPE, (str(code), *_):
                raise FileFormatError(f"has dtype {shorten(code)}, which is not a plain number")
            case _Global.SCALAR, (_DType() as dtype, _Bytes() as data):
                self.push(self.array(data, dtype, ())[()])
            case _Global.RECONSTRUCT, (_Global.NDARRAY, (0,), _Bytes()):
                self.push(PickledArray())
            case _Global.FROMBUFFER, (
                _Bytes() as data,
                _DType() as dtype,
                shape,
                "C" | "F" as order,
            ):
                self.push(PickledArray(self.array(data, dtype, shape, order)))
            case _Global.FROMBUFFER, (_Bytes() as data, _DType() as dtype, shape, "K", axes):
                self.push(PickledArray(self.transposed(data, dtype, shape, axes)))
            case _:
                raise FileFormatError(f"is a pickle with wrong arguments for {name.name}")

    def build(self) -> None:
        """BUILD: the state of a dtype or an array."""
        state, target = self.pop(), self.pop()
        match target, state:
            case _DType(byte_order=None), (3, str(order), None, None, None, -1, -1, 0) if (
                order in _BYTE_ORDERS
            ):
                target.byte_order = order
            case (
                PickledArray(array=None),
                (1, shape, _DType() as dtype, bool(fortran), _Bytes() as data),
            ):
                target.array = self.array(data, dtype, shape, "F" if fortran else "C")
            case _:
                raise FileFormatError(f"is a pickle with a wrong state for a {_kind(target)}")
        self.push(target)

    # Arrays

    def copy(self, size: int) -> None:
        """Count bytes that are copied: as many as the file has, and a few more."""
        self.may_copy -= size
        if self.may_copy < 0:
            raise FileFormatError("makes more data than it holds")

    def encoded(self, text: str) -> _Bytes:
        """Return bytes that a protocol without bytes wrote as text."""
        self.copy(len(text))
        try:
            return _Bytes(np.frombuffer(bytearray(text, "latin1"), np.uint8))
        except UnicodeEncodeError:
            raise FileFormatError("has a text that is not the data of an array") from None

    def array(self, data: _Bytes, dtype: _DType, shape: object, layout: str = "C") -> NDArray[Any]:
        """Return an array from bytes of the file."""
        raw = data.data
        if data.taken:
            self.copy(raw.size)
            raw = raw.copy()
        data.taken = True
        sizes = _sizes(shape, "shape")
        return array_from_bytes(raw, dtype.code, sizes, dtype.byte_order or "=", layout)

    def transposed(self, data: _Bytes, dtype: _DType, shape: object, axes: object) -> NDArray[Any]:
        """Return an array that NumPy wrote in the order of its memory."""
        order = _sizes(axes, "order of axes")
        if sorted(order) != list(range(len(_sizes(shape, "shape")))):
            raise FileFormatError("has an invalid order of axes")
        return np.asarray(self.array(data, dtype, shape).transpose(order), order="C")


_STEPS: dict[bytes, Callable[[Unpickler], None]] = {
    b"\x80": Unpickler.protocol,
    b"\x95": lambda u: u.reader.require(u.integer(8), "a frame of the pickle"),
    # values
    b"N": lambda u: u.push(None),
    b"\x88": lambda u: u.push(True),
    b"\x89": lambda u: u.push(False),
    b"I": lambda u: u.push(u.decimal(_integer_or_bool)),
    b"L": lambda u: u.push(u.decimal()),
    b"J": lambda u: u.push(u.integer(4, signed=True)),
    b"K": lambda u: u.push(u.integer(1)),
    b"M": lambda u: u.push(u.integer(2)),
    b"\x8a": lambda u: u.push(u.integer(u.integer(1), signed=True)),
    b"F": lambda u: u.push(u.decimal(float)),
    b"G": lambda u: u.push(struct.unpack(">d", u.reader.read(8, "a number"))[0]),
    b"V": lambda u: u.push(u.text_line()),
    b"X": lambda u: u.push(u.text(4)),
    b"\x8c": lambda u: u.push(u.text(1)),
    b"\x8d": lambda u: u.push(u.text(8)),
    b"B": lambda u: u.push(u.octets(4)),
    b"C": lambda u: u.push(u.octets(1)),
    b"\x8e": lambda u: u.push(u.octets(8)),
    b"\x96": lambda u: u.push(u.octets(8)),
    # containers
    b"(": lambda u: u.marks.append(len(u.stack)),
    b")": lambda u: u.push(()),
    b"t": lambda u: u.push(tuple(u.pop_to_mark())),
    b"\x85": lambda u: u.push(tuple(u.pop_many(1))),
    b"\x86": lambda u: u.push(tuple(u.pop_many(2))),
    b"\x87": lambda u: u.push(tuple(u.pop_many(3))),
    b"]": lambda u: u.push([]),
    b"l": lambda u: u.push(u.pop_to_mark()),
    b"a": lambda u: u.extend(u.pop_many(1)),
    b"e": lambda u: u.extend(u.pop_to_mark()),
    b"}": lambda u: u.push({}),
    b"d": Unpickler.new_dict,
    b"s": lambda u: u.set_items(u.pop_many(2)),
    b"u": lambda u: u.set_items(u.pop_to_mark()),
    # the memo
    b"p": lambda u: u.put(u.decimal()),
    b"q": lambda u: u.put(u.integer(1)),
    b"r": lambda u: u.put(u.integer(4)),
    b"\x94": lambda u: u.put(len(u.memo)),
    b"g": lambda u: u.get(u.decimal()),
    b"h": lambda u: u.get(u.integer(1)),
    b"j": lambda u: u.get(u.integer(4)),
    # names, and the known applications of them
    b"c": lambda u: u.find_global(u.line().decode("latin1"), u.line().decode("latin1")),
    b"\x93": lambda u: u.find_global(*u.pop_many(2)),
    b"R": Unpickler.reduce,
    b"b": Unpickler.build,
}
