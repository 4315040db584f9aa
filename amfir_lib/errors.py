"""Errors that a person can act on: one sentence that says what is wrong, which value, where, and what to do.

Each class derives from ``AmfirError``, so that the command line can print the sentence without a traceback, and from
the built-in exception that a caller would expect.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AmfirError(Exception):
    """Base of every error that this study raises on purpose; its text is one sentence with a remedy."""


class ShapeError(AmfirError, ValueError):
    """Two tensors do not fit together."""


class UnknownName(AmfirError, ValueError):
    """A data set, method, backbone, option or notebook of that name does not exist."""


class UnknownParameter(AmfirError, ValueError):
    """A notebook or configuration has no parameter of that name."""


class BadParameter(AmfirError, ValueError):
    """A parameter has the wrong type or lies outside its range."""


class DataNotFound(AmfirError, FileNotFoundError):
    """A folder or file that the user named is not there."""


class ManifestError(AmfirError, ValueError):
    """A clip manifest, clips.csv or split file contradicts itself or lacks something."""


class TooFewVideos(AmfirError, ValueError):
    """A class (or the set of groups) cannot fill one episode."""


class UnreadableVideo(AmfirError, OSError):
    """A file is empty, truncated, or not a video that the decoder understands."""


class StoreError(AmfirError, OSError):
    """A feature store is stale or damaged and may not be read."""


class NonFiniteFeatures(AmfirError, ValueError):
    """Features hold NaN or infinity."""


class TrainingDiverged(AmfirError, ArithmeticError):
    """The loss is no longer finite."""


class NotebookFailed(AmfirError, RuntimeError):
    """A notebook did not run to its end."""


class BackboneUnavailable(AmfirError, RuntimeError):
    """The code or the weights of a backbone are not installed, or are damaged."""


class BackendUnavailable(AmfirError, RuntimeError):
    """A cluster that parallel work should go to is not there, or its packages are not."""


class WorkerFailed(AmfirError, RuntimeError):
    """Work on one of many items failed, or the process that did it was killed."""


class DiskFull(AmfirError, OSError):
    """There is no room left for a file of the cache."""


class CacheLocked(AmfirError, RuntimeError):
    """Another process is writing the same results."""


MOST_LISTED = 20  # names in a sentence


def unknown_name(kind: str, name: str, known: Iterable[str], *, error: type[AmfirError] = UnknownName) -> AmfirError:
    """The error for a name that does not exist, with the nearest one that does; of many only those that resemble it.

    Args:
        kind: what the name stands for, in the singular: "method", "data set".
        name: what the user wrote.
        known: every name that would have been accepted.
        error: the class to build.
    """
    known = sorted(known)
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    hint = f' (did you mean "{nearest[0]}"?)' if nearest else ""
    listed = known
    if nearest and len(known) > MOST_LISTED:
        listed = sorted(difflib.get_close_matches(str(name), known, n=MOST_LISTED // 2, cutoff=0.0))
    more = f" and {len(known) - len(listed)} more" if len(listed) < len(known) else ""
    return error(f'"{name}" is not a known {kind}{hint}. Known: {", ".join(listed)}{more}.')
