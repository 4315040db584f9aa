"""Certainty, fusion weights and fused posterior (Eq. 5, 7, 8).

Tolerances: 1e-12 in float64; 2e-4 for examples rounded to four digits.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from amfir_lib.errors import BadParameter, ShapeError, UnknownName
from amfir_lib.fusion import WEIGHTS, certainty, fuse_posteriors, fusion_weights
from amfir_lib.inference import log_posterior

PSI = {
    "rgb": torch.tensor([[[0.0, math.log(4)], [math.log(1.5), 0.0]]], dtype=torch.float64),
    "flow": torch.tensor([[[0.0, 0.0], [math.log(9), 0.0]]], dtype=torch.float64),
}
LOG_P = {m: log_posterior(psi) for m, psi in PSI.items()}  # (.8 .2) (.4 .6) and (.5 .5) (.1 .9)


def random_psi(seed=0, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return {m: torch.rand(3, 6, 4, generator=generator, dtype=dtype) * scale for m in ("rgb", "flow")}


def weights_of(psi, **kwargs):
    log_p = {m: log_posterior(own) for m, own in psi.items()}
    return fusion_weights(log_p, energies={m: own.mean(-1) for m, own in log_p.items()}, **kwargs)


def test_fusion_of_the_worked_example():
    assert certainty(LOG_P["rgb"]).numpy() == pytest.approx(np.array([[0.8, 0.6]]))
    weights = fusion_weights(LOG_P)
    assert weights["rgb"].numpy() == pytest.approx(np.array([[0.6154, 0.4]]), abs=2e-4)
    assert weights["flow"].numpy() == pytest.approx(np.array([[0.3846, 0.6]]), abs=2e-4)
    fused = fuse_posteriors(PSI, weights).exp().numpy()
    assert fused == pytest.approx(np.array([[[0.7012, 0.2988], [0.1853, 0.8147]]]), abs=2e-4)


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_fusion_matches_a_loop_over_queries(power):
    psi = random_psi()
    found = fuse_posteriors(psi, weights_of(psi, power=power)).exp().numpy()
    r, f = psi["rgb"].numpy(), psi["flow"].numpy()
    for e in range(3):
        for i in range(6):
            c_r, c_f = (np.max(np.exp(-x[e, i]) / np.exp(-x[e, i]).sum()) ** power for x in (r, f))
            alpha = c_r / (c_r + c_f)
            energy = np.exp(-alpha * r[e, i] - (1 - alpha) * f[e, i])
            np.testing.assert_allclose(found[e, i], energy / energy.sum(), atol=1e-12)


def test_each_weight_is_what_its_name_says():
    assert weights_of(PSI, weight="equal")["rgb"].tolist() == [[0.5, 0.5]]
    assert weights_of(PSI, weight="hard")["rgb"].tolist() == [[1.0, 0.0]]
    assert weights_of(PSI, weight="first")["rgb"].tolist() == [[1.0, 1.0]]
    assert weights_of(PSI, weight="second")["flow"].tolist() == [[1.0, 1.0]]
    tie = fusion_weights({"rgb": LOG_P["rgb"], "flow": LOG_P["rgb"]}, weight="hard")
    assert tie["rgb"].tolist() == [[0.5, 0.5]]
    # exp(-F) of the first query: 1 / sqrt(.8 x .2) = 2.5 and 1 / sqrt(.5 x .5) = 2
    assert weights_of(PSI, weight="free_energy")["rgb"][0, 0].item() == pytest.approx(2.5 / 4.5)


@settings(deadline=None)
@given(st.sampled_from(WEIGHTS), st.floats(0, 8), st.integers(0, 1000), st.sampled_from([1e-6, 1.0, 50.0]))
def test_weights_of_a_query_sum_to_one_and_the_fused_posterior_is_a_distribution(weight, power, seed, scale):
    psi = random_psi(seed, scale)
    weights = weights_of(psi, weight=weight, power=power)
    assert sum(weights.values()).numpy() == pytest.approx(1, abs=1e-12)
    assert all((w >= 0).all() for w in weights.values())
    assert fuse_posteriors(psi, weights).exp().sum(-1).numpy() == pytest.approx(1, abs=1e-12)


@settings(deadline=None)
@given(st.sampled_from([w for w in WEIGHTS if w not in ("first", "second")]), st.integers(0, 1000))
def test_fusion_is_unchanged_by_swapping_modalities(weight, seed):
    psi = random_psi(seed)
    swapped = {"flow": psi["flow"], "rgb": psi["rgb"]}
    a, b = (fuse_posteriors(x, weights_of(x, weight=weight)) for x in (psi, swapped))
    assert torch.equal(a, b)


def test_fusing_a_modality_with_itself_returns_its_posterior():
    twice = {"rgb": PSI["rgb"], "flow": PSI["rgb"]}
    np.testing.assert_allclose(fuse_posteriors(twice, weights_of(twice)), LOG_P["rgb"], atol=1e-12)


def test_with_five_classes_the_weights_stay_between_one_sixth_and_five_sixths():
    psi = {"rgb": torch.tensor([[[0.0, 99, 99, 99, 99]]]), "flow": torch.zeros(1, 1, 5)}
    assert weights_of(psi)["rgb"].item() == pytest.approx(5 / 6)


@pytest.mark.parametrize("weight", WEIGHTS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e7])
def test_fusion_and_its_gradient_are_finite_at_every_scale(weight, scale):
    psi = {m: own.requires_grad_() for m, own in random_psi(0, scale, torch.float32).items()}
    fused = fuse_posteriors(psi, weights_of(psi, weight=weight, power=2.0))
    fused[..., 0].sum().backward()
    assert fused.isfinite().all() and all(own.grad.isfinite().all() for own in psi.values())


def test_float32_agrees_with_float64_within_one_part_in_ten_thousand():
    exact, rounded = random_psi(), {m: psi.float() for m, psi in random_psi().items()}
    a, b = (fuse_posteriors(x, weights_of(x)) for x in (exact, rounded))
    assert b.numpy() == pytest.approx(a.numpy(), rel=1e-4)


def test_wrong_names_and_missing_inputs_are_refused():
    with pytest.raises(UnknownName, match='did you mean "certainty"'):
        fusion_weights(LOG_P, weight="certanty")
    with pytest.raises(BadParameter, match="needs the free energies"):
        fusion_weights(LOG_P, weight="free_energy")
    with pytest.raises(BadParameter, match="power is -1"):
        fusion_weights(LOG_P, power=-1)
    with pytest.raises(BadParameter, match="needs two modalities"):
        fusion_weights({"rgb": LOG_P["rgb"]}, weight="second")
    with pytest.raises(ShapeError, match="Give each modality one of each"):
        fuse_posteriors(PSI, {"rgb": torch.ones(1, 2)})
