"""The functions that an ELF file names."""

import struct

__all__ = ["read_functions"]

_SYMBOL_TABLE, _DYNAMIC_SYMBOLS = 2, 11  # types of sections
_FUNCTION = 2  # a type of symbols
_UNDEFINED = 0  # the section of a symbol that another file defines


def read_functions(path, *, undefined=False):
    """Map the functions that a 64-bit file defines, or needs, to their addresses.

    Args:
        path: a shared object or an object file.
        undefined: whether to return those that the file needs from others.
    """
    data = path.read_bytes()
    (offset,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, offset + i * size) for i in range(count)]
    found = {}
    for _, kind, _, _, start, length, link, _, _, step in sections:
        if kind not in (_SYMBOL_TABLE, _DYNAMIC_SYMBOLS):
            continue
        names = sections[link][4]
        for at in range(start, start + length, step):
            name, info, _, section, address, _ = struct.unpack_from("<IBBHQQ", data, at)
            if (section == _UNDEFINED) != undefined or not (undefined or info & 15 == _FUNCTION):
                continue
            begin = names + name
            full = data[begin : data.index(b"\0", begin)].decode()
            found[full.partition("@")[0]] = address  # without its version
    return found
