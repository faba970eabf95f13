"""An interpreter for the part of pickle that a state dict is written in.

Why not a restricted ``pickle.Unpickler``: its machine still calls what ``find_class`` admits, with
arguments and states from the file (NumPy's ``_reconstruct`` and ``__setstate__`` were not made for
hostile ones), believes claimed sizes and memo indices before it has the bytes, and takes opcodes
that no state dict needs. Why not a scan before it: the scanner and the unpickler would have to
agree on every byte, for ever.

This machine imports nothing and calls nothing that the file names. A name in the file is compared
with the few below and becomes a token; applying a token is one of seven cases written out here.
Every size is checked against the bytes that are left, and values can only be put together from
what was read: memory is bounded by the file's length, the number of steps, and ``_Budget``.
There is no recursion.
"""

import enum
import re
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from nn_io._arrays import PLAIN, array_from_bytes
from nn_io._errors import FileFormatError, short
from nn_io._source import Source

# Thirty thousand arrays, in about a second and at most some 150 MB.
_MAX_STEPS = 1 << 20
_MAX_LINE = 400
_LONG_TEXT = 1 << 16
_ORDERS = ("<", ">", "|", "=")


class _Name(enum.Enum):
    NDARRAY = enum.auto()
    DTYPE = enum.auto()
    RECONSTRUCT = enum.auto()
    SCALAR = enum.auto()
    FROMBUFFER = enum.auto()
    ORDERED_DICT = enum.auto()
    ENCODE = enum.auto()
    BYTES = enum.auto()


# NumPy 1 wrote numpy.core, NumPy 2 writes numpy._core; protocols 0 to 2 know no bytes.
_NAMES = {
    "numpy ndarray": _Name.NDARRAY,
    "numpy dtype": _Name.DTYPE,
    "numpy.core.multiarray _reconstruct": _Name.RECONSTRUCT,
    "numpy._core.multiarray _reconstruct": _Name.RECONSTRUCT,
    "numpy.core.multiarray scalar": _Name.SCALAR,
    "numpy._core.multiarray scalar": _Name.SCALAR,
    "numpy.core.numeric _frombuffer": _Name.FROMBUFFER,
    "numpy._core.numeric _frombuffer": _Name.FROMBUFFER,
    "collections OrderedDict": _Name.ORDERED_DICT,
    "_codecs encode": _Name.ENCODE,
    "__builtin__ bytes": _Name.BYTES,
    "builtins bytes": _Name.BYTES,
}


class BuiltArray:
    """An array, or the promise of one until its BUILD."""

    def __init__(self, array: NDArray[Any] | None = None) -> None:
        self.array = array


class _DType:
    def __init__(self, code: str) -> None:
        self.code = code
        self.order: str | None = None


class _Budget:
    """How many bytes may be copied: as many as the file has, give or take a little."""

    def __init__(self, size: int) -> None:
        self.left = size + (1 << 20)

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise FileFormatError("makes more data than it holds")


