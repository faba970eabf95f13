"""Files are read as they are, and damaged ones are refused by name."""

import gzip
import os
import struct

import numpy as np
import pytest
from nn_data import (
    ImageFolder,
    Loader,
    read_csv,
    read_idx,
    read_idx_folder,
    read_lines,
    read_text,
)

CODES = {"u1": 8, "i1": 9, ">i2": 11, ">i4": 12, ">f4": 13, ">f8": 14}


def idx_bytes(array, code="u1"):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, CODES[code], array.ndim, *array.shape)
    return header + array.astype(code).tobytes()


PACKED = gzip.compress(b"\0\0\x08\x01\0\0\0\x01a")
WRONG_IDX = {
    "empty": (b"", {}, "not an IDX file: it starts with ''"),
    "three bytes": (b"\0\0\x08", {}, "not an IDX file"),
    "text": (b"<!DOCTYPE html>", {}, "it starts with '3c 21 44 4f'"),
    "type": (b"\0\0\x07\x01\0\0\0\0", {}, "not an IDX file"),
    "header": (b"\0\0\x08\x02\0\0\0", {}, "ends within its header"),
    "short": (b"\0\0\x08\x01\0\0\0\x02a", {}, r"has 1 bytes of values, its header \(2,\) says 2"),
    "half": (b"\0\0\x0b\x01\0\0\0\x02abc", {}, r"has 3 bytes of values, its header \(2,\) says 4"),
    "long": (b"\0\0\x08\x01\0\0\0\x01ab", {}, "has 2 bytes of values"),
    "huge": (b"\0\0\x08\x03" + b"\xff" * 12, {}, "has 0 bytes of values"),
    "dimensions": (
        b"\0\0\x08\x01\0\0\0\x01a",
        {"ndim": 3},
        "IDX file in 3 dimensions: .*'00 00 08 01'",
    ),
    "other type": (
        b"\0\0\x0d\x01\0\0\0\x01abcd",
        {"ndim": 1, "dtype": "u1"},
        "of uint8 in 1 dimensions: .*'00 00 0d 01', expected '00 00 08 01'",
    ),
    "gzip cut": (PACKED[:-9], {}, "damaged or incomplete gzip"),
    "gzip sum": (PACKED[:-8] + bytes(8), {}, "damaged or incomplete gzip"),
}


class TestIdx:
    @pytest.mark.parametrize("code", CODES)
    @pytest.mark.parametrize("shape", [(5,), (2, 3, 4), (0, 3), (3, 0, 2), (1, 1, 1, 1, 2)])
    def test_all_types_and_shapes(self, tmp_path, code, shape):
        array = (np.arange(np.prod(shape)) - (0 if code == "u1" else 3)).reshape(shape).astype(code)
        (tmp_path / "a").write_bytes(idx_bytes(array, code))
        found = read_idx(tmp_path / "a")
        np.testing.assert_array_equal(found, array)
        assert found.dtype == np.dtype(code).newbyteorder("=")
        assert found.flags.writeable
        (tmp_path / "a.gz").write_bytes(gzip.compress(idx_bytes(array, code)))
        np.testing.assert_array_equal(read_idx(str(tmp_path / "a.gz")), array)
        expected = {"ndim": len(shape), "dtype": np.dtype(code).newbyteorder("=")}
        np.testing.assert_array_equal(read_idx(tmp_path / "a", **expected), array)

    @pytest.mark.parametrize("name", WRONG_IDX)
    def test_damaged_files_are_refused(self, tmp_path, name):
        content, options, message = WRONG_IDX[name]
        path = tmp_path / "labels-idx1-ubyte"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message) as caught:
            read_idx(path, **options)
        assert str(path) in str(caught.value)

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            read_idx(tmp_path / "nowhere")


IMAGES, LABELS = np.arange(24).reshape(4, 2, 3), np.arange(4)


