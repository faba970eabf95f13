"""What data may be, and parts of it."""

import tracemalloc
from typing import ClassVar

import numpy as np
import pytest
from nn_data import Concat, Loader, Pad, Padded, Source, Subset, stack

X = np.arange(30.0).reshape(10, 3)
Y = np.arange(10)


class Stored:
    """An array in a file, such as h5py's: only increasing indices, each once."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        if not isinstance(key, slice):
            assert (np.diff(key) > 0).all()
        return self.array[key].copy()


class OnDevice:
    """An array of another library, which DLPack could pass on: any indices."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __dlpack__(self):
        raise AssertionError("must not be called")

    def __getitem__(self, key):
        return OnDevice(self.array[key])


STRIDED = {
    "a column": lambda table: table[:, 0],
    "columns": lambda table: table[:, 1:],
    "every other row": lambda table: table[::2],
    "backwards": lambda table: table[::-1],
    "Fortran order": np.asfortranarray,
    "windows": lambda table: np.lib.stride_tricks.sliding_window_view(table[:, 0].copy(), 50),
    "a field": lambda table: np.zeros(len(table), [("a", "u1"), ("x", "f8", 3)])["x"],
}


@pytest.mark.parametrize("name", STRIDED)
def test_a_batch_of_a_strided_array_copies_no_more_than_the_batch(name):
    """`numpy.take` makes a contiguous copy of the whole array first."""
    data = STRIDED[name](np.random.default_rng(0).random((20_000, 10)))
    for batch in Loader(data, 8, sampler=range(99, 107)):
        np.testing.assert_array_equal(batch, data[99:107])
        assert batch.flags.c_contiguous
        assert batch.flags.writeable
        assert not np.shares_memory(batch, data)
    loader = Loader(data, 8, shuffle=True)
    iterator = iter(loader)
    next(iterator)
    tracemalloc.start()
    next(iterator)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000


class TestForeignArrays:
    def test_stored_in_a_file(self):
        loader = Loader((Stored(X), Y), 4, shuffle=True)
        for x, y in loader:
            assert np.array_equal(x, X[y])
        assert np.array_equal(Loader(Stored(X), 4).peek(), X[:4])
        repeated = Loader(Stored(X), sampler=[3, 1, 3])
        assert np.array_equal(repeated.peek(), X[[3, 1, 3]])

    def test_of_a_device(self):
        loader = Loader((OnDevice(X), Y), 4, shuffle=True)
        for x, y in loader:
            assert isinstance(x, OnDevice)
            assert np.array_equal(x.array, X[y])

    def test_no_dimension(self):
        with pytest.raises(ValueError, match="no dimension"):
            Loader(Stored(np.array(1)))

    def test_tensors_of_torch(self):
        torch = pytest.importorskip("torch")
        loader = Loader((torch.tensor(X), Y), 4, shuffle=True)
        for x, y in loader:
            assert isinstance(x, torch.Tensor)
            assert np.array_equal(x.numpy(), X[y])

    def test_the_same_batches_as_the_loader_of_torch(self):
        torch = pytest.importorskip("torch")
        order = np.random.default_rng(0).permutation(10).tolist()
        theirs = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y)), 4, sampler=order
        )
        ours = Loader((X, Y), 4, sampler=order, convert=torch.from_numpy)
        for (a, b), (c, d) in zip(ours, theirs, strict=True):
            assert torch.equal(a, c)
            assert torch.equal(b, d)


