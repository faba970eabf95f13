"""Transforms against plain loops and Pillow, for parameters that are given."""

import math

import numpy as np
import pytest
from nn_data import Loader
from nn_data.transforms import (
    ColorJitter,
    Compose,
    CutMix,
    Cutout,
    GaussianNoise,
    MixUp,
    Normalize,
    RandomAffine,
    RandomApply,
    RandomCrop,
    RandomFlip,
    Transform,
    per_sample,
)

H, W, N = 7, 9, 16


def images(layout, dtype="u1", channels=3, seed=0):
    """Return random images of the layout."""
    sizes = {"n": N, "c": channels, "h": H, "w": W}
    shape = [sizes[axis] for axis in layout]
    values = np.random.default_rng(seed).integers(0, 256, shape)
    return values.astype(dtype) if np.dtype(dtype).kind == "u" else (values / 255).astype(dtype)


def planes(x, layout):
    """Return a view (n, h, w, c) of images."""
    return x[..., None] if layout == "nhw" else np.moveaxis(x, layout.index("c"), -1)


# What a plain loop makes of one image (h, w, c), with the parameters of its sample.


def crop(image, t, p):
    widths = [(t.padding, t.padding)] * 2 + [(0, 0)]
    extra = {"constant_values": t.value} if t.padding_mode == "constant" else {}
    padded = np.pad(image, widths, t.padding_mode, **extra)
    rows, columns = range(t.size[0]), range(t.size[1])
    return np.array([[padded[p["top"] + r, p["left"] + c] for c in columns] for r in rows])


def flip(image, t, p):
    if not p["flip"]:
        return image
    return image[:, ::-1] if t.direction == "horizontal" else image[::-1]


def cutout(image, t, p):
    out = image.copy()
    for row in range(p["top"], p["top"] + t.size[0]):
        for column in range(p["left"], p["left"] + t.size[1]):
            if 0 <= row < H and 0 <= column < W:
                out[row, column] = t.value
    return out


def rounded(values, dtype):
    return np.clip(np.rint(values), 0, 255).astype(dtype) if dtype.kind == "u" else values


def jitter(image, t, p):
    x = image.astype(np.float64)
    gray = x @ [0.299, 0.587, 0.114] if x.shape[-1] == 3 else x.mean(axis=-1)
    brighter, mean = x * p["brightness"], gray.mean() * p["brightness"]
    return rounded(mean + p["contrast"] * (brighter - mean), image.dtype)


def noise(image, t, p):
    values = np.asarray(p["noise"]).reshape(image.shape) * p["sigma"]
    return rounded(image + values, image.dtype)


def affine(image, t, p):
    out = np.empty(image.shape)
    angle = math.radians(p["angle"])
    for row in range(H):
        for column in range(W):
            down = (row + 0.5 - H / 2 - p["shift_y"]) / p["scale"]
            right = (column + 0.5 - W / 2 - p["shift_x"]) / p["scale"]
            y = math.cos(angle) * down - math.sin(angle) * right + H / 2
            x = math.sin(angle) * down + math.cos(angle) * right + W / 2
            if not (0 <= y < H and 0 <= x < W):
                out[row, column] = t.value
                continue
            top, left = math.floor(y - 0.5), math.floor(x - 0.5)
            fy, fx = y - 0.5 - top, x - 0.5 - left

            def at(r, c):
                return image[min(max(r, 0), H - 1), min(max(c, 0), W - 1)].astype(float)

            upper = at(top, left) * (1 - fx) + at(top, left + 1) * fx
            lower = at(top + 1, left) * (1 - fx) + at(top + 1, left + 1) * fx
            out[row, column] = upper * (1 - fy) + lower * fy
    return rounded(out, image.dtype)


