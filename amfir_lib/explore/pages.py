"""One query on one page, as HTML without scripts: clips that play, posteriors as bars, and the way to the decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from amfir_lib.analysis.studies.examples import degradation_label
from amfir_lib.explore import clips
from amfir_lib.explore.session import Answers, Session
from amfir_lib.explore.what_if import Knobs, WhatIf, knobs_in_words
from amfir_lib.figures.clips import saturation_of
from amfir_lib.figures.style import looks
from amfir_lib.study.evaluation import FUSED

SHOT_SIZE = 72  # px, of supports
STRIP_SIZE = 32  # px, of their film strips
MAX_SHOTS = 5  # supports shown of a class
STYLE = """<style>
.amfir-page { font: 14px/1.45 system-ui, sans-serif; max-width: 900px; }
.amfir-page table { border-collapse: collapse; margin: 6px 0; }
.amfir-page th, .amfir-page td { padding: 3px 10px 3px 0; text-align: left; vertical-align: middle; font-weight: 400; }
.amfir-page thead th, .amfir-page .true th { font-weight: 700; }
.amfir-page tbody tr.true { outline: 1.5px solid currentColor; }
.amfir-page td { white-space: nowrap; }
.amfir-page figure { display: inline-block; vertical-align: top; margin: 4px 10px 4px 0; }
.amfir-page table { font-size: 14px; }
.amfir-page figcaption, .amfir-page .soft { font-size: 12px; color: inherit; opacity: .75; }
.amfir-page img { display: inline-block; vertical-align: middle; border-radius: 3px; margin: 0 2px 2px 0;
  border: 1px solid #8889; }
.amfir-page .wheel img { border-radius: 50%; }
.amfir-page .bar { display: inline-block; position: relative; width: 110px; height: 11px; vertical-align: middle;
  background: #8883; }
.amfir-page .bar b { position: absolute; top: -2px; bottom: -2px; width: 2px; background: currentColor; }
.amfir-page .bar i { display: block; height: 100%; }
.amfir-page .p { display: inline-block; width: 3em; font-variant-numeric: tabular-nums; padding-left: 4px; }
.amfir-page .stream { border-bottom: 3px solid; }
.amfir-page .best { font-weight: 700; }
.amfir-page .right, .amfir-page .wrong { padding: 0 8px; border-radius: 9px; font-weight: 700; color: #fff; }
.amfir-page .right { background: #11632a; } .amfir-page .wrong { background: #a40e26; }
</style>"""


def query_page(session: Session, *, episode: int, query: int) -> str:
    """One query: its clip, the supports of each class, what each stream believes, and the fused decision.

    Args:
        session: a trained method and its episodes.
        episode, query: which one.
    Returns:
        HTML; its pictures play at the clips' own frame rate.
    Raises:
        BadParameter: there is no such query.
    """
    row = session.query_row(episode, query)
    answers, target = session.answers.of(episode, query), int(session.episodes.target[episode, query])
    names, footage = session.class_names(episode), clips.footage_of(session.dataset, row)
    limit = saturation_of(footage.flow)
    kind = degradation_label(session.dataset, row)
    appearance = looks([session.dataset.modalities[0]])[session.dataset.modalities[0]].label
    key = "flow as colours: hue is direction, saturation is length"
    played = {
        f"{appearance}, {footage.fps:g} frames/s": footage.frames,
        key: clips.colours(footage.flow, limit=limit),
        "flow as arrows": clips.arrows(footage, limit=limit),
    }
    reels = {"frames of the query": footage.frames, "flow of the query": played[key]}
    shown = "".join(_figure(clips.playing(frames, fps=footage.fps), text) for text, frames in played.items())
    shown += _figure(
        clips.wheel(limit), f"no motion is white, the rim {limit:g} px per frame; longer is darker", "wheel"
    )
    shown += "".join(f"<br>{_image(clips.film(frames), text + ' in order of time')}" for text, frames in reels.items())
    supports = [_supports(session, rows, limit) for rows in session.episodes.support[episode]]
    shots = f"{session.episodes.n_shot} support{'s' if session.episodes.n_shot > 1 else ''} of each class"
    damage = f"degraded: {escape(kind)}" if kind else "not degraded" if "kind" in session.dataset.manifest else ""
    head = f"<p><b>Query {query} of episode {episode}</b> shows <b>{escape(names[target])}</b>" + (
        f" ({damage}). " if damage else ". "
    )
    return (
        f'{STYLE}<div class="amfir-page">{head}{_decision(answers, names, target)}</p>{shown}'
        f"{_posteriors(answers, names, target, supports, shots)}{_how(answers)}</div>"
    )


def what_if_page(what_if: WhatIf, knobs: Knobs) -> str:
    """The changed query clip as the backbones see it, and what the method says about it beside what it said before.

    Light enough to be made anew at each move of a slider.
    """
    session, episode = what_if.session, what_if.episode
    frames, inputs = what_if.inputs(knobs)
    now, before = what_if.answer(inputs), session.answers.of(episode, what_if.query)
    names, target = session.class_names(episode), int(session.episodes.target[episode, what_if.query])
    then = int(before.posterior[FUSED].argmax())
    head = f"<p><b>{escape(knobs_in_words(knobs))}</b>: {_decision(now, names, target)} "
    head += f'<span class="soft">As it is, the method says {escape(names[then])}.</span></p>'
    return (
        f'{STYLE}<div class="amfir-page">{head}{_seen(inputs)}'
        f"{_posteriors(now, names, target, before=before)}{_how(now, before)}"
        '<p class="soft">Ticks and brackets: the clip as it is.</p></div>'
    )


def _seen(inputs: Mapping[str, np.ndarray]) -> str:
    pictures = (inputs["rgb"], clips.colours(inputs["flow"], size=64))
    strips = [clips.film(frames, n_frames=len(frames), size=64) for frames in pictures]
    return f"{_image(strips[0], 'frames that the method sees')}<br>{_image(strips[1], 'flow that the method sees')}"


def _supports(session: Session, rows: Sequence[int], limit: float) -> str:
    """The supports of one class: frames and flow of the first, frames of the others."""
    parts, reel = [], ""
    for number, row in enumerate(rows[:MAX_SHOTS]):
        footage = clips.footage_of(session.dataset, int(row))
        note = degradation_label(session.dataset, int(row))
        alt = f"support {number + 1}" + (f", degraded: {note}" if note else "")
        parts.append(_image(clips.playing(footage.frames, fps=footage.fps, size=SHOT_SIZE), alt))
        if number == 0:
            reel = _image(clips.film(footage.frames, size=STRIP_SIZE), f"{alt} in the order of time")
            flow = clips.colours(footage.flow, limit=limit, size=SHOT_SIZE)
            parts.append(_image(clips.playing(flow, fps=footage.fps, size=SHOT_SIZE), f"flow of {alt}"))
    parts.append(f"<br>{reel}")
    return "".join(parts)


def _decision(answers: Answers, names: Sequence[str], target: int) -> str:
    said = int(answers.posterior[FUSED].argmax())
    word = "right" if said == target else "wrong"
    return f'The decision is <b>{escape(names[said])}</b>: <span class="{word}">{word}</span>.'


def _posteriors(
    answers: Answers, names: Sequence[str], target: int, supports: Sequence[str] = (), shots: str = "",
    before: Answers | None = None,
) -> str:  # fmt: skip
    """One row a class, one column a stream."""
    look = looks(answers.posterior)
    heads = (
        f'<th><span class="stream" style="border-color:{_legible(look[s].colour)}">{escape(look[s].label)}</span></th>'
        for s in answers.posterior
    )
    lines = [f"<thead><tr>{f'<th>{shots}</th>' if supports else ''}<th>class</th>{''.join(heads)}</tr></thead><tbody>"]
    for number, name in enumerate(names):
        cells = [
            _bar(p, number, look[s].colour, None if before is None else before.posterior[s][number])
            for s, p in answers.posterior.items()
        ]
        clip = f"<td>{supports[number]}</td>" if supports else ""
        mark = ' <span class="soft">(true)</span>' if number == target else ""
        kind = ' class="true"' if number == target else ""
        lines.append(
            f"<tr{kind}>{clip}<th>{escape(name)}{mark}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    return f"<table>{''.join(lines)}</tbody></table>"


def _bar(posterior: np.ndarray, number: int, colour: str, before: float | None) -> str:
    """The bar of one class; full where it is the stream's choice, a tick where it stood before."""
    p, best = float(posterior[number]), number == int(posterior.argmax())
    tick = "" if before is None else f'<b style="left:{100 * before:.0f}%"></b>'
    fill = f'<i style="width:{100 * p:.0f}%;background:{_legible(colour)};opacity:{1 if best else 0.45}"></i>'
    return f'<span class="bar">{fill}{tick}</span><span class="p{" best" if best else ""}">{p:.2f}</span>'


def _how(answers: Answers, before: Answers | None = None) -> str:
    """Free energy, certainty, weight and group of each modality; in brackets what they were before."""
    if not answers.certainty:
        return '<p class="soft">This method has one stream: there is nothing to weigh.</p>'
    kinds = {
        "free energy F (lower is more reliable)": "free_energy",
        "certainty c": "certainty",
        "fusion weight α": "weight",
    }
    look = looks(answers.certainty)
    lines = [
        "<thead><tr><th></th>" + "".join(f"<th>{escape(look[m].label)}</th>" for m in look) + "</tr></thead><tbody>"
    ]
    for title, kind in kinds.items():
        values: Mapping[str, np.ndarray] = getattr(answers, kind)
        if values:
            old = getattr(before, kind) if before is not None else {}
            cells = (
                _number(values[m]) + (f' <span class="soft">({_number(old[m])})</span>' if old else "") for m in values
            )
            lines.append(f"<tr><th>{title}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    group = f"<b>{escape(look[answers.dominant].label)}</b> dominates" if answers.dominant else "no modality dominates"
    certain = max(answers.certainty, key=lambda m: answers.certainty[m])
    more = "" if certain == answers.dominant else f", while {escape(look[certain].label)} is the more certain one"
    return f"<table>{''.join(lines)}</tbody></table><p>By the method's score {group}{more}.</p>"


def _number(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _legible(colour: str) -> str:
    """Black would vanish on a dark page."""
    return "currentColor" if colour == "#000000" else colour


def _image(address: str, alt: str) -> str:
    return f'<img src="{address}" alt="{escape(alt, quote=True)}" title="{escape(alt, quote=True)}">'


def _figure(address: str, caption: str, kind: str = "clip") -> str:
    words = f'<figcaption style="max-width:{clips.SIZE + 40}px">{escape(caption)}</figcaption>'
    return f'<figure class="{kind}">{_image(address, caption)}{words}</figure>'
