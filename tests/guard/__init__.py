"""Two versions of the study held against each other, bit by bit: what protects the numbers while the code is rebuilt.

``python -m tests.guard BEFORE AFTER`` compares two folders of results, two caches, or both (``--cache BEFORE AFTER``).
It knows nothing of the library, so that it compares any two versions of it.
"""