def write_pair(folder, name, images=IMAGES, labels=LABELS, spelling="-images-idx3-ubyte"):
    (folder / f"{name}{spelling}").write_bytes(idx_bytes(images))
    (folder / f"{name}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))


class TestIdxFolder:
    def test_both_sets(self, tmp_path):
        write_pair(tmp_path, "t10k", IMAGES[:2], LABELS[:2])
        write_pair(tmp_path, "train")
        (x, y), (test_x, test_y) = read_idx_folder(tmp_path)
        assert np.array_equal(x, IMAGES)
        assert np.array_equal(y, LABELS)
        assert (len(test_x), len(test_y)) == (2, 2)

    @pytest.mark.parametrize("name", ["train", "t10k"])
    def test_one_set(self, tmp_path, name):
        write_pair(tmp_path, name)
        assert len(read_idx_folder(str(tmp_path))) == 1

    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("end", ["", ".gz"])
    @pytest.mark.parametrize("dot", "-.")
    def test_files_are_found_under_each_spelling(self, tmp_path, dot, end, compressed):
        write_pair(tmp_path, "train")
        (tmp_path / "train-images-idx3-ubyte").unlink()
        content = idx_bytes(IMAGES)
        path = tmp_path / f"train-images{dot}idx3-ubyte{end}"
        path.write_bytes(gzip.compress(content) if compressed else content)
        ((images, _),) = read_idx_folder(tmp_path)
        assert np.array_equal(images, IMAGES)

    def test_what_is_missing_or_does_not_fit(self, tmp_path):
        def message():
            with pytest.raises(ValueError, match=str(tmp_path)) as caught:
                read_idx_folder(tmp_path / "mnist")
            return str(caught.value)

        assert "mnist: no such folder" in message()
        (tmp_path / "mnist").mkdir()
        assert "no IDX files" in message()
        write_pair(tmp_path / "mnist", "train")
        (tmp_path / "mnist" / "train-labels-idx1-ubyte").unlink()
        assert "train-labels-idx1-ubyte[.gz] is missing" in message()
        write_pair(tmp_path / "mnist", "train")
        (tmp_path / "mnist" / "train-images-idx3-ubyte").unlink()
        assert "train-images-idx3-ubyte[.gz] is missing" in message()
        write_pair(tmp_path / "mnist", "train", labels=LABELS[:3])
        assert "holds 4 images, train-labels-idx1-ubyte 3 labels" in message()
        write_pair(tmp_path / "mnist", "train", IMAGES[:0], LABELS[:0])
        assert "holds no image" in message()
        write_pair(tmp_path / "mnist", "train")
        write_pair(tmp_path / "mnist", "t10k", IMAGES[:, :1], LABELS)
        assert "train images are (2, 3), t10k images (1, 3)" in message()


# The file, the options, and the columns.
TABLES = {
    "integers": ("a,b\n1,-2\n3,4\n", {}, {"a": np.array([1, 3]), "b": np.array([-2, 4])}),
    "floats": ("a\n1\n2.5\n1e3\n", {}, {"a": np.array([1, 2.5, 1000])}),
    "strings": ("a\nx\n1\n", {}, {"a": np.array(["x", "1"])}),
    "missing numbers": (
        "a,b\n1,x\n,y\n",
        {},
        {"a": np.array([1, np.nan]), "b": np.array(["x", "y"])},
    ),
    "missing strings": ("a,b\nx,1\nNA,2\n", {}, {"a": np.array(["x", ""]), "b": np.array([1, 2])}),
    "all missing": ("a,b\n,1\nNA,2\n", {}, {"a": np.array([np.nan] * 2), "b": np.array([1, 2])}),
    "own missing": ("a\n1\n?\n", {"missing": ["?"]}, {"a": np.array([1, np.nan])}),
    "no header": (
        "1,x\n2,y\n",
        {"header": False},
        {"0": np.array([1, 2]), "1": np.array(["x", "y"])},
    ),
    "delimiter": ("a;b\n1;2,5\n", {"delimiter": ";"}, {"a": np.array([1]), "b": np.array(["2,5"])}),
    "tabs": ("a\tb\n1\t2\n", {"delimiter": "\t"}, {"a": np.array([1]), "b": np.array([2])}),
    "quotes": (
        'a,b\n"x,""y""",1\n"two\nlines",2\n',
        {},
        {"a": np.array(['x,"y"', "two\nlines"]), "b": np.array([1, 2])},
    ),
    "windows": ("\ufeffa,b\r\n1,2\r\n", {}, {"a": np.array([1]), "b": np.array([2])}),
    "rare characters": (
        "a,b\nx\u2028y\x0b,1\r\nz\x85,2\r",
        {},
        {"a": np.array(["x\u2028y\x0b", "z\x85"]), "b": np.array([1, 2])},
    ),
    "underscores": ("a,b\n1_0,x_1\n", {}, {"a": np.array(["1_0"]), "b": np.array(["x_1"])}),
    "underscores for missing": (
        "a\n1\nn_a\n",
        {"missing": ["n_a"]},
        {"a": np.array([1.0, np.nan])},
    ),
    "empty lines": ("a\n\n1\n\n2\n", {}, {"a": np.array([1, 2])}),
    "no last end": ("a\n1", {}, {"a": np.array([1])}),
    "large": (f"a\n{2**63}\n", {}, {"a": np.array([2.0**63])}),
    "chosen": ("a,b,c\n1,2,3\n", {"columns": ["c", "a"]}, {"c": np.array([3]), "a": np.array([1])}),
    "infinity": ("a\ninf\n-inf\n", {}, {"a": np.array([np.inf, -np.inf])}),
}

WRONG_TABLES = {
    "short row": ("a,b\n1,2\n3\n", {}, "line 3 has 1 values, expected 2"),
    "long row": ("a,b\n1,2,3\n", {}, "line 2 has 3 values"),
    "empty": ("", {}, "has no rows"),
    "header only": ("a,b\n", {}, "has no rows"),
    "twice": ("a,a\n1,2\n", {}, "several columns called 'a'"),
    "unknown": ("a,b\n1,2\n", {"columns": ["c"]}, "no column 'c', its columns are 'a', 'b'"),
    "quote": ('a\n"x"y\n', {}, "line 2"),
    "open quote": ('a\n"x\n', {}, "line 2"),
}


class TestCsv:
    @pytest.mark.parametrize("name", TABLES)
    def test_columns(self, tmp_path, name):
        text, options, expected = TABLES[name]
        (tmp_path / "t.csv").write_bytes(text.encode())
        found = read_csv(tmp_path / "t.csv", **options)
        assert list(found) == list(expected)
        for key, column in expected.items():
            np.testing.assert_array_equal(found[key], column)
            assert found[key].dtype.kind == column.dtype.kind
        (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
        assert list(read_csv(tmp_path / "t.csv.gz", **options)) == list(expected)

    @pytest.mark.parametrize("name", WRONG_TABLES)
    def test_wrong_files_are_refused(self, tmp_path, name):
        text, options, message = WRONG_TABLES[name]
        (tmp_path / "t.csv").write_bytes(text.encode())
        with pytest.raises(ValueError, match=message) as caught:
            read_csv(tmp_path / "t.csv", **options)
        assert str(tmp_path / "t.csv") in str(caught.value)

    def test_encoding(self, tmp_path):
        (tmp_path / "t.csv").write_bytes("a\né\n".encode("latin-1"))
        with pytest.raises(ValueError, match=r"t\.csv: is not text in utf-8"):
            read_csv(tmp_path / "t.csv")
        assert read_csv(tmp_path / "t.csv", encoding="latin-1")["a"].tolist() == ["é"]

    def test_a_table_in_a_loader(self, tmp_path):
        (tmp_path / "t.csv").write_text("x,y\n1,a\n2,b\n3,c\n")
        batch = Loader(read_csv(tmp_path / "t.csv"), sampler=[2, 0]).peek()
        assert (batch["x"].tolist(), batch["y"].tolist()) == ([3, 1], ["c", "a"])


class TestLines:
    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ("a\nb\n", ["a", "b"]),
            ("a\nb", ["a", "b"]),
            ("a\r\nb\r\n", ["a", "b"]),
            ("a\rb\r", ["a", "b"]),
            ("a\n\nb\n\n", ["a", "", "b", ""]),
            ("a\u2028b\x0bc\x85d\n", ["a\u2028b\x0bc\x85d"]),
            ("\ufeffa\n", ["a"]),
            ("", []),
            ("\n", [""]),
            (" a \n", [" a "]),
        ],
    )
    def test_lines(self, tmp_path, content, expected):
        (tmp_path / "t").write_bytes(content.encode())
        assert read_lines(tmp_path / "t") == expected
        (tmp_path / "t.gz").write_bytes(gzip.compress(content.encode()))
        assert read_lines(tmp_path / "t.gz") == expected
        whole = read_text(tmp_path / "t.gz")
        assert whole == (tmp_path / "t").read_text(encoding="utf-8-sig")
        assert read_text(tmp_path / "t") == whole

    def test_what_is_not_text(self, tmp_path):
        (tmp_path / "t").write_bytes(b"\xff\xfe")
        with pytest.raises(ValueError, match="t: is not text in utf-8"):
            read_lines(tmp_path / "t")
        with pytest.raises(ValueError, match="t: is not text in utf-8"):
            read_text(tmp_path / "t")
        assert read_lines(tmp_path / "t", encoding="latin-1") == ["ÿþ"]


