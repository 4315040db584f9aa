"""Small random episodes with patches, small methods for them, and the steps that slow references share."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch

from amfir_lib.methods import METHODS, DataFacts, Method, build_method

E, N, K, Q, T, P, D = 2, 3, 2, 2, 4, 3, 6
M_QUERY = N * Q  # queries of an episode
DIMS = {"rgb": D, "flow": 5}
N_BASE = 7
TARGET = torch.arange(N).repeat_interleave(Q).expand(E, N * Q)
CLASSES = torch.tensor([[4, 0, 2], [1, 6, 3]])
SIZES = {"width": 8, "tuple_width": 5, "early_width": 4, "n_heads": 2, "n_segments": T}
LITERAL = {"preset": "paper_literal"}


def build(
    name: str = "amfir", *, seed: int = 0, n_patches: int = P, dims: Mapping[str, int] = DIMS, **options: object
) -> Method:
    """A method of small ``SIZES`` for ``clips`` with that many patches."""
    known = METHODS[name].options.__dataclass_fields__ if name in METHODS else ()
    return build_method(
        name,
        dims=dims,
        options={option: size for option, size in SIZES.items() if option in known} | options,
        generator=torch.Generator().manual_seed(seed),
        facts=DataFacts(n_base_classes=N_BASE, n_patches=dict.fromkeys(dims, n_patches)),
    )


def clips(
    seed: int = 0, *, n_shot: int = K, n_patches: int = P, scale: float = 1.0, dims: Mapping[str, int] = DIMS
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Support and query features whose classes are told apart by their mean."""
    source = torch.Generator().manual_seed(seed)
    support, query = {}, {}
    for m, dim in dims.items():
        centre = torch.randn(E, N, 1, 1, 1, dim, generator=source)
        support[m] = scale * (centre + torch.randn(E, N, n_shot, T, n_patches, dim, generator=source))
        query[m] = (scale * (centre + torch.randn(E, N, Q, T, n_patches, dim, generator=source))).flatten(1, 2)
    return support, query


def open_gate(method: Method) -> Method:
    """A method whose patch attention, if it has one, takes part, as after some training."""
    for name, parameter in method.named_parameters():
        if name.endswith("gamma"):
            parameter.data.fill_(0.7)
    return method


def loss_of(method: Method, support: dict, query: dict) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and terms as in training."""
    device = support["rgb"].device
    given = {"classes": CLASSES.to(device)} if "n_base_classes" in method.needs else {}
    return method.loss(method(support, query), TARGET.to(device), **given)


def gradients(method: Method, support: dict, query: dict) -> dict[str, torch.Tensor | None]:
    """Parameter name -> gradient, of those that are trained."""
    method.zero_grad()
    loss_of(method, support, query)[0].backward()
    return {name: p.grad.clone() for name, p in method.named_parameters() if p.requires_grad}


def as_double(method: Method, *sides: dict) -> tuple[Method, ...]:
    """The method in evaluation mode and features, all in float64."""
    return copy.deepcopy(method).double().eval(), *({m: x.double() for m, x in side.items()} for side in sides)


def weights(method: Method) -> dict[str, np.ndarray]:
    """Name -> float64 array."""
    return {name: values.detach().double().numpy() for name, values in method.state_dict().items()}


def positions(n: int, width: int) -> np.ndarray:
    """(n, width) sinusoids, from the formula of the Transformer."""
    code = np.zeros((n, width))
    for t in range(n):
        for i in range(width):
            angle = t / 10000 ** ((i - i % 2) / width)
            code[t, i] = np.cos(angle) if i % 2 else np.sin(angle)
    return code


def layer_norm(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    """LayerNorm of one vector."""
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def linear(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
    """One vector through a linear layer, with its bias if it has one."""
    return w[f"{name}.weight"] @ x + w.get(f"{name}.bias", 0.0)


def mlp(x: np.ndarray, w: dict[str, np.ndarray], name: str, layers: tuple[int, ...]) -> np.ndarray:
    """Linear layers with ReLU between them."""
    for layer in layers[:-1]:
        x = np.maximum(linear(x, w, f"{name}.{layer}"), 0)
    return linear(x, w, f"{name}.{layers[-1]}")


def softmax(scores: np.ndarray) -> np.ndarray:
    """Of one vector."""
    energy = np.exp(scores - np.max(scores))
    return energy / energy.sum()


def tokens(clip: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """(T, P, D) -> (T, P, d): each patch normalised and projected where the method does so."""
    if "norm.weight" in w:
        clip = np.array([[layer_norm(x, w, "norm") for x in patches] for patches in clip])
    if "projection.weight" in w:
        clip = np.array([[linear(x, w, "projection") for x in patches] for patches in clip])
    return clip


def front(clip: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """(T, P, D) -> (T, d) frames, the means of their patches."""
    return tokens(clip, w).mean(1)
