"""Event files of TensorBoard, written without protobuf and without TensorBoard.

An event file is a sequence of TFRecords, each an `Event` message:

    length     uint64, little-endian
    checksum   uint32, the masked CRC-32C of the length
    data       the message
    checksum   uint32, the masked CRC-32C of the data

Sources: https://www.tensorflow.org/tutorials/load_data/tfrecord#tfrecords_format_details,
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto,
https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Mapping

__all__ = ["file_version", "scalars", "session_start"]

_CASTAGNOLI = 0x82F63B78  # the polynomial of CRC-32C, bits reversed
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types

# The numbers of fields, from event.proto and summary.proto
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = 1, 2, 3, 5, 7
_VALUE, _TAG, _SIMPLE_VALUE = 1, 1, 2
_STATUS, _START = 1, 1


def file_version(wall_time: float) -> bytes:
    """Return the record that an event file begins with."""
    return _event(wall_time, 0, _FILE_VERSION, b"brain.Event:2")


def session_start(wall_time: float, step: int) -> bytes:
    """Return the record that says that all from `step` on is written anew."""
    status = _key(_STATUS, _VARINT) + _varint(_START)
    return _event(wall_time, step, _SESSION_LOG, status)


def scalars(wall_time: float, step: int, values: Mapping[str, float]) -> bytes:
    """Return the record of some numbers by tag; they are written as float32."""
    summary = b""
    for tag, value in values.items():
        number = _key(_SIMPLE_VALUE, _FIXED32) + _float32(value)
        summary += _field(_VALUE, _field(_TAG, tag.encode()) + number)
    return _event(wall_time, step, _SUMMARY, summary)


def _float32(value: float) -> bytes:
    try:
        return struct.pack("<f", value)
    except OverflowError:  # beyond the range of float32
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _event(wall_time: float, step: int, field: int, content: bytes) -> bytes:
    message = _key(_WALL_TIME, _FIXED64) + struct.pack("<d", wall_time)
    message += _key(_STEP, _VARINT) + _varint(step) if step else b""  # 0 is left out
    return _record(message + _field(field, content))


def _record(message: bytes) -> bytes:
    length = struct.pack("<Q", len(message))
    checksums = (struct.pack("<I", _masked(_crc32c(part))) for part in (length, message))
    return length + next(checksums) + message + next(checksums)


def _field(number: int, content: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(content)) + content


def _key(number: int, wire_type: int) -> bytes:
    return _varint(number << 3 | wire_type)


def _varint(value: int) -> bytes:
    """Return a number in groups of seven bits, the lowest first; all but the last have bit 8."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    groups.append(value)
    return bytes(groups)


def _masked(checksum: int) -> int:
    # A rotation and a constant: the CRC of data that contain their own CRC would be degenerate.
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of some bytes.

    >>> hex(_crc32c(b"123456789"))  # the check value of RFC 3720, B.4
    '0xe3069283'
    """
    table, checksum = _crc_table(), 0xFFFFFFFF
    for byte in data:
        checksum = table[(checksum ^ byte) & 255] ^ checksum >> 8
    return checksum ^ 0xFFFFFFFF


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)
