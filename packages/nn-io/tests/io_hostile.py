"""A table of hostile files, and a script that loads each in a process of its own.

The script prints one line of JSON per file: which error it gave, how long it took, how far the
memory grew, and what was imported, compiled, executed or looked up meanwhile.
"""

import io
import json
import os
import pickle
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from io_files import (
    START,
    archive,
    npy,
    patched,
    safetensors,
    safetensors_with_checksum,
    with_trailer,
    zip_with_checksum,
)

# --- pickle -------------------------------------------------------------------------------------


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def call(module: str, attribute: str, *arguments: bytes) -> bytes:
    return name(module, attribute) + b"(" + b"".join(arguments) + b"tR"


def number(value: int) -> bytes:
    return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)


def octets(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def pickled(value: bytes, key: str = "w") -> bytes:
    """A state dict with one entry."""
    return b"\x80\x04}" + text(key) + value + b"s."


def metadata(value: bytes) -> bytes:
    return pickled(b"}" + text("a") + value + b"s", "__metadata__")


BLANK = call(
    "numpy._core.multiarray", "_reconstruct", name("numpy", "ndarray"), b"K\0\x85", octets(b"b")
)
ORDER = b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t"


def dtype(code: str = "f4", state: bytes = ORDER) -> bytes:
    return call("numpy", "dtype", text(code), b"\x89", b"\x88") + state + b"b"


def array(
    shape: bytes = b"K\x01\x85",
    kind: bytes | None = None,
    data: bytes | None = None,
    version: bytes = b"K\x01",
) -> bytes:
    kind = dtype() if kind is None else kind
    data = octets(bytes(4)) if data is None else data
    return BLANK + b"(" + version + shape + kind + b"\x89" + data + b"tb"


def billion_laughs(pair: bytes) -> bytes:
    """Forty times a pair of the one before: 2**40 leaves when walked."""
    steps = b"".join(pair % (i, i, i + 1) for i in range(40))
    return b"(K\1q\0" + steps + b"t"


COMMAND = text("touch HACKED")
GOOD = pickled(array())


def pickles() -> Iterator[tuple[str, bytes]]:
    for module, attribute in [
        ("os", "system"),
        ("posix", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("builtins", "getattr"),
        ("builtins", "__import__"),
        ("builtins", "bytearray"),
        ("__builtin__", "eval"),
        ("subprocess", "check_output"),
        ("functools", "partial"),
        ("operator", "attrgetter"),
        ("operator", "mul"),
        ("importlib", "import_module"),
        ("runpy", "run_path"),
        ("numpy", "load"),
        ("numpy", "f2py.os.system"),
        ("numpy.testing._private.utils", "runstring"),
        ("numpy._core.multiarray", "fromfile"),
        ("torch", "load"),
        ("_codecs", "decode"),
        ("collections", "defaultdict"),
        ("nn_io", "load_state_dict_from_file"),
        ("numpy", "ndarray.__reduce__"),
    ]:
        yield f"calls {module}.{attribute}", pickled(call(module, attribute, COMMAND))
    short = b"\x8c\x02os\x8c\x06system"
    yield "stack global", pickled(short + b"\x93" + COMMAND + b"\x85R")
    yield "global that is never called", pickled(name("os", "system"))
    yield "global names that are numbers", pickled(b"K\1K\2\x93")
    yield "global without an end", b"\x80\x04cos"
    yield "call, with checksum", with_trailer(START + pickled(call("os", "system", COMMAND)))
    yield "inst", pickled(b"(" + COMMAND + b"ios\nsystem\n")
    yield "obj", pickled(b"(" + name("os", "system") + COMMAND + b"o")
    yield "newobj", pickled(name("os", "system") + COMMAND + b"\x85\x81")
    yield "newobj_ex", pickled(name("os", "system") + COMMAND + b"\x85}\x92")
    yield "newobj of ndarray", pickled(name("numpy", "ndarray") + number(2**40) + b"\x85\x81")
    for code in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"):
        yield f"extension {code[0]:x}", pickled(code)
    yield "persistent id", pickled(b"Pid\n")
    yield "binary persistent id", pickled(COMMAND + b"Q")
    yield "out-of-band buffer", pickled(b"\x97")
    yield "read-only buffer", pickled(octets(b"abcd") + b"\x98")
    yield "set", pickled(b"\x8f(K\1\x90")
    yield "old string", pickled(b"S'abc'\n")
    yield "newer protocol", GOOD.replace(b"\x04", b"\x09", 1)

    yield (
        "object scalar",
        pickled(call("numpy._core.multiarray", "scalar", dtype("O8"), octets(bytes(8)))),
    )
    for kind in ("O8", "V8", "U9", "S3", "M8[ns]", "f16", "f3", "x" * 300, ""):
        yield f"dtype {kind[:9]}", pickled(array(kind=dtype(kind)))
    yield "dtype of a list", pickled(call("numpy", "dtype", b"]", b"\x89", b"\x88"))
    fields = b"(" + text("a") + b"t}" + text("a") + dtype("i4") + b"K\0\x86s"
    tail = b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\0t"
    for label, state in [
        ("fields", b"(K\x03" + text("|") + b"N" + fields + tail),
        ("a subarray", b"(K\x03" + text("|") + dtype("i4") + b"K\x02\x85\x86NN" + tail),
        ("a size", b"(K\x03" + text("<") + b"NNNM\xff\xffJ\xff\xff\xff\xffK\0t"),
        ("flags", b"(K\x03" + text("<") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x3ft"),
        ("metadata", b"(K\x04" + text("<") + b"NNN" + tail[:-1] + b"}t"),
        ("a dict as state", b"}"),
        ("an invalid order", ORDER.replace(b"<", b"*")),
    ]:
        yield f"dtype with {label}", pickled(array(kind=dtype(state=state)))
    yield "dtype built twice", pickled(array(kind=dtype() + ORDER + b"b"))

    yield "array that is never built", pickled(BLANK)
    yield "array built twice", pickled(array() + b"(K\1K\1\x85" + dtype() + b"\x89C\4abcdtb")
    yield (
        "array of another class",
        pickled(BLANK.replace(b"cnumpy\nndarray\n", b"ccollections\nOrderedDict\n")),
    )
    yield "array blank of a terabyte", pickled(BLANK.replace(b"K\0\x85", number(2**40) + b"\x85"))
    for label, shape in [
        ("huge", number(2**62) + b"\x85"),
        ("overflowing", number(2**62) + number(4) + b"\x86"),
        ("huge beside zero", number(2**62) + number(2**62) + b"K\0\x87"),
        ("negative", number(-1) + b"\x85"),
        ("doubly negative", number(-1) + number(-1) + b"\x86"),
        ("true", b"\x88\x85"),
        ("list", b"](K\1e"),
        ("of 100,000 dimensions", b"(" + b"K\1" * 100_000 + b"t"),
        ("recursive", b")" + b"\x85" * 200_000),
        ("a float", b"G" + bytes(8) + b"\x85"),
    ]:
        yield f"array of {label} shape", pickled(array(shape))
    yield "array of a list", pickled(array(data=b"](K\1e"))
    yield "array of text", pickled(array(data=text("abcd")))
    yield "array with too little data", pickled(array(data=octets(b"ab")))
    yield "array of version 9", pickled(array(version=b"K\x09"))
    yield "array of invalid boolean values", pickled(array(kind=dtype("b1"), data=octets(b"\xc8")))
    buffer = octets(bytes(24)) + dtype()
    for label, rest in [
        ("axes", b"(K\1K\2K\3t" + text("K") + b"(K\0K\0K\1t"),
        ("order", b"(K\1K\2K\3t" + text("Z")),
        ("shape", b"N" + text("C")),
    ]:
        yield (
            f"buffer with an invalid {label}",
            pickled(call("numpy._core.numeric", "_frombuffer", buffer, rest)),
        )

    yield "build of a dict", pickled(b"}}" + text("__class__") + name("numpy", "ndarray") + b"sb")
    yield "build of a name", pickled(name("numpy", "ndarray") + b"}b")
    yield "ordered dict with arguments", pickled(call("collections", "OrderedDict", b"]"))
    for code, width in [(b"\x8e", 8), (b"\x8d", 8), (b"\x96", 8), (b"\x95", 8), (b"B", 4)]:
        claim = (2**40 if width == 8 else 2**31).to_bytes(width, "little")
        yield f"opcode {code!r} claims a huge size", pickled(code + claim + b"abc")
    yield "text claims a huge size", pickled(b"X\xff\xff\xff\xffabc")
    yield "integer claims a huge size", pickled(b"\x8b\xff\xff\xff\x7fabc")
    yield "decimal of a million digits", pickled(b"I" + b"9" * 1_000_000 + b"\n")
    yield "long decimal", pickled(b"L" + b"9" * 390 + b"L\n")
    yield "invalid float", pickled(b"Fabc\n")
    yield "invalid integer", pickled(b"Iabc\n")
    yield "huge memo index", pickled(b"Nr\xff\xff\xff\xff")
    yield "huge memo index as text", pickled(b"Np" + b"9" * 390 + b"\n")
    yield "memo that was never stored", pickled(b"h\x63")
    yield "memo of an empty stack", b"\x80\x04q\0."
    yield "bytes of a number", pickled(call("builtins", "bytes", number(10**12)))
    once = text("x" * 1_000_000) + b"q\1" + text("latin1") + b"q\2"
    again = (name("_codecs", "encode") + b"h\1h\2\x86R") * 2000
    yield "one text encoded 2000 times", pickled(once + b"](" + again + b"e")
    parts = octets(bytes(1_000_000)) + b"q\1" + dtype("i1") + b"q\2"
    copies = (BLANK + b"(K\1" + number(1_000_000) + b"\x85h\2\x89h\1tb") * 2000
    yield "one buffer copied 2000 times", pickled(parts + b"](" + copies + b"e")
    yield "encoded as something else", pickled(call("_codecs", "encode", text("a"), text("zip")))
    yield (
        "encoded beyond latin1",
        pickled(call("_codecs", "encode", text("\u20ac"), text("latin1"))),
    )
    yield "text that is not UTF-8", pickled(b"X\2\0\0\0\xff\xff")
    yield "long text of wide characters", pickled(text("x" * 30_000_000 + "\U0001f600"))
    escaped = b"V" + b"x" * 30_000_000 + b"\\U0001f600\n"
    yield "long escaped text of wide characters", pickled(escaped)
    yield "text with a broken escape", pickled(b"V\\uzz\n")

    yield "billion laughs of tuples", metadata(billion_laughs(b"h%ch%c\x86q%c"))
    yield "billion laughs of lists", metadata(billion_laughs(b"](h%ch%ceq%c"))
    yield (
        "billion laughs of tuples, with checksum",
        with_trailer(START + metadata(billion_laughs(b"h%ch%c\x86q%c"))),
    )
    yield "deep lists", metadata(b"(" * 250_000 + b"l" * 250_000)
    yield "deep tuples", metadata(b")" + b"\x85" * 250_000)
    yield "deep dicts", metadata((b"}" + text("a")) * 90_000 + b"N" + b"s" * 90_000)
    yield "list in itself", metadata(b"]q\0h\0a")
    yield "dict in itself", metadata(b"}q\0" + text("a") + b"h\0s")
    yield "tuple of a list of itself", metadata(b"]q\0h\0\x85a")
    yield "a million dicts", pickled(b"(" + b"}" * 1_200_000 + b"t")
    yield "a million marks", pickled(b"(" * 1_200_000)
    yield "a million remembered lists", pickled(b"(" + b"]\x94" * 600_000 + b"t")
    yield "metadata with a name", metadata(name("numpy", "dtype"))
    yield "metadata with bytes", metadata(octets(b"abc"))
    yield "metadata with an array", metadata(array())
    yield "metadata that is a list", pickled(b"]", "__metadata__")

    yield "empty stack", b"\x80\x04."
    yield "missing mark", b"\x80\x04t."
    yield "value taken beyond a mark", b"\x80\x04}" + text("w") + b"(s."
    yield "two objects", b"\x80\x04}}."
    yield "open mark", b"\x80\x04(}."
    yield "no end", GOOD[:-1]
    yield "nothing", b""
    yield "not a pickle", b"hello, world\n"
    yield "only zeros", bytes(1000)
    yield "trailing data", GOOD + b"x"
    yield "two pickles", GOOD + GOOD
    yield "a safetensors file under a wrong name", safetensors({})
    yield "half a checksum", with_trailer(START + GOOD)[:-30]
    yield "a wrong checksum", with_trailer(START + GOOD)[:-64] + b"0" * 64
    yield "a start without a checksum", START + GOOD
    yield "a checksum without a start", with_trailer(GOOD)
    yield "a list", b"\x80\x04]."
    yield "an array alone", b"\x80\x04" + array() + b"."
    yield "a key that is a number", b"\x80\x04}K\1" + array() + b"s."
    yield "a key that is a tuple", b"\x80\x04})" + array() + b"s."
    yield "a key that is a list", b"\x80\x04}]" + array() + b"s."
    yield "a key twice", b"\x80\x04}(" + (text("w") + b"N") * 2 + b"u."
    yield "a key without a value", b"\x80\x04}(" + text("w") + b"u."
    yield "items for a list", b"\x80\x04](" + text("w") + b"Nu."
    yield "elements for a dict", b"\x80\x04}(Ne."
    yield "a nested state dict", pickled(b"}" + text("w") + array() + b"s")
    yield "a text", pickled(text("w"))
    yield "none", pickled(b"N")
    yield "an integer of 65 bits", pickled(number(2**64))
    yield "an object array of NumPy", pickle.dumps({"w": np.array([{}], dtype=object)})
    yield "an array of text of NumPy", pickle.dumps({"w": np.array(["a"])})
    yield "a structured array of NumPy", pickle.dumps({"w": np.zeros(1, [("a", "O")])})
    yield "a function of NumPy", pickle.dumps({"w": np.add})
    yield "an exception", pickle.dumps({"w": ValueError("x")})


# --- safetensors --------------------------------------------------------------------------------

F4 = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def tensor(data: bytes = bytes(4), **changes: Any) -> bytes:
    return safetensors({"w": F4 | changes}, data)


def headers() -> Iterator[tuple[str, bytes]]:
    yield "nothing", b""
    yield "seven bytes", bytes(7)
    yield "only zeros", bytes(1000)
    yield "header of the largest size", b"\xff" * 8 + b"{}"
    yield "header of a terabyte", (1 << 40).to_bytes(8, "little") + b"{}"
    yield "header just over the limit", (100_000_001).to_bytes(8, "little") + b"{}"
    yield "header beyond the file", (50).to_bytes(8, "little") + b"{}"
    yield "header of spaces", safetensors(b" " * 99_000_000)
    yield "header of spaces in braces", safetensors(b"{" + b" " * 90_000_000 + b"}", b"x")
    yield "header of one long key", safetensors(b'{"' + b"k" * 40_000_000 + b'":1}')
    yield (
        "header of wide characters",
        safetensors(b'{"' + b"k" * 40_000_000 + "\U0001f600".encode() + b'":1}'),
    )
    yield "header of empty objects", safetensors(b'{"a":[' + b"{}," * 3_000_000 + b"{}]}")
    yield "header of numbers", safetensors(b'{"a":[' + b"1," * 3_000_000 + b"1]}")
    for label, header in [
        ("a list", "[]"),
        ("text", '"{}"'),
        ("a number", "1"),
        ("null", "null"),
        ("NaN", "NaN"),
        ("truncated", '{"a":'),
        ("followed by another", "{}{}"),
        ("after a space", " {}"),
        ("after a byte order mark", "\ufeff{}"),
        ("Python", "{'a': 1}"),
        ("deep lists", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        ("deep objects", '{"a":' * 100_000 + "1" + "}" * 100_000),
    ]:
        yield f"header is {label}", safetensors(header)
    yield "header is not UTF-8", safetensors(b'{"\xff\xfe":1}')
    yield "header is UTF-16", safetensors("{}".encode("utf-16"))
    entry = json.dumps(F4)
    yield "a tensor twice", safetensors(f'{{"w":{entry},"w":{entry}}}', bytes(4))
    twice = entry.replace("}", ',"dtype":"F32"}')
    yield "a field twice", safetensors(f'{{"w":{twice}}}', bytes(4))
    yield "metadata twice", safetensors('{"__metadata__":{},"__metadata__":{}}')
    yield "an escaped key twice", safetensors(f'{{"w":{entry},"\\u0077":{entry}}}', bytes(4))
    fields: list[tuple[str, dict[str, Any]]] = [
        ("unknown dtype", {"dtype": "O64"}),
        ("newer dtype", {"dtype": "F8_E4M3"}),
        ("dtype in small letters", {"dtype": "f32"}),
        ("dtype that is a list", {"dtype": ["F32"]}),
        ("dtype that is null", {"dtype": None}),
        ("negative shape", {"shape": [-1]}),
        ("doubly negative shape", {"shape": [-1, -1]}),
        ("true shape", {"shape": [True]}),
        ("broken shape", {"shape": [1.0]}),
        ("text shape", {"shape": "1"}),
        ("text in the shape", {"shape": ["1"]}),
        ("shape of another size", {"shape": [2]}),
        ("shape that overflows to the size", {"shape": [2**62 + 1]}),
        ("shape that overflows to zero", {"shape": [2**32, 2**32]}),
        ("shape beyond 64 bits", {"shape": [2**70]}),
        ("shape of 4000 digits", {"shape": [10**4000]}),
        ("shape of 100,000 dimensions", {"shape": [1] * 100_000}),
        ("offsets beyond the file", {"data_offsets": [0, 8]}),
        ("offsets of the largest size", {"data_offsets": [0, 2**63]}),
        ("offsets that turn back", {"data_offsets": [4, 0]}),
        ("negative offsets", {"data_offsets": [-4, 0]}),
        ("one offset", {"data_offsets": [4]}),
        ("three offsets", {"data_offsets": [0, 4, 8]}),
        ("offsets that are not a list", {"data_offsets": 4}),
        ("another field", {"strides": [1]}),
    ]
    for label, changes in fields:
        yield label, tensor(**changes)
    digits = json.dumps({"w": F4}).replace("[1]", "[" + "9" * 5000 + "]")
    yield "shape of 5000 digits", safetensors(digits, bytes(4))
    beside_zero = F4 | {"shape": [2**62, 2**62, 0], "data_offsets": [0, 0]}
    yield "shape that is huge beside zero", safetensors({"w": beside_zero})
    yield "no shape", safetensors({"w": {"dtype": "F32", "data_offsets": [0, 4]}}, bytes(4))
    yield "tensor that is a list", safetensors({"w": []})
    yield "tensor that is null", safetensors({"w": None})
    yield "data that no tensor names", tensor(bytes(8))
    yield "data without tensors", safetensors({}, bytes(4))
    yield (
        "a gap between tensors",
        safetensors({"a": F4, "b": F4 | {"data_offsets": [8, 12]}}, bytes(12)),
    )
    yield "two tensors in one place", safetensors({"a": F4, "b": F4}, bytes(4))
    yield (
        "tensors that overlap",
        safetensors(
            {"a": F4 | {"shape": [2], "data_offsets": [0, 8]}, "b": F4 | {"data_offsets": [4, 8]}},
            bytes(8),
        ),
    )
    yield (
        "ten thousand tensors in one place",
        safetensors(
            {
                str(i): F4 | {"shape": [250_000], "data_offsets": [0, 1_000_000]}
                for i in range(10_000)
            },
            bytes(1_000_000),
        ),
    )
    yield "invalid boolean values", tensor(b"\xc8", dtype="BOOL", data_offsets=[0, 1])
    yield "metadata of numbers", safetensors({"__metadata__": {"a": 1}})
    yield "metadata of objects", safetensors({"__metadata__": {"a": {}}})
    yield "metadata that are a list", safetensors({"__metadata__": []})
    yield "metadata that are null", safetensors({"__metadata__": None})
    yield "an archive after it", safetensors({}, archive({"w.npy": npy()}))
    yield "one mark of ours", safetensors('{"__metadata__":{"nn_io.format":"1"}}')
    yield (
        "the other mark of ours",
        safetensors('{"__metadata__":{"nn_io.sha256":"' + "0" * 64 + '"}}'),
    )
    yield "our marks in another spelling", safetensors({"__metadata__": {"nn_io.sha256": "0" * 64}})
    yield "our metadata without marks", safetensors({"__metadata__": {"nn_io.metadata": "{}"}})
    yield (
        "our checksum at the end",
        safetensors('{"__metadata__":{"nn_io.format":"1","nn_io.sha256":"0"}}'),
    )
    yield "a wrong checksum", safetensors_with_checksum({"w": F4}, bytes(4))[:-1] + b"x"
    yield "overlap, with checksum", safetensors_with_checksum({"a": F4, "b": F4}, bytes(4))
    for label, notes in [
        ("is not JSON", "{"),
        ("is a list", "[]"),
        ("is deep", '{"a":' + "[" * 5_000 + "]" * 5_000 + "}"),
        ("is rather deep", '{"a":' + "[" * 100 + "]" * 100 + "}"),
        ("names a key twice", '{"a":1,"a":2}'),
        ("has an integer of 4000 digits", '{"a":' + "9" * 4000 + "}"),
        ("has half a character", '{"a":"\\ud800"}'),
        ("is half a character", "\ud800"),
    ]:
        yield f"with checksum, metadata {label}", safetensors_with_checksum({}, metadata=notes)


# --- npz ----------------------------------------------------------------------------------------


def saved(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def archives() -> Iterator[tuple[str, bytes]]:
    good = archive({"w.npy": npy()})
    directory = good.rindex(b"PK\x01\x02")
    yield "nothing", b""
    yield "only zeros", bytes(1000)
    yield "not an archive", b"hello, world\n" * 10
    yield "an object array", saved(w=np.array([{}, []], dtype=object))
    yield "an array of text", saved(w=np.array(["a"]))
    yield "a structured array", saved(w=np.zeros(1, [("a", "f4")]))
    yield "a pickle as a member", archive({"w.npy": pickled(call("os", "system", COMMAND))})
    yield "a member that is not an array", archive({"w.txt": b"hello"})
    yield "a folder", archive({"w/": b""})
    yield "metadata as an array", saved(__metadata__=np.zeros(1))
    for label, content in [
        ("that is not JSON", b"{"),
        ("that are a list", b"[]"),
        ("that name a key twice", b'{"a":1,"a":2}'),
        ("that are deep", b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    ]:
        yield f"metadata {label}", archive({"__metadata__.json": content})
    for label, member in [
        ("an expression as dtype", npy("__import__('os').system('touch HACKED')")),
        ("an object dtype", npy("'|O'", data=pickle.dumps([1]))),
        ("a dtype with fields", npy("[('a', '<f4')]")),
        ("a wide float", npy("'<f16'")),
        ("an unknown dtype", npy("'<q9'")),
        ("a huge shape", npy(shape="(4611686018427387904,)")),
        ("an overflowing shape", npy(shape="(4611686018427387905,)")),
        ("a shape beyond 64 bits", npy(shape="(99999999999999999999999,)")),
        ("a negative shape", npy(shape="(-2,)")),
        ("a shape of parentheses", npy(shape="(" * 4000 + ")" * 4000)),
        ("a shape of 3,000 dimensions", npy(shape="(" + "1, " * 3000 + ")")),
        ("an invalid order", npy(fortran="1")),
        ("another version", npy(version=9)),
        ("a header of 4 GB", npy(version=2, length=2**32 - 1)),
        ("a header beyond its end", npy(length=9_000)),
        ("a header too long", npy(version=2, length=20_000, data=bytes(30_000))),
        ("too little data", npy(data=bytes(7))),
        ("too much data", npy(data=bytes(9))),
        ("invalid boolean values", npy("'|b1'", data=b"\xc8\x00")),
        ("nothing", b""),
        ("half a mark", b"\x93NUM"),
    ]:
        yield f"array with {label}", archive({"w.npy": member})
        if label == "an object dtype":
            yield (
                f"with checksum, array with {label}",
                zip_with_checksum(archive({"w.npy": member})),
            )
    zeros = npy(shape="(20000000,)", data=bytes(80_000_000))
    bomb = archive({"w.npy": zeros}, zipfile.ZIP_DEFLATED)
    yield "a bomb", bomb
    yield "a bomb, with checksum", zip_with_checksum(bomb)
    small = npy(shape="(1000000,)", data=bytes(4_000_000))
    yield "many small bombs", archive({f"{i}.npy": small for i in range(20)}, zipfile.ZIP_DEFLATED)
    size = struct.pack("<I", len(zeros))
    yield "a bomb that understates its size", patched(bomb, size, struct.pack("<I", 136))
    yield (
        "a member of 4 GB",
        patched(
            archive({"w.npy": npy()}, zipfile.ZIP_DEFLATED),
            struct.pack("<I", len(npy())),
            struct.pack("<I", 2**32 - 2),
        ),
    )
    yield "LZMA", archive({"w.npy": npy()}, zipfile.ZIP_LZMA)
    yield "bzip2", archive({"w.npy": npy()}, zipfile.ZIP_BZIP2)
    yield "unknown compression", good[: directory + 10] + b"\x63\0" + good[directory + 12 :]
    yield "encryption", good[: directory + 8] + b"\x01\0" + good[directory + 10 :]
    yield (
        "stored with two sizes",
        patched(good, struct.pack("<I", len(npy())), struct.pack("<I", len(npy()) + 1)),
    )
    yield "data before it", b"x" + good
    yield "data after it", good + b"x"
    yield "a comment", good[:-2] + b"\x05\0hello"
    yield "a comment truncated", good[:-2] + b"\x09\0hello"
    yield "no directory", good[directory:]
    yield "only a directory", good[directory:directory] + good[-22:]
    yield "wrong contents", good.replace(bytes(8), b"abcdefgh", 1)
    yield "another name inside", patched(good, b"w.npy", b"v.npy", last=False)
    two = archive({"a.npy": npy(), "b.npy": npy()})
    yield "a name twice", two.replace(b"b.npy", b"a.npy")
    yield (
        "a name twice, after a NUL",
        archive({"a.npyXb": npy(), "a.npy": npy()}).replace(b"a.npyXb", b"a.npy\0b"),
    )
    first = two.index(b"PK\x01\x02")
    second = two.index(b"PK\x01\x02", first + 1)
    overlap = two[: second + 42] + bytes(4) + two[second + 46 :]
    yield "members in one place", overlap
    count = 100_000
    entry = good[directory : directory + 46]
    entries = b"".join(entry[:28] + b"\x0a\0" + entry[30:] + b"%06d.npy" % i for i in range(count))
    start = good[:directory]
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, len(entries), len(start), 0)
    yield "a directory of a hundred thousand", start + entries + end
    yield "a directory of 4 GB", good[:-10] + struct.pack("<II", 2**32 - 2, 0) + b"\0\0"
    end64 = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, 2**60, directory
    ) + struct.pack("<4sIQI", b"PK\x06\x07", 0, len(good) - 22, 1)
    yield "a directory of 2**60 bytes", good[:-22] + end64 + good[-22:]
    yield "a wrong checksum", zip_with_checksum(good)[:-64] + b"0" * 64
    yield "half a checksum", zip_with_checksum(good)[:-30]


# --- the script ---------------------------------------------------------------------------------

FAMILIES: dict[str, Callable[[], Iterator[tuple[str, bytes]]]] = {
    ".pkl": pickles,
    ".safetensors": headers,
    ".npz": archives,
}

DANGEROUS = ("import", "exec", "compile", "os.", "subprocess.", "pickle.", "socket.", "ctypes.")
HARMLESS = ("os.listdir", "os.scandir")


def load(path: str) -> dict[str, Any]:
    """Load one file in this process and watch it."""
    import resource

    from nn_io import load_state_dict_from_file

    events: list[str] = []
    watching = [True]

    def hook(event: str, arguments: Any) -> None:
        if watching[0] and event.startswith(DANGEROUS) and event not in HARMLESS:
            # Python decodes old member names with a codec that it imports for the purpose.
            if event == "import" and str(arguments[0]).startswith("encodings."):
                return
            events.append(f"{event} {arguments!r}"[:200])

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    sys.addaudithook(hook)
    try:
        load_state_dict_from_file(path)
        error, message = "none", ""
    except BaseException as caught:
        error, message = type(caught).__name__, str(caught)
    watching[0] = False
    seconds = time.monotonic() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {
        "error": error,
        "message": message[:2000],
        "seconds": seconds,
        "grown_mb": grown / 1024,
        "events": events,
    }


def main() -> None:
    """Load every file of the table, each in a fork of this process."""
    from nn_io import load_state_dict_from_file, save_model_parameters

    # Codecs are imported when they are first used.
    str(b"x", "raw-unicode-escape")
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for suffix, family in FAMILIES.items():
            warm = os.path.join(folder, "warm" + suffix)
            save_model_parameters({"w": np.ones(2), "__metadata__": {}}, warm)
            load_state_dict_from_file(warm)
            os.unlink(warm)
            path = os.path.join(folder, "hostile" + suffix)
            for label, content in family():
                with open(path, "wb") as file:
                    file.write(content)
                size = len(content)
                del content
                receiver, sender = os.pipe()
                child = os.fork()
                if child == 0:
                    os.write(sender, json.dumps(load(path)).encode())
                    os._exit(0)
                os.close(sender)
                with open(receiver, "rb") as pipe:
                    answer = pipe.read()
                _, status = os.waitpid(child, 0)
                result = json.loads(answer) if answer else {"error": f"died with {status}"}
                result |= {"kind": f"{suffix} {label}", "path": path, "size": size}
                result["leftovers"] = [n for n in os.listdir(folder) if n != "hostile" + suffix]
                print(json.dumps(result), flush=True)
            os.unlink(path)


if __name__ == "__main__":
    main()
