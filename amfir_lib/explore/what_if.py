"""What a method would say if a query clip were darker, blurred, shaken or short of frames.

The clip is changed before anything else happens to it: flow, features and posterior are computed again from the changed
frames, with the settings that the feature store recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
import torch

from amfir_lib.data.spoiling import spoil_clip
from amfir_lib.data.streams import centre_square, streams
from amfir_lib.data.video import read_frames
from amfir_lib.explore.session import Session, SessionAnswers
from amfir_lib.exports import Table
from amfir_lib.figures.style import in_words
from amfir_lib.methods import uses_patches
from amfir_lib.study.evaluation import FUSED

CHANCE_SEED = 7  # of shake and of which frames are dropped, so that a slider changes the strength and nothing else
SYMBOLS = {"p_true": "p(true)", "free_energy": "F", "certainty": "c", "weight": "α"}
LEVELS = (0.5, 1.0)  # of each knob in the table


@dataclass(frozen=True)
class Knobs:
    """How a clip is spoilt; each from 0 (not at all) to 1."""

    darkness: float = 0.0  # light that is lost
    blur: float = 0.0  # out of focus
    shake: float = 0.0  # a camera that jumps between frames
    drop: float = 0.0  # share of frames that are lost, and filled by repeating the one before

    def __str__(self) -> str:
        changed = [f"{name} {value:.2f}" for name, value in asdict(self).items() if value]
        return ", ".join(changed) or "the clip as it is"

    def spoil(self, frames: np.ndarray) -> np.ndarray:
        """Square frames uint8 (F, S, S, 3), changed in the order of the knobs; a knob at 0 changes nothing."""
        for kind, severity in asdict(self).items():
            frames = spoil_clip(frames, kind, severity, np.random.default_rng(CHANCE_SEED))
        return frames


class WhatIf:
    """One query of a session, whose clip can be changed.

    ``backbones``: modality -> feature extractor, those of the session's feature stores.
    """

    def __init__(self, session: Session, backbones: Mapping[str, Any], *, episode: int, query: int) -> None:
        row, run = session.query_row(episode, query), session.result.run
        self.session, self.episode, self.query = session, episode, query
        self.backbones = {m: backbones[m] for m in session.method.modalities}
        self.frames = centre_square(read_frames(session.dataset.clip_path(row)))
        stores = [store.metadata for store in run.read.stores.values()]
        flow = next(store["flow"] for store in stores if store["flow"])
        sizes = {"rgb": self.frames.shape[1], "flow": flow["size"]}
        sizes |= {backbone.modality: backbone.input_size for backbone in self.backbones.values()}
        self._read = {
            "sizes": sizes, "n_segments": stores[0]["n_segments"], "flow_size": flow["size"],
            "flow_algorithm": flow["algorithm"], "flow_bound": flow["bound"], "flow_average": flow["average"],
        }  # fmt: skip
        rows = session.episodes.support[episode]
        with torch.inference_mode():
            clips = {m: session.table.features[m][rows.ravel()] for m in self.backbones}
            embedded = session.method.embed(clips)
        self._support = {name: x.unflatten(0, rows.shape).unsqueeze(0) for name, x in embedded.items()}

    def inputs(self, knobs: Knobs) -> dict[str, np.ndarray]:
        """What the backbones see of the changed clip; each square at the size of its backbone."""
        return streams(knobs.spoil(self.frames), **self._read)

    @torch.inference_mode()
    def answer(self, inputs: Mapping[str, np.ndarray]) -> SessionAnswers:
        """What the method says about the changed clip; (N,) posteriors and scalars."""
        method, run = self.session.method, self.session.result.run
        features = {m: torch.from_numpy(b.features(inputs[b.modality][None])) for m, b in self.backbones.items()}
        if not uses_patches(run.method):
            features = {m: x.float().mean(2, keepdim=True) for m, x in features.items()}
        if run.read.whiten:
            features = run.read.whitening()(features)
        query = {name: x[None] for name, x in method.embed(features).items()}
        return SessionAnswers.from_output(method, method.compare(dict(self._support), query)).of(0, 0)


def knob_table(what_if: WhatIf) -> Table:
    """What each knob does on its own, one row per knob and level, after a row for the clip as it is.

    Returns:
        A table with ``change, level``, the fused ``answer``, ``right``, and for each stream or modality s
        ``p_true_s``, ``free_energy_s``, ``certainty_s`` and ``weight_s``, where the method has them.
    """
    session, names = what_if.session, what_if.session.class_names(what_if.episode)
    target = int(session.episodes.target[what_if.episode, what_if.query])
    changes = [("as it is", 0.0, Knobs())]
    changes += [(knob.name, level, Knobs(**{knob.name: level})) for knob in fields(Knobs) for level in LEVELS]
    rows, heads = [], {}
    for change, level, knobs in changes:
        answer = what_if.answer(what_if.inputs(knobs))
        choice = int(answer.posterior[FUSED].argmax())
        row = {"change": change, "level": level, "answer": names[choice], "right": choice == target}
        true = {stream: posterior[target] for stream, posterior in answer.posterior.items()}
        for name, symbol in SYMBOLS.items():
            for stream, value in (true if name == "p_true" else getattr(answer, name)).items():
                row[f"{name}_{stream}"] = float(value)
                heads[f"{name}_{stream}"] = f"{symbol} {in_words(stream)}"
        rows.append(row)
    cells = {head: f"{{{column}}}" for column, head in ({"answer": "answer", "right": "right"} | heads).items()}
    caption = (
        f"{session.dataset.caption}; one query, one change at a time; level: 0 is the clip as it is, 1 the worst. "
        "p(true): probability of the true class; F: free energy in nats, lower is more reliable; c: certainty, the "
        "largest probability; α: weight in the fused answer (Eq. 8)."
    )
    units = dict.fromkeys(heads, "query")
    return Table.of(pd.DataFrame(rows), ["change", "level"], cells, caption=caption, units=units)
