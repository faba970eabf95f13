"""Batches of every kind of data, and what a loader refuses."""

import itertools
from collections import namedtuple

import numpy as np
import pytest
from nn_data import ItemSource, Loader, Pad, Source, Subset
from nn_data._random import ORDER, TRANSFORM, generator

Pair = namedtuple("Pair", "x y")
X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = np.arange(10)


def equal(first, second):
    """Return whether two batches have the same structure, types and values."""
    if isinstance(first, (tuple, list)):
        same = type(first) is type(second) and len(first) == len(second)
        return same and all(map(equal, first, second))
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[k], second[k]) for k in first)
    if isinstance(first, np.ndarray):
        return first.dtype == second.dtype and np.array_equal(first, second)
    return type(first) is type(second) and first == second


class Slow(ItemSource):
    """Samples that are read one by one."""

    def __len__(self):
        return 10

    def read(self, index):
        return X[index], int(Y[index])


class Columns(Source):
    def __len__(self):
        return 10

    def take(self, indices):
        return {"x": X[indices], "y": Y[indices]}


def mapped(tmp_path):
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


# What is given, and the batch of the samples 0, 1 and 2.
STRUCTURES = {
    "array": (lambda path: X, X[:3]),
    "integers": (lambda path: Y, Y[:3]),
    "tuple": (lambda path: (X, Y), (X[:3], Y[:3])),
    "one in a tuple": (lambda path: (X,), (X[:3],)),
    "named tuple": (lambda path: Pair(X, Y), Pair(X[:3], Y[:3])),
    "dict": (lambda path: {"x": X, "y": Y}, {"x": X[:3], "y": Y[:3]}),
    "nested": (lambda path: ((X, {"a": Y}), Y), ((X[:3], {"a": Y[:3]}), Y[:3])),
    "memory map": (lambda path: (mapped(path), Y), (X[:3], Y[:3])),
    "strings": (lambda path: np.array(list("abcdefghij")), np.array(list("abc"))),
    "times": (lambda path: Y.astype("M8[D]"), Y[:3].astype("M8[D]")),
    "fortran order": (lambda path: np.asfortranarray(X), X[:3]),
    "not contiguous": (lambda path: np.repeat(X, 2, axis=1)[:, ::2], X[:3]),
    "list of numbers": (lambda path: Y.tolist(), Y[:3]),
    "list of arrays": (lambda path: list(X), X[:3]),
    "list of tuples": (lambda path: list(zip(X, Y.tolist(), strict=True)), (X[:3], Y[:3])),
    "list of dicts": (
        lambda path: [{"x": x, "n": 1.5} for x in X],
        {"x": X[:3], "n": np.full(3, 1.5)},
    ),
    "list of strings": (lambda path: list("abcdefghij"), ["a", "b", "c"]),
    "list of lists": (lambda path: X.tolist(), X[:3].astype(np.float64)),
    "range": (lambda path: range(10), Y[:3]),
    "strings and labels": (lambda path: (list("abcdefghij"), Y), (["a", "b", "c"], Y[:3])),
    "source of batches": (lambda path: Columns(), {"x": X[:3], "y": Y[:3]}),
    "source of samples": (lambda path: Slow(), (X[:3], Y[:3])),
    "subset": (lambda path: Subset((X, Y), range(10)), (X[:3], Y[:3])),
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_batches_have_the_structure_of_the_data(name, tmp_path):
    make, first = STRUCTURES[name]
    loader = Loader(make(tmp_path), batch_size=3)
    assert equal(loader.peek(), first)
    batches = list(loader)
    assert len(batches) == len(loader) == 4
    assert equal(batches[0], first)
    if isinstance(first, np.ndarray):
        assert type(batches[0]) is np.ndarray


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_shuffled_epoch_has_the_same_samples(name, tmp_path):
    make, _ = STRUCTURES[name]
    numbered = Loader((make(tmp_path), Y), batch_size=3, shuffle=True)
    plain = Loader(make(tmp_path), batch_size=10).peek()
    for part, numbers in numbered:
        expected = _pick(plain, numbers)
        assert equal(part, expected)


def _pick(batch, numbers):
    if isinstance(batch, dict):
        return {key: _pick(part, numbers) for key, part in batch.items()}
    if isinstance(batch, tuple):
        parts = [_pick(part, numbers) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    return [batch[i] for i in numbers] if isinstance(batch, list) else batch[numbers]


def test_batches_in_order_are_read_only_views():
    x = X.copy()
    batch = next(iter(Loader(x, 3)))
    assert np.shares_memory(batch, x)
    with pytest.raises(ValueError, match="read-only"):
        batch[0] = 0
    assert x.flags.writeable


@pytest.mark.parametrize(
    "options", [{"shuffle": True}, {"sampler": [1, 0]}, {"batch_sampler": [[1]]}]
)
def test_other_batches_are_fresh(options):
    x = X.copy()
    loader = Loader(x, **options)
    first, second = next(iter(loader)), next(iter(loader))
    assert not np.shares_memory(first, x)
    assert not np.shares_memory(first, second)
    first[:] = -1
    assert np.array_equal(x, X)


def test_a_memory_map_is_not_read_at_once(tmp_path):
    np.save(tmp_path / "big.npy", np.zeros((1000, 10)))
    data = np.load(tmp_path / "big.npy", mmap_mode="r")
    batch = next(iter(Loader(data, 8)))
    assert np.shares_memory(batch, data)


def test_batch_size_is_32_by_default():
    assert [len(x) for x in Loader(np.arange(70))] == [32, 32, 6]


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ({"batch_size": 4}, [4, 4, 2]),
        ({"batch_size": 4, "drop_last": True}, [4, 4]),
        ({"batch_size": 10}, [10]),
        ({"batch_size": 99}, [10]),
        ({"batch_sampler": [[0], [1, 2]]}, [1, 2]),
        ({"sampler": [3, 3, 3], "batch_size": 2}, [2, 1]),
        ({"sampler": np.array([3, 3, 3]), "batch_size": 2, "drop_last": True}, [2]),
    ],
)
def test_sizes(options, sizes):
    loader = Loader(Y, **options)
    assert [len(batch) for batch in loader] == sizes
    assert len(loader) == len(sizes)


