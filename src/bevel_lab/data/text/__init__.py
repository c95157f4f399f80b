"""Texts in two languages, line by line: the values a translation data set can be, and what is made of them.

``files`` reads them, ``subwords`` cuts them into the pieces that a model sees, ``decoding`` has a model write them.
"""

from bevel_lab.data.text.parallel import Aligned, ParallelText

__all__ = ["Aligned", "ParallelText"]
