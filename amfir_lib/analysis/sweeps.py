"""Figures 3 and 5: accuracy as the number of supports, or of classes, changes, AMFIR's lead, and the claims about it.

Models are trained once, on episodes of the profile's ways with shots in turn, and only tested at the other points
(decisions E10 and E14), so a sweep costs evaluation alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

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
    verdict_of,
)
from amfir_lib.analysis.contrasts import contrast
from amfir_lib.errors import BadParameter, TooFewVideos
from amfir_lib.exports import Table
from amfir_lib.methods import METHODS, title_of
from amfir_lib.paper import published, published_name
from amfir_lib.study.config import Config
from amfir_lib.study.runs import Material, Series, TestCell
from amfir_lib.study.statistics import Interval, Sample, jackknife, jackknife_of

MOST_EPISODES = 500  # per point that Table 1 does not have; classes set the interval far more than episodes
NEXT_BEST = "next best"
SWEPT = {"n_shot": "shot", "n_way": "way"}

Means = Mapping[tuple[int, str], np.ndarray]  # (number of the place, series) -> mean accuracy
Lines = dict[int, list[Answers]]  # number of shots or ways -> its place in every data set


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


def _accuracy(reference: str) -> Callable[..., np.ndarray]:
    return lambda means, place=0: means[place, reference]


def _lead(reference: str) -> Callable[..., np.ndarray]:
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
    """Accuracies, the paper's numbers and the leads, one row a method, one column a point.

    Args:
        accuracy: from ``contrasts.accuracies``.
        lead: from ``leads``.
        paper: from ``published_points``.
        swept: "n_shot" or "n_way".
        caption: of the table.
    """
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
    """How the two intervals of AMFIR's accuracy depend on the number of episodes, at the first point of each data set.

    The first episodes of a list do not depend on how many follow, so shorter lists are prefixes.  Of class folds the
    first is taken.

    Returns:
        Columns ``dataset, n_way, n_shot, n_episodes, accuracy, half_width, conventional_half_width, n_classes,
        n_folds`` (class folds that there are).
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
    columns = ["dataset", "n_way", "n_shot", "n_episodes", "accuracy", "half_width", "conventional_half_width"]
    return pd.DataFrame(rows[::-1], columns=[*columns, "n_classes", "n_folds"])


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
    rows = []
    for basis in (ALL, UNDEGRADED):
        lines = _lines(on_basis(answers, basis), swept)
        if not lines:
            continue
        about = {"setting": setting_of([place for line in lines.values() for place in line]), "basis": basis}
        about |= {"notebook": notebook, "source": f"Sec. 4.5, Fig. {3 if swept == 'n_shot' else 5}"}
        lead = {x: _averaged(_lead(reference), [[place] for place in line], basis) for x, line in lines.items()}
        if basis == ALL:  # not a claim about modalities
            rows.append(_monotone(lines, reference, swept, about))
        at_each = {f"{x}-{SWEPT[swept]}": interval for x, interval in lead.items()}
        rows.append(row(
            f"best_at_all_{SWEPT[swept]}s", f"AMFIR is better than every other method at every number of "
            f"{SWEPT[swept]}s", value=f"lead over the next best {listed(at_each)} points",
            verdict=joint_verdict(lead.values()), **about,
        ))  # fmt: skip
        if swept == "n_shot":
            others = [x for x in lines if 1 in lines and x > 1]
            gaps = {f"minus {x}-shot": _change(_lead(reference), lines, x, 1, basis) for x in others}
            value = f"lead at 1-shot {listed(gaps)} points" if gaps else "no 1-shot point beside others"
            words = "AMFIR's lead over the next best method is largest at 1 shot"
            verdict = joint_verdict(gaps.values())
            rows.append(row("lead_largest_at_1_shot", words, value=value, verdict=verdict, **about))
        else:
            most = max(lines)
            beyond = "" if most >= 10 else " (the paper: to 10-way; these data have too few classes)"
            words = f"AMFIR's lead over the next best method holds to {most}-way{beyond}"
            value = listed({"lead": lead[most]})
            verdict = verdict_of(lead[most])
            rows.append(row("lead_holds_to_10_way", words, value=f"{value} points", verdict=verdict, **about))
    return settle(rows)


def _lines(places: Sequence[Answers], swept: str) -> Lines:
    """Points that every data set has, at the smallest value of what is not swept: Figure 5 is 1-shot."""
    fixed = next(name for name in SWEPT if name != swept)
    least = min((getattr(place.cell, fixed) for place in places), default=0)
    lines: Lines = {}
    for place in places:
        if getattr(place.cell, fixed) == least:
            lines.setdefault(getattr(place.cell, swept), []).append(place)
    n_sets = max(map(len, lines.values()), default=0)
    return {x: line for x, line in sorted(lines.items()) if len(line) == n_sets}


def _monotone(lines: Lines, reference: str, swept: str, about: Mapping[str, str]) -> dict[str, str]:
    """Accuracy rises with the shots, or falls with the ways (the difference is then of the fewer to the more ways)."""
    xs = list(lines) if swept == "n_shot" else list(lines)[::-1]  # so that the claimed side is above zero

    def change(a: int, b: int) -> Interval:
        return _change(_accuracy(reference), lines, a, b, ALL)

    steps = {f"{a} to {b}": change(a, b) for a, b in zip(xs, xs[1:], strict=False)}
    value, verdict = "one point only", NOT_TESTED
    if steps:
        total = change(xs[0], xs[-1])
        whole = listed({"": total}).lstrip()
        value = f"{whole} points from {xs[0]} to {xs[-1]} {SWEPT[swept]}s; steps {listed(steps)}"
        verdict = monotone_verdict(total, list(steps.values()))
    key, words = {
        "n_shot": ("accuracy_rises_with_shots", "AMFIR's accuracy rises steadily with the shots"),
        "n_way": ("accuracy_falls_with_ways", "Accuracy falls as classes are added"),
    }[swept]
    return row(key, words, value=value, verdict=verdict, **about)


def _change(statistic: Callable[..., np.ndarray], lines: Lines, a: int, b: int, basis: str) -> Interval:
    """The statistic at b minus that at a, averaged over data sets."""
    pairs = [list(pair) for pair in zip(lines[b], lines[a], strict=True)]
    return _averaged(lambda means: statistic(means, 0) - statistic(means, 1), pairs, basis)


def _averaged(statistic: Callable[..., np.ndarray], sets: Sequence[Sequence[Answers]], basis: str) -> Interval:
    """A statistic of the mean accuracies in some places of each data set, averaged over the data sets."""
    return jackknife_of(statistic, [_folds(places, basis) for places in sets])
