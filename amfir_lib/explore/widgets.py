"""Menus and sliders of JupyterLab around the functions of this package; nothing is computed here."""

from __future__ import annotations

from typing import Any

import ipywidgets
from IPython.display import display

from amfir_lib.errors import AmfirError
from amfir_lib.explore.pages import query_page, what_if_page
from amfir_lib.explore.queries import ALL, FILTERS, SORTS, query_table, select_queries
from amfir_lib.explore.session import Session
from amfir_lib.explore.shelf import Shelf
from amfir_lib.explore.what_if import Knobs, WhatIf

KNOB_TITLES = {"darkness": "darkness", "blur": "blur", "shake": "camera shake", "drop": "dropped frames"}
EVERY_EPISODE = -1
NARROW = ipywidgets.Layout(width="36px")
WIDE = ipywidgets.Layout(width="440px")


class EpisodeExplorer:
    """Menus for data set, method, seed, episodes, filter and query; the chosen query below them.

    Args:
        session: what is shown first.
        shelf: opens other sessions; what the cache lacks it computes, which can take minutes.
        episode, query: shown first.

    Attributes:
        widget: all of it, to be displayed.
        session, episode, query: what is shown now.
    """

    def __init__(self, session: Session, shelf: Shelf, *, episode: int = 0, query: int = 0) -> None:
        self._shelf, self._wanted = shelf, (episode, query)
        name, method = session.dataset.name, session.result.run.method
        self.dataset = ipywidgets.Dropdown(options=list(shelf.datasets), value=name, description="data set")
        self.method = ipywidgets.Dropdown(options=dict(shelf.methods), value=method, description="method")
        seeds = dict.fromkeys((session.result.run.seed, *shelf.seeds))
        self.seed = ipywidgets.Dropdown(options=list(seeds), description="seed", tooltip="Of the training")
        self.n_way = ipywidgets.BoundedIntText(session.episodes.n_way, min=2, max=20, description="way")
        self.n_shot = ipywidgets.BoundedIntText(session.episodes.n_shot, min=1, max=10, description="shot")
        self.load = ipywidgets.Button(description="Load", tooltip="Finds it in the cache, or computes it (minutes)")
        self.message = ipywidgets.HTML()
        self.show = ipywidgets.Dropdown(options=list(FILTERS), value=ALL, description="show", layout=WIDE)
        self.sort = ipywidgets.Dropdown(options=list(SORTS), description="sort", layout=WIDE)
        self.only = ipywidgets.Dropdown(description="episode")
        self.choose = ipywidgets.SelectionSlider(
            options=[0], description="query", continuous_update=False, layout=ipywidgets.Layout(width="75%")
        )
        self.back = ipywidgets.Button(icon="chevron-left", tooltip="The query before", layout=NARROW)
        self.forward = ipywidgets.Button(icon="chevron-right", tooltip="The next query", layout=NARROW)
        self.page = ipywidgets.HTML()
        self._log = ipywidgets.Output()
        self.load.on_click(self._reload)
        self.back.on_click(lambda _: self._step(-1))
        self.forward.on_click(lambda _: self._step(+1))
        for menu in (self.show, self.sort, self.only):
            menu.observe(self._filter, "value")
        self.choose.observe(self._draw, "value")
        rows = [
            ipywidgets.HBox([self.dataset, self.method, self.seed]),
            ipywidgets.HBox([self.n_way, self.n_shot, self.load]),
            ipywidgets.HBox([self.show, self.sort]),
            ipywidgets.HBox([self.only, self.message]),
            ipywidgets.HBox([self.choose, self.back, self.forward]),
            self.page, self._log,
        ]  # fmt: skip
        self.widget = ipywidgets.VBox(rows)
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
                session = self._shelf.open(**wanted)
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
        self.choose.unobserve(self._draw, "value")
        pairs = list(zip(chosen["episode"], chosen["query"], strict=True)) or [()]
        marks = ["right" if right else "wrong" for right in chosen["right"]] or ["no such query"]
        names = [f"{number + 1}: episode {p[0]}, query {p[1]}, {mark}" if p else mark
                 for number, (p, mark) in enumerate(zip(pairs, marks, strict=True))]  # fmt: skip
        first = pairs.index(self._wanted) if self._wanted in pairs else 0
        self.choose.options = list(zip(names, pairs, strict=True))
        self.choose.value = pairs[first]
        self.choose.observe(self._draw, "value")
        self._draw()

    def _step(self, by: int) -> None:
        self.choose.index = min(max(self.choose.index + by, 0), len(self.choose.options) - 1)

    def _draw(self, _: Any = None) -> None:
        if not self.choose.value:
            self.page.value = "<p>No query is left by this filter.</p>"
            return
        self.episode, self.query = map(int, self.choose.value)
        self._wanted = (self.episode, self.query)
        self.page.value = query_page(self.session, episode=self.episode, query=self.query)


class WhatIfPanel:
    """A slider for each way of spoiling the query clip, and the answer to it, which follows while a slider moves.

    Args:
        what_if: the query.

    Attributes:
        widget: all of it, to be displayed.
        sliders: knob -> slider.
    """

    def __init__(self, what_if: WhatIf) -> None:
        self.what_if = what_if
        self.sliders = {
            name: ipywidgets.FloatSlider(0, min=0, max=1, step=0.05, description=title,
                                         style={"description_width": "110px"}, layout=WIDE)
            for name, title in KNOB_TITLES.items()
        }  # fmt: skip
        self.reset = ipywidgets.Button(description="As it is")
        self.page = ipywidgets.HTML()
        for slider in self.sliders.values():
            slider.observe(self._draw, "value")
        self.reset.on_click(self._reset)
        self.widget = ipywidgets.VBox([*self.sliders.values(), self.reset, self.page])
        self._draw()

    def _reset(self, _: Any = None) -> None:
        for slider in self.sliders.values():
            slider.value = 0

    def _draw(self, _: Any = None) -> None:
        knobs = Knobs(**{name: slider.value for name, slider in self.sliders.items()})
        self.page.value = what_if_page(self.what_if, knobs)


def episode_explorer(session: Session, shelf: Shelf, *, episode: int = 0, query: int = 0) -> EpisodeExplorer:
    """Display an ``EpisodeExplorer``; arguments as there."""
    explorer = EpisodeExplorer(session, shelf, episode=episode, query=query)
    display(explorer.widget)
    return explorer


def what_if_panel(what_if: WhatIf) -> WhatIfPanel:
    """Display a ``WhatIfPanel``."""
    panel = WhatIfPanel(what_if)
    display(panel.widget)
    return panel
