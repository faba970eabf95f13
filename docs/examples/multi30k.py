"""Multi30k: German and English sentences as subword tokens, in batches of similar lengths.

The folder holds `train.de`, `train.en`, `val.de`, `val.en`, `test_2016_flickr.de` and
`test_2016_flickr.en`, plain or with the ending `.gz`: one sentence per line, its translation on
the same line of the other file (Elliott, Frank, Sima'an and Specia, "Multi30K: Multilingual
English-German Image Descriptions", 2016).
"""

import gzip
import zlib

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

PAD, START, END = 0, 1, 2
SPECIAL = ["<pad>", "<start>", "<end>"]


def read_lines(folder, name):
    """Return the lines of a file, plain or compressed, or raise a ValueError that names it."""
    path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
    if path is None:
        raise ValueError(f"{folder}: {name}[.gz] is missing")
    content = path.read_bytes()
    try:
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        text = content.decode("utf-8")
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: damaged or incomplete gzip file ({error})") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: is not UTF-8 text ({error})") from error
    # Not splitlines: it would also split at rarer line separators.
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def read_pairs(folder, name, limit=None):
    """Return the German and the English sentences of a data set, at most `limit` pairs."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder")
    german, english = (read_lines(folder, f"{name}.{language}") for language in ("de", "en"))
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
        self.sources = [[*row, END] for row in vocabulary.encode(german)]
        self.targets = [[START, *row, END] for row in vocabulary.encode(english)]
        self.source_lengths = np.array([len(row) for row in self.sources])
        self.target_lengths = np.array([len(row) - 1 for row in self.targets])
        lengths = np.maximum(self.source_lengths, self.target_lengths)
        if lengths.max() > max_length:
            number, length = lengths.argmax() + 1, lengths.max()
            raise ValueError(f"pair {number} has {length} tokens, expected at most {max_length}")

    def __len__(self):
        return len(self.sources)

    def batches(self, max_tokens, rng=None):
        """Return batches as lists of indices; each pair is in one of them.

        A batch, padded to its longest sentence, has at most `max_tokens` tokens in each language.
        Pairs of similar lengths are batched together, so that there is little padding. With a
        generator, noise is added to the source lengths and the batches are shuffled, so that they
        differ from call to call.
        """
        source_lengths = self.source_lengths.astype(np.float64)
        if rng is not None:
            source_lengths += rng.uniform(0, 2, len(self))
        batches, batch, longest = [], [], 0
        for i in np.lexsort((source_lengths, self.target_lengths)).tolist():
            length = max(self.source_lengths[i], self.target_lengths[i])
            longest = max(longest, length)
            if batch and (len(batch) + 1) * longest > max_tokens:
                batches.append(batch)
                batch, longest = [], length
            batch.append(i)
        batches.append(batch)
        if rng is not None:
            rng.shuffle(batches)
        return batches

    def rows(self, batch):
        """Return source tokens, decoder inputs and labels of a batch, padded with PAD."""
        targets = pad([self.targets[i] for i in batch])
        return pad([self.sources[i] for i in batch]), targets[:, :-1], targets[:, 1:]


def pad(rows):
    """Return rows of unequal lengths as an array, padded with PAD on the right."""
    longest = max(len(row) for row in rows)
    return np.array([row + [PAD] * (longest - len(row)) for row in rows], dtype=np.int64)
