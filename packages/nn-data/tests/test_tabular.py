"""Preprocessing of tables."""

import pickle

import numpy as np
import pytest
from nn_data import Loader
from nn_data.tabular import ColumnTransformer, Fitted, Impute, OneHot, Standardize

RNG = np.random.default_rng(0)
X = RNG.normal(5, 3, (200, 3))
NAN = np.where(RNG.random((200, 3)) < 0.2, np.nan, X)


class TestStandardize:
    @pytest.mark.parametrize("shape", [(200,), (200, 3), (200, 2, 4)])
    def test_mean_and_deviation(self, shape):
        x = np.random.default_rng(1).normal(100, 7, shape)
        z = Standardize().fit(x)(x)
        assert z.dtype == np.float32
        assert z.shape == shape
        np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(z.std(axis=0), 1, atol=1e-5)

    def test_missing_values(self):
        standardize = Standardize().fit(NAN)
        np.testing.assert_allclose(standardize.mean, np.nanmean(NAN, axis=0))
        np.testing.assert_array_equal(np.isnan(standardize(NAN)), np.isnan(NAN))

    def test_constant_and_missing_features(self):
        x = np.array([[0.1, np.nan, 7], [0.1, np.nan, 8], [0.1, np.nan, 9]])
        z = Standardize().fit(x)(x)
        assert z[:, 0].tolist() == [0, 0, 0]
        assert np.isnan(z[:, 1]).all()

    def test_inverse(self):
        standardize = Standardize().fit(X)
        np.testing.assert_allclose(standardize.inverse(standardize(X)), X, rtol=1e-5, atol=1e-5)

    def test_large_values_keep_their_differences(self):
        x = 1e8 + np.arange(10.0)
        np.testing.assert_allclose(Standardize().fit(x)(x).std(), 1, rtol=1e-6)

    def test_batches_are_as_the_whole(self):
        standardize = Standardize().fit(X)
        batches = list(Loader(X, 7, transform=standardize))
        np.testing.assert_array_equal(np.concatenate(batches), standardize(X))


IMPUTED = {
    "mean": (Impute(), [1.0, np.nan, 4.0], [1, 2.5, 4]),
    "median": (Impute("median"), [1.0, np.nan, 2.0, 9.0], [1, 2, 2, 9]),
    "most frequent": (Impute("most_frequent"), [3.0, 3.0, np.nan, 1.0], [3, 3, 3, 1]),
    "most frequent, tie": (Impute("most_frequent"), [3.0, np.nan, 1.0], [3, 1, 1]),
    "constant": (Impute("constant", value=-1), [np.nan, 2.0], [-1, 2]),
    "columns": (Impute(), [[1.0, np.nan], [3.0, 5.0]], [[1, 5], [3, 5]]),
    "strings": (Impute("most_frequent"), ["a", "", "b", "b"], ["a", "b", "b", "b"]),
    "longer string": (Impute("constant", value="unknown"), ["a", ""], ["a", "unknown"]),
    "integers": (Impute(), [1, 2], [1, 2]),
}


@pytest.mark.parametrize("name", IMPUTED)
def test_impute(name):
    impute, x, expected = IMPUTED[name]
    x = np.array(x)
    before = x.copy()
    found = impute.fit(x)(x)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(x, before)
    if x.dtype.kind != "U":
        assert found.dtype == x.dtype


class TestOneHot:
    def test_strings_and_numbers(self):
        for values in (["b", "a", "c", "a"], [5, -2, 9, -2], [1.5, 0.5, 2.5, 0.5], [True, False]):
            x = np.array(values)
            one_hot = OneHot().fit(x)
            known, places = np.unique(x, return_inverse=True)
            np.testing.assert_array_equal(one_hot(x), np.eye(len(known))[places])
            assert one_hot(x).dtype == np.float32

    def test_several_features(self):
        x = np.array([["a", "x"], ["b", "y"], ["a", "z"]])
        assert OneHot().fit(x)(x).tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 1, 0], [1, 0, 0, 0, 1]]

    def test_unknown_categories(self):
        with pytest.raises(
            ValueError, match="feature 0 has the unknown category 'd'; known are 'a', 'b'"
        ):
            OneHot().fit(["b", "a"])(["d"])
        assert OneHot(unknown="ignore").fit(["b", "a"])(["d", "a"]).tolist() == [[0, 0], [1, 0]]
        assert OneHot(unknown="ignore").fit([1, 2])([0, 9]).tolist() == [[0, 0], [0, 0]]

    def test_a_category_that_is_longer_than_those_known(self):
        assert OneHot(unknown="ignore").fit(["a"])(["ab", "a"]).tolist() == [[0], [1]]