CASES = {
    "crop": (RandomCrop((5, 6)), crop),
    "crop, padded": (RandomCrop((7, 9), padding=3, value=7), crop),
    "crop, edge": (RandomCrop(7, padding=2, padding_mode="edge"), crop),
    "crop, reflect": (RandomCrop((8, 4), padding=2, padding_mode="reflect"), crop),
    "crop, whole": (RandomCrop((7, 9)), crop),
    "flip": (RandomFlip(), flip),
    "flip, vertical": (RandomFlip(0.3, direction="vertical"), flip),
    "flip, never": (RandomFlip(0), flip),
    "cutout": (Cutout(4, value=3), cutout),
    "cutout, large": (Cutout((20, 3)), cutout),
    "brightness": (ColorJitter(brightness=0.5), jitter),
    "contrast": (ColorJitter(contrast=(0.2, 3.0)), jitter),
    "brightness and contrast": (ColorJitter(brightness=0.4, contrast=0.4), jitter),
    "noise": (GaussianNoise(0.3), noise),
    "noise, drawn": (GaussianNoise((0.1, 20.0)), noise),
    "rotation": (RandomAffine(degrees=180, value=5), affine),
    "shift": (RandomAffine(translate=(0.5, 0.2)), affine),
    "scale": (RandomAffine(scale=(0.4, 2.5)), affine),
    "affine": (RandomAffine(degrees=(-30, 30), translate=0.1, scale=0.2, value=0.5), affine),
    "identity": (RandomAffine(), affine),
}


def in_layout(transform, layout):
    return Compose(transform, layout=layout).transforms[0]


