"""Which of the real benchmarks lies under a data root, as far as the names of its files tell."""

from __future__ import annotations

from pathlib import Path

from amfir_lib.data.benchmarks import REAL_NAMES
from amfir_lib.data.clip_names import KINETICS_NAME, NAMES_OF_ITS_OWN
from amfir_lib.data.label_files import read_labels
from amfir_lib.data.layouts import scan_clips
from amfir_lib.data.video_lists import find_video_lists
from amfir_lib.errors import BadParameter


def recognise(root: Path, *, video_list: str | None = None) -> str:
    """The benchmark that most of the clips under a data root are named after, if none is named after another one.

    UCF101 and HMDB51 have names of their own; those of Kinetics are a YouTube id with two times; the videos of
    Something-Something stand in its label files.  Without a video list the latter can only be read as ``ssv2_small``.

    Args:
        root: the data root.
        video_list: the one that was given, if any.
    Raises:
        DataNotFound: no such folder, or nothing in it.
        BadParameter: the names do not tell, or tell of several; lists what to choose from.
    """
    scan = scan_clips(root)
    templates, _ = read_labels("ssv2_small_CMN", root, scan.texts)
    names = [clip.name for clip in scan.clips]
    kinetics = [match for name in names if (match := KINETICS_NAME.match(name)) and match["times"]]
    counts = {name: sum(map(bool, map(own.match, names))) for name, own in NAMES_OF_ITS_OWN.items()}
    counts |= {"kinetics100": len(kinetics), "ssv2_small": sum(name in templates for name in names)}
    found = [name for name, count in counts.items() if count]
    if found == ["ssv2_small"] and (video_list or find_video_lists(root)):
        found.append("ssv2_full")
    if len(found) > 1:
        raise BadParameter(f"{root} may hold {' or '.join(found)}. Say which is meant: --dataset {found[0]}.")
    if not found or counts[found[0]] < len(names) / 2:
        raise BadParameter(
            f"The file names in {root} do not tell which data set it holds. Add --dataset folder for your own clips, "
            f"or one of {', '.join(REAL_NAMES)}."
        )
    return found[0]
