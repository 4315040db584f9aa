"""Figures 3 and 5: accuracy as the number of supports, or of classes, changes, AMFIR's lead, and the claims about it.

Models are trained once, on episodes of the profile's ways with shots in turn, and only tested at the other points
(decisions E10 and E14), so a sweep costs evaluation alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd

from amfir_lib.analysis.answers import ALL, UNDEGRADED, Answers, on_basis
from amfir_lib.analysis.claims import (
    NOT_TESTED,
    joint_verdict,
    listed,
    monotone_verdict,
    row,
    setting_of,
    settle,
    signed,
    verdict_of,
)
from amfir_lib.analysis.contrasts import PLACE, contrast
from amfir_lib.errors import BadParameter, TooFewVideos
from amfir_lib.exports import Table
from amfir_lib.methods import METHODS, title_of
from amfir_lib.paper import published, published_name
from amfir_lib.study.config import Config
from amfir_lib.study.material import Material, TestCell
from amfir_lib.study.runs import Series
from amfir_lib.study.statistics import Interval, Sample, jackknife, jackknife_of

MOST_EPISODES = 500  # per point that Table 1 does not have; classes set the interval far more than episodes
NEXT_BEST = "next best"
SWEPT = {"n_shot": "shot", "n_way": "way"}

Means = Mapping[tuple[int, str], np.ndarray]  # (number of the place, series) -> mean accuracy
Statistic = Callable[..., np.ndarray]  # of the means, and of the number of a place among them


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
    """The points (all pairs) of a sweep that these data allow; each that they do not is named in a printed sentence.

    Points that Table 1 has (the profile's ways and shots) take its number of episodes, so that both show the same
    number; the others take at most ``MOST_EPISODES``; the notebook's ``n_test_episodes`` goes before both.

    Raises:
        BadParameter: a number below 2 ways or 1 shot, or no point is left.
    """
    if not n_ways or not n_shots or min(n_ways) < 2 or min(n_shots) < 1:
        raise BadParameter(
            f"a sweep over {list(n_ways)} ways and {list(n_shots)} shots has no episodes: give ways of at least 2 "
            "and shots of at least 1."
        )
    profile, name = config.profile, materials[0].dataset.name
    asked = config.options.get("n_test_episodes") or 0
    n_classes = min(len(material.dataset.classes("test")) for material in materials)
    cells = []
    for n_way in dict.fromkeys(n_ways):
        for n_shot in dict.fromkeys(n_shots):
            shared = n_way == profile.n_way and n_shot in profile.test_shots
            n_episodes = asked or (profile.n_test_episodes if shared else min(profile.n_test_episodes, MOST_EPISODES))
            cell = TestCell(n_way=n_way, n_shot=n_shot, n_query=config.size("n_query"), n_episodes=n_episodes)
            problem = _problem(cell, materials, n_classes)
            if problem:
                print(f"{name}: {n_way}-way {n_shot}-shot is left out, because {problem}")
            else:
                cells.append(cell)
    if not cells:
        raise BadParameter(
            f"{name} allows none of {list(n_ways)} ways and {list(n_shots)} shots: its {n_classes} test classes are "
            f"enough for {max(n_classes - 2, 0)}-way intervals, and each class needs n_shot + n_query clips. Lower "
            "n_way (or n_ways), n_shots or n_query."
        )
    return cells


def _problem(cell: TestCell, materials: Sequence[Material], n_classes: int) -> str:
    """Why a point cannot be had, or nothing."""
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


def leads(answers: Sequence[Answers], reference: str, others: Sequence[str]) -> pd.DataFrame:
    """AMFIR's paired lead at every point.

    Args:
        answers: the points.
        reference: the series of AMFIR.
        others: series that the lead is taken over, beside the next best of all.
    Returns:
        Rows of ``contrast``, and below them rows "next best": the best other series of each point, chosen anew
        whenever a class is left out, outside Holm's correction; ``next_best`` names it.
    """
    rows = []
    for place in answers:
        means = {name: place.mean(place.of(name), place.counts()) for name in place.series}
        best = max((name for name in means if name != reference), key=means.get)
        interval = jackknife_of(_lead(reference), [_folds([place], ALL)])
        rows.append(place.where | {
            "basis": ALL, "other": NEXT_BEST, "comparison": f"{reference} − {NEXT_BEST}", "verdict": "",
            "difference": means[reference] - means[best], "half_width": interval.half_width,
            "p_value": interval.p_value, "n_classes": place.n_classes, "n_episodes": len(place.of(reference)),
            "next_best": best,
        })  # fmt: skip
    over = contrast(answers, reference, [name for name in others if name != reference])
    return pd.concat([over, pd.DataFrame(rows)], ignore_index=True) if len(over) else pd.DataFrame(rows)


def _folds(places: Sequence[Answers], basis: str) -> list[dict[tuple[int, str], Sample]]:
    """Of each fold of one data set: (number of the place, series) -> sample."""
    folds: list[dict[tuple[int, str], Sample]] = [{} for _ in places[0].folds]
    for number, place in enumerate(places):
        for name in place.series:
            samples = place.samples(place.of(name, basis=basis), place.counts(basis))
            for fold, sample in zip(folds, samples, strict=True):
                fold[number, name] = sample
    return folds


def _lead(reference: str) -> Statistic:
    """AMFIR minus the best other series, which is found anew without each class."""

    def lead(means: Means, place: int = 0) -> np.ndarray:
        others = [mean for (number, name), mean in means.items() if number == place and name != reference]
        return means[place, reference] - np.max(others, axis=0)

    return lead


def published_points(figure: str, datasets: Iterable[str]) -> pd.DataFrame:
    """What the paper's text says about Figure 3 ("fig3") or 5 ("fig5"); the figures' own values are not printed.

    Returns:
        Columns ``dataset, n_way, n_shot, key, value, bound``: ``key`` is "amfir", or "" for "all other methods", whose
        ``value`` is an upper bound (``bound`` is true); shares in [0, 1].
    """
    names = {published_name(name): name for name in datasets if published_name(name)}
    numbers = published("text_numbers")
    numbers = numbers[(numbers["figure"] == figure) & numbers["dataset"].isin(names) & numbers["value"].notna()]
    sizes = numbers["setting"].str.extract(r"(\d+)-way (\d+)-shot").astype(int)
    return pd.DataFrame(
        {
            "dataset": numbers["dataset"].map(names),
            "n_way": sizes[0],
            "n_shot": sizes[1],
            "key": np.where(numbers["method"] == "AMFIR", "amfir", ""),
            "value": numbers["value"] / 100,
            "bound": numbers["quantity"] == "accuracy_upper_bound",
        }
    ).reset_index(drop=True)


def sweep_table(accuracy: pd.DataFrame, lead: pd.DataFrame, paper: pd.DataFrame, *, swept: str, caption: str) -> Table:
    """Accuracies, ``published_points`` and ``leads`` of a sweep over "n_shot" or "n_way": a column a point."""
    fixed = next(name for name in SWEPT if name != swept)
    tested = paper[paper[fixed].isin(accuracy[fixed]) & paper[swept].isin(accuracy[swept])]
    words = np.where(tested["bound"], "others, paper (as printed): below", "AMFIR, paper (as printed): about")
    parts = [
        (accuracy, "{accuracy} ± {half_width}"),
        (tested.assign(method=words, paper=tested["value"]), "{paper:0}"),
        (lead.assign(method=lead["comparison"]), "{difference} ± {half_width}"),
    ]
    rows = ["dataset", fixed, "method"]
    tables = [Table.of(frame, rows, cells, columns=[swept]) for frame, cells in parts if len(frame)]
    shown = pd.concat([table.shown for table in tables], ignore_index=True).fillna("–")
    data = pd.concat([accuracy.assign(kind="accuracy"), lead.assign(kind="lead")], ignore_index=True)
    return Table(data, shown, caption, numbers=tables[0].numbers)


def episode_counts(answers: Sequence[Answers], reference: str) -> pd.DataFrame:
    """How both intervals of AMFIR's accuracy depend on the number of episodes, at the first point of each data set.

    The first episodes of a list do not depend on how many follow, so shorter lists are prefixes.  Of class folds the
    first is taken.
    """
    rows = []
    for place in {place.dataset: place for place in reversed(answers)}.values():
        classes = place.folds[0].episodes.classes
        values = place.of(reference)[: len(classes)]
        for n_episodes in sorted({max(2, len(values) // share) for share in (10, 5, 2, 1)}, reverse=True):
            interval = jackknife([[Sample(values[:n_episodes], classes[:n_episodes])]])
            if interval.defined:  # else a class is in each of so few episodes, or in none
                row = {"n_episodes": n_episodes, "accuracy": interval.mean, "half_width": interval.half_width}
                row |= {"conventional_half_width": interval.conventional_half_width, "n_classes": interval.n_classes}
                rows.append(place.where | row | {"n_folds": len(place.folds)})
    columns = [*PLACE, "n_episodes", "accuracy", "half_width", "conventional_half_width", "n_classes", "n_folds"]
    return pd.DataFrame(rows[::-1], columns=columns)


def sweep_claims(answers: Sequence[Answers], *, swept: str, reference: str, notebook: str) -> list[dict[str, str]]:
    """The claims of one sweep, averaged over data sets, on all queries and on undegraded ones.

    *Rises (falls)*: the whole change lies beyond zero and no step goes against it.  *Best everywhere*: the lead over
    the next best method is above zero at every point.  *Largest at 1 shot*: that lead at 1 shot minus that at each
    other number of shots is above zero.  *Holds to 10-way*: the lead at the most ways tested is above zero.

    Args:
        answers: the points.
        swept: "n_shot" (Figure 3) or "n_way" (Figure 5).
        reference: the series of AMFIR.
        notebook: that measures them.
    """
    rows, unit, lead = [], SWEPT[swept], _lead(reference)
    for basis in (ALL, UNDEGRADED):
        lines = _lines(on_basis(answers, basis), swept)
        if not lines:
            continue
        about = {"setting": setting_of([place for line in lines.values() for place in line]), "basis": basis}
        about |= {"notebook": notebook, "source": f"Sec. 4.5, Fig. {3 if swept == 'n_shot' else 5}"}
        average = partial(_averaged, lines, basis)
        at_each = {f"{x}-{unit}": average(lead, x) for x in lines}
        if basis == ALL:  # not a claim about modalities
            rows.append(_monotone(average, list(lines), reference, swept, about))
        words = f"AMFIR is better than every other method at every number of {unit}s"
        value = f"lead over the next best {listed(at_each)} points"
        rows.append(row(f"best_at_all_{unit}s", words, value=value, verdict=joint_verdict(at_each.values()), **about))
        if swept == "n_shot":
            gaps = {f"minus {x}-shot": average(_change(lead), 1, x) for x in lines if 1 in lines and x > 1}
            value = f"lead at 1-shot {listed(gaps)} points" if gaps else "no 1-shot point beside others"
            words = "AMFIR's lead over the next best method is largest at 1 shot"
            verdict = joint_verdict(gaps.values())
            rows.append(row("lead_largest_at_1_shot", words, value=value, verdict=verdict, **about))
        else:
            beyond = "" if max(lines) >= 10 else " (the paper: to 10-way; these data have too few classes)"
            words = f"AMFIR's lead over the next best method holds to {max(lines)}-way{beyond}"
            last = average(lead, max(lines))
            value, verdict = f"{listed({'lead': last})} points", verdict_of(last)
            rows.append(row("lead_holds_to_10_way", words, value=value, verdict=verdict, **about))
    return settle(rows)


def _lines(places: Sequence[Answers], swept: str) -> dict[int, list[Answers]]:
    """Number of shots or ways -> its place in every data set, at the smallest value of what is not swept.

    Points that not every data set has are left out.
    """
    fixed = next(name for name in SWEPT if name != swept)
    least = min((getattr(place.cell, fixed) for place in places), default=0)
    lines: dict[int, list[Answers]] = {}
    for place in places:
        if getattr(place.cell, fixed) == least:
            lines.setdefault(getattr(place.cell, swept), []).append(place)
    n_sets = max(map(len, lines.values()), default=0)
    return {x: line for x, line in sorted(lines.items()) if len(line) == n_sets}


def _monotone(
    average: Callable[..., Interval], xs: list[int], reference: str, swept: str, about: Mapping[str, str]
) -> dict[str, str]:
    """Accuracy rises with the shots, or falls with the ways (the difference is then of the fewer to the more ways)."""
    key, words = {
        "n_shot": ("accuracy_rises_with_shots", "AMFIR's accuracy rises steadily with the shots"),
        "n_way": ("accuracy_falls_with_ways", "Accuracy falls as classes are added"),
    }[swept]
    if len(xs) < 2:
        return row(key, words, value="one point only", verdict=NOT_TESTED, **about)
    xs = xs if swept == "n_shot" else xs[::-1]  # so that the claimed side is above zero
    change = _change(lambda means, place=0: means[place, reference])
    steps = {f"{a} to {b}": average(change, b, a) for a, b in pairwise(xs)}
    total = average(change, xs[-1], xs[0])
    whole = signed(total) if total.defined else "–"
    value = f"{whole} points from {xs[0]} to {xs[-1]} {SWEPT[swept]}s; steps {listed(steps)}"
    return row(key, words, value=value, verdict=monotone_verdict(total, list(steps.values())), **about)


def _change(statistic: Statistic) -> Statistic:
    """A statistic at one place minus that at another one."""
    return lambda means: statistic(means, 0) - statistic(means, 1)


def _averaged(lines: Mapping[int, list[Answers]], basis: str, statistic: Statistic, *xs: int) -> Interval:
    """A statistic of the mean accuracies at some points of each data set, averaged over the data sets."""
    return jackknife_of(statistic, [_folds(places, basis) for places in zip(*(lines[x] for x in xs), strict=True)])
