"""Samplers, batches by length, and splits."""

import itertools

import numpy as np
import pytest
from nn_data import Balanced, BatchSampler, ByLength, Loader, Pad, Sampler, Subset, Weighted, split


def rng(seed=0):
    return np.random.default_rng(seed)


class TestByLength:
    LENGTHS = np.random.default_rng(0).geometric(0.05, 3000).clip(1, 120)

    @pytest.mark.parametrize("shuffle", [False, True])
    @pytest.mark.parametrize("max_samples", [None, 1, 7])
    @pytest.mark.parametrize("max_tokens", [120, 500, 4096, 10**9])
    def test_every_sample_once_within_the_limits(self, shuffle, max_samples, max_tokens):
        sampler = ByLength(self.LENGTHS, max_tokens, max_samples=max_samples, shuffle=shuffle)
        batches = sampler.batches(rng())
        assert sorted(np.concatenate(batches).tolist()) == list(range(3000))
        for batch in batches:
            assert self.LENGTHS[batch].max() * len(batch) <= max_tokens
            assert max_samples is None or len(batch) <= max_samples

    def test_batches_are_as_large_as_the_limits_allow(self):
        batches = ByLength(self.LENGTHS, 500, shuffle=False).batches(rng())
        longest = [self.LENGTHS[batch].max() for batch in batches]
        assert longest == sorted(longest)
        for batch, following in itertools.pairwise(batches):
            assert self.LENGTHS[following[0]] * (len(batch) + 1) > 500

    def test_less_padding_than_in_random_order(self):
        def padding(batches):
            real = self.LENGTHS.sum()
            padded = sum(self.LENGTHS[batch].max() * len(batch) for batch in batches)
            return 1 - real / padded

        order = rng().permutation(3000)
        assert padding(np.split(order, 100)) > 0.5
        assert padding(ByLength(self.LENGTHS, 1000).batches(rng())) < 0.1
        assert padding(ByLength(self.LENGTHS, 1000, shuffle=False).batches(rng())) < 0.05

    def test_epochs_differ_in_batches_and_their_order(self):
        sampler = ByLength(self.LENGTHS, 500)
        first, second = sampler.batches(rng(0)), sampler.batches(rng(1))
        members = [{frozenset(batch.tolist()) for batch in epoch} for epoch in (first, second)]
        assert len(members[0] & members[1]) < 0.2 * len(first)
        longest = [self.LENGTHS[batch].max() for batch in first]
        assert abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.3
        again = sampler.batches(rng(0))
        assert all(map(np.array_equal, first, again))

    def test_several_lengths(self):
        lengths = np.stack([self.LENGTHS, self.LENGTHS[::-1]], axis=1)
        batches = ByLength(lengths, 600).batches(rng())
        assert sorted(np.concatenate(batches).tolist()) == list(range(3000))
        for batch in batches:
            assert (lengths[batch].max(axis=0) * len(batch)).max() <= 600

    def test_empty_sequences_take_a_row(self):
        batches = ByLength([0, 0, 0, 3], 3, shuffle=False).batches(rng())
        assert [batch.tolist() for batch in batches] == [[0, 1, 2], [3]]

    def test_in_a_loader_with_padding(self):
        samples = [np.arange(length) for length in self.LENGTHS[:200]]
        sampler = ByLength(self.LENGTHS[:200], 300)
        loader = Loader(samples, batch_sampler=sampler, collate=Pad())
        total = 0
        for values, mask in loader:
            assert values.size <= 300
            total += mask.sum()
        assert total == self.LENGTHS[:200].sum()
        assert loader.epoch == 1

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (
                lambda: ByLength([5, 11, 3], 10),
                ValueError,
                "sample 1 has 11 tokens, max_tokens is 10",
            ),
            (lambda: ByLength([5, -1], 10), ValueError, "sample 1 has the length -1"),
            (lambda: ByLength([5.0], 10), TypeError, "float64"),
            (lambda: ByLength([], 10), TypeError, "lengths"),
            (lambda: ByLength([5], 0), ValueError, "max_tokens"),
            (lambda: ByLength([5], 10, max_samples=0), ValueError, "max_samples"),
            (lambda: ByLength([5], 10, 3), TypeError, "give max_samples=3"),
            (
                lambda: Loader(np.arange(5), batch_sampler=ByLength([1, 2], 10)),
                ValueError,
                "is for 2 samples, data has 5",
            ),
        ],
    )
    def test_refused(self, call, error, message):
        with pytest.raises(error, match=message):
            call()

    def test_pairs_have_little_padding_on_both_sides(self):
        draw = np.random.default_rng(0)
        first = np.rint(draw.gamma(9, 1.5, 20_000)).astype(int) + 1
        lengths = np.stack([first, np.maximum(first + draw.integers(-5, 6, 20_000), 1)], axis=1)
        for shuffle in (False, True):
            batches = ByLength(lengths, 1000, shuffle=shuffle).batches(rng())
            padded = sum(len(batch) * lengths[batch].max(axis=0) for batch in batches)
            filled = lengths.sum(axis=0) / padded
            assert filled.min() > 0.9, filled


