"""An epoch is exactly the data, whatever the workers and ranks, and however often it is resumed."""

import itertools
import json

import numpy as np
import pytest
from nn_data import Balanced, ByLength, Concat, Loader, Sampler, Subset, Weighted

LENGTHS = (1, 2, 5, 12, 13)
SIZES = (1, 2, 4, 5, 20)
RANKS = (1, 2, 3, 5)


def noisy(batch, rng):
    x, index = batch
    return x + rng.random((len(x), 1)), index


def make(n, size, **options):
    x = np.arange(2 * n, dtype=np.float64).reshape(n, 2)
    return Loader((x, np.arange(n)), size, transform=noisy, seed=7, **options)


def copies(batches):
    return [tuple(np.copy(part) for part in batch) for batch in batches]


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert a.dtype == b.dtype
            assert np.array_equal(a, b)


def indices(batches):
    return [i for batch in batches for i in batch[1].tolist()]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_epochs_threads_and_ranks(n, size, drop_last, shuffle):
    options = {"drop_last": drop_last, "shuffle": shuffle}
    if drop_last and n < size:
        with pytest.raises(ValueError, match="no batch"):
            make(n, size, **options)
        return
    loader = make(n, size, **options)
    epochs = [copies(loader) for _ in range(2)]
    kept = n - n % size if drop_last else n
    for epoch in epochs:
        seen = indices(epoch)
        assert len(seen) == kept
        assert len(set(seen)) == kept
        if not shuffle:
            assert seen == list(range(kept))
        assert {len(batch[1]) for batch in epoch[:-1]} <= {size}

    for workers in (1, 4):
        threaded = make(n, size, workers=workers, **options)
        for epoch in epochs:
            assert_equal(copies(threaded), epoch)

    for ranks, workers in itertools.product(RANKS, (0, 2)):
        check_ranks(n, size, ranks, epochs, workers=workers, **options)


