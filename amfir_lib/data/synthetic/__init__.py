"""The embedded benchmarks: real video files of articulated figures, made from a seed (DESIGN section 4).

``motion`` and ``appearance`` hold the latents of a class, ``figure`` draws a person, ``degradation`` destroys one
stream, ``benchmarks`` says what each data set is like, ``clips`` renders one clip, ``generate`` writes a data set.
"""

from amfir_lib.data.synthetic.benchmarks import CORPUS, SYNTHETIC_NAMES
from amfir_lib.data.synthetic.generate import make_corpus, make_dataset, reversed_copy

__all__ = ["CORPUS", "SYNTHETIC_NAMES", "make_corpus", "make_dataset", "reversed_copy"]