TABLE = {
    "age": np.array([30.0, np.nan, 50.0, 40.0]),
    "city": np.array(["Rome", "", "Oslo", "Rome"]),
    "size": np.array([1, 2, 3, 4]),
    "unused": np.array(["x"] * 4),
}


def transformer():
    return ColumnTransformer(
        {
            "size": None,
            "city": [Impute("most_frequent"), OneHot()],
            "age": [Impute("median"), Standardize()],
        }
    )


class TestColumnTransformer:
    def test_columns_side_by_side(self):
        found = transformer().fit(TABLE)(TABLE)
        age = Standardize().fit([30.0, 40, 50, 40])([30.0, 40, 50, 40])
        expected = np.column_stack([[1, 2, 3, 4], [0, 0, 1, 0], [1, 1, 0, 1], age])
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def test_in_a_loader(self):
        features = transformer().fit(TABLE)
        loader = Loader((TABLE, np.arange(4)), 2, transform=(features, None), shuffle=True)
        for x, index in loader:
            np.testing.assert_array_equal(x, features(TABLE)[index])

    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_data_frames(self, library):
        module = pytest.importorskip(library, reason=f"{library} is not installed")
        frame = module.DataFrame(TABLE)
        features = transformer().fit(frame)
        np.testing.assert_array_equal(features(frame), transformer().fit(TABLE)(TABLE))
        batches = list(Loader(frame, 3, transform=features))
        np.testing.assert_array_equal(np.concatenate(batches), features(TABLE))

    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_parts_of_data_frames(self, library):
        module = pytest.importorskip(library, reason=f"{library} is not installed")
        frame = module.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0], "c": ["x", "y"]})
        numbers = Standardize().fit(frame[["a", "b"]])
        assert numbers(frame[["a", "b"]]).tolist() == [[-1, -1], [1, 1]]
        assert OneHot().fit(frame["c"])(frame["c"]).tolist() == [[1, 0], [0, 1]]
        with pytest.raises(TypeError, match="numbers and strings"):
            OneHot().fit(frame)


FITTED = {
    "standardize": (lambda: Standardize(), X, X + 1),
    "standardize a column": (lambda: Standardize(), X[:, 0], X[:, 1]),
    "impute": (lambda: Impute(), NAN, NAN),
    "impute strings": (lambda: Impute("most_frequent"), np.array(["ä", "", "ä"]), np.array([""])),
    "one-hot": (lambda: OneHot(), np.array(["ä", "b", ""]), np.array(["b"])),
    "one-hot numbers": (lambda: OneHot(), np.arange(12).reshape(6, 2) % 4, np.array([[0, 1]])),
    "columns": (transformer, TABLE, TABLE),
}


@pytest.mark.parametrize("name", FITTED)
def test_a_state_gives_the_same_results(name):
    make, train, test = FITTED[name]
    fitted = make().fit(train)
    state = fitted.state_dict()
    assert all(
        isinstance(value, np.ndarray) and value.dtype.kind in "biuf" for value in state.values()
    )
    fresh = make()
    fresh.load_state_dict(pickle.loads(pickle.dumps(state)))
    np.testing.assert_array_equal(fresh(test), fitted(test))
    for value in state.values():
        value[...] = 0
    np.testing.assert_array_equal(fresh(test), fitted(test))


@pytest.mark.parametrize("name", FITTED)
def test_a_wrong_state_changes_nothing(name):
    make, train, test = FITTED[name]
    fitted = make().fit(train)
    expected = fitted(test)
    state = fitted.state_dict()
    some = next(iter(state))
    for wrong in ({}, {k: v for k, v in state.items() if k != some}, state | {"more": np.zeros(2)}):
        with pytest.raises(ValueError, match=r"missing|unexpected"):
            fitted.load_state_dict(wrong)
        np.testing.assert_array_equal(fitted(test), expected)


