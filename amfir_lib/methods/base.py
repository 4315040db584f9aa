"""What a method is: options that are checked when it is built, per-clip embedding, comparison in an episode, loss."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, dataclass, field, fields
from typing import Any

import torch
from torch import Tensor, nn

from amfir_lib.errors import BadParameter, ShapeError, unknown_name
from amfir_lib.readings import Evidence

Features = dict[str, Tensor]  # modality -> (..., T, P, D)


def choice(default: str, choices: tuple[str, ...]) -> Any:
    """A field that takes one of a few names."""
    return field(default=default, metadata={"choices": choices})


def number(default: float, *, low: float, above: bool = False, below: float = math.inf) -> Any:
    """A field for a finite number from ``low`` (or strictly ``above`` it), under ``below``; whole if the default is."""
    return field(default=default, metadata={"low": low, "above": above, "below": below})


@dataclass(frozen=True)
class Options:
    """Base of every method's options: fields declared by ``choice``, ``number`` or a plain bool, checked when built."""

    def __post_init__(self) -> None:
        for option in fields(self):
            object.__setattr__(self, option.name, _checked(option, getattr(self, option.name)))


def _checked(option: Field, value: Any) -> Any:
    """The value of an option; of the type of its default, so that 1 and 1.0 are one option with one digest."""
    name, limits = option.name, option.metadata
    if "choices" in limits:
        if value not in limits["choices"]:
            raise unknown_name(f"value of {name}", str(value), limits["choices"], error=BadParameter)
        return value
    if isinstance(option.default, bool):
        if not isinstance(value, bool):
            raise BadParameter(f"{name} is {value!r} but must be true or false. Correct the option.")
        return value
    whole, low = isinstance(option.default, int), limits["low"]
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not math.isfinite(value):
        raise BadParameter(f"{name} is {value!r} but must be a {'whole ' if whole else ''}number. Correct it.")
    if value < low or (limits["above"] and value == low):
        raise BadParameter(
            f"{name} is {value} but must be {'above' if limits['above'] else 'at least'} {low}. Raise it."
        )
    value = type(option.default)(value)
    if value >= limits["below"]:
        raise BadParameter(f"{name} is {value} but must be below {limits['below']}. Lower it.")
    return value


@dataclass(frozen=True)
class EpisodeOutput:
    """What a method says about the queries of a batch of E episodes."""

    log_posterior: Tensor  # (E, M, N) fused log-probabilities
    modality_log_posteriors: dict[str, Tensor] = field(default_factory=dict)  # of each part, where there are parts
    distances: dict[str, Tensor] = field(default_factory=dict)  # modality -> (E, M, N) temperature-scaled psi, if any
    evidence: dict[str, Evidence] = field(default_factory=dict)  # modality -> what a reliability score may look at


@dataclass(frozen=True)
class DataFacts:
    """What some methods must know of a data set before they meet a clip; see ``Method.needs``."""

    n_base_classes: int  # of the training split
    n_patches: Mapping[str, int]  # modality -> P, patches per frame as the method will be given them


