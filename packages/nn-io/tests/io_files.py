"""Files made byte by byte, without nn_io."""

import hashlib
import io
import json
import struct
import zipfile
from typing import Any

ZEROS = b"0" * 64
TRAILER = b"\nnn_io sha256 1\n"
START = b"\x80\x04\x8c\x19nn_io: a checksum follows0"


def safetensors_with_checksum(
    header: dict[str, Any], data: bytes = b"", metadata: str | None = None
) -> bytes:
    """A file with nn_io's marks and the right checksum, whatever it holds."""
    own = {"nn_io.format": "1", "nn_io.sha256": ZEROS.decode()}
    if metadata is not None:
        own["nn_io.metadata"] = metadata
    content = safetensors(json.dumps({"__metadata__": own, **header}, separators=(",", ":")), data)
    return content.replace(ZEROS, hashlib.sha256(content).hexdigest().encode(), 1)


def safetensors(header: str | bytes | dict[str, Any], data: bytes = b"") -> bytes:
    """A file without a checksum, whatever the header says."""
    if isinstance(header, dict):
        header = json.dumps(header)
    raw = header if isinstance(header, bytes) else header.encode()
    return len(raw).to_bytes(8, "little") + raw + data


def with_trailer(content: bytes) -> bytes:
    """``content`` with nn_io's trailer, and the right checksum."""
    content += TRAILER
    return content + hashlib.sha256(content + ZEROS).hexdigest().encode()


def zip_with_checksum(content: bytes) -> bytes:
    """An archive whose comment is the right checksum."""
    return with_trailer(content[:-2] + struct.pack("<H", len(TRAILER) + 64))


def npy(
    descr: str = "'<f4'",
    shape: str = "(2,)",
    data: bytes = bytes(8),
    fortran: str = "False",
    version: int = 1,
    length: int | None = None,
) -> bytes:
    """One array as NumPy writes it, or nearly."""
    header = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    size = (len(header) if length is None else length).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + data


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A ZIP archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as target:
        for name, content in members.items():
            target.writestr(zipfile.ZipInfo(name), content, compress_type=compression)
    return file.getvalue()


def patched(content: bytes, old: bytes, new: bytes, last: bool = True) -> bytes:
    """``content`` with one occurrence of ``old`` replaced."""
    assert len(old) == len(new)
    at = content.rindex(old) if last else content.index(old)
    return content[:at] + new + content[at + len(old) :]
