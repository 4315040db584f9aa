"""A change in the what-if panel: spoil the clip, compute flow, features and posterior again, and write the page.

The panel keeps the decoded clip and the embedded supports; the slow path reads and embeds them at every change.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from amfir_lib import explore
from amfir_lib.data.catalogue import load_dataset
from amfir_lib.data.features import extract_stores
from amfir_lib.explore import Knobs, WhatIf, what_if_page
from amfir_lib.study.evaluation import FUSED
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Run, run_all
from amfir_lib.study.training import Training

from .data import untrained_compact
from .measure import Comparison, in_turn, verify

GOAL_S = 0.3  # of a change, for a person to feel that the page follows the slider
CELL = TestCell(n_way=5, n_shot=1, n_query=2, n_episodes=1)
ONE_STEP = Training(n_way=2, shots=(1,), n_query=1, steps=1, episodes_per_step=1, validate_every=1, n_val_episodes=2)
CHANGES = {"blur": Knobs(blur=0.5), "all four": Knobs(darkness=0.5, blur=0.5, shake=0.5, drop=0.5)}


def compare(*, quick: bool) -> list[Comparison]:
    """AMFIR, 5-way 1-shot, on rendered clips of 16 frames at 112 px; what training changed does not change the time."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        place, backbones = Path(folder), untrained_compact()
        dataset = load_dataset("synth-kinetics", cache_dir=place, clips_per_class=4, class_counts=(2, 2, 5))
        material = Material(dataset, extract_stores(dataset, backbones, cache_dir=place))
        (result,) = run_all([Run(material, "amfir", training=ONE_STEP)], [CELL], cache_dir=place)
        session = explore.open_session(result, CELL)

        def panel() -> WhatIf:
            return WhatIf(session, backbones, episode=0, query=0)

        kept = panel()
        for name, knobs in list(CHANGES.items())[: 1 if quick else None]:
            posteriors = [torch.from_numpy(one.answer(one.inputs(knobs)).posterior[FUSED]) for one in (kept, panel())]
            found.append(
                in_turn(
                    lambda knobs=knobs: what_if_page(kept, knobs),
                    lambda knobs=knobs: what_if_page(panel(), knobs),
                    name=f"a change in the what-if panel: {name}",
                    check=verify("fused posterior", *posteriors, atol=1e-6),
                    unit="change",
                    limit=GOAL_S,
                    total=1,
                    note="From the moved slider to the page, in the kernel; the browser's time is not counted.",
                )
            )
    return found