def test_each_loop_is_the_next_epoch():
    loader = Loader(np.arange(100), 10, shuffle=True, seed=3)
    epochs = []
    for number in range(3):
        assert loader.epoch == number
        epochs.append(np.concatenate(list(loader)))
    assert loader.epoch == 3
    assert len({epoch.tobytes() for epoch in epochs}) == 3
    again = Loader(np.arange(100), 10, shuffle=True, seed=3)
    assert np.array_equal(np.concatenate(list(again)), epochs[0])
    other = Loader(np.arange(100), 10, shuffle=True, seed=4)
    assert not np.array_equal(np.concatenate(list(other)), epochs[0])


def test_a_loop_that_is_left_is_an_epoch():
    loader = Loader(np.arange(100), 10, shuffle=True)
    reference = Loader(np.arange(100), 10, shuffle=True)
    first, second = list(reference), list(reference)
    for batch in loader:
        assert np.array_equal(batch, first[0])
        break
    assert loader.epoch == 0
    assert equal(list(loader), second)
    assert loader.epoch == 2


def test_two_loops_at_once_are_two_epochs():
    loader = Loader(np.arange(100), 10, shuffle=True)
    reference = Loader(np.arange(100), 10, shuffle=True)
    first, second = list(reference), list(reference)
    pairs = list(zip(loader, loader, strict=True))
    assert equal([a for a, _ in pairs], first)
    assert equal([b for _, b in pairs], second)


def test_the_batches_do_not_depend_on_the_size_of_the_data_type():
    orders = [
        np.concatenate(list(Loader(np.arange(50, dtype=dtype), 7, shuffle=True))).tolist()
        for dtype in ("i1", "i8", "f4")
    ]
    assert orders[0] == orders[1] == orders[2]


def test_positions_of_a_shuffle_are_uniform():
    """A chi-square test of where each of 10 samples stands in 4,000 epochs."""
    epochs = 4000
    loader = Loader(np.arange(10), 10, shuffle=True, seed=0)
    counts = np.zeros((10, 10))
    for _ in range(epochs):
        counts[np.arange(10), next(iter(loader))] += 1
    expected = epochs / 10
    statistic = ((counts - expected) ** 2 / expected).sum()
    # 81 degrees of freedom: the 0.1 % and 99.9 % quantiles.
    assert 46.5 < statistic < 126.1


def test_pairs_of_a_shuffle_are_uniform():
    """The sample that follows another one is any other, equally often."""
    epochs = 3000
    loader = Loader(np.arange(6), 6, shuffle=True, seed=1)
    counts = np.zeros((6, 6))
    for _ in range(epochs):
        order = next(iter(loader))
        counts[order[:-1], order[1:]] += 1
    counts = counts[~np.eye(6, dtype=bool)]
    expected = epochs * 5 / 30
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert 9.0 < statistic < 60  # about 29 degrees of freedom