def chi_square(counts, expected):
    return ((counts - expected) ** 2 / expected).sum()


class TestWeighted:
    WEIGHTS = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 0.0])

    def test_with_replacement(self):
        drawn = Weighted(self.WEIGHTS, num_samples=50_000).indices(rng())
        counts = np.bincount(drawn, minlength=6)
        assert counts[0] == counts[5] == 0
        assert chi_square(counts[1:5], 5000 * self.WEIGHTS[1:5]) < 16.3  # 3 degrees, 99.9 %

    def test_without_replacement(self):
        sampler = Weighted(self.WEIGHTS, num_samples=2, replacement=False)
        generator = rng()
        first = np.zeros(6)
        for _ in range(10_000):
            drawn = sampler.indices(generator)
            assert len(set(drawn.tolist())) == 2
            first[drawn[0]] += 1
        assert first[0] == first[5] == 0
        assert chi_square(first[1:5], 1000 * self.WEIGHTS[1:5]) < 16.3

    def test_as_many_as_weights(self):
        loader = Loader(np.arange(6), 4, sampler=Weighted(self.WEIGHTS))
        assert [len(batch) for batch in loader] == [4, 2]

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: Weighted([]), "weights"),
            (lambda: Weighted([[1.0]]), r"\(1, 1\)"),
            (lambda: Weighted([1.0, -1.0]), "finite numbers >= 0"),
            (lambda: Weighted([0.0]), "positive"),
            (lambda: Weighted([np.nan]), "finite"),
            (lambda: Weighted(["1.0"]), "weights: expected numbers, got <U3"),
            (lambda: Weighted([1.0], num_samples=0), "num_samples"),
            (lambda: Weighted([1.0, 0.0], num_samples=2, replacement=False), "only 1 of 2"),
            (lambda: Loader(np.arange(5), sampler=Weighted([1.0])), "is for 1 samples, data has 5"),
        ],
    )
    def test_refused(self, call, message):
        with pytest.raises((TypeError, ValueError), match=message):
            call()


class TestBalanced:
    @pytest.mark.parametrize("labels", [[0] * 90 + [1] * 9 + [7], list("a" * 90 + "b" * 9 + "c")])
    def test_classes_are_equally_frequent(self, labels):
        labels = np.array(labels)
        sampler = Balanced(labels, num_samples=300)
        drawn = sampler.indices(rng())
        names, counts = np.unique(labels[drawn], return_counts=True)
        assert len(names) == 3
        assert counts.tolist() == [100, 100, 100]
        often = np.bincount(drawn, minlength=100)
        for name in names:
            members = often[labels == name]
            assert members.max() - members.min() <= 1

    def test_what_does_not_divide(self):
        sampler = Balanced([0, 0, 1, 2, 2, 2, 2])
        assert sampler.num_samples == 7
        labels = np.array([0, 0, 1, 2, 2, 2, 2])
        totals = np.zeros(3)
        for seed in range(300):
            counts = np.bincount(labels[sampler.indices(rng(seed))], minlength=3)
            assert sorted(counts.tolist()) == [2, 2, 3]
            totals += counts
        assert np.abs(totals - 700).max() < 40

    def test_fewer_samples_than_classes(self):
        assert len(Balanced(np.arange(5), num_samples=2).indices(rng())) == 2

    def test_refused(self):
        for labels in ([], [[1]]):
            with pytest.raises(ValueError, match="labels"):
                Balanced(labels)
        with pytest.raises(TypeError, match="labels: expected labels of one kind"):
            Balanced([None, 1])


