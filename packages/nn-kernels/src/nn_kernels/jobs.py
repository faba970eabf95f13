"""Kernels that consist of one job, to be run again for other arrays without their Python.

A kernel checks its arrays, chooses how to divide the work, makes arrays for the results, and runs a
job. Where a program is replayed all but the last is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nn_kernels._compile import Job
from nn_kernels._threads import BoundJob, Run, Words, address, new_words, runs_of

__all__ = ["KernelJob", "job_of"]

_FILLS = 0x00, 0xA5  # bytes of memory that a job has to write over


def _layout(x: Any) -> Any:
    """Return shape, dtype and strides, the latter None in C order."""
    return x.shape, x.dtype, None if x.flags.c_contiguous else x.strides


def _without_axes_of_one(shape: Any, dtype: Any, strides: Any) -> Any:
    """Return a layout without the strides that nothing is read by."""
    return shape, dtype, strides and [s for n, s in zip(shape, strides, strict=True) if n != 1]


def _check(x: Any, expected: Any) -> None:
    """Raise ValueError if an array, and not None, has another layout."""
    if x is None or _layout(x) == expected:
        return
    if _without_axes_of_one(*_layout(x)) != _without_axes_of_one(*expected):
        raise ValueError(f"expected shape, dtype and strides {expected}, got {_layout(x)}")


def _end(x: Any) -> int:
    """Return the address behind the last element of an array without negative strides."""
    steps = zip(x.shape, x.strides, strict=True)
    return address(x) + sum((n - 1) * step for n, step in steps) + int(x.itemsize)


def _same_bits(x: Any, y: Any) -> bool:
    """Return whether two arrays of one shape and dtype hold the same bits."""
    if x.itemsize > 8:
        return bool(x.tobytes() == y.tobytes())
    integers = f"u{x.itemsize}"  # compared in a fraction of the time, without copies
    return bool((x.view(integers) == y.view(integers)).all())


class KernelJob:
    """The job of a kernel. It is called with arrays to read, and with arrays to write into.

    Attributes:
        inputs: the numbers of those, of the arrays given to `job_of`, that the job reads.

    Raises:
        ValueError: if an array has another dtype, shape or strides than the one in its place had.
        IndexError: if an index among its elements is out of range.
    """

    def __init__(self, run: Run, inputs: Sequence[int], layouts: Sequence[Any]) -> None:
        self.inputs = inputs
        self._run, self._layouts = run._replace(arguments=()), layouts
        self._arguments = list(run.arguments)
        self._places: list[tuple[int, int, int]] = []  # argument, number of the array, offset
        self._words = [n for n, x in enumerate(self._arguments) if isinstance(x, Words)]

    def place(self, places: Sequence[tuple[int, int, int]], scratch: Sequence[int]) -> None:
        """Say which arguments are arrays to be given, and which nobody reads after the job.

        Those of the call that was looked at are not kept.
        """
        self._places = [*places]
        for place, _, _ in places:
            self._arguments[place] = 0
        for place in scratch:
            self._arguments[place] = np.empty_like(self._arguments[place]).view(_Scratch)

    def bind(self, *arrays: Any) -> Callable[..., None]:
        """Return a function that runs the job for these arrays, whose addresses are looked up once.

        In the place of arrays that are others each time stands None: the function is given these.
        """
        run, layouts = self._run, self._layouts
        first = run.job if isinstance(run.job, Job) else run.job[0]
        for x, layout in zip(arrays, layouts, strict=True):
            _check(x, layout)
        free = [number for number, x in enumerate(arrays) if x is None]
        arguments, later = [*self._arguments], list[tuple[int, int, int]]()
        words = new_words()
        for place in self._words:
            arguments[place] = words
        for place, number, offset in self._places:
            if arrays[number] is None:
                later.append((place, free.index(number), offset))
                arguments[place] = 0
            else:
                arguments[place] = address(arrays[number]) + offset
        job = BoundJob(run.job, arguments, run.memory)

        def bound(*given: Any, kept: Any = arrays) -> None:
            for x, number in zip(given, free, strict=True):
                _check(x, layouts[number])
            for place, number, offset in later:
                job.set(place, address(given[number]) + offset)
            job(run.parts, run.work)

        def checked(*given: Any) -> None:
            words[0] = 0  # Ctrl-C may have come before the last call looked
            bound(*given)
            if words[0]:
                raise IndexError(f"{first.name}: an index is out of range")

        return checked if self._words else bound

    def __call__(self, *arrays: Any) -> None:
        """Run the job."""
        self.bind(*arrays)()

    def gives(self, arrays: Sequence[Any], results: Sequence[Any]) -> bool:
        """Return whether the job writes the bits of results, whatever is in memory before.

        It has to write all of its scratch memory too: what stays may be a copy of an array, whose
        values happen to make no difference.
        """
        scratch = [x for x in self._arguments if isinstance(x, _Scratch)]
        found, wanted = [np.empty_like(x) for x in results], list(results)
        for fill in _FILLS:
            for x in (*found, *scratch):
                x[...] = np.full(x.itemsize, fill, np.uint8).view(x.dtype)[0]
            self(*arrays, *found)
            # of the second time the scratch memory has to be as after the first
            if not all(map(_same_bits, (*found, *scratch), wanted)):
                return False
            wanted = [*results, *(x.copy() for x in scratch)]
        return True


def _holders(x: Any, inputs: Sequence[Any]) -> list[int]:
    """Return the numbers of the arrays in whose memory an array is: of one, if it is this itself.

    The elements of one array may stand between those of another, and two may be views of one.
    """
    for number, a in enumerate(inputs):
        if x is a:
            return [number]
    return [n for n, a in enumerate(inputs) if address(a) <= address(x) and _end(x) <= _end(a)]


class _Scratch(np.ndarray[Any, Any]):
    """An array that a job writes into before it reads it."""


def job_of(
    function: Callable[[], Sequence[Any]], inputs: Sequence[Any], results: Sequence[Any]
) -> KernelJob | None:
    """Return the job of a kernel, None if it does anything else beside making arrays.

    The job is run twice with other memory, and has to give the bits of the results.

    Args:
        function: a function without arguments that calls the kernel, and returns its arrays.
        inputs: the arrays that it reads.
        results: the arrays that it has returned before.

    >>> import numpy as np
    >>> from nn_kernels.softmax import softmax
    >>> x = np.ones((64, 64), np.float32)
    >>> job = job_of(lambda: [softmax(x, 1)], [x], [softmax(x, 1)])
    >>> out = np.empty_like(x)
    >>> job(x + 1, out)
    >>> float(out[0, 0])
    0.015625
    """
    arrays, runs = runs_of(function)
    if len(runs) != 1 or not runs[0].alone:
        return None
    if any(step < 0 for x in inputs for step in x.strides):
        return None
    _, others = runs_of(function)
    written = {address(x): n for n, x in enumerate(arrays) if _end(x) - address(x) == x.nbytes}
    used: dict[int, int] = {}  # numbers of inputs, by their places among those of the job
    read: list[tuple[int, int, int]] = []
    filled: list[tuple[int, int, int]] = []
    scratch: list[int] = []
    for place, (x, other) in enumerate(zip(runs[0].arguments, others[0].arguments, strict=True)):
        if not isinstance(x, np.ndarray):
            continue
        if isinstance(x, Words):
            if x[0]:  # the reference has computed the results
                return None
            continue
        number = written.get(address(x))
        if number is not None:
            if _end(x) != _end(arrays[number]):
                return None
            filled.append((place, number, 0))
        elif holders := _holders(x, inputs):
            if len(holders) > 1:
                return None
            (holder,) = holders
            number = used.setdefault(holder, len(used))
            read.append((place, number, address(x) - address(inputs[holder])))
        elif x is not other:  # made by the kernel; a copy of an input is found out below
            if x.dtype.kind != "f":  # a table of places in memory, perhaps: not to be filled
                return None
            scratch.append(place)
    if {number for _, number, _ in filled} != set(range(len(results))):
        return None
    given = [inputs[n] for n in used]
    job = KernelJob(runs[0], list(used), [_layout(x) for x in (*given, *results)])
    job.place(read + [(place, len(used) + n, offset) for place, n, offset in filled], scratch)
    if job.gives(given, results):
        return job
    function()  # it may write into what it reads, as the keys of a token
    return None