@pytest.mark.parametrize("dtype", ["u1", "f4", "f8"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc", "nhw"])
@pytest.mark.parametrize("name", CASES)
def test_against_a_plain_loop(name, layout, dtype):
    transform, loop = CASES[name]
    transform = in_layout(transform, layout)
    x = images(layout, dtype)
    before = x.copy()
    x.flags.writeable = False
    params = transform.draw(np.random.default_rng(5), x.shape)
    found = transform(x, params=params)
    assert found.dtype == x.dtype
    assert np.array_equal(x, before)
    assert not np.shares_memory(found, x)
    assert np.array_equal(found, transform(x, np.random.default_rng(5)))

    def of_sample(i):
        return {k: planes(v, layout)[i] if k == "noise" else v[i] for k, v in params.items()}

    expected = np.stack(
        [loop(image, transform, of_sample(i)) for i, image in enumerate(planes(x, layout))]
    )
    # Bytes may differ by one where a value is between two of them but for rounding.
    tolerance = {"u1": 1.0, "f4": 2e-5, "f8": 1e-12 if "noise" not in name else 1e-6}[dtype]
    difference = np.abs(planes(found, layout).astype(float) - expected)
    assert difference.max() <= tolerance
    if dtype == "u1":
        assert (difference > 0).mean() < 0.002


@pytest.mark.parametrize("name", CASES)
def test_not_contiguous_and_empty(name):
    transform, _ = CASES[name]
    x = images("nchw")
    params = transform.draw(np.random.default_rng(1), x.shape)
    strided = np.repeat(x, 2, axis=3)[..., ::2]
    assert np.array_equal(transform(strided, params=params), transform(x, params=params))
    empty = transform(x[:0], np.random.default_rng(0))
    assert empty.shape == (0, *transform(x, params=params).shape[1:])


@pytest.mark.parametrize("name", CASES)
def test_samples_have_parameters_of_their_own(name):
    transform, _ = CASES[name]
    x = np.repeat(images("nchw")[:1], N, axis=0)
    found = transform(x, np.random.default_rng(2))
    if name in ("identity", "flip, never", "crop, whole"):
        assert np.array_equal(found, x[..., : found.shape[-1]])
    else:
        assert len({image.tobytes() for image in found}) > 1
    # The parameters of a sample decide its image: alone it is the same.
    params = transform.draw(np.random.default_rng(2), x.shape)
    alone = transform(x[3:4], params={key: value[3:4] for key, value in params.items()})
    assert np.array_equal(alone[0], found[3])


def test_identity_is_exact():
    for dtype in ("u1", "f4", "f8"):
        x = images("nchw", dtype)
        assert np.array_equal(RandomAffine()(x, np.random.default_rng(0)), x)
        assert np.array_equal(ColorJitter()(x, np.random.default_rng(0)), x)


def test_a_quarter_turn_is_exact():
    x = images("nchw")[..., :H]
    one = np.ones(N)
    params = {"angle": 90 * one, "shift_y": 0 * one, "shift_x": 0 * one, "scale": one}
    assert np.array_equal(RandomAffine()(x, params=params), np.rot90(x, -1, axes=(2, 3)))


class TestPillow:
    """The same results as Pillow's for the same parameters, to one step of a byte."""

    @pytest.fixture
    def pillow(self):
        return pytest.importorskip("PIL.Image", reason="Pillow is not installed")

    def compare(self, pillow, transform, params, function, share=0.01):
        x = images("nhwc", seed=3)
        found = in_layout(transform, "nhwc")(x, params=params)
        for i in range(N):
            expected = np.asarray(function(pillow.fromarray(x[i]), i)).astype(int)
            difference = np.abs(found[i].astype(int) - expected)
            assert difference.max() <= 1
            assert (difference > 0).mean() <= share

    def test_crop(self, pillow):
        params = {"top": np.arange(N) % 3, "left": np.arange(N) % 4}

        def cropped(image, i):
            left, top = params["left"][i], params["top"][i]
            return image.crop((left, top, left + 6, top + 5))

        self.compare(pillow, RandomCrop((5, 6)), params, cropped, 0)

    def test_padded_crop(self, pillow):
        from PIL import ImageOps

        params = {"top": np.arange(N) % 5, "left": np.arange(N) % 4}

        def cropped(image, i):
            left, top = params["left"][i], params["top"][i]
            return ImageOps.expand(image, 2).crop((left, top, left + W, top + H))

        self.compare(pillow, RandomCrop((H, W), padding=2), params, cropped, 0)

    def test_flip(self, pillow):
        from PIL import ImageOps

        params = {"flip": np.arange(N) % 2 == 0}
        for direction, function in (("horizontal", ImageOps.mirror), ("vertical", ImageOps.flip)):

            def flipped(image, i, function=function):
                return function(image) if params["flip"][i] else image

            self.compare(pillow, RandomFlip(direction=direction), params, flipped, 0)

    def test_affine(self, pillow):
        rng = np.random.default_rng(0)
        params = RandomAffine(degrees=180, translate=0.3, scale=0.5).draw(rng, (N, 3, H, W))

        def moved(image, i):
            angle, scale = math.radians(params["angle"][i]), params["scale"][i]
            a, b = math.cos(angle) / scale, math.sin(angle) / scale
            right, down = W / 2 + params["shift_x"][i], H / 2 + params["shift_y"][i]
            data = (a, b, W / 2 - a * right - b * down, -b, a, H / 2 + b * right - a * down)
            transform, resample = pillow.Transform.AFFINE, pillow.Resampling.BILINEAR
            return image.transform((W, H), transform, data, resample, fillcolor=(9, 9, 9))

        # Pillow rounds down what we round to the nearest.
        self.compare(pillow, RandomAffine(value=9), params, moved, 0.6)

    def test_brightness(self, pillow):
        from PIL import ImageEnhance

        factors = np.linspace(0, 2, N)
        params = {"brightness": factors, "contrast": np.ones(N)}
        self.compare(
            pillow,
            ColorJitter(),
            params,
            lambda x, i: ImageEnhance.Brightness(x).enhance(factors[i]),
            0.6,
        )

    def test_contrast(self, pillow):
        from PIL import ImageEnhance

        factors = np.linspace(0, 2, N)
        params = {"brightness": np.ones(N), "contrast": factors}
        self.compare(
            pillow,
            ColorJitter(),
            params,
            lambda x, i: ImageEnhance.Contrast(x).enhance(factors[i]),
            0.6,
        )


class TestDrawing:
    """What is drawn has the distribution that the documentation says."""

    SHAPE = (20_000, 3, H, W)

    def test_crop(self):
        params = RandomCrop(6, padding=1).draw(np.random.default_rng(0), self.SHAPE)
        for name, room in (("top", 3), ("left", 5)):
            counts = np.bincount(params[name], minlength=room + 1)
            assert len(counts) == room + 1
            assert np.abs(counts - 20_000 / (room + 1)).max() < 400

    def test_flip(self):
        share = RandomFlip(0.3).draw(np.random.default_rng(0), self.SHAPE)["flip"].mean()
        assert abs(share - 0.3) < 0.015

    def test_cutout(self):
        params = Cutout(4).draw(np.random.default_rng(0), self.SHAPE)
        assert (params["top"].min(), params["top"].max()) == (-2, H - 3)
        assert (params["left"].min(), params["left"].max()) == (-2, W - 3)

    @pytest.mark.parametrize(
        ("transform", "limits"),
        [
            (
                ColorJitter(brightness=0.2, contrast=(0.5, 3)),
                {"brightness": (0.8, 1.2), "contrast": (0.5, 3)},
            ),
            (ColorJitter(brightness=2), {"brightness": (0, 3)}),
            (
                RandomAffine(degrees=10, translate=(0.5, 0.1), scale=0.3),
                {
                    "angle": (-10, 10),
                    "shift_y": (-3.5, 3.5),
                    "shift_x": (-0.9, 0.9),
                    "scale": (0.7, 1.3),
                },
            ),
            (GaussianNoise((1, 2)), {"sigma": (1, 2)}),
        ],
    )
    def test_ranges(self, transform, limits):
        params = transform.draw(np.random.default_rng(0), self.SHAPE)
        for name, (low, high) in limits.items():
            values, width = params[name], high - low
            assert low <= values.min() < low + 0.01 * width
            assert high - 0.01 * width < values.max() <= high
            assert abs(values.mean() - (low + high) / 2) < 0.02 * width

    def test_noise(self):
        values = GaussianNoise(0.5)(np.zeros((100, 1000)), np.random.default_rng(0))
        assert abs(values.mean()) < 0.01
        assert abs(values.std() - 0.5) < 0.01


class TestMix:
    X = np.random.default_rng(0).random((6, 1, 8, 8))
    Y = np.array([0, 1, 2, 0, 1, 2])

    @pytest.mark.parametrize("soft", [False, True])
    def test_mixup_against_a_plain_loop(self, soft):
        mix = MixUp(3, alpha=0.4)
        params = mix.draw(np.random.default_rng(0), self.X.shape)
        one_hot = np.eye(3)[self.Y]
        x, y = mix((self.X, one_hot if soft else self.Y), params=params)
        for i, (share, j) in enumerate(zip(params["lambda"], params["partner"], strict=True)):
            np.testing.assert_allclose(
                x[i], share * self.X[i] + (1 - share) * self.X[j], rtol=1e-12
            )
            np.testing.assert_allclose(
                y[i], share * one_hot[i] + (1 - share) * one_hot[j], atol=1e-6
            )
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.sum(axis=1), 1, atol=1e-6)

    @pytest.mark.parametrize("layout", ["nchw", "nhwc", "nhw"])
    def test_cutmix_against_a_plain_loop(self, layout):
        images = {"nchw": self.X, "nhwc": np.moveaxis(self.X, 1, -1), "nhw": self.X[:, 0]}[layout]
        mix = CutMix(3, layout=layout)
        params = mix.draw(np.random.default_rng(0), images.shape)
        x, y = mix((images, self.Y), params=params)
        flat = self.X[:, 0]
        for i in range(6):
            expected, j = flat[i].copy(), params["partner"][i]
            box = [int(params[name][i]) for name in ("top", "bottom", "left", "right")]
            expected[box[0] : box[1], box[2] : box[3]] = flat[j][box[0] : box[1], box[2] : box[3]]
            np.testing.assert_array_equal(np.squeeze(x[i]), expected)
            share = 1 - (box[1] - box[0]) * (box[3] - box[2]) / 64
            wanted = share * np.eye(3)[self.Y[i]] + (1 - share) * np.eye(3)[self.Y[j]]
            np.testing.assert_allclose(y[i], wanted, atol=1e-6)

    def test_bytes(self):
        x = (self.X * 255).astype(np.uint8)
        assert MixUp(3)((x, self.Y), np.random.default_rng(0))[0].dtype == np.float32
        assert CutMix(3)((x, self.Y), np.random.default_rng(0))[0].dtype == np.uint8

    def test_shares(self):
        draw = MixUp(3, alpha=0.2).draw(np.random.default_rng(0), (20_000, 4))
        assert abs(draw["lambda"].mean() - 0.5) < 0.02
        # The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
        assert abs(draw["lambda"].var() - 1 / (4 * 1.4)) < 0.01
        assert sorted(draw["partner"].tolist()) == list(range(20_000))

    def test_in_a_loader(self):
        loader = Loader((self.X, self.Y), 4, transform=MixUp(3), shuffle=True)
        again = Loader((self.X, self.Y), 4, transform=MixUp(3), shuffle=True)
        first, second = next(iter(loader)), next(iter(again))
        assert first[1].shape == (4, 3)
        assert np.array_equal(first[0], second[0])

    @pytest.mark.parametrize(
        ("batch", "error", "message"),
        [
            (X, TypeError, r"\(inputs, targets\)"),
            ((X, Y, Y), TypeError, r"\(inputs, targets\)"),
            ((X, Y + 1), ValueError, "class 3 is out of range for 3 classes"),
            ((X, -Y), ValueError, "class -1"),
            ((X, Y[:5]), ValueError, r"int64 of shape \(5,\)"),
            ((X, Y * 1.0), ValueError, "float64"),
        ],
    )
    def test_wrong_batches_are_refused(self, batch, error, message):
        for mix in (MixUp(3), CutMix(3)):
            with pytest.raises(error, match=message):
                mix(batch, np.random.default_rng(0))


class TestNormalize:
    MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)

    @pytest.mark.parametrize("dtype", ["u1", "i4", "f4", "f8"])
    @pytest.mark.parametrize("layout", ["nchw", "nhwc"])
    def test_against_the_formula(self, layout, dtype):
        x = images(layout).astype(dtype)
        found = Normalize(self.MEAN, self.STD, scale=1 / 255, layout=layout)(x)
        expected = (planes(x, layout) / 255 - self.MEAN) / self.STD
        assert found.dtype == (np.float64 if dtype == "f8" else np.float32)
        assert found.flags.c_contiguous
        np.testing.assert_allclose(planes(found, layout), expected, atol=2e-6)

    def test_one_value_for_all_channels(self):
        x = images("nhw")
        found = Normalize(100, 50, layout="nhw")(x)
        np.testing.assert_allclose(found, (x - 100.0) / 50, atol=2e-6)

    @pytest.mark.parametrize(
        ("call", "error", "message"),
        [
            (lambda: Normalize(0, 0), ValueError, "std: expected positive"),
            (lambda: Normalize(0, (1, -1)), ValueError, "std: expected positive"),
            (lambda: Normalize(math.nan, 1), ValueError, "mean"),
            (lambda: Normalize(0, 1, 1 / 255), TypeError, "give scale="),
            (lambda: Normalize(0, 1, layout="chw"), ValueError, "layout"),
            (
                lambda: Normalize((0, 1), 1)(images("nchw")),
                ValueError,
                "2 channels, the batch has 3",
            ),
            (lambda: Normalize(0, 1)(images("nhw")), ValueError, "expected 4 dimensions"),
            (lambda: Normalize((0, 1), 1, layout="nhw")(images("nhw")), ValueError, "has none"),
        ],
    )
    def test_refused(self, call, error, message):
        with pytest.raises(error, match=message):
            call()


