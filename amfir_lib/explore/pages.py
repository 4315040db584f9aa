"""One query on one page, as HTML without scripts: clips that play, posteriors as bars, and the way to the decision."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from amfir_lib.explore import clips
from amfir_lib.explore.session import Session, SessionAnswers
from amfir_lib.explore.what_if import Knobs, WhatIf
from amfir_lib.figures.clips import arrows, colour_wheel, saturation_of
from amfir_lib.figures.style import in_words, looks

SHOT_SIZE, STRIP_SIZE, WHEEL_SIZE = 72, 32, 64  # px: of supports, of their film strips, of the key to flow
MAX_SHOTS = 5  # supports shown of a class
SEEN_SIZE = 64  # px, of what a method sees of a changed clip
MEASURES = {
    "free energy F (lower is more reliable)": "free_energy",
    "certainty c": "certainty",
    "fusion weight α": "weight",
}

_ENVIRONMENT = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
_ENVIRONMENT.filters["number"] = lambda value: f"{value:.2f}".replace("-", "−")
_ENVIRONMENT.filters["visible"] = lambda colour: colour.replace("#000000", "currentColor")  # black vanishes at night


def query_page(session: Session, *, episode: int, query: int) -> str:
    """One query: its clip, the supports of each class, what each stream believes, and the fused decision.

    Pictures play at the clips' own frame rate.
    """
    dataset, row = session.dataset, session.query_row(episode, query)
    footage, kind = clips.footage_of(dataset, row), clips.degradation_label(dataset, row)
    limit = saturation_of(footage.flow)
    colours = clips.colours(footage.flow, limit=limit)
    played = {
        f"{in_words(dataset.modalities[0])}, {footage.fps:g} frames/s": footage.frames,
        "flow as colours: hue is direction, saturation is length": colours,
        "flow as arrows": arrows(footage.frames, footage.flow, limit=limit),
    }
    wheel = clips.still(colour_wheel(limit, size=WHEEL_SIZE), quality=clips.LOSSLESS)
    key = (wheel, f"no motion is white, the rim {limit:g} px per frame; longer is darker", "wheel")
    n_shot = session.episodes.n_shot
    parts = {
        "heading": f"Query {query} of episode {episode}",
        "damage": f" (degraded: {kind})" if kind else " (not degraded)" if "kind" in dataset.manifest else "",
        "figures": [*((clips.playing(x, fps=footage.fps), caption, "clip") for caption, x in played.items()), key],
        "reels": [
            (clips.film(footage.frames), "frames of the query in order of time"),
            (clips.film(colours), "flow of the query in order of time"),
        ],
        "supports": [_supports(session, rows, limit) for rows in session.episodes.support[episode]],
        "shots": f"{n_shot} support{'s' if n_shot > 1 else ''} of each class",
    }
    return _page(session, episode, query, session.answers.of(episode, query), parts)


def what_if_page(what_if: WhatIf, knobs: Knobs) -> str:
    """The changed query clip as the backbones see it, and what the method says about it beside what it said before.

    Light enough to be made anew at each move of a slider.
    """
    session, episode, query = what_if.session, what_if.episode, what_if.query
    inputs = what_if.inputs(knobs)
    reels = [
        (clips.film(inputs["rgb"], size=SEEN_SIZE), "frames that the method sees"),
        (clips.film(clips.colours(inputs["flow"], size=SEEN_SIZE), size=SEEN_SIZE), "flow that the method sees"),
    ]
    parts = {"heading": str(knobs), "reels": reels, "before": session.answers.of(episode, query)}
    return _page(session, episode, query, what_if.answer(inputs), parts)


def _page(session: Session, episode: int, query: int, now: SessionAnswers, parts: dict[str, Any]) -> str:
    names, target = session.class_names(episode), int(session.episodes.target[episode, query])
    look, template = looks(now.posterior), _ENVIRONMENT.get_template("page.html")
    return template.render(parts, now=now, names=names, target=target, look=look, measures=MEASURES)


def _supports(session: Session, rows: Sequence[int], limit: float) -> list[tuple[str, str]]:
    """Pictures of the supports of one class: frames and flow of the first, frames of the others, its film strip."""
    pictures = []
    for number, row in enumerate(rows[:MAX_SHOTS]):
        footage = clips.footage_of(session.dataset, int(row))
        note = clips.degradation_label(session.dataset, int(row))
        alt = f"support {number + 1}" + (f", degraded: {note}" if note else "")
        pictures.append((clips.playing(footage.frames, fps=footage.fps, size=SHOT_SIZE), alt))
        if number == 0:
            flow = clips.colours(footage.flow, limit=limit, size=SHOT_SIZE)
            pictures.append((clips.playing(flow, fps=footage.fps, size=SHOT_SIZE), f"flow of {alt}"))
            reel = (clips.film(footage.frames, size=STRIP_SIZE), f"{alt} in the order of time")
    return [*pictures, reel]