class Method(nn.Module):
    """A few-shot classifier on a batch of E episodes at once.

    A new method is a file that implements ``embed`` (all that depends on a clip alone, done once for each clip in
    evaluation), ``compare`` (what depends on the episode) and ``loss``, and an entry of the registry.

    Args:
        dims: modality that the method reads -> feature width D; the first is appearance, the second motion.
        options: of the method.
    """

    uses_patches: bool = False  # False: features come averaged over the spatial patches (P = 1)
    # Fields of DataFacts, given by name to the constructor; with "n_base_classes" training also gives ``classes`` to
    # ``loss``: (E, N) int64, the number among the training classes of each way.
    needs: tuple[str, ...] = ()

    def __init__(self, dims: Mapping[str, int], options: Options) -> None:
        super().__init__()
        self.dims = dict(dims)
        self.options = options

    @property
    def modalities(self) -> tuple[str, ...]:
        """That the method reads, in order."""
        return tuple(self.dims)

    def embed(self, clips: Features) -> dict[str, Tensor]:
        """(B, T, P, D) of each modality -> named tensors that begin with B."""
        raise NotImplementedError

    def compare(self, support: dict[str, Tensor], query: dict[str, Tensor]) -> EpisodeOutput:
        """Embeddings (E, N, K, ...) of supports and (E, M, ...) of queries -> EpisodeOutput.

        The order of the supports of a class does not matter; a query's answer does not depend on other queries.
        """
        raise NotImplementedError

    def loss(self, output: EpisodeOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """A scalar to minimise, and detached scalars to log; ``target`` (E, M) int64: places 0..N-1 of true classes."""
        raise NotImplementedError

    def relate(self, embeddings: dict[str, Tensor], *, n_pairs: int) -> dict[str, Tensor]:
        """What ``compare_among`` reads of n clips: embeddings, or what relates them if ``n_pairs`` pairs pay for it."""
        return embeddings

    def compare_among(self, clips: dict[str, Tensor], support: Tensor, query: Tensor) -> EpisodeOutput:
        """``compare``, without a gradient, of clips at places (E, N, K) and (E, M) among those given to ``relate``."""
        return self.compare(pick(clips, support), pick(clips, query))

    def free_energies(self, output: EpisodeOutput, target: Tensor | None = None) -> dict[str, Tensor]:
        """modality -> (E, M), detached, by which the method judges its modalities: lower means more reliable.

        The centred free energy, unless the method has a score of its own; ``target`` is for one that reads the labels.
        """
        return {m: log_p.detach().mean(-1) for m, log_p in output.modality_log_posteriors.items()}

    def forward(self, support: Features, query: Features) -> EpisodeOutput:
        """Embed and compare: modality -> (E, N, K, T, P, D) supports and (E, M, T, P, D) queries.

        Raises:
            ShapeError: a modality is missing, or shapes do not fit.
        """
        sides = []
        for features, lead, role in ((support, 3, "support"), (query, 2, "query")):
            self.check_features(features, n_axes=lead + 3, role=role)
            shape = features[self.modalities[0]].shape[:lead]
            embedded = self.embed({m: features[m].flatten(0, lead - 1) for m in self.modalities})
            sides.append({name: x.unflatten(0, shape) for name, x in embedded.items()})
        return self.compare(*sides)

    def check_features(self, features: Features, *, n_axes: int = 4, role: str = "clip") -> None:
        """Refuse features that lack a modality, an axis, or the width that the method was built for."""
        for m, dim in self.dims.items():
            if m not in features:
                raise ShapeError(
                    f'the {role} features hold {", ".join(sorted(features)) or "nothing"} but the method reads "{m}". '
                    "Extract that modality, or build the method for the ones at hand."
                )
            shape = tuple(features[m].shape)
            if len(shape) != n_axes or shape[-1] != dim:
                raise ShapeError(
                    f'the {role} features of "{m}" have shape {shape}, but {n_axes} axes ending in D = {dim} are '
                    "expected. Build the method with the width of the feature store."
                )


def pick(clips: dict[str, Tensor], places: Tensor) -> dict[str, Tensor]:
    """name -> (n, ...) and places (E, ...) among the n -> name -> (E, ..., ...)."""
    return {
        name: x.index_select(0, places.flatten().to(x.device)).unflatten(0, places.shape) for name, x in clips.items()
    }


@contextmanager
def seeded_init(seed: int, name: str) -> Iterator[None]:
    """Initialise modules inside the block from ``seed`` and ``name`` alone; the global generator is restored after it.

    What has the same name in two methods, usually a modality, begins with the same weights in both.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(named_seed(seed, name))
        yield


def named_seed(seed: int, name: str) -> int:
    """A seed that follows from ``seed`` and ``name`` alone; another name gives an unrelated one."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")


def draw_seed(generator: torch.Generator) -> int:
    """One seed from the generator."""
    return int(torch.randint(2**62, (1,), generator=generator, device=generator.device))


def cross_entropy(log_posterior: Tensor, target: Tensor, *, ce_reduction: str = "mean") -> Tensor:
    """Cross-entropy -log p(y) in nats (the reading of Eq. 10), averaged over episodes.

    ``ce_reduction`` is over the M queries of an episode, "mean" or "sum" (decision C2).  Example: p(y) = 0.8 and 0.6
    give the mean (0.2231 + 0.5108) / 2 = 0.3670 and the sum 0.7340.
    """
    surprise = -log_posterior.gather(-1, target.unsqueeze(-1)).squeeze(-1)  # (E, M)
    return (surprise.mean(-1) if ce_reduction == "mean" else surprise.sum(-1)).mean()


def accuracy(log_posterior: Tensor, target: Tensor) -> Tensor:
    """Share of queries (scalar, detached) whose most probable class is the true one."""
    return (log_posterior.detach().argmax(-1) == target).to(log_posterior.dtype).mean()


def detached(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms to log, cut off from the graph and from what changes in place."""
    return {name: value.detach().clone() for name, value in terms.items()}
