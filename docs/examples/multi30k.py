"""Multi30k: German and English sentences, cut into pieces of words, in batches of like lengths.

The folder holds `train.de`, `train.en`, `val.de`, `val.en`, `test_2016_flickr.de` and
`test_2016_flickr.en`, plain or with the ending `.gz`: a sentence on each line, the translation on
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
    """Return the lines of a file, plain or compressed, or raise ValueError, which names it."""
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
        raise ValueError(f"{path}: is not text in UTF-8 ({error})") from error
    # Not splitlines: it would also cut at rarer characters that end a line.
    return [line.strip() for line in text.removesuffix("\n").split("\n")] if text else []


def read_pairs(folder, name, limit=None):
    """Return the German sentences of a set and the English ones, `limit` pairs at most."""
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
    """Pieces of words of both languages: what occurs often is one piece, the rest is spelled.

    Text becomes lower case, and spaces in a row become one. Then it is cut into words, numbers and
    punctuation, and these into pieces: at first bytes, of which the pair that is most frequent in
    the text becomes a new piece, again and again (Sennrich, Haddow and Birch, "Neural Machine
    Translation of Rare Words with Subword Units", 2016). Since all bytes are pieces, every text can
    be written, and comes back as it was normalised.
    """

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        tokenizer.encode_special_tokens = True  # "<pad>" in a sentence is text like any other

    @classmethod
    def learn(cls, texts, size):
        """Return at most `size` pieces, those that are frequent in the texts."""
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
        """Return the vocabulary that `to_text` wrote."""
        return cls(Tokenizer.from_str(text))

    def to_text(self):
        """Return all that there is to keep, as JSON."""
        return self.tokenizer.to_str()

    def __len__(self):
        return self.tokenizer.get_vocab_size()

    def encode(self, texts):
        """Return the pieces of each text, as a list of numbers."""
        return [encoding.ids for encoding in self.tokenizer.encode_batch(list(texts))]

    def decode(self, rows):
        """Return the text of each list of pieces."""
        return [text.strip() for text in self.tokenizer.decode_batch([list(row) for row in rows])]


class Pairs:
    """Sentences and their translations as numbers.

    `sources` end with END. `targets` begin with START and end with END: all but the last piece is
    what the decoder sees, all but the first what it has to say.
    """

    def __init__(self, vocabulary, german, english, longest):
        self.sources = [[*row, END] for row in vocabulary.encode(german)]
        self.targets = [[START, *row, END] for row in vocabulary.encode(english)]
        self.source_lengths = np.array([len(row) for row in self.sources])
        self.target_lengths = np.array([len(row) - 1 for row in self.targets])
        lengths = np.maximum(self.source_lengths, self.target_lengths)
        if lengths.max() > longest:
            at, most = lengths.argmax() + 1, lengths.max()
            raise ValueError(f"pair {at} has {most} pieces, expected at most {longest}")

    def __len__(self):
        return len(self.sources)

    def batches(self, tokens, rng=None):
        """Return which pairs go together: lists of indices, each pair in one of them.

        The rows of a batch, all as long as its longest sentence, have at most `tokens` pieces in
        each language. Neighbours are of like lengths, so that little is filled up. With a
        generator, the lengths of the sources are told apart only roughly, so that batches differ
        from call to call, and come in any order.
        """
        by = self.source_lengths.astype(np.float64)
        if rng is not None:
            by += rng.uniform(0, 2, len(self))
        found, batch, longest = [], [], 0
        for i in np.lexsort((by, self.target_lengths)).tolist():
            length = max(self.source_lengths[i], self.target_lengths[i])
            longest = max(longest, length)
            if batch and (len(batch) + 1) * longest > tokens:
                found.append(batch)
                batch, longest = [], length
            batch.append(i)
        found.append(batch)
        if rng is not None:
            rng.shuffle(found)
        return found

    def rows(self, batch):
        """Return the sources, what the decoder sees, and what it has to say, filled up with PAD."""
        targets = fill([self.targets[i] for i in batch])
        return fill([self.sources[i] for i in batch]), targets[:, :-1], targets[:, 1:]


def fill(rows):
    """Return rows of unequal lengths as an array, filled up with PAD on the right."""
    longest = max(len(row) for row in rows)
    return np.array([row + [PAD] * (longest - len(row)) for row in rows], dtype=np.int64)