class TestImageFolder:
    @pytest.fixture
    def image(self):
        return pytest.importorskip("PIL.Image", reason="Pillow is not installed")

    PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)

    @pytest.fixture
    def root(self, image, tmp_path):
        for i, name in enumerate(
            ["dog/b.png", "cat/2.png", "cat/1.bmp", "cat/deep/3.PNG", "dog/a.png"]
        ):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image.fromarray(self.PIXELS[i]).save(path)
        (tmp_path / "cat" / "notes.txt").write_text("not an image")
        (tmp_path / "top.png").write_bytes(b"not in a class")
        return tmp_path

    # The order of the files by class and name, as places in what was written.
    ORDER = (2, 1, 3, 4, 0)

    def test_images_and_classes(self, root):
        folder = ImageFolder(root)
        assert folder.classes == ["cat", "dog"]
        assert folder.labels.tolist() == [0, 0, 0, 1, 1]
        for i, at in enumerate(self.ORDER):
            pixels, label = folder[i]
            assert np.array_equal(pixels, self.PIXELS[at].transpose(2, 0, 1))
            assert label == folder.labels[i]

    def test_in_a_loader(self, root):
        for workers in (0, 2):
            loader = Loader(ImageFolder(root, layout="nhwc"), 2, shuffle=True, workers=workers)
            for images, labels in loader:
                assert images.dtype == np.uint8
                assert labels.dtype.kind == "i"
                for pixels in images:
                    assert any(np.array_equal(pixels, known) for known in self.PIXELS)

    def test_gray_and_resized(self, root, image):
        folder = ImageFolder(root, mode="L", size=(3, 2))
        pixels, _ = folder[0]
        assert pixels.shape == (1, 3, 2)
        original = image.fromarray(self.PIXELS[2]).convert("L").resize((2, 3), 2)
        assert np.array_equal(pixels[0], np.asarray(original))

    def test_sizes_that_differ(self, root, image):
        image.new("RGB", (9, 9)).save(root / "cat" / "0.png")
        with pytest.raises(ValueError, match=r"\(3, 9, 9\), \(3, 6, 4\)"):
            Loader(ImageFolder(root)).peek()
        assert Loader(ImageFolder(root, size=(6, 4))).peek()[0].shape == (6, 3, 6, 4)

    def test_damaged_images_are_named(self, root):
        content = (root / "dog" / "a.png").read_bytes()
        for damage in (content[:60], b"no image", b""):
            (root / "dog" / "a.png").write_bytes(damage)
            with pytest.raises(ValueError, match=r"a\.png: is not an image") as caught:
                Loader(ImageFolder(root), 5, workers=1).peek()
            assert "while reading sample 3" in caught.value.__notes__

    def test_other_files_are_other_data(self, root):
        state = Loader(ImageFolder(root)).state_dict()
        (root / "dog" / "a.png").rename(root / "dog" / "c.png")
        with pytest.raises(ValueError, match="other data"):
            Loader(ImageFolder(root)).load_state_dict(state)

    def test_no_handles_are_left(self, root):
        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("the system does not list file handles under /proc")
        folder = ImageFolder(root)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            list(Loader(folder, 2, workers=2))
        assert len(os.listdir("/proc/self/fd")) == before

    def test_refused(self, image, tmp_path):
        with pytest.raises(ValueError, match="no such folder"):
            ImageFolder(tmp_path / "nowhere")
        with pytest.raises(ValueError, match="no images in folders"):
            ImageFolder(tmp_path)
        for options in ({"mode": "CMYK"}, {"layout": "nhw"}, {"size": (0, 3)}):
            with pytest.raises(ValueError, match="expected"):
                ImageFolder(tmp_path, **options)


def test_without_pillow_the_error_says_what_to_install(monkeypatch, tmp_path):
    import sys

    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=r"pip install nn-data\[image\]"):
        ImageFolder(tmp_path)
