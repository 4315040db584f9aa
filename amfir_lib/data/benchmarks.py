"""The five real benchmarks: their splits, published counts, and what a person has to download.

Class lists and counts are package data in ``amfir_lib/data/splits``.  Classes: the lists in the TRX repository
(tobyperrett/trx), whose ARN, CMN and OTAM splits all later papers use.  Videos per split: counted from the same lists.
Videos per class of HMDB51 and UCF101: all that the data set has, since both lists use every video.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pandas as pd

from amfir_lib.data.class_split import FOLDER, ClassSplit, read_class_split
from amfir_lib.data.manifest import SPLITS

LISTS = "github.com/tobyperrett/trx, folder splits"


@dataclass(frozen=True)
class Benchmark:
    """One published few-shot benchmark: its name for ``--dataset``, its title in captions, its class list.

    Attributes:
        list_folder: the folder of the TRX repository's ``splits`` that holds its video lists.
        source: where the videos come from.
        groups: what clips of one source share, and how it is named in the file names.
        per_class: videos a class of the published list, where it is a selection from a larger data set; else 0.
        needs_list: whether nothing can be prepared without the published video list.
        flip: whether a mirror image keeps its class.
        frames, height, width: of a typical clip, for planning.
    """

    name: str
    title: str
    class_list: str
    list_folder: str
    source: str
    groups: str
    per_class: int = 0
    needs_list: bool = False
    flip: bool = True
    frames: int = 0
    height: int = 0
    width: int = 0

    @property
    def split(self) -> ClassSplit:
        """The published class split."""
        return read_class_split(self.class_list)

    @property
    def lists(self) -> str:
        """Where the published video lists lie, in words."""
        return f"{LISTS}/{self.list_folder} (three text files)"


BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        Benchmark(
            "kinetics100", "Kinetics-100 (CMN split)", "kinetics100_CMN", "kinetics_CMN",
            source="Kinetics-400 (github.com/cvdfoundation/kinetics-dataset), the 100 classes of the list",
            groups="the YouTube id", per_class=100, frames=300, height=256, width=340,
        ),
        Benchmark(
            "ssv2_small", "SSv2-Small (CMN split)", "ssv2_small_CMN", "ssv2_CMN",
            source="Something-Something V2 (Qualcomm AI datasets), videos and labels",
            groups="each video its own", per_class=100, flip=False, frames=45, height=240, width=427,
        ),
        Benchmark(
            "ssv2_full", "SSv2-Full (OTAM split)", "ssv2_full_OTAM", "ssv2_OTAM",
            source="Something-Something V2 (Qualcomm AI datasets), videos and labels",
            groups="each video its own", needs_list=True, flip=False, frames=45, height=240, width=427,
        ),
        Benchmark(
            "hmdb51", "HMDB51 (ARN split)", "hmdb51_ARN", "hmdb_ARN",
            source="HMDB51 (serre-lab.clps.brown.edu), hmdb51_org.rar with its 51 archives unpacked",
            groups="the source film", frames=95, height=240, width=320,
        ),
        Benchmark(
            "ucf101", "UCF101 (ARN split)", "ucf101_ARN", "ucf_ARN",
            source="UCF101 (crcv.ucf.edu), UCF101.rar", groups="the source video (class and g01 .. g25)",
            frames=186, height=240, width=320,
        ),
    )
}  # fmt: skip
REAL_NAMES = tuple(BENCHMARKS)


@cache
def _counts() -> pd.DataFrame:
    with FOLDER.joinpath("published_counts.csv").open(encoding="utf-8") as handle:
        return pd.read_csv(handle, dtype={"label": str}, keep_default_na=False)


def published_videos(name: str) -> dict[str, int]:
    """Number of videos that the published lists have in train, val and test."""
    rows = _counts().query("benchmark == @name and label == ''").set_index("split")["videos"]
    return {split: int(rows[split]) for split in SPLITS}


def published_class_sizes(name: str) -> dict[str, int]:
    """Class name -> number of videos in the published lists; empty where the classes have no names (``ssv2_full``)."""
    benchmark = BENCHMARKS[name]
    if benchmark.per_class:
        return dict.fromkeys(benchmark.split.split_of, benchmark.per_class)
    rows = _counts().query("benchmark == @name and label != ''")
    return {str(label): int(videos) for label, videos in zip(rows["label"], rows["videos"], strict=True)}