def test_random_numbers_of_different_addresses_do_not_overlap():
    drawn = []
    for seed, purpose, epoch, index in itertools.product(
        range(2), (ORDER, TRANSFORM), range(3), range(3)
    ):
        bits = generator(seed, purpose, epoch, index).bit_generator.random_raw(500)
        drawn.extend(bits.tolist())
    assert len(set(drawn)) == len(drawn)


def test_neighboring_seeds_give_unrelated_orders():
    first = [next(iter(Loader(np.arange(1000), 1000, shuffle=True, seed=s))) for s in range(8)]
    correlations = np.corrcoef(first)[~np.eye(8, dtype=bool)]
    assert np.abs(correlations).max() < 0.15


class TestTransforms:
    def test_of_the_whole_batch(self):
        loader = Loader((X, Y), 5, transform=lambda batch: (batch[0] * 2, batch[1]))
        assert equal(loader.peek(), (X[:5] * 2, Y[:5]))

    def test_of_parts(self):
        loader = Loader((X, Y), 5, transform=(np.sqrt, None))
        assert equal(loader.peek(), (np.sqrt(X[:5]), Y[:5]))
        loader = Loader({"x": X, "y": Y}, 5, transform={"x": np.sqrt})
        assert equal(loader.peek(), {"x": np.sqrt(X[:5]), "y": Y[:5]})
        loader = Loader(Pair(X, Y), 5, transform=(np.sqrt, None))
        assert equal(loader.peek(), Pair(np.sqrt(X[:5]), Y[:5]))

    def test_in_turn(self):
        steps = [(np.sqrt, None), lambda batch: batch[0], [lambda x: x + 1, None]]
        assert equal(Loader((X, Y), 5, transform=steps).peek(), np.sqrt(X[:5]) + 1)

    def test_of_nested_parts(self):
        loader = Loader(((X, Y), Y), 5, transform=((None, [np.negative, np.square]), None))
        assert equal(loader.peek(), ((X[:5], Y[:5] ** 2), Y[:5]))

    def test_the_generator_is_that_of_the_batch(self):
        def noisy(x, rng):
            return x + rng.random(x.shape)

        first = [np.copy(x) for x in Loader(X, 4, transform=noisy)]
        again = [np.copy(x) for x in Loader(X, 4, transform=noisy)]
        assert equal(first, again)
        loader = Loader(X, 4, transform=noisy)
        epochs = [list(loader), list(loader)]
        assert not equal(epochs[0], epochs[1])
        noise = [batch - x for batch, x in zip(first, np.split(X, [4, 8]), strict=True)]
        assert not np.allclose(noise[0], noise[1])
        assert not equal(first, list(Loader(X, 4, transform=noisy, seed=1)))

    def test_an_option_called_rng_is_enough(self):
        class Noisy:
            def __call__(self, x, *, rng=None):
                return x + rng.random()

        assert not np.array_equal(Loader(X, transform=Noisy()).peek(), X)

    def test_drawing_does_not_change_the_order(self):
        plain = np.concatenate(list(Loader(Y, 3, shuffle=True)))
        noisy = Loader(
            (Y, Y), 3, shuffle=True, transform=(lambda y, rng: y + rng.random(len(y)), None)
        )
        assert np.array_equal(np.concatenate([y for _, y in noisy]), plain)


class TestConvert:
    def test_every_array(self):
        loader = Loader({"x": X, "y": (Y, list("abcdefghij"))}, 2, convert=np.ndarray.tolist)
        assert loader.peek() == {"x": X[:2].tolist(), "y": ([0, 1], ["a", "b"])}

    def test_of_parts(self):
        loader = Loader((X, Y), 2, convert=(np.ndarray.tolist, None))
        assert equal(loader.peek(), (X[:2].tolist(), Y[:2]))

    def test_padded_sequences(self):
        loader = Loader([[1], [2, 3]], 2, collate=Pad(), convert=np.ndarray.tolist)
        assert loader.peek() == ([[1, 0], [2, 3]], [[True, False], [True, True]])

    def test_comes_after_transforms(self):
        loader = Loader(X, 2, transform=np.sqrt, convert=np.ndarray.tolist)
        assert loader.peek() == np.sqrt(X[:2]).tolist()