@pytest.mark.parametrize("name", [n for n in FITTED if n != "columns"])
def test_before_fit(name):
    make, train, _ = FITTED[name]
    for call in (lambda: make()(train), lambda: make().state_dict()):
        with pytest.raises(RuntimeError, match=r"call fit\(\)"):
            call()


@pytest.mark.parametrize(
    ("transform", "settings"),
    [
        (Standardize(), {}),
        (Impute(), {"strategy": "mean"}),
        (Impute("constant", value=0), {"strategy": "constant", "value": 0}),
        (OneHot(unknown="ignore"), {"unknown": "ignore"}),
    ],
)
def test_settings_build_another(transform, settings):
    assert transform.settings() == settings
    assert repr(type(transform)(**settings)) == repr(transform)


def test_settings_of_a_column_transformer_hold_its_transforms():
    mine = transformer()
    settings = mine.settings()
    assert repr(ColumnTransformer(**settings)) == repr(mine)
    with pytest.raises(TypeError, match="columns: expected strings as names, got 3"):
        ColumnTransformer({3: None}).settings()


OBJECTS = np.array([1, "a"], dtype=object)
REFUSED = {
    "no samples": (lambda: Standardize().fit(X[:0]), ValueError, "no samples"),
    "features": (
        lambda: Standardize().fit(X)(X[:, :2]),
        ValueError,
        r"shape \(2,\), fitted were \(3,\)",
    ),
    "infinite": (lambda: Standardize().fit([1.0, np.inf]), ValueError, "infinite values"),
    "no columns": (
        lambda: ColumnTransformer({}),
        TypeError,
        "columns: expected transforms by name",
    ),
    "a list": (lambda: ColumnTransformer([Standardize()]), TypeError, "columns: expected"),
    "unequal columns": (
        lambda: ColumnTransformer({"a": None, "b": None})({"a": np.ones(3), "b": np.ones(2)}),
        ValueError,
        "column 'b' has 2 values, the first one 3",
    ),
    "strings": (lambda: Standardize().fit(["a"]), TypeError, "expected numbers, got <U1"),
    "objects": (lambda: Standardize().fit(OBJECTS), TypeError, "object array"),
    "a value": (lambda: Standardize().fit(3.0), ValueError, "single value"),
    "inverse": (lambda: Standardize().fit(X).inverse(X[:, :1]), ValueError, "fitted were"),
    "state": (
        lambda: Standardize().load_state_dict({"mean": np.zeros(2), "std": np.zeros(2)}),
        ValueError,
        "not a mean and a standard deviation",
    ),
    "strategy": (lambda: Impute("mode"), ValueError, "strategy"),
    "value": (lambda: Impute("mean", value=3), ValueError, "value"),
    "no value": (lambda: Impute("constant"), ValueError, "value"),
    "mean of strings": (lambda: Impute().fit(["a"]), TypeError, "needs numbers"),
    "all missing": (lambda: Impute().fit([[1.0, np.nan]]), ValueError, "feature 1 are missing"),
    "other kind": (lambda: Impute("most_frequent").fit(["a"])([1.0]), TypeError, "fitted to"),
    "missing category": (lambda: OneHot().fit([1.0, np.nan]), ValueError, "use Impute"),
    "other category": (lambda: OneHot().fit([1])(["a"]), TypeError, "feature 0 was int64"),
    "3-D": (lambda: OneHot().fit(np.zeros((2, 2, 2))), TypeError, r"\(n, k\)"),
    "unknown": (lambda: OneHot(unknown="zeros"), ValueError, "unknown"),
    "not a transform": (lambda: ColumnTransformer({"a": [np.sqrt]}), TypeError, r"columns\['a'\]"),
    "no column": (lambda: transformer().fit({"size": [1]}), ValueError, "no column 'city'"),
    "not a table": (lambda: transformer().fit(X), TypeError, "columns by name"),
    "strings left": (lambda: ColumnTransformer({"city": None})(TABLE), TypeError, "use OneHot"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_fitted_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Fitted()


def test_repr():
    assert repr(Impute("constant", value=3)) == "Impute('constant', value=3)"
    assert repr(Standardize().fit(X)) == "Standardize([3])"
    assert (
        repr(ColumnTransformer({"a": OneHot()}))
        == "ColumnTransformer({'a': [OneHot(unknown='error')]})"
    )
