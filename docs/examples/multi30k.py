"""Multi30k: German and English sentences as subword tokens, in batches of similar lengths.

The folder holds `train.de`, `train.en`, `val.de`, `val.en`, `test_2016_flickr.de` and
`test_2016_flickr.en`, plain or with the ending `.gz`: one sentence per line, its translation on
the same line of the other file (Elliott, Frank, Sima'an and Specia, "Multi30K: Multilingual
English-German Image Descriptions", 2016).
"""

import numpy as np
from nn_data import ByLength, Loader, Pad, read_lines
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PAD, START, END = 0, 1, 2
SPECIAL = ["<pad>", "<start>", "<end>"]


def read_sentences(folder, name):
    """Return the lines of a file, plain or compressed, without spaces around them."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise ValueError(f"{folder}: {name}[.gz] is missing")
    return [line.strip() for line in read_lines(path)]


def read_pairs(folder, name, limit=None):
    """Return the German and the English sentences of a data set, at most `limit` pairs."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    german, english = (read_sentences(folder, f"{name}.{language}") for language in ("de", "en"))
    if len(german) != len(english):
        raise ValueError(
            f"{folder}: {name}.de has {len(german)} lines, {name}.en {len(english)} lines"
        )
    if not german:
        raise ValueError(f"{folder}: {name}.de has no lines")
    return german[:limit], english[:limit]


class Vocabulary:
    """A byte-level BPE vocabulary of both languages together.

    Text is lowercased and its whitespace normalized. It is split into words, numbers and
    punctuation, and these into subword tokens: starting from bytes, the most frequent pair of
    tokens is merged into a new one, again and again (byte pair encoding: Sennrich, Haddow and
    Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016). Since all bytes are
    tokens, every normalized text can be encoded and decoded.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # "<pad>" in a sentence is text like any other

    @classmethod
    def learn(cls, texts, size):
        """Train a vocabulary of at most `size` tokens on the texts."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Sequence(
            [
                normalizers.NFC(),
                normalizers.Lowercase(),
                normalizers.Replace(Regex(r"\s+"), " "),
                normalizers.Strip(),
            ]
        )
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=SPECIAL,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(tokenizer)

    @classmethod
    def from_text(cls, text):
        """Load a vocabulary from the result of `to_text`."""
        return cls(Tokenizer.from_str(text))

    def to_text(self):
        """Serialize the vocabulary as JSON."""
        return self.tokenizer.to_str()

    def __len__(self):
        return self.tokenizer.get_vocab_size()

    def encode(self, texts):
        """Return the token ids of each text."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def decode(self, rows):
        """Return the text of each list of token ids."""
        return [text.strip() for text in self.tokenizer.decode_batch([list(row) for row in rows])]


class Pairs:
    """Sentences and their translations as token ids.

    `sources` end with END. `targets` begin with START and end with END: all but the last token are
    the decoder's input, all but the first its labels.
    """

    def __init__(self, vocabulary, german, english, max_length):
        self.sources = [np.array([*row, END]) for row in vocabulary.encode(german)]
        self.targets = [np.array([START, *row, END]) for row in vocabulary.encode(english)]
        sizes = [(len(s), len(t) - 1) for s, t in zip(self.sources, self.targets, strict=True)]
        self.lengths = np.array(sizes)
        longest = self.lengths.max(axis=1)
        if longest.max() > max_length:
            number, length = longest.argmax() + 1, longest.max()
            raise ValueError(f"pair {number} has {length} tokens, expected at most {max_length}")

    def __len__(self):
        return len(self.sources)

    def loader(self, max_tokens, shuffle=False, seed=0, convert=None):
        """Return batches of source tokens, decoder inputs and labels, padded with PAD.

        Pairs of similar lengths are batched together. A batch has at most `max_tokens` tokens in
        each language, padding included.
        """
        return Loader(
            (self.sources, self.targets),
            batch_sampler=ByLength(self.lengths, max_tokens, shuffle=shuffle),
            collate=Pad(PAD),
            transform=inputs_and_labels,
            convert=convert,
            seed=seed,
        )


def inputs_and_labels(batch):
    """Return source tokens, decoder inputs and labels of padded sources and targets."""
    sources, targets = batch
    return sources.values, targets.values[:, :-1], targets.values[:, 1:]
