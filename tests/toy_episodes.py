"""Small random episodes with patches, and methods for them; shared by the tests of HyRSM, STRM and early fusion."""

from __future__ import annotations

import copy

import numpy as np
import torch

from amfir_lib.methods import DataFacts, Method, build_method

E, N, K, Q, T, P, D = 2, 3, 2, 2, 4, 3, 6
M_QUERY = N * Q  # queries of an episode
DIMS = {"rgb": D, "flow": 5}
N_BASE = 7
TARGET = torch.arange(N).repeat_interleave(Q).expand(E, N * Q)
CLASSES = torch.tensor([[4, 0, 2], [1, 6, 3]])


def build(name: str, *, seed: int = 0, n_patches: int = P, **options: object) -> Method:
    """A method for ``clips`` with that many patches."""
    return build_method(
        name,
        dims=DIMS,
        options=options,
        generator=torch.Generator().manual_seed(seed),
        facts=DataFacts(n_base_classes=N_BASE, n_patches=dict.fromkeys(DIMS, n_patches)),
    )


def clips(
    seed: int = 0, *, n_shot: int = K, n_patches: int = P, scale: float = 1.0
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Support and query features whose classes are told apart by their mean."""
    source = torch.Generator().manual_seed(seed)
    support, query = {}, {}
    for m, dim in DIMS.items():
        centre = torch.randn(E, N, 1, 1, 1, dim, generator=source)
        support[m] = scale * (centre + torch.randn(E, N, n_shot, T, n_patches, dim, generator=source))
        query[m] = (scale * (centre + torch.randn(E, N, Q, T, n_patches, dim, generator=source))).flatten(1, 2)
    return support, query


def loss_of(
    method: Method, support: dict, query: dict, *, device: str = "cpu"
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and terms as in training."""
    given = {"classes": CLASSES.to(device)} if "n_base_classes" in method.needs else {}
    return method.loss(method(support, query), TARGET.to(device), **given)


def gradients(method: Method, support: dict, query: dict, *, device: str = "cpu") -> dict[str, torch.Tensor | None]:
    """Parameter name -> gradient, of those that are trained."""
    method.zero_grad()
    loss_of(method, support, query, device=device)[0].backward()
    return {name: p.grad for name, p in method.named_parameters() if p.requires_grad}


def as_double(method: Method, *sides: dict) -> tuple[Method, ...]:
    """The method in evaluation mode and features, all in float64."""
    return copy.deepcopy(method).double().eval(), *({m: x.double() for m, x in side.items()} for side in sides)


def weights(method: Method) -> dict[str, np.ndarray]:
    """Name -> float64 array."""
    return {name: values.detach().double().numpy() for name, values in method.state_dict().items()}


# The steps that references share, one vector or one clip at a time.


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
    energy = np.exp(scores - scores.max())
    return energy / energy.sum()


def front(clip: np.ndarray, w: dict[str, np.ndarray]) -> list[np.ndarray]:
    """(T, P, D) -> T frames: each patch normalised and projected where the method does so, then their mean."""
    frames = []
    for patches in clip:
        if "norm.weight" in w:
            patches = [layer_norm(x, w, "norm") for x in patches]
        if "projection.weight" in w:
            patches = [linear(x, w, "projection") for x in patches]
        frames.append(np.mean(patches, axis=0))
    return frames