class _Bytes:
    """Bytes of the file: the first array takes them, each further one gets a copy."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data
        self.taken = False

    def take(self, budget: _Budget) -> NDArray[np.uint8]:
        if self.taken:
            budget.take(self.data.size)
            return self.data.copy()
        self.taken = True
        return self.data


def _kind(value: object) -> str:
    return value.name if isinstance(value, _Name) else type(value).__name__.lstrip("_")


def _sizes(value: object, what: str) -> tuple[int, ...]:
    if not isinstance(value, tuple) or any(type(size) is not int for size in value):
        raise FileFormatError(f"has a {what} that is no tuple of integers")
    return value


class Machine:
    """One run over one pickle."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.budget = _Budget(source.size)

    def run(self) -> object:
        """The object that the pickle describes; the source stands after its STOP."""
        for _ in range(_MAX_STEPS):
            code = self.source.read(1, "the pickle")
            if code == b".":
                if len(self.stack) != 1 or self.marks:
                    raise FileFormatError("is a pickle that leaves not exactly one object")
                return self.stack[0]
            step = _STEPS.get(code)
            if step is None:
                raise FileFormatError(f"has the pickle opcode {code!r}, which no state dict needs")
            step(self)
        raise FileFormatError(
            f"is a pickle of more than {_MAX_STEPS} steps; use .safetensors for so many arrays"
        )

    # The stack

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the uppermost value, which a mark may protect."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise FileFormatError("is a pickle that takes a value where none is")
        return self.stack.pop()

    def pop_many(self, count: int) -> list[Any]:
        """Take the uppermost values, in the order in which they came."""
        return [self.pop() for _ in range(count)][::-1]

    def pop_to_mark(self) -> list[Any]:
        """Take all values above the last mark."""
        if not self.marks:
            raise FileFormatError("is a pickle that takes a mark where none is")
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self, kind: type) -> Any:
        """The uppermost value, which must be of this kind."""
        value = self.pop()
        if type(value) is not kind:
            raise FileFormatError(f"is a pickle that fills a {_kind(value)} as a {kind.__name__}")
        self.stack.append(value)
        return value

    # Reading

    def number(self, width: int) -> int:
        """An unsigned little-endian number."""
        return int.from_bytes(self.source.read(width, "a number"), "little")

    def line(self, limit: int = _MAX_LINE) -> bytes:
        """A line of the protocols that are text."""
        return self.source.read_line(limit, "an argument")

    def integer_line(self) -> int:
        """A decimal number on a line of its own."""
        text = self.line()
        digits = text.removesuffix(b"L")
        if not re.fullmatch(rb"-?[0-9]+", digits):
            raise FileFormatError("has a number that is none")
        return int(digits)

    def text(self, width: int) -> str:
        """UTF-8 text with its length in front."""
        raw = self.source.read(self.number(width), "a text")
        # Up to protocol 2, the data of arrays are text of characters up to U+00FF, of one byte
        # each. One other character would make Python take four bytes for every character.
        if len(raw) > _LONG_TEXT and np.frombuffer(raw, np.uint8).max() > 0xC3:
            raise FileFormatError("has a long text that is not the data of an array")
        try:
            return str(raw, "utf-8")
        except UnicodeDecodeError:
            raise FileFormatError("has a text that is not UTF-8") from None

    def text_line(self) -> str:
        """Text with escapes on a line of its own."""
        raw = self.line(self.source.left)
        if len(raw) > _LONG_TEXT and re.search(rb"\\(?!u00)", raw):
            raise FileFormatError("has a long text that is not the data of an array")
        try:
            return str(raw, "raw-unicode-escape")
        except UnicodeDecodeError:
            raise FileFormatError("has a text that is not escaped properly") from None

    # Steps

    def frame(self) -> None:
        """Check the length, and read on: frames only help to read ahead."""
        self.source.claim(self.number(8), "a frame of the pickle")

    def protocol(self) -> None:
        """Refuse protocols of the future."""
        if (version := self.number(1)) > 5:
            raise FileFormatError(f"has pickle protocol {version}; known are 0 to 5")

    def integer_or_truth(self) -> None:
        """INT, which also writes the truth values."""
        start = self.source.read(2, "a number") if self.source.left > 2 else b""
        if start in (b"00", b"01"):
            if self.line() != b"":
                raise FileFormatError("has a number that is none")
            self.push(start == b"01")
            return
        self.source.seek(self.source.size - self.source.left - len(start))
        self.push(self.integer_line())

    def long(self) -> None:
        """LONG1: a signed integer of given width."""
        raw = self.source.read(self.number(1), "a number")
        self.push(int.from_bytes(raw, "little", signed=True))

    def float_line(self) -> None:
        """FLOAT."""
        try:
            self.push(float(self.line()))
        except ValueError:
            raise FileFormatError("has a number that is none") from None

    def name(self, module: object, name: object) -> None:
        """GLOBAL and STACK_GLOBAL: a token for one of the known names, nothing for others."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise FileFormatError("has a global name that is no text")
        token = _NAMES.get(f"{module} {name}")
        if token is None:
            raise FileFormatError(
                f"asks for {short(f'{module}.{name}')}, which is no part of a state dict"
            )
        self.push(token)

    def name_lines(self) -> None:
        """GLOBAL."""
        module, name = self.line(), self.line()
        self.name(module.decode("latin1"), name.decode("latin1"))

    def put(self, index: int) -> None:
        """Remember the uppermost value."""
        value = self.pop()
        self.stack.append(value)
        self.memo[index] = value

    def get(self, index: int) -> None:
        """Push what was remembered."""
        if index not in self.memo:
            raise FileFormatError("is a pickle that recalls what was never stored")
        self.stack.append(self.memo[index])

    def set_items(self, items: list[Any]) -> None:
        """Fill a dict, in which no key may stand twice."""
        target = self.top(dict)
        if len(items) % 2:
            raise FileFormatError("is a pickle with a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if type(key) is not str:
                raise FileFormatError(f"has a key that is no text: {_kind(key)}")
            if key in target:
                raise FileFormatError(f"has the key {short(key)} twice")
            target[key] = value

    def new_dict(self) -> None:
        """DICT."""
        items = self.pop_to_mark()
        self.push({})
        self.set_items(items)

    def append(self, items: list[Any]) -> None:
        """Fill a list."""
        self.top(list).extend(items)

    def reduce(self) -> None:
        """REDUCE: the seven applications of a name that a state dict is made of."""
        arguments, name = self.pop(), self.pop()
        if type(name) is not _Name or type(arguments) is not tuple:
            raise FileFormatError(f"is a pickle that calls a {_kind(name)}")
        match name, arguments:
            case _Name.ORDERED_DICT, ():
                self.push({})
            case _Name.BYTES, ():
                self.push(_Bytes(np.empty(0, np.uint8)))
            case _Name.ENCODE, (str(text), "latin1"):
                self.push(self.encode(text))
            case _Name.DTYPE, (str(code), bool() | int(), bool() | int()) if code in PLAIN:
                self.push(_DType(code))
            case _Name.DTYPE, (str(code), *_):
                raise FileFormatError(f"has dtype {short(code)}, which is not a plain number")
            case _Name.SCALAR, (_DType() as dtype, _Bytes() as data):
                self.push(self.array(data, dtype, ())[()])
            case _Name.RECONSTRUCT, (_Name.NDARRAY, (0,), _Bytes()):
                self.push(BuiltArray())
            case _Name.FROMBUFFER, (_Bytes() as data, _DType() as dtype, shape, "C" | "F" as order):
                self.push(BuiltArray(self.array(data, dtype, _sizes(shape, "shape"), order)))
            case _Name.FROMBUFFER, (_Bytes() as data, _DType() as dtype, shape, "K", axes):
                self.push(self.transposed(data, dtype, shape, axes))
            case _:
                raise FileFormatError(f"is a pickle with wrong arguments for {name.name}")

    def build(self) -> None:
        """BUILD: the state of a dtype or an array."""
        state, target = self.pop(), self.pop()
        match target, state:
            case _DType(order=None), (3, str(order), None, None, None, -1, -1, 0) if (
                order in _ORDERS
            ):
                target.order = order
            case (
                BuiltArray(array=None),
                (1, shape, _DType() as dtype, bool(fortran), _Bytes() as data),
            ):
                layout = "F" if fortran else "C"
                target.array = self.array(data, dtype, _sizes(shape, "shape"), layout)
            case _:
                raise FileFormatError(f"is a pickle with a wrong state for a {_kind(target)}")
        self.push(target)

    def encode(self, text: str) -> _Bytes:
        """Bytes, as the protocols that had none wrote them."""
        self.budget.take(len(text))
        try:
            return _Bytes(np.frombuffer(bytearray(text, "latin1"), np.uint8))
        except UnicodeEncodeError:
            raise FileFormatError("has a text that is not the data of an array") from None

    def array(
        self, data: _Bytes, dtype: _DType, shape: tuple[int, ...], layout: str = "C"
    ) -> NDArray[Any]:
        """An array from the bytes of the file."""
        raw = data.take(self.budget)
        return array_from_bytes(raw, dtype.code, shape, dtype.order or "=", layout)

    def transposed(self, data: _Bytes, dtype: _DType, shape: object, axes: object) -> BuiltArray:
        """An array that NumPy wrote in the order of its memory."""
        order = _sizes(axes, "order of axes")
        if sorted(order) != list(range(len(_sizes(shape, "shape")))):
            raise FileFormatError("has an order of axes that is none")
        array = self.array(data, dtype, _sizes(shape, "shape")).transpose(order)
        return BuiltArray(np.asarray(array, order="C"))


def _double(machine: Machine) -> None:
    machine.push(struct.unpack(">d", machine.source.read(8, "a number"))[0])


def _bytes(width: int) -> Callable[[Machine], None]:
    def step(machine: Machine) -> None:
        machine.push(_Bytes(machine.source.read_array(machine.number(width), "bytes")))

    return step


def _signed(machine: Machine) -> None:
    raw = machine.source.read(4, "a number")
    machine.push(int.from_bytes(raw, "little", signed=True))


def _stack_global(machine: Machine) -> None:
    machine.name(*machine.pop_many(2))


_Step: TypeAlias = Callable[[Machine], None]
_STEPS: dict[bytes, _Step] = {
    b"\x80": Machine.protocol,
    b"\x95": Machine.frame,
    # values
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": Machine.integer_or_truth,
    b"L": lambda m: m.push(m.integer_line()),
    b"J": _signed,
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"\x8a": Machine.long,
    b"F": Machine.float_line,
    b"G": _double,
    b"V": lambda m: m.push(m.text_line()),
    b"X": lambda m: m.push(m.text(4)),
    b"\x8c": lambda m: m.push(m.text(1)),
    b"\x8d": lambda m: m.push(m.text(8)),
    b"B": _bytes(4),
    b"C": _bytes(1),
    b"\x8e": _bytes(8),
    b"\x96": _bytes(8),
    # containers
    b"(": lambda m: m.marks.append(len(m.stack)),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.pop_to_mark())),
    b"\x85": lambda m: m.push(tuple(m.pop_many(1))),
    b"\x86": lambda m: m.push(tuple(m.pop_many(2))),
    b"\x87": lambda m: m.push(tuple(m.pop_many(3))),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.pop_to_mark()),
    b"a": lambda m: m.append(m.pop_many(1)),
    b"e": lambda m: m.append(m.pop_to_mark()),
    b"}": lambda m: m.push({}),
    b"d": Machine.new_dict,
    b"s": lambda m: m.set_items(m.pop_many(2)),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    # the memo
    b"p": lambda m: m.put(m.integer_line()),
    b"q": lambda m: m.put(m.number(1)),
    b"r": lambda m: m.put(m.number(4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"g": lambda m: m.get(m.integer_line()),
    b"h": lambda m: m.get(m.number(1)),
    b"j": lambda m: m.get(m.number(4)),
    # names, and the known applications of them
    b"c": Machine.name_lines,
    b"\x93": _stack_global,
    b"R": Machine.reduce,
    b"b": Machine.build,
}