class TestCompose:
    def test_in_turn_with_one_generator(self):
        x = images("nhwc")
        crop, flip = RandomCrop(5, layout="nhwc"), RandomFlip(layout="nhwc")
        both = Compose(RandomCrop(5), np.negative, RandomFlip(), layout="nhwc")
        rng = np.random.default_rng(0)
        expected = flip(-crop(x, rng), rng)
        assert np.array_equal(both(x, np.random.default_rng(0)), expected)

    def test_a_layout_for_all(self):
        parts = RandomFlip(), Compose(RandomCrop(5)), RandomApply(Cutout(2)), Normalize(0, 1)
        composed = Compose(*parts, layout="nhwc")
        x = images("nhwc")
        assert composed(x, np.random.default_rng(0)).shape == (N, 5, 5, 3)
        assert parts[0].layout == "nchw"
        assert parts[2].transform.layout == "nchw"

    def test_random_apply(self):
        x = images("nchw")
        transform = RandomApply(ColorJitter(brightness=(2, 2)), 0.5)
        params = transform.draw(np.random.default_rng(0), x.shape)
        found = transform(x, params=params)
        chosen = params["apply"]
        assert 0 < chosen.sum() < N
        assert np.array_equal(found[~chosen], x[~chosen])
        bright = np.minimum(x[chosen].astype(int) * 2, 255)
        assert np.array_equal(found[chosen], bright)
        assert np.array_equal(RandomApply(Cutout(3), 0)(x, np.random.default_rng(0)), x)

    def test_in_a_loader_it_is_the_same_for_all_workers(self):
        x, y = images("nchw"), np.arange(N)
        augment = Compose(RandomCrop(7, padding=2), RandomFlip(), Normalize(128, 64))

        def epochs(workers):
            loader = Loader((x, y), 5, shuffle=True, workers=workers, transform=(augment, None))
            return [part for _ in range(2) for batch in loader for part in batch]

        reference = epochs(0)
        for workers in (1, 4):
            assert all(map(np.array_equal, reference, epochs(workers)))

    def test_wrong_parts(self):
        with pytest.raises(TypeError, match=r"transforms\[1\]"):
            Compose(RandomFlip(), 3)


