"""Calibrated posteriors and scores with the joint posterior as the model.

Tolerances: 1e-4 on fitted temperatures (the search stops there), float32 rounding elsewhere.
"""

import math

import numpy as np
import pytest
import torch
from toy_tables import QUICK, new_method, toy_table

from amfir_lib.analysis.calibration import fit_temperature, recalibrated, validation_cells
from amfir_lib.errors import BadParameter
from amfir_lib.readings import Evidence, joint, joint_decision, joint_posterior, tempered
from amfir_lib.study.evaluation import episode_outputs
from amfir_lib.study.material import TestCell

TWO = {"rgb": torch.tensor([[[0.8, 0.2]]]).log(), "flow": torch.tensor([[[0.4, 0.6]]]).log()}
CELL = TestCell(n_way=3, n_shot=2, n_query=2, n_episodes=20)


def outputs(method, table):
    return episode_outputs(method, table, CELL.episodes(table), evidence=True)


def posteriors(seed=0, shape=(4, 6, 5)):
    source = torch.Generator().manual_seed(seed)
    return {m: torch.log_softmax(2 * torch.randn(shape, generator=source), -1) for m in ("rgb", "flow")}


def test_a_modality_that_is_too_sure_gets_the_temperature_of_the_worked_example():
    said = torch.tensor([[0.9, 0.1]] * 4).log()
    assert fit_temperature(said, torch.tensor([0, 0, 0, 1])) == pytest.approx(2.0, abs=1e-4)


def test_a_calibrated_posterior_needs_no_temperature():
    source = torch.Generator().manual_seed(0)
    said = torch.log_softmax(torch.randn((20_000, 4), generator=source), -1)
    target = torch.multinomial(said.exp(), 1, generator=source).squeeze(-1)
    assert fit_temperature(said, target) == pytest.approx(1.0, abs=0.05)  # four standard errors


def test_joint_scores_match_the_worked_example():
    assert joint_posterior(TWO).exp().flatten().tolist() == pytest.approx([0.7273, 0.2727], abs=1e-4)
    assert [float(v) for v in joint(TWO).values()] == pytest.approx([0.0142, 0.2339], abs=1e-4)
    assert [float(v) for v in joint_decision(TWO).values()] == pytest.approx([0.3185, 1.2993], abs=1e-4)


def test_joint_scores_match_a_loop_over_queries_and_classes():
    given = posteriors()
    p = {m: own.double().exp().numpy() for m, own in given.items()}
    for e, i in np.ndindex(4, 6):
        both = p["rgb"][e, i] * p["flow"][e, i]
        both = both / both.sum()
        for m in p:
            divergence = sum(q * math.log(q / b) for q, b in zip(p[m][e, i], both, strict=True))
            assert float(joint(given)[m][e, i]) == pytest.approx(divergence, abs=1e-4)
            surprise = -math.log(both[p[m][e, i].argmax()])
            assert float(joint_decision(given)[m][e, i]) == pytest.approx(surprise, abs=1e-4)


def test_where_both_announce_one_class_the_surprise_groups_nobody():
    method, table = new_method(score="joint_decision"), toy_table()
    output, target = next(outputs(method.eval(), table))
    groups = method.groups(output, target)
    first, second = (own.argmax(-1) for own in output.modality_log_posteriors.values())
    assert (first == second).any() and (first != second).any()
    assert torch.equal(groups.first | groups.second, first != second)


def test_tempering_is_softmax_of_the_scaled_logarithms_and_one_changes_nothing():
    evidence = Evidence(TWO["rgb"], -TWO["rgb"], logit_scale=10.0)
    assert tempered(evidence, 2.0).log_posterior.exp().flatten().tolist() == pytest.approx([2 / 3, 1 / 3])
    assert tempered(evidence, 2.0).logit_scale == 5.0
    assert tempered(evidence, 1.0) is evidence
    with pytest.raises(BadParameter, match="temperature is 0"):
        tempered(evidence, 0.0)


@pytest.mark.parametrize("score", ["centred", "helmholtz", "vfe_discrete", "neg_certainty", "joint"])
def test_temperatures_of_the_score_act_as_recalibrated_weights_do(score):
    table = toy_table()
    plain = new_method(score=score).eval()
    asked = new_method(score=score, score_temperature_first=2.0, score_temperature_second=0.5).eval()
    moved = new_method(score=score).eval()
    moved.load_state_dict(recalibrated(plain.state_dict(), {"rgb": 2.0, "flow": 0.5}))
    scores = {}
    for name, method in (("plain", plain), ("asked", asked), ("moved", moved)):
        output, target = next(outputs(method, table))
        scores[name] = torch.stack(list(method.free_energies(output, target).values()))
        if name == "asked":
            same, _ = next(outputs(plain, table))
            assert torch.equal(output.log_posterior, same.log_posterior)  # the decision stays
    torch.testing.assert_close(scores["asked"], scores["moved"], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(scores["asked"], scores["plain"])


def test_a_state_without_the_modality_is_refused():
    with pytest.raises(BadParameter, match="depth cannot be calibrated"):
        recalibrated(new_method().state_dict(), {"depth": 2.0})


def test_validation_cells_have_the_shots_of_the_test_and_the_validation_ways():
    (cell,) = validation_cells(QUICK, [CELL], seed=1)
    assert (cell.split, cell.n_shot, cell.n_way, cell.seed) == ("val", 2, 3, 1)
    assert cell.n_episodes == QUICK.n_val_episodes
