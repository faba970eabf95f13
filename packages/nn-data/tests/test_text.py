"""Vocabularies."""

import numpy as np
import pytest
from nn_data import Loader, Pad
from nn_data.text import ByteVocabulary, CharVocabulary, Vocabulary, WordVocabulary

TEXT = "To be, or not to be: that is the question — Hamlet, acte III, scène 1 🎭\n"

MADE = {
    "bytes": lambda: ByteVocabulary(),
    "bytes, specials": lambda: ByteVocabulary(specials=["<pad>", "<end>"]),
    "characters": lambda: CharVocabulary().fit(TEXT),
    "characters, specials": lambda: CharVocabulary(specials=["<pad>"], unknown="<unk>").fit(TEXT),
    "words": lambda: WordVocabulary().fit(TEXT),
    "words, specials": lambda: WordVocabulary(specials=["<pad>"], lowercase=True).fit(TEXT),
}


@pytest.mark.parametrize("name", MADE)
def test_text_comes_back(name):
    vocabulary = MADE[name]()
    indices = vocabulary.encode(TEXT)
    assert indices.dtype == np.int64
    assert indices.min() >= len(vocabulary.specials)
    assert indices.max() < len(vocabulary) == len(vocabulary.tokens)
    text = vocabulary.decode(indices)
    if "words" in name:
        expected = vocabulary.split(TEXT)
        assert text.split(" ") == expected
        assert [vocabulary.tokens[i] for i in indices] == expected
    else:
        assert text == TEXT
    assert vocabulary.decode(indices.tolist()) == text
    assert vocabulary.decode([]) == ""
    assert len(vocabulary.encode("")) == 0


@pytest.mark.parametrize("name", MADE)
def test_special_tokens_come_first_and_are_left_out(name):
    vocabulary = MADE[name]()
    for i, token in enumerate(vocabulary.specials):
        assert vocabulary.index(token) == i
        assert vocabulary.decode([i]) == ""
    with pytest.raises(KeyError, match="not a special token"):
        vocabulary.index("<none>")


@pytest.mark.parametrize("name", MADE)
def test_a_state_gives_the_same_tokens(name):
    vocabulary = MADE[name]()
    fresh = type(vocabulary)()
    fresh.load_state_dict(vocabulary.state_dict())
    assert fresh.tokens == vocabulary.tokens
    assert (fresh.specials, fresh.unknown) == (vocabulary.specials, vocabulary.unknown)
    assert np.array_equal(fresh.encode(TEXT), vocabulary.encode(TEXT))
    state = vocabulary.state_dict()
    for wrong in (
        {},
        state | {"more": 1},
        state | {"tokens.lengths": state["tokens.lengths"][:-1]},
    ):
        with pytest.raises(ValueError, match=r"state|strings"):
            fresh.load_state_dict(wrong)
        assert fresh.tokens == vocabulary.tokens


def test_bytes_that_are_not_text():
    assert ByteVocabulary().decode([0xC3, 0x28]) == "\ufffd("
    assert len(ByteVocabulary()) == 256
    assert ByteVocabulary().fit("anything").tokens == ByteVocabulary().tokens


def test_characters_are_in_the_order_of_code_points():
    vocabulary = CharVocabulary().fit(["ba", "é🎭"])
    assert vocabulary.tokens == ["a", "b", "é", "🎭"]


def test_characters_of_a_long_text_are_encoded_as_by_a_dict():
    text = "".join(map(chr, np.random.default_rng(0).integers(32, 1000, 20_000)))
    vocabulary = CharVocabulary().fit(text)
    index = {token: i for i, token in enumerate(vocabulary.tokens)}
    assert vocabulary.encode(text).tolist() == [index[c] for c in text]


def test_words_by_frequency_then_name():
    vocabulary = WordVocabulary(unknown=None).fit(["b b c", "a c b", "it's"])
    assert vocabulary.tokens == ["b", "c", "'", "a", "it", "s"]
    assert WordVocabulary(max_size=3).fit("a b c d d").tokens == ["<unk>", "d", "a"]
    assert WordVocabulary(min_count=2).fit("a b b").tokens == ["<unk>", "b"]


def test_unknown_text():
    assert CharVocabulary(unknown="?").fit("ab").encode("axb").tolist() == [1, 0, 2]
    with pytest.raises(ValueError, match="'x' is not in the vocabulary of 2 tokens"):
        CharVocabulary().fit("ab").encode("axb")
    with pytest.raises(ValueError, match="'x' is not in the vocabulary of 0 tokens"):
        CharVocabulary().encode("x")
    assert WordVocabulary().fit("a").encode("a b").tolist() == [1, 0]
    with pytest.raises(ValueError, match="'b' is not in the vocabulary"):
        WordVocabulary(unknown=None).fit("a").encode("a b")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CharVocabulary(specials=["a", "a"]), ValueError, "specials"),
        (lambda: CharVocabulary(specials="<pad>"), TypeError, "got the string '<pad>'"),
        (lambda: CharVocabulary().fit(["a", 3]), TypeError, "text: expected a string, got int"),
        (lambda: WordVocabulary().fit([["a"]]), TypeError, "text: expected a string, got list"),
        (lambda: CharVocabulary().fit("a").encode(["a"]), TypeError, "got list"),
        (lambda: ByteVocabulary().encode(b"a"), TypeError, "got bytes"),
        (lambda: WordVocabulary().encode(None), TypeError, "got NoneType"),
        (
            lambda: CharVocabulary().fit("ab").decode([2]),
            IndexError,
            "index 2 is out of range for 2",
        ),
        (lambda: ByteVocabulary().decode([-1]), IndexError, "index -1"),
        (lambda: ByteVocabulary().decode([0.5]), TypeError, "float64"),
        (lambda: WordVocabulary(max_size=1), ValueError, "max_size"),
        (lambda: WordVocabulary(min_count=0), ValueError, "min_count"),
        (lambda: WordVocabulary(lowercase=1), TypeError, "lowercase"),
        (lambda: Vocabulary(), TypeError, "abstract"),
        (lambda: ByteVocabulary(["<pad>"]), TypeError, "specials="),
    ],
)
def test_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_lines_to_padded_batches():
    lines = ["to be", "or not to be", "that"]
    vocabulary = CharVocabulary(specials=["<pad>"]).fit(lines)

    def encode(batch):
        return [vocabulary.encode(line) for line in batch]

    loader = Loader(lines, 2, transform=[encode, Pad(vocabulary.index("<pad>"))])
    for (values, mask), expected in zip(loader, (lines[:2], lines[2:]), strict=True):
        assert [vocabulary.decode(row) for row in values] == expected
        assert mask.sum(axis=1).tolist() == [len(line) for line in expected]
