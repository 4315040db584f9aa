"""Figures 3 and 5: accuracy as the number of supports, or of classes, changes.

Models are trained once, on episodes of the profile's ways with shots in turn, and only tested at the other points
(decisions E10 and E14), so a sweep costs evaluation alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from amfir_lib.errors import BadParameter, TooFewVideos
from amfir_lib.methods import METHODS, title_of
from amfir_lib.study.config import Config
from amfir_lib.study.runs import Material, Series, TestCell

MOST_EPISODES = 500  # per point that Table 1 does not have; classes set the interval far more than episodes


def method_series(methods: Sequence[str], material: Material) -> list[Series]:
    """The swept methods, named as in Table 1: "STRM-LF (our reading)", "STRM-lite" where features have one patch.

    Raises:
        UnknownName: no such method. BadParameter: a method twice, or no "amfir" among at least two.
    """
    if len(set(methods)) < len(methods) or "amfir" not in methods or len(methods) < 2:
        raise BadParameter(
            f"methods is {list(methods)}, but must name amfir and at least one method to compare with, each once."
        )
    patches = {m: store.features.shape[2] for m, store in material.stores.items()}
    for name in methods:
        Series(name, name)  # refuses an unknown one
    notes = {name: f" ({METHODS[name].note})" if METHODS[name].note else "" for name in methods}
    return [Series(title_of(name, patches) + notes[name], name) for name in methods]


def sweep_cells(
    config: Config, materials: Sequence[Material], *, n_ways: Sequence[int], n_shots: Sequence[int]
) -> list[TestCell]:
    """The points of a sweep that these data allow; each one that they do not is named in a printed sentence.

    Points that Table 1 has (the profile's ways and shots) take its number of episodes, so that both show the same
    number; the others take at most ``MOST_EPISODES``.  The notebook's parameters ``n_query`` and ``n_test_episodes``
    go before the profile's, unless they are 0.

    Args:
        config: of the notebook.
        materials: the data set, in its class folds.
        n_ways, n_shots: the points are all pairs.
    Returns:
        At least one cell.
    Raises:
        BadParameter: a number below 2 ways or 1 shot, or no point is left.
    """
    if not n_ways or not n_shots or min(n_ways) < 2 or min(n_shots) < 1:
        raise BadParameter(
            f"a sweep over {list(n_ways)} ways and {list(n_shots)} shots has no episodes: give ways of at least 2 "
            "and shots of at least 1."
        )
    profile = config.profile
    asked = config.options.get("n_test_episodes") or 0
    n_query = config.options.get("n_query") or profile.n_query
    cells, name = [], materials[0].dataset.name
    for n_way in dict.fromkeys(n_ways):
        for n_shot in dict.fromkeys(n_shots):
            shared = n_way == profile.n_way and n_shot in profile.test_shots
            n_episodes = asked or (profile.n_test_episodes if shared else min(profile.n_test_episodes, MOST_EPISODES))
            cell = TestCell(n_way=n_way, n_shot=n_shot, n_query=n_query, n_episodes=n_episodes)
            problem = _problem(cell, materials)
            if problem:
                print(f"{name}: {n_way}-way {n_shot}-shot is left out, because {problem}")
            else:
                cells.append(cell)
    if not cells:
        n_classes = min(len(material.dataset.classes("test")) for material in materials)
        raise BadParameter(
            f"{name} allows none of {list(n_ways)} ways and {list(n_shots)} shots: its {n_classes} test classes are "
            f"enough for {max(n_classes - 2, 0)}-way intervals, and each class needs n_shot + n_query clips. Lower "
            "n_way (or n_ways), n_shots or n_query."
        )
    return cells


def _problem(cell: TestCell, materials: Sequence[Material]) -> str:
    """Why a point cannot be had, or nothing."""
    n_classes = min(len(material.dataset.classes("test")) for material in materials)
    if n_classes < cell.n_way + 2:
        return (
            f"its interval needs n_way + 2 = {cell.n_way + 2} test classes and there are {n_classes}: without that, "
            "some classes would be in nearly every episode."
        )
    try:
        for material in materials:
            cell.episodes(material.layout())
    except TooFewVideos as error:
        return str(error)
    return ""
