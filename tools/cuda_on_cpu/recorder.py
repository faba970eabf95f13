"""Count what reaches the device, and find the lines of Python that asked for it."""

import collections
import ctypes
import traceback
from pathlib import Path
from typing import NamedTuple

from cuda_on_cpu.installation import driver

__all__ = ["KINDS", "Event", "Recorder", "total"]

# The order is that of the enumeration Kind in native/driver.h.
KINDS = (
    "launches",
    "synchronizations",
    "device_to_host",
    "host_to_device",
    "device_to_device",
    "fills",
    "allocations",
    "frees",
    "refusals",
)
_HERE = str(Path(__file__).resolve().parent)
_DEPTH = 5  # frames that an event keeps


class Event(NamedTuple):
    """Something that reached the device."""

    kind: str
    name: str  #: of the kernel or of the function of CUDA
    size: int  #: bytes, or blocks of a launch
    place: str  #: the innermost frames outside CuPy, as ``file:line < file:line``


class Recorder:
    """Counts what reaches the device inside a ``with``.

    Args:
        places: whether to find out which lines of Python asked.

    Attributes:
        counts: from the names in `KINDS` to numbers.
        events: everything in its order.
    """

    def __init__(self, *, places=True):
        self.counts = collections.Counter()
        self.events = []
        self._places = places

    def __enter__(self):
        hook = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_longlong)
        self._hook = hook(self._record)
        driver().standin_set_hook(self._hook)
        return self

    def __exit__(self, *exception):
        driver().standin_set_hook(None)

    def _record(self, kind, name, size):
        self.counts[KINDS[kind]] += 1
        self.events.append(Event(KINDS[kind], name.decode(), size, self._place()))

    def _place(self):
        if not self._places:
            return ""
        frames = [
            frame
            for frame in traceback.extract_stack()
            if _HERE not in frame.filename
            and not {"cupy", "cupyx"} & set(Path(frame.filename).parts)
        ]
        return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[: -_DEPTH - 1 : -1])


def total():
    """Return the counts since the process began."""
    return {kind: driver().standin_count(i) for i, kind in enumerate(KINDS)}
