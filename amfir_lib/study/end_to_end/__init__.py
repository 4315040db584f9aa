"""Training through the backbones, the paper's theta_m; frozen features are the study's declared deviation from it."""

from amfir_lib.study.end_to_end.clips import evaluate_end_to_end
from amfir_lib.study.end_to_end.devices import train_on_devices
from amfir_lib.study.end_to_end.job import EndToEnd, Job, Source
from amfir_lib.study.end_to_end.loop import TrainedEndToEnd, train_end_to_end

__all__ = [
    "EndToEnd", "Job", "Source", "TrainedEndToEnd", "evaluate_end_to_end", "train_end_to_end", "train_on_devices",
]  # fmt: skip
