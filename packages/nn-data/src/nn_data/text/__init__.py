"""Vocabularies: text as integers, and back."""

from nn_data.text._byte import ByteVocabulary as ByteVocabulary
from nn_data.text._char import CharVocabulary as CharVocabulary
from nn_data.text._vocabulary import Vocabulary as Vocabulary
from nn_data.text._word import WordVocabulary as WordVocabulary

__all__ = ["ByteVocabulary", "CharVocabulary", "Vocabulary", "WordVocabulary"]


def __dir__() -> list[str]:
    return sorted(__all__)