def check_ranks(n, size, ranks, epochs, **options):
    whole = len(epochs[0])

    def shards(uneven):
        return [make(n, size, shard=(r, ranks), uneven=uneven, **options) for r in range(ranks)]

    def rounds(loaders):
        lengths = {len(loader) for loader in loaders}
        assert len(lengths) == 1
        per_rank = [copies(loader) for loader in loaders]
        assert {len(batches) for batches in per_rank} == lengths
        return [batch for step in zip(*per_rank, strict=True) for batch in step]

    weighted, repeating = shards("weight"), shards("repeat")
    dropping = shards("drop") if whole >= ranks else None
    for epoch in epochs:
        padded = [epoch[k % whole] for k in range(-(-whole // ranks) * ranks)]
        assert_equal(rounds(repeating), padded)
        found = rounds(weighted)
        weights = [batch[2] for batch in found]
        assert_equal([batch[:2] for batch in found], padded)
        counts = [len(batch[1]) for batch in epoch]
        assert [int(w) for w in weights] == counts + [0] * (len(padded) - whole)
        if dropping is not None:
            assert_equal(rounds(dropping), epoch[: whole - whole % ranks])


SAMPLERS = {
    "in order": lambda: {"batch_size": 4},
    "shuffled": lambda: {"batch_size": 4, "shuffle": True},
    "drop_last": lambda: {"batch_size": 4, "shuffle": True, "drop_last": True},
    "weighted": lambda: {"batch_size": 4, "sampler": Weighted(np.arange(1, 14))},
    "balanced": lambda: {"batch_size": 4, "sampler": Balanced(np.arange(13) % 3)},
    "by length": lambda: {"batch_sampler": ByLength(np.arange(3, 16), max_tokens=31)},
    "list": lambda: {"batch_size": 4, "sampler": [3, 1, 4, 1, 5, 9, 2, 6, 5]},
    "list of batches": lambda: {"batch_sampler": [[3], [1, 4], [1, 5, 9], [2, 6]]},
}


def loader_of(name, **options):
    arguments = SAMPLERS[name]()
    size = arguments.pop("batch_size", None)
    return make(13, size, **arguments, **options)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("workers", [1, 4])
def test_samplers_are_the_same_for_all_workers(name, workers):
    one, other = loader_of(name), loader_of(name, workers=workers)
    for _ in range(3):
        assert_equal(copies(one), copies(other))


@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("name", SAMPLERS)
def test_resuming_after_each_batch_twice_changes_nothing(name, workers):
    reference = loader_of(name)
    epochs = [copies(reference) for _ in range(3)]
    count = len(epochs[1])

    def run(loader, steps):
        """Take so many batches of an epoch, return them and the state as JSON keeps it."""
        taken = []
        for batch in loader if steps else ():
            taken.append(tuple(np.copy(part) for part in batch))
            if len(taken) == steps:
                break
        return taken, json.loads(json.dumps(loader.state_dict()))

    for first in range(count + 1):
        for second in range(count - first + 1):
            loader = loader_of(name, workers=workers)
            list(loader)
            head, state = run(loader, first)
            middle_loader = loader_of(name, workers=workers)
            middle_loader.load_state_dict(state)
            assert middle_loader.epoch == 1
            middle, state = run(middle_loader, second)
            last = loader_of(name, workers=workers)
            last.load_state_dict(state)
            tail = copies(last)
            assert_equal(head + middle + tail, epochs[1])
            assert last.epoch == 2
            assert_equal(copies(last), epochs[2])


def test_a_state_within_the_loop_counts_the_batches_handed_out():
    loader = make(10, 3, workers=2)
    states = []
    for _ in loader:
        states.append(loader.state_dict())
    assert [(s["epoch"], s["batch"]) for s in states] == [(0, 1), (0, 2), (0, 3), (0, 4)]
    state = loader.state_dict()
    assert (state["epoch"], state["batch"]) == (1, 0)
    assert all(type(state[key]) is int for key in ("seed", "epoch", "batch"))
    assert type(state["fingerprint"]) is str


def test_the_same_loader_goes_back():
    loader = make(10, 3, shuffle=True)
    state = loader.state_dict()
    first = copies(loader)
    list(loader)
    loader.load_state_dict(state)
    assert_equal(copies(loader), first)


def test_an_older_loop_does_not_change_where_a_resumed_loader_is():
    loader = make(10, 3, shuffle=True)
    state = loader.state_dict()
    old = iter(loader)
    next(old)
    loader.load_state_dict(state)
    next(old)
    assert loader.state_dict() == state


@pytest.mark.parametrize("uneven", ["weight", "drop", "repeat"])
def test_ranks_may_change_between_two_steps(uneven):
    whole = copies(make(24, 2, shuffle=True))
    two = [make(24, 2, shuffle=True, shard=(r, 2), uneven=uneven) for r in range(2)]
    loops = [iter(loader) for loader in two]
    found = [next(loop) for _ in range(3) for loop in loops]
    states = [loader.state_dict() for loader in two]
    assert states[0] == states[1]
    assert states[0]["batch"] == 6
    three = [make(24, 2, shuffle=True, shard=(r, 3), uneven=uneven) for r in range(3)]
    for loader in three:
        loader.load_state_dict(states[0])
    found += [batch for step in zip(*three, strict=True) for batch in step]
    assert_equal([batch[:2] for batch in copies(found)], whole)
    five = make(24, 2, shuffle=True, shard=(0, 5), uneven=uneven)
    with pytest.raises(ValueError, match="batch 6 is not the start of a step of 5 ranks"):
        five.load_state_dict(states[0])


def test_the_end_of_an_epoch_is_the_same_for_all_numbers_of_ranks():
    loader = make(10, 3, shard=(0, 3), uneven="weight")
    states = [loader.state_dict() for _ in loader]
    assert states[-1]["batch"] == 4
    alone = make(10, 3)
    alone.load_state_dict(states[-1])
    assert list(alone) == []
    assert alone.epoch == 1


Y = np.arange(20)
X = np.arange(40.0).reshape(20, 2)


class Odd(Sampler):
    def indices(self, rng):
        return np.arange(1, 20, 2)


class Even(Sampler):
    def indices(self, rng):
        return np.arange(0, 20, 2)


OTHERS = {
    "seed": lambda: Loader((X, Y), 4, shuffle=True, seed=1),
    "length": lambda: Loader((X[:19], Y[:19]), 4, shuffle=True),
    "batch size": lambda: Loader((X, Y), 5, shuffle=True),
    "drop_last": lambda: Loader((X, Y), 4, shuffle=True, drop_last=True),
    "order": lambda: Loader((X, Y), 4),
    "sampler": lambda: Loader((X, Y), 4, sampler=Weighted(np.ones(20))),
    "dtype": lambda: Loader((X.astype(np.float32), Y), 4, shuffle=True),
    "shape": lambda: Loader((X[:, :1], Y), 4, shuffle=True),
    "labels": lambda: Loader((X, Y[::-1]), 4, shuffle=True),
    "structure": lambda: Loader({"x": X, "y": Y}, 4, shuffle=True),
    "subset": lambda: Loader(Subset((X, Y), range(20)), 4, shuffle=True),
    "concatenated": lambda: Loader(Concat((X[:10], Y[:10]), (X[10:], Y[10:])), 4, shuffle=True),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_other_data_is_refused(name):
    loader = Loader((X, Y), 4, shuffle=True)
    for _ in zip(range(2), loader, strict=False):
        pass
    before = loader.state_dict()
    state = OTHERS[name]().state_dict()
    with pytest.raises(ValueError, match=r"^state: it"):
        loader.load_state_dict(state)
    assert loader.state_dict() == before


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"sampler": Odd()}, {"sampler": Even()}),
        ({"sampler": Weighted(np.arange(20))}, {"sampler": Weighted(np.arange(20)[::-1])}),
        ({"sampler": Balanced(Y % 2)}, {"sampler": Balanced(Y % 3)}),
        ({"sampler": [1, 2]}, {"sampler": [2, 1]}),
        ({"batch_sampler": [[1, 2]]}, {"batch_sampler": [[1], [2]]}),
        (
            {"batch_sampler": ByLength(Y, max_tokens=30)},
            {"batch_sampler": ByLength(Y, max_tokens=31, shuffle=False)},
        ),
    ],
)
def test_a_state_of_another_sampler_is_refused(one, other):
    state = Loader(Y, **one).state_dict()
    Loader(Y, **one).load_state_dict(state)
    with pytest.raises(ValueError, match="another order"):
        Loader(Y, **other).load_state_dict(state)


