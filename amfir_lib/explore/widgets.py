"""Menus and sliders of JupyterLab around the functions of this package; nothing is computed here."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import ipywidgets
from ipywidgets import Button, Dropdown

from amfir_lib.errors import AmfirError
from amfir_lib.explore.pages import query_page, what_if_page
from amfir_lib.explore.session import FILTERS, SORTS, Session, open_other, query_table, select_queries
from amfir_lib.explore.what_if import Knobs, WhatIf
from amfir_lib.methods import METHODS
from amfir_lib.study.config import SYNTHETIC_BENCHMARKS
from amfir_lib.study.study import Study

EVERY_EPISODE = -1
NARROW, WIDE, SLIDER = (ipywidgets.Layout(width=width) for width in ("36px", "440px", "75%"))


class EpisodeExplorer(ipywidgets.VBox):
    """Menus for data set, method, seed, episodes, filter and query; the chosen query below them.

    ``session, episode, query``: what is shown first, and then what is shown now.  ``study`` opens other sessions: of
    the same data set or, if that is synthetic, of all synthetic benchmarks; of all methods; of its seeds.
    """

    def __init__(self, session: Session, study: Study, *, episode: int = 0, query: int = 0) -> None:
        self._study, self.episode, self.query = study, episode, query
        run, dataset = session.result.run, session.dataset
        seeds = list(dict.fromkeys((run.seed, *study.config.seeds)))
        names = dict.fromkeys((dataset.name, *(SYNTHETIC_BENCHMARKS if dataset.synthetic else ())))
        self.dataset = Dropdown(options=list(names), value=dataset.name, description="data set")
        methods = {spec.title: name for name, spec in METHODS.items()}
        self.method = Dropdown(options=methods, value=run.method, description="method")
        self.seed = Dropdown(options=seeds, description="seed", tooltip="Of the training")
        self.n_way = ipywidgets.BoundedIntText(session.episodes.n_way, min=2, max=20, description="way")
        self.n_shot = ipywidgets.BoundedIntText(session.episodes.n_shot, min=1, max=10, description="shot")
        self.load = Button(description="Load", tooltip="Finds it in the cache, or computes it (minutes)")
        self.show = Dropdown(options=list(FILTERS), description="show", layout=WIDE)
        self.sort = Dropdown(options=list(SORTS), description="sort", layout=WIDE)
        self.only = Dropdown(description="episode")
        self.choose = ipywidgets.SelectionSlider(
            options=[0], description="query", continuous_update=False, layout=SLIDER
        )
        self.back = Button(icon="chevron-left", tooltip="The query before", layout=NARROW)
        self.forward = Button(icon="chevron-right", tooltip="The next query", layout=NARROW)
        self.message, self.page, self._log = ipywidgets.HTML(), ipywidgets.HTML(), ipywidgets.Output()
        self.load.on_click(self._reload)
        self.back.on_click(lambda _: self._step(-1))
        self.forward.on_click(lambda _: self._step(+1))
        for menu in (self.show, self.sort, self.only):
            menu.observe(self._filter, "value")
        self.choose.observe(self._draw, "value")
        rows = [
            [self.dataset, self.method, self.seed],
            [self.n_way, self.n_shot, self.load],
            [self.show, self.sort],
            [self.only, self.message],
            [self.choose, self.back, self.forward],
        ]
        super().__init__([*map(ipywidgets.HBox, rows), self.page, self._log])
        self._take(session)

    def _take(self, session: Session) -> None:
        self.session, self.table = session, query_table(session)
        self.only.unobserve(self._filter, "value")
        self.only.options = [("all episodes", EVERY_EPISODE), *((str(e), e) for e in range(len(session.episodes)))]
        self.only.value = EVERY_EPISODE
        self.only.observe(self._filter, "value")
        self._filter()

    def _reload(self, _: Any = None) -> None:
        self.message.value = "Loading. What the cache lacks is computed now, which can take minutes."
        self._log.clear_output()
        wanted = {name: getattr(self, name).value for name in ("dataset", "method", "seed", "n_way", "n_shot")}
        try:
            with self._log:
                session = open_other(self._study, **wanted)
        except AmfirError as error:
            self.message.value = f"<b>{type(error).__name__}</b>: {error}"
            return
        self._log.clear_output()
        self._take(session)

    def _filter(self, _: Any = None) -> None:
        chosen = select_queries(self.table, show=self.show.value, sort=self.sort.value)
        if self.only.value != EVERY_EPISODE:
            chosen = chosen[chosen["episode"] == self.only.value]
        self.message.value = f"{len(chosen)} of {len(self.table)} queries of {len(self.session.episodes)} episodes"
        words = [
            f"{n}: episode {row.episode}, query {row.query}, {'right' if row.right else 'wrong'}"
            for n, row in enumerate(chosen.itertuples(), start=1)
        ] or ["no such query"]
        places = [*zip(chosen["episode"], chosen["query"], strict=True)] or [()]
        shown = (self.episode, self.query)
        self.choose.unobserve(self._draw, "value")
        self.choose.options = list(zip(words, places, strict=True))
        self.choose.value = shown if shown in places else places[0]
        self.choose.observe(self._draw, "value")
        self._draw()

    def _step(self, by: int) -> None:
        self.choose.index = min(max(self.choose.index + by, 0), len(self.choose.options) - 1)

    def _draw(self, _: Any = None) -> None:
        if not self.choose.value:
            self.page.value = "<p>No query is left by this filter.</p>"
            return
        self.episode, self.query = map(int, self.choose.value)
        self.page.value = query_page(self.session, episode=self.episode, query=self.query)


class WhatIfPanel(ipywidgets.VBox):
    """A slider for each way of spoiling the query clip, and the answer to it, which follows while a slider moves."""

    def __init__(self, what_if: WhatIf) -> None:
        self.what_if, self.page = what_if, ipywidgets.HTML()
        self.sliders = {
            knob.name: ipywidgets.FloatSlider(0, min=0, max=1, step=0.05, description=knob.name, layout=WIDE)
            for knob in fields(Knobs)
        }
        self.reset = Button(description="As it is")
        for slider in self.sliders.values():
            slider.observe(self._draw, "value")
        self.reset.on_click(self._reset)
        super().__init__([*self.sliders.values(), self.reset, self.page])
        self._draw()

    def _reset(self, _: Any = None) -> None:
        for slider in self.sliders.values():
            slider.value = 0

    def _draw(self, _: Any = None) -> None:
        knobs = Knobs(**{name: slider.value for name, slider in self.sliders.items()})
        self.page.value = what_if_page(self.what_if, knobs)