OBJECTS = np.array([[1], [2, 3]], dtype=object)

# What is called, the error, and what its message says.
REFUSED = {
    "no samples": (lambda: Loader(X[:0]), ValueError, "no samples"),
    "no samples in a list": (lambda: Loader([]), ValueError, "no samples"),
    "lengths": (lambda: Loader((X, Y[:9])), ValueError, r"data\[0\] has 10, data\[1\] has 9"),
    "lengths by name": (
        lambda: Loader({"x": X, "y": Y[:9]}),
        ValueError,
        r"\['x'\] has 10, data\['y'\] has 9",
    ),
    "nested lengths": (lambda: Loader(((X, Y[:8]), Y)), ValueError, r"data\[0\]\[1\] has 8"),
    "objects": (lambda: Loader((X[:2], OBJECTS)), TypeError, r"data\[1\] is an object array"),
    "a mask": (lambda: Loader(np.ma.array(Y, mask=Y > 3)), TypeError, "masked array"),
    "a number": (lambda: Loader((X, 3)), TypeError, r"data\[1\]: expected arrays.*got int"),
    "no dimension": (lambda: Loader(np.array(3)), ValueError, "no dimension"),
    "an iterator": (lambda: Loader(iter(Y)), TypeError, "expected arrays"),
    "indices as batches": (
        lambda: Loader(Y, batch_sampler=[1, 2]),
        TypeError,
        "batch_sampler: expected a sequence of sequences",
    ),
    "a string": (lambda: Loader("text"), TypeError, "single str"),
    "nothing": (lambda: Loader(()), ValueError, "data is an empty tuple"),
    "batch size 0": (
        lambda: Loader(Y, 0),
        ValueError,
        "batch_size: expected an integer >= 1, got 0",
    ),
    "batch size": (lambda: Loader(Y, 2.0), TypeError, "batch_size"),
    "batch size True": (lambda: Loader(Y, True), TypeError, "batch_size"),
    "positional": (lambda: Loader(Y, 2, True), TypeError, "give shuffle=True by name"),
    "workers of PyTorch": (
        lambda: Loader(Y, num_workers=2),
        TypeError,
        "Loader has no argument num_workers: here it is workers$",
    ),
    "misspelled": (lambda: Loader([1], colate=list), TypeError, "did you mean collate"),
    "unknown": (lambda: Loader(Y, xyz=2), TypeError, "no argument xyz$"),
    "collate of PyTorch": (lambda: Loader([1], collate_fn=list), TypeError, "here it is collate$"),
    "pinned memory": (
        lambda: Loader(Y, pin_memory=True),
        TypeError,
        "no argument pin_memory: here it is convert",
    ),
    "shuffle": (lambda: Loader(Y, shuffle=1), TypeError, "shuffle"),
    "drop_last": (
        lambda: Loader(Y, 11, drop_last=True),
        ValueError,
        "drop_last leaves no batch of 10",
    ),
    "seed": (lambda: Loader(Y, seed=-1), ValueError, "seed"),
    "seed None": (lambda: Loader(Y, seed=None), TypeError, "seed"),
    "workers": (lambda: Loader(Y, workers=-1), ValueError, "workers"),
    "prefetch": (lambda: Loader(Y, prefetch=2), ValueError, "prefetch needs workers"),
    "prefetch 0": (lambda: Loader(Y, workers=1, prefetch=0), ValueError, "prefetch"),
    "collate": (lambda: Loader([1], collate=3), TypeError, "collate"),
    "collate of arrays": (lambda: Loader(Y, collate=Pad()), ValueError, "nothing in data"),
    "transform": (lambda: Loader(Y, transform=3), TypeError, "transform: expected a callable"),
    "transform of a part": (
        lambda: Loader((X, Y), transform=(None, 3)),
        TypeError,
        r"transform\[1\]",
    ),
    "transform in a list": (lambda: Loader(Y, transform=[None, 3]), TypeError, r"transform\[1\]"),
    "convert": (lambda: Loader(Y, convert=3), TypeError, "convert"),
    "sampler and shuffle": (
        lambda: Loader(Y, sampler=[1], shuffle=True),
        ValueError,
        "leave out shuffle",
    ),
    "batch sampler and more": (
        lambda: Loader(Y, 3, batch_sampler=[[1]], drop_last=True),
        ValueError,
        "leave out batch_size, drop_last",
    ),
    "sampler": (lambda: Loader(Y, sampler=3), TypeError, "sampler"),
    "sampler range": (
        lambda: Loader(Y, sampler=[1, 10]),
        IndexError,
        "index 10 at position 1 .* 10 samples",
    ),
    "sampler negative": (lambda: Loader(Y, sampler=[-1]), IndexError, "index -1"),
    "sampler floats": (lambda: Loader(Y, sampler=[0.5]), TypeError, "float64"),
    "sampler empty": (lambda: Loader(Y, sampler=[]), ValueError, "no indices"),
    "batch sampler range": (lambda: Loader(Y, batch_sampler=[[1], [99]]), IndexError, "index 99"),
    "batch sampler empty": (lambda: Loader(Y, batch_sampler=[]), ValueError, "no batches"),
    "empty batch": (lambda: Loader(Y, batch_sampler=[[1], []]), ValueError, "batch 1 is empty"),
    "shard": (lambda: Loader(Y, shard=3, uneven="drop"), TypeError, "shard"),
    "rank": (lambda: Loader(Y, shard=(2, 2), uneven="drop"), ValueError, "rank"),
    "no choice": (lambda: Loader(Y, shard=(0, 2)), ValueError, "'weight'.*'drop'.*'repeat'"),
    "choice": (lambda: Loader(Y, shard=(0, 2), uneven="pad"), ValueError, "uneven"),
    "choice alone": (lambda: Loader(Y, uneven="drop"), ValueError, "needs shard"),
    "too many ranks": (
        lambda: Loader(Y, 5, shard=(0, 3), uneven="drop"),
        ValueError,
        "leaves nothing",
    ),
    "weight twice": (
        lambda: Loader({"weight": Y}, shard=(0, 2), uneven="weight"),
        ValueError,
        "already",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_work_starts(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def drop_one(batch):
    return batch[0][1:], batch[1]


# What is iterated over, the error, and what its message says.
FAILS = {
    "other batch size": (
        lambda: Loader((X, Y), 5, transform=drop_one),
        ValueError,
        r"transform changed the batch size from 5 to 4 \(batch\[0\]\)",
    ),
    "other size of a part": (
        lambda: Loader((X, Y), 5, transform=[(None, lambda y: y[:2])]),
        ValueError,
        r"transform\[0\] changed the batch size from 5 to 2 \(batch\[1\]\)",
    ),
    "nothing returned": (lambda: Loader(X, transform=lambda x: None), ValueError, "returned None"),
    "other parts": (
        lambda: Loader(X, transform=(None, None)),
        ValueError,
        "a tuple of 2, the batch a ndarray",
    ),
    "other names": (
        lambda: Loader({"x": X}, transform={"z": np.sqrt}),
        ValueError,
        "'z', the batch is a dict of 'x'",
    ),
    "unequal samples": (lambda: Loader([[1], [2, 3]]), ValueError, r"\(1,\), \(2,\); collate=Pad"),
    "unlike samples": (lambda: Loader([{"a": 1}, {"b": 2}]), ValueError, "dict of a, dict of b"),
    "objects": (lambda: Loader([object(), object()]), TypeError, "type object"),
}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("name", FAILS)
def test_fails_with_the_samples_of_the_batch(name, workers):
    make, error, message = FAILS[name]
    loader = make()
    loader._workers, loader._ahead = workers, 2
    with pytest.raises(error, match=message) as caught:
        list(loader)
    assert "while loading batch 0 of epoch 0: samples 0, 1" in caught.value.__notes__[-1]


def test_what_a_source_raises_names_the_sample():
    class Broken(Slow):
        def read(self, index):
            if index == 7:
                raise OSError("disk on fire")
            return super().read(index)

    loader = Loader(Broken(), 4)
    batches = iter(loader)
    next(batches)
    with pytest.raises(OSError, match="disk on fire") as caught:
        next(batches)
    assert caught.value.__notes__ == [
        "while reading sample 7",
        "while loading batch 1 of epoch 0: samples 4, 5, 6, 7",
    ]


def test_a_long_list_of_samples_is_cut():
    loader = Loader(np.arange(1000), 500, transform=lambda x: None)
    with pytest.raises(ValueError, match="None") as caught:
        next(iter(loader))
    assert caught.value.__notes__[0].endswith("62, 63, ... 500 in all")


def test_repr():
    loader = Loader(Y, 4, shuffle=True, seed=3, shard=(1, 2), uneven="drop")
    text = "Loader(samples=10 order=shuffled batch_size=4 drop_last=False seed=3 rank=1/2)"
    assert repr(loader) == text