class TestSubset:
    def test_samples_in_the_given_order(self):
        subset = Subset((X, Y), [7, 1, 1])
        assert len(subset) == 3
        assert subset[:][1].tolist() == [7, 1, 1]
        assert [y.tolist() for _, y in Loader(subset, 2)] == [[7, 1], [1]]

    def test_of_a_subset(self):
        assert Subset(Subset(Y, [7, 1, 3]), [2, 0])[:].tolist() == [3, 7]

    def test_bools(self):
        assert Subset(Y, Y % 2 == 1)[:].tolist() == [1, 3, 5, 7, 9]

    def test_collate_reaches_the_sequence(self):
        subset = Subset(([[1], [2, 3], [4]], [5, 6, 7]), [2, 1])
        values, numbers = Loader(subset, collate=Pad()).peek()
        assert values.values.tolist() == [[4, 0], [2, 3]]
        assert numbers.tolist() == [7, 6]

    def test_indexing(self):
        subset = Subset((X, Y), [5, 6, 7, 8])
        x, y = subset[1]
        assert np.array_equal(x, X[6])
        assert y == 6
        assert subset[-1][1] == 8
        assert subset[1:3][1].tolist() == [6, 7]
        assert subset[::-2][1].tolist() == [8, 6]
        assert subset[[0, 3]][1].tolist() == [5, 8]
        assert subset[np.array([True, False, False, True])][1].tolist() == [5, 8]
        assert subset[5:][1].tolist() == []
        for key in (4, -5, [0, 9]):
            with pytest.raises(IndexError, match="out of range for 4 samples"):
                subset[key]

    @pytest.mark.parametrize(
        ("indices", "error", "message"),
        [
            ([10], IndexError, "index 10 at position 0 is out of range for 10 samples"),
            ([0, -1], IndexError, "index -1 at position 1"),
            ([True], IndexError, "1 bools for 10 samples"),
            ([0.5], TypeError, "float64"),
            ([[1]], TypeError, r"\(1, 1\)"),
        ],
    )
    def test_refused(self, indices, error, message):
        with pytest.raises(error, match=message):
            Subset(Y, indices)


class TestConcat:
    def test_samples_of_all(self):
        whole = Concat((X[:3], Y[:3]), (X[3:4], Y[3:4]), (X[4:], Y[4:]))
        assert len(whole) == 10
        for x, y in Loader(whole, 4, shuffle=True):
            assert np.array_equal(x, X[y])
        assert whole[2:6][1].tolist() == [2, 3, 4, 5]
        assert whole[-1][1] == 9

    def test_of_other_structures(self):
        texts = Concat({"text": ["a", "b"]}, {"text": ["c"]})
        assert Loader(texts, sampler=[2, 0]).peek() == {"text": ["c", "a"]}

    def test_collate_reaches_the_sequences(self):
        values, mask = Loader(Concat([[1]], [[2, 3]]), 1, collate=Pad()).peek()
        assert values.tolist() == [[1]]
        assert mask.tolist() == [[True]]

    def test_empty_parts(self):
        assert Concat(Y[:0], Y[:2], Y[:0], Y[2:])[:].tolist() == Y.tolist()

    def test_refused(self):
        with pytest.raises(ValueError, match="at least one"):
            Concat()
        with pytest.raises(TypeError, match=r"parts\[1\]"):
            Concat(Y, 3)

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            ((X, Y), r"\(3,\), \(\)|\(\), \(3,\)"),
            (((X, Y), X), r"\(3,\), tuple of 2"),
            (((X, Y), (X,)), "tuple of 1, tuple of 2"),
            (({"x": X}, {"y": X}), "dict of x, dict of y"),
            (((X, Y), (X, X)), r"\(\), \(3,\)"),
        ],
    )
    def test_samples_that_do_not_fit_together(self, parts, message):
        whole = Concat(*parts)
        with pytest.raises(ValueError, match=f"Concat: .* different shapes: ({message})"):
            Loader(whole, sampler=[1, 12]).peek()


class Short(Source):
    """A source that leaves out a sample."""

    def __len__(self):
        return 10

    def take(self, indices):
        return {"x": X[indices], "y": Y[indices][1:]}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "data", [Short(), (Y, Short()), {"a": Short()}, Subset(Short(), range(9)), Concat(Short(), [])]
)
def test_a_source_that_returns_another_number_of_samples(data, workers):
    with pytest.raises(ValueError, match=r"take changed the batch size from 4 to 3 \(batch") as e:
        list(Loader(data, 4, workers=workers))
    assert "samples 0, 1, 2, 3" in e.value.__notes__[-1]


def test_a_source_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Source()


def test_a_lazy_frame_is_refused_without_a_warning():
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"expected arrays.*got LazyFrame"):
        Loader(polars.DataFrame({"a": [1]}).lazy())


def test_padding_refuses_what_is_not_there():
    with pytest.raises(ValueError, match="Pad: there are no samples"):
        Pad()([])
    with pytest.raises(ValueError, match="value: None is not a value of int64"):
        Pad(None)([[1, 2], [3]])


def ragged(*lengths, dtype=int):
    return [np.arange(1, n + 1, dtype=dtype) for n in lengths]


