"""What a score picks, and how scores compare.  Exact, but for 1e-12 where sums are ordered differently."""

import numpy as np
import pytest

from amfir_lib.analysis.answers import ALL, UNDEGRADED, Answers, Fold
from amfir_lib.analysis.claims import FAILS, HOLDS, UNDECIDED
from amfir_lib.analysis.reliability import RIGHT, UNHURT, Picks, picks, pooled_picks
from amfir_lib.analysis.scores import (
    CALIBRATIONS,
    CERTAINTY,
    CHANCE,
    FREE_ENERGY,
    LEARNT,
    SCORED,
    hit_rate,
    score_claims,
)
from amfir_lib.study.episodes import Episodes
from amfir_lib.study.material import TestCell
from amfir_lib.study.statistics import auroc

E, M = 60, 8
CELL = TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=400)


@pytest.fixture
def queries():
    rng = np.random.default_rng(0)
    score = {m: rng.integers(0, 4, (E, M)).astype(float) for m in ("rgb", "flow")}  # with ties
    correct = {m: rng.random((E, M)) < 0.6 for m in ("rgb", "flow")}
    return score, correct, rng.choice(["none", "rgb", "flow", "both"], (E, M))


def by_loop(score, correct, degraded, what, basis):
    counted, hit, leads, truths = np.zeros(E), np.zeros(E), [], []
    for e, i in np.ndindex(E, M):
        if what == RIGHT:
            if correct["rgb"][e, i] == correct["flow"][e, i]:
                continue
            wanted = "rgb" if correct["rgb"][e, i] else "flow"
        else:
            if degraded[e, i] not in ("rgb", "flow"):
                continue
            wanted = "flow" if degraded[e, i] == "rgb" else "rgb"
        if basis == UNDEGRADED and degraded[e, i] != "none":
            continue
        other = "flow" if wanted == "rgb" else "rgb"
        counted[e] += 1
        hit[e] += (score[wanted][e, i] < score[other][e, i]) + 0.5 * (score[wanted][e, i] == score[other][e, i])
        leads.append(score["rgb"][e, i] - score["flow"][e, i])
        truths.append(wanted == "flow")
    return counted, hit, auroc(np.array(leads), np.array(truths))


@pytest.mark.parametrize("what, basis", [(RIGHT, ALL), (RIGHT, UNDEGRADED), (UNHURT, ALL)])
def test_picks_match_a_loop_over_queries(queries, what, basis):
    found = picks(*queries, what=what, basis=basis)
    counted, hit, area = by_loop(*queries, what, basis)
    assert np.array_equal(found.counted, counted) and np.array_equal(found.hit, hit)
    assert found.auroc == area and found.rate == hit.sum() / counted.sum()


def test_what_the_manifest_does_not_know_is_not_counted(queries):
    score, correct, _ = queries
    assert picks(score, correct, None, what=UNHURT) is None
    assert picks(score, correct, None, basis=UNDEGRADED) is None
    assert picks(score, correct, None) is not None


def test_seeds_are_counted_together():
    parts = [Picks(np.array([1, 0]), np.array([1.0, 0]), 0.6), Picks(np.array([3, 2]), np.array([0.0, 1]), 0.8)]
    both = pooled_picks(parts)
    assert both.rate == pytest.approx(2 / 6) and both.auroc == pytest.approx(0.7)


def places_of(rates, *, n_classes=10) -> list[Answers]:
    """Two data sets in which scores hit at given rates, half of the time unless given."""
    places = []
    for number, dataset in enumerate(("one", "two")):
        rng = np.random.default_rng(number)
        classes = np.stack([rng.permutation(n_classes)[:3] for _ in range(400)])
        episodes = Episodes(np.zeros((400, 3, 1), int), np.zeros((400, 3, 2), int), classes)
        given = {}
        for column in ((score, calibration) for score in SCORED for calibration in CALIBRATIONS):
            rate = rates.get(column, rates.get(column[0], 0.5))
            hit = np.random.default_rng([number, 7]).random((400, 6)) < rate  # common noise: paired
            counts = {"counted": np.full(400, 6), "hit": hit.sum(1).astype(float), "auroc": np.array([rate])}
            given[column] = [{(RIGHT, basis, name): x for basis in (ALL, UNDEGRADED) for name, x in counts.items()}]
        places.append(Answers(dataset, CELL, (Fold(episodes),), given))
    return places


def test_a_paired_difference_is_the_difference_of_the_rates():
    places = places_of({FREE_ENERGY: 0.7, CERTAINTY: 0.6})
    one, other = (FREE_ENERGY, LEARNT), (CERTAINTY, LEARNT)
    gap, rate = hit_rate(places, one, other), hit_rate(places, one)
    assert gap.mean == pytest.approx(rate.mean - hit_rate(places, other).mean, abs=1e-12)
    assert gap.half_width < rate.half_width
    assert hit_rate(places, one, CHANCE).mean == pytest.approx(rate.mean - 0.5, abs=1e-12)
    assert hit_rate(places, one, aim=UNHURT) is None  # the data do not say what is degraded


def test_too_few_classes_give_a_mean_without_an_interval():
    rate = hit_rate(places_of({FREE_ENERGY: 0.7}, n_classes=4), (FREE_ENERGY, LEARNT))
    assert rate.mean == pytest.approx(0.7, abs=0.05) and np.isnan(rate.half_width)


def test_claims_follow_the_rates():
    def verdicts(rates):
        return {claim["key"]: claim["verdict"] for claim in score_claims(places_of(rates), notebook="09_open_choices")}

    behind = verdicts({FREE_ENERGY: 0.6, CERTAINTY: 0.7, (FREE_ENERGY, "calibrated"): 0.7})
    assert behind == {
        "lower_free_energy_is_right": HOLDS,
        "free_energy_picks_right_as_certainty": FAILS,
        "calibrated_free_energy_picks_right_as_certainty": UNDECIDED,
    }
    assert verdicts({FREE_ENERGY: 0.8, CERTAINTY: 0.7})["free_energy_picks_right_as_certainty"] == HOLDS
