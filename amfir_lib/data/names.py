"""Names: what is compared of a class name, and what the file names of the real benchmarks tell of a clip."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

CLIP_NAMES = {  # of the benchmarks that have names of their own
    "ucf101": re.compile(r"^v_(?P<label>[A-Za-z0-9]+)_g(?P<group>\d+)_c\d+$"),
    # source film, class, visible body parts, camera, people, view, quality, number
    "hmdb51": re.compile(r"^(?P<source_and_label>.+)_[a-z]_[cn]m_np\d+_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+$"),
}
KINETICS_NAME = re.compile(r"^(?P<id>[\w-]{11})(?P<times>_\d{6}_\d{6})?$")
# what HMDB51 writes behind a film's name: the scene or part, and what was left of the file's name
SCENE = re.compile(r"(?:_(?:avi|dvd|\[?h[dq]\]?|\(h[dq]\)|part|volume|#?\d{1,2}))+$", re.IGNORECASE)


def class_key(name: str) -> str:
    """What is compared of a class name: its letters and digits, in lower case.

    "Playing_ice-hockey" and "playing ice hockey" are one class, and so are "Holding [something]" and "Holding
    something", the template and the plain form of a Something-Something label.
    """
    return "".join(character for character in name.casefold() if character.isalnum())


def keys_of(labels: Iterable[str]) -> dict[str, str]:
    """Key -> class name, of class names that all have different keys."""
    return {class_key(label): label for label in labels}


def nearest_names(wanted: str, names: Iterable[str]) -> list[str]:
    """Up to three names that look most like ``wanted``, best first; only similar ones."""
    by_key = keys_of(sorted(names))
    return [by_key[key] for key in difflib.get_close_matches(class_key(wanted), by_key, cutoff=0.5)]


def youtube_id(name: str) -> str:
    """The YouTube id that a clip of Kinetics is named after; empty for another name."""
    match = KINETICS_NAME.match(name)
    return match["id"] if match else ""


def label_in_name(name: str, labels: dict[str, str]) -> str | None:
    """The class, of ``labels`` by key, that UCF101 and HMDB51 write into a file name (without folder and suffix)."""
    if match := CLIP_NAMES["ucf101"].match(name):
        return labels.get(class_key(match["label"]))
    if match := CLIP_NAMES["hmdb51"].match(name):
        words = match["source_and_label"].split("_")
        for n_words in (3, 2, 1):  # the longest class name first: kick_ball before ball
            if label := labels.get(class_key("".join(words[-n_words:]))):
                return label
    return None


def group_of(benchmark: str, label: str, name: str) -> str:
    """The source that a clip shares with others: film, source video or YouTube id; the clip itself where none is known.

    Scenes and parts of one film of HMDB51 ("Two_Towers_1", "Two_Towers_6") are one source: a scene seen in a support
    and another one in a query would be a leak, while a group too large only leaves fewer clips to draw from.
    """
    match = CLIP_NAMES[benchmark].match(name) if benchmark in CLIP_NAMES else None
    if benchmark == "kinetics100":
        return youtube_id(name) or name
    if match is None:
        return name
    if benchmark == "ucf101":
        return f"{label}_g{match['group']}"  # g01 of one class is not g01 of another
    words = match["source_and_label"].split("_")
    n_words = label.count("_") + 1
    ends_in_label = len(words) > n_words and class_key("".join(words[-n_words:])) == class_key(label)
    return SCENE.sub("", "_".join(words[:-n_words] if ends_in_label else words)).casefold()