def test_subsets_with_other_samples_are_other_data():
    state = Loader(Subset(X, [1, 2, 3])).state_dict()
    with pytest.raises(ValueError, match="other data"):
        Loader(Subset(X, [1, 2, 4])).load_state_dict(state)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"epoch": -1}, ValueError),
        ({"batch": 6}, ValueError),
        ({"batch": 1.0}, TypeError),
        ({"seed": "0"}, TypeError),
        ({"fingerprint": None}, ValueError),
        ({"more": 1}, TypeError),
    ],
)
def test_a_damaged_state_is_refused(change, error):
    loader = Loader(Y, 4)
    state = loader.state_dict()
    with pytest.raises(error, match=r"state|seed"):
        loader.load_state_dict(state | change)
    with pytest.raises(TypeError, match="state"):
        loader.load_state_dict({})
    assert loader.state_dict() == state


def test_the_last_bits_of_floating_data_do_not_matter():
    state = Loader((X, Y), 4).state_dict()
    Loader((X * (1 + 1e-15), Y), 4).load_state_dict(state)


def test_a_large_seed_and_epoch():
    seed = 2**64 - 1
    loader = Loader(Y, 4, shuffle=True, seed=seed)
    state = loader.state_dict() | {"epoch": 2**40}
    loader.load_state_dict(state)
    assert sorted(np.concatenate(list(loader)).tolist()) == Y.tolist()
    with pytest.raises(ValueError, match="seed"):
        Loader(Y, seed=seed + 1)


def test_strings_of_any_length_are_compared_by_their_dtype_alone():
    names = np.array(["a" * 40, "b"], dtype=np.dtypes.StringDType())
    state = Loader(names, 1).state_dict()
    Loader(names.copy(), 1).load_state_dict(state)
    fixed = np.array(["a" * 40, "b"])
    state = Loader(fixed, 1).state_dict()
    with pytest.raises(ValueError, match="other data"):
        Loader(fixed[::-1], 1).load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("shard", [None, (1, 2)])
def test_the_indices_of_the_last_batch(workers: int, shard: tuple[int, int] | None) -> None:
    data = np.arange(100, 123)
    uneven = None if shard is None else "repeat"
    loader = Loader(data, 4, shuffle=True, seed=5, workers=workers, shard=shard, uneven=uneven)
    with pytest.raises(ValueError, match="no batch of the current epoch"):
        loader.last_indices()
    for _ in range(2):
        for batch in loader:
            np.testing.assert_array_equal(data[loader.last_indices()], batch)
