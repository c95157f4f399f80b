"""Texts in two languages, line by line: the data sets of translation, and their encoding.

``from_files`` reads them, ``tokens`` encodes them as the subwords that a model sees.
"""

from bevel_lab.data.text.parallel import ParallelText, SentencePairs

__all__ = ["ParallelText", "SentencePairs"]