def test_one_transform_for_an_image_and_its_mask():
    x = images("nchw")
    mask = (x[:, :1] > 100).astype(np.uint8)
    crop = RandomCrop(5, padding=1)
    params = crop.draw(np.random.default_rng(0), x.shape)
    assert np.array_equal(crop(x, params=params)[:, :1] > 100, crop(mask, params=params) > 0)


RNG = np.random.default_rng(0)
IMAGES = images("nchw")
REFUSED = {
    "no generator": (lambda: RandomFlip()(IMAGES), TypeError, "rng.*or params"),
    "both": (lambda: RandomFlip()(IMAGES, RNG, params={"flip": [1]}), TypeError, "one of them"),
    "other parameters": (
        lambda: RandomFlip()(IMAGES, params={"p": [1]}),
        ValueError,
        r"\['flip'\]",
    ),
    "shape": (
        lambda: RandomFlip()(IMAGES, params={"flip": [True]}),
        ValueError,
        r"\(1,\), expected \(16,\)",
    ),
    "kind": (
        lambda: RandomCrop(5)(IMAGES, params={"top": [0.5] * N, "left": [0] * N}),
        TypeError,
        r"params\['top'\] is float64, expected int64",
    ),
    "a seed": (
        lambda: RandomFlip()(IMAGES, 0),
        TypeError,
        "expected a numpy.random.Generator, got 0",
    ),
    "three sizes": (lambda: RandomCrop((1, 2, 3)), ValueError, r"size: expected \(height, width\)"),
    "three shifts": (
        lambda: RandomAffine(translate=(0.1, 0.1, 0.1)),
        ValueError,
        "one fraction or",
    ),
    "not a number": (
        lambda: Cutout(2, value=np.nan)(IMAGES, RNG),
        ValueError,
        "nan is not a value",
    ),
    "a function": (lambda: RandomApply(np.abs), TypeError, "transform: expected a Transform"),
    "another shape": (
        lambda: RandomApply(RandomCrop(5), 1)(IMAGES, RNG),
        ValueError,
        r"RandomCrop\(.*\) changed the shape \(3, 7, 9\) of a sample to \(3, 5, 5\)",
    ),
    "dimensions": (
        lambda: RandomFlip()(IMAGES[0], RNG),
        ValueError,
        r"\(n, c, h, w\) for layout='nchw'",
    ),
    "window": (
        lambda: RandomCrop(10, padding=1)(IMAGES, RNG),
        ValueError,
        r"\(10, 10\).*\(9, 11\)",
    ),
    "place": (
        lambda: RandomCrop(5)(IMAGES, params={"top": [3] * N, "left": [0] * N}),
        ValueError,
        "not within 0 and 2",
    ),
    "size": (lambda: RandomCrop(0), ValueError, "size"),
    "padding": (lambda: RandomCrop(3, padding=-1), ValueError, "padding"),
    "padding by position": (lambda: RandomCrop(3, 4), TypeError, "give padding=4"),
    "mode": (lambda: RandomCrop(3, padding_mode="wrap"), ValueError, "padding_mode"),
    "probability": (lambda: RandomFlip(1.5), ValueError, "p: "),
    "direction": (lambda: RandomFlip(direction="left"), ValueError, "direction"),
    "layout": (lambda: RandomFlip(layout="hwc"), ValueError, "layout"),
    "range": (lambda: ColorJitter(brightness=(2, 1)), ValueError, "low <= high"),
    "negative": (lambda: ColorJitter(contrast=-1), ValueError, "contrast"),
    "negative range": (lambda: ColorJitter(contrast=(-1, 1)), ValueError, "contrast"),
    "three": (lambda: RandomAffine(degrees=(1, 2, 3)), ValueError, "degrees"),
    "fraction": (lambda: RandomAffine(translate=2), ValueError, "translate"),
    "scale": (lambda: RandomAffine(scale=1), ValueError, "scale"),
    "sigma": (lambda: GaussianNoise(-1), ValueError, "sigma"),
    "cutout": (lambda: Cutout(2.5), TypeError, "size"),
    "value": (lambda: Cutout(2, value=300)(IMAGES, RNG), ValueError, "300 is not a value of uint8"),
    "padding value": (
        lambda: RandomCrop(5, padding=1, value=0.5)(IMAGES, RNG),
        ValueError,
        "value: 0.5 is not a value of uint8",
    ),
    "alpha": (lambda: MixUp(3, alpha=0), ValueError, "alpha"),
    "classes": (lambda: CutMix(0), ValueError, "num_classes"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_every_transform_has_a_case():
    import nn_data.transforms as module

    public = {getattr(module, name) for name in module.__all__}
    tested = {type(transform) for transform, _ in CASES.values()}
    elsewhere = {Compose, RandomApply, MixUp, CutMix, Normalize, Transform, per_sample}
    assert public == tested | elsewhere


def test_repr():
    assert repr(RandomFlip(0.3)) == "RandomFlip(layout='nchw', p=0.3, direction='horizontal')"
    assert repr(Compose(MixUp(3))) == "Compose(MixUp(3, alpha=0.2))"