# The pad, the samples, the values and the mask (None: its lengths are those of the samples).
PADDED = {
    "right": (Pad(), ragged(2, 0, 3), [[1, 2, 0], [0, 0, 0], [1, 2, 3]]),
    "left": (Pad(side="left"), ragged(2, 0, 3), [[0, 1, 2], [0, 0, 0], [1, 2, 3]]),
    "value": (Pad(-1), ragged(1, 2), [[1, -1], [1, 2]]),
    "multiple": (Pad(multiple=4), ragged(1, 3), [[1, 0, 0, 0], [1, 2, 3, 0]]),
    "equal": (Pad(), ragged(2, 2), [[1, 2], [1, 2]]),
    "all empty": (Pad(), ragged(0, 0), np.zeros((2, 0))),
    "lists": (Pad(), [[1, 2], []], [[1, 2], [0, 0]]),
    "rows": (Pad(), [np.ones((1, 2)), np.ones((2, 2))], [[[1, 1], [0, 0]], [[1, 1], [1, 1]]]),
    "floats": (Pad(0.5), ragged(1, 2, dtype=np.float32), [[1, 0.5], [1, 2]]),
    "rounded": (Pad(0.1), ragged(1, 2, dtype=np.float32), np.float32([[1, 0.1], [1, 2]])),
    "nan": (Pad(np.nan), ragged(1, 2, dtype=np.float32), [[1, np.nan], [1, 2]]),
}


class TestPad:
    @pytest.mark.parametrize("name", PADDED)
    def test_values_and_mask(self, name):
        pad, samples, expected = PADDED[name]
        values, mask = pad(samples)
        np.testing.assert_array_equal(values, expected)
        assert mask.dtype == np.bool_
        assert mask.shape == values.shape[:2]
        assert mask.sum(axis=1).tolist() == [len(sample) for sample in samples]
        kept = [row[real].tolist() for row, real in zip(values, mask, strict=True)]
        assert kept == [np.asarray(sample).tolist() for sample in samples]

    @pytest.mark.parametrize("dtype", ["i4", "i8", "f4", "u1", "bool"])
    def test_the_dtype_stays(self, dtype):
        values, _ = Pad()([np.ones(2, dtype), np.ones(1, dtype)])
        assert values.dtype == dtype

    def test_parts_of_samples(self):
        samples = [([1, 2], 5, "a"), ([3], 6, "b")]
        padded, labels, names = Pad()(samples)
        assert isinstance(padded, Padded)
        assert padded.values.tolist() == [[1, 2], [3, 0]]
        assert (labels.tolist(), names) == ([5, 6], ["a", "b"])
        batch = Pad()([{"x": [1], "y": 1.5}, {"x": [2, 3], "y": 2.5}])
        assert batch["x"].mask.tolist() == [[True, False], [True, True]]
        assert batch["y"].tolist() == [1.5, 2.5]

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: Pad(side="both"), ValueError, "side"),
            (lambda: Pad(multiple=0), ValueError, "multiple"),
            (lambda: Pad(0, "left"), TypeError, "give side='left'"),
            (lambda: Pad()([np.ones((1, 2)), np.ones((1, 3))]), ValueError, r"\(1, 2\), \(1, 3\)"),
            (lambda: Pad()([np.ones(1), np.float64(3)]), ValueError, "more than their lengths"),
            (lambda: Pad(0.5)(ragged(1, 2)), ValueError, "0.5 is not a value of int64"),
            (
                lambda: Pad(-1)(ragged(1, 2, dtype=np.uint8)),
                ValueError,
                "-1 is not a value of uint8",
            ),
            (lambda: Pad()([(1,), (1, 2)]), ValueError, "tuple of 1, tuple of 2"),
            (lambda: Pad()([(1,), 2]), ValueError, "tuple of 1, int"),
        ],
    )
    def test_refused(self, call, error, message):
        with pytest.raises(error, match=message):
            call()


def test_stack_of_numbers_of_several_kinds():
    assert stack([1, 2.5]).dtype == np.float64
    assert stack([True, False]).dtype == np.bool_
    assert stack([np.float32(1), np.float32(2)]).dtype == np.float32
    assert stack([b"a", b"b"]) == [b"a", b"b"]
    with pytest.raises(ValueError, match="cannot be an array"):
        stack([[[1], [2, 3]]])