class TestOwnSamplers:
    def test_order(self):
        class Backwards(Sampler):
            def indices(self, rng):
                return np.arange(4, -1, -1)

        assert np.concatenate(list(Loader(np.arange(5), 2, sampler=Backwards()))).tolist() == [
            4,
            3,
            2,
            1,
            0,
        ]

    def test_the_generator_depends_on_seed_and_epoch(self):
        class One(Sampler):
            def indices(self, rng):
                return rng.integers(0, 1000, 1)

        def drawn(seed):
            loader = Loader(np.arange(1000), sampler=One(), seed=seed)
            return [int(next(iter(loader))[0]) for _ in range(3)]

        assert drawn(0) == drawn(0) != drawn(1)
        assert len(set(drawn(0))) == 3

    def test_out_of_range_in_a_later_epoch(self):
        class Growing(BatchSampler):
            epoch = 0

            def batches(self, rng):
                self.epoch += 1
                return [[0], [self.epoch]]

        loader = Loader(np.arange(2), batch_sampler=Growing())
        assert len(list(loader)) == 2
        with pytest.raises(IndexError, match="index 2 at position 1 is out of range for 2 samples"):
            list(loader)


class TestSplit:
    @pytest.mark.parametrize("n", [2, 3, 10, 101, 1000])
    @pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.8, 0.2), (0.7, 0.2, 0.1), (1 / 3,) * 3])
    @pytest.mark.parametrize("stratified", [False, True])
    def test_parts_are_the_data(self, n, fractions, stratified):
        if n < 2 * len(fractions):
            return
        labels = np.arange(n) % 3 if stratified else None
        parts = split(np.arange(n), fractions, stratify=labels, seed=1)
        assert sorted(i for part in parts for i in part[:].tolist()) == list(range(n))
        for part, fraction in zip(parts, fractions, strict=True):
            assert abs(len(part) - fraction * n) < 1 + 1e-9
            assert np.array_equal(part.indices, np.sort(part.indices))

    def test_classes_are_divided_evenly(self):
        labels = np.array(["a"] * 500 + ["b"] * 50 + ["c"] * 7)
        for fractions in ((0.8, 0.2), (0.6, 0.3, 0.1)):
            parts = split(labels, fractions, stratify=labels)
            for name, count in (("a", 500), ("b", 50), ("c", 7)):
                found = [int((part[:] == name).sum()) for part in parts]
                assert sum(found) == count
                assert all(abs(f - count * s) < 1 for f, s in zip(found, fractions, strict=True))

    def test_many_small_classes_still_give_the_sizes(self):
        labels = np.repeat(np.arange(200), 3)
        train, test = split(np.arange(600), (0.8, 0.2), stratify=labels)
        assert (len(train), len(test)) == (480, 120)

    def test_the_seed_decides(self):
        one, same, other = (split(np.arange(100), (0.5, 0.5), seed=s)[0][:] for s in (0, 0, 1))
        assert np.array_equal(one, same)
        assert not np.array_equal(one, other)

    def test_parts_of_all_kinds_of_data(self):
        x, texts = np.arange(10.0), list("abcdefghij")
        train, test = split({"x": x, "text": texts}, (0.7, 0.3))
        batch = test[:]
        assert [ord(c) - 97 for c in batch["text"]] == batch["x"].tolist()
        assert isinstance(train, Subset)
        assert np.shares_memory(train.data[:]["x"], x)

    def test_positions_are_random(self):
        counts = np.zeros(10)
        for seed in range(2000):
            counts[split(np.arange(10), (0.5, 0.5), seed=seed)[0].indices] += 1
        assert np.abs(counts - 1000).max() < 80

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda: split(np.arange(5), (0.5, 0.4)), "add up to 1"),
            (lambda: split(np.arange(5), ()), "add up to 1"),
            (lambda: split(np.arange(5), (1.5, -0.5)), "fractions"),
            (lambda: split(np.arange(2), (0.9, 0.1)), r"parts of \[2, 0\], one is empty"),
            (lambda: split(np.arange(5), (0.5, 0.5), stratify=np.arange(4)), "each of 5 samples"),
            (lambda: split(np.arange(5), (0.5, 0.5), seed=-1), "seed"),
            (lambda: split(np.arange(5), 0.8), "fractions: expected one for each part, got 0.8"),
            (
                lambda: split(np.arange(2), (0.5, 0.5), stratify=[None, 1]),
                "stratify: expected labels of one kind",
            ),
        ],
    )
    def test_refused(self, call, message):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
