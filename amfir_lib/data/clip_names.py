"""What the file names of the real benchmarks tell: which benchmark a clip is of, its class, and its source."""

from __future__ import annotations

import re

from amfir_lib.data.class_names import class_key

UCF_NAME = re.compile(r"^v_(?P<label>[A-Za-z0-9]+)_g(?P<group>\d+)_c\d+$")
# source film, class, visible body parts, camera, people, view, quality, number
HMDB_NAME = re.compile(r"^(?P<source_and_label>.+)_[a-z]_[cn]m_np\d+_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+$")
KINETICS_NAME = re.compile(r"^(?P<id>[\w-]{11})(?P<times>_\d{6}_\d{6})?$")
NAMES_OF_ITS_OWN = {"ucf101": UCF_NAME, "hmdb51": HMDB_NAME}
# what HMDB51 writes behind a film's name: the scene or part, and what was left of the file's name
SCENE = re.compile(r"(?:_(?:avi|dvd|\[?h[dq]\]?|\(h[dq]\)|part|volume|#?\d{1,2}))+$", re.IGNORECASE)


def is_of_another(benchmark: str, name: str) -> bool:
    """Whether a clip's name is one that only another benchmark gives.

    Args:
        benchmark: its name.
        name: of the clip, without folder and suffix.
    """
    return any(pattern.match(name) for other, pattern in NAMES_OF_ITS_OWN.items() if other != benchmark)


def label_in_name(name: str, labels: dict[str, str]) -> str | None:
    """The class that UCF101 and HMDB51 write into a file name, for files that lie flat in one folder.

    Args:
        name: of the clip.
        labels: class key -> class name.
    """
    if match := UCF_NAME.match(name):
        return labels.get(class_key(match["label"]))
    if match := HMDB_NAME.match(name):
        words = match["source_and_label"].split("_")
        for n_words in (3, 2, 1):  # the longest class name first: kick_ball before ball
            if label := labels.get(class_key("".join(words[-n_words:]))):
                return label
    return None


def group_of(benchmark: str, label: str, name: str) -> str:
    """The source that a clip shares with others: film, source video or YouTube id; the clip itself where none is known.

    Scenes and parts of one film of HMDB51 ("Two_Towers_1", "Two_Towers_6") are one source: a scene seen in a support
    and another one in a query would be a leak, while a group too large only leaves fewer clips to draw from.

    Args:
        benchmark: its name.
        label: class of the clip.
        name: of the clip, without folder and suffix.
    """
    if benchmark == "ucf101" and (match := UCF_NAME.match(name)):
        return f"{label}_g{match['group']}"  # g01 of one class is not g01 of another
    if benchmark == "kinetics100" and (match := KINETICS_NAME.match(name)):
        return match["id"]
    if benchmark == "hmdb51" and (match := HMDB_NAME.match(name)):
        words = match["source_and_label"].split("_")
        n_words = label.count("_") + 1
        ends_in_label = len(words) > n_words and class_key("".join(words[-n_words:])) == class_key(label)
        film = "_".join(words[:-n_words] if ends_in_label else words)
        return SCENE.sub("", film).casefold()
    return name