class TestDataFrames:
    @pytest.fixture(params=["pandas", "polars"])
    def library(self, request):
        return pytest.importorskip(request.param, reason=f"{request.param} is not installed")

    COLUMNS: ClassVar = {
        "i": [3, 1, 2],
        "f": [0.5, np.nan, 1.5],
        "s": ["red", "green", "blue"],
        "b": [True, False, True],
    }

    def test_a_batch_is_a_dict_of_columns(self, library):
        loader = Loader(library.DataFrame(self.COLUMNS), 2)
        batch = loader.peek()
        assert list(batch) == list(self.COLUMNS)
        kinds = {name: array.dtype.kind for name, array in batch.items()}
        assert kinds == {"i": "i", "f": "f", "s": "U", "b": "b"}
        for name, array in batch.items():
            np.testing.assert_array_equal(array, self.COLUMNS[name][:2])

    def test_shuffled_rows_stay_together(self, library):
        frame = library.DataFrame({"a": np.arange(50), "b": np.arange(50) * 2.0})
        for batch in Loader(frame, 8, shuffle=True):
            np.testing.assert_array_equal(batch["a"] * 2.0, batch["b"])

    def test_series_and_tuples(self, library):
        frame = library.DataFrame(self.COLUMNS)
        x, y = Loader((frame, frame["i"])).peek()
        assert y.tolist() == [3, 1, 2]
        assert x["i"].tolist() == [3, 1, 2]

    def test_positions_count_and_not_labels(self):
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        frame = pandas.DataFrame({"a": [1, 2, 3]}, index=[7, 8, 9])
        assert Loader(frame, sampler=[2, 0]).peek()["a"].tolist() == [3, 1]

    def test_missing_values(self, library):
        frame = library.DataFrame({"n": [1, None, 3], "s": ["a", None, "c"], "e": [None] * 3})
        batch = Loader(frame).peek()
        np.testing.assert_array_equal(batch["n"], [1, np.nan, 3])
        assert batch["s"].tolist() == ["a", "", "c"]
        assert np.isnan(batch["e"]).all()

    def test_kinds_of_pandas(self):
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        frame = pandas.DataFrame(
            {
                "nullable": pandas.array([1, None, 3], dtype="Int64"),
                "category": pandas.Categorical(["x", "y", "x"]),
                "time": pandas.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]),
                "bool": pandas.array([True, None, False], dtype="boolean"),
            }
        )
        batch = Loader(frame).peek()
        np.testing.assert_array_equal(batch["nullable"], [1, np.nan, 3])
        assert batch["category"].tolist() == ["x", "y", "x"]
        assert batch["time"].dtype.kind == "M"
        np.testing.assert_array_equal(batch["bool"], [1, np.nan, 0])

    def test_kinds_of_polars(self):
        polars = pytest.importorskip("polars", reason="polars is not installed")
        frame = polars.DataFrame(
            {
                "category": polars.Series(["x", "y", "x"], dtype=polars.Categorical),
                "bool": [True, None, False],
                "small": polars.Series([1, 2, 3], dtype=polars.Int8),
            }
        )
        batch = Loader(frame).peek()
        assert batch["category"].tolist() == ["x", "y", "x"]
        np.testing.assert_array_equal(batch["bool"], [1, np.nan, 0])
        assert batch["small"].dtype == np.int8

    def test_objects_are_refused_by_column(self):
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        frame = pandas.DataFrame({"a": [1, 2], "b": [[1], [2, 3]]})
        with pytest.raises(TypeError, match=r"data\['b'\] holds objects \(list\)"):
            Loader(frame)
        mixed = pandas.DataFrame({"a": pandas.Series([1, "x"], dtype=object)})
        with pytest.raises(TypeError, match="int, str"):
            Loader(mixed)

    def test_columns_of_one_name_are_refused(self):
        pandas = pytest.importorskip("pandas", reason="pandas is not installed")
        frame = pandas.DataFrame([[1, 2]], columns=["a", "a"])
        with pytest.raises(ValueError, match="several columns called a"):
            Loader(frame)

    def test_empty(self, library):
        with pytest.raises(ValueError, match="no columns"):
            Loader(library.DataFrame())

    def test_the_data_is_not_changed(self, library):
        frame = library.DataFrame({"a": np.arange(4.0)})
        batch = Loader(frame).peek()
        with pytest.raises(ValueError, match="read-only"):
            batch["a"][0] = 7
