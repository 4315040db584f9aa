"""AMFIR, and AMFAR: the same method with certainty for free energy (Sec. 3.2 to 3.6)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from amfir_lib.distillation import DIRECTIONS, MASKS, SCOPES, STRATEGIES, distillation_loss, teaching_members
from amfir_lib.errors import BadParameter
from amfir_lib.fusion import WEIGHTS, fuse_posteriors, fusion_weights
from amfir_lib.inference import SCORES, Groups, free_energy, reliability_groups, standardise
from amfir_lib.methods.base import EpisodeOutput, accuracy, choice, detached, draw_seed, number
from amfir_lib.methods.protonet import HeadOptions, StreamMethod
from amfir_lib.readings import JOINT_READINGS, Evidence, tempered


@dataclass(frozen=True)
class AmfirOptions(HeadOptions):
    """Options of AMFIR beside those of its heads; reasons are in ``amfir_lib.analysis.decisions``."""

    score: str = choice("centred", (*SCORES, *JOINT_READINGS))  # reading of the free energy that forms the groups
    standardise_score: bool = False  # z-score of the free energy over the queries of an episode
    # By which the posterior of a modality is softened before it is scored, so that both can be calibrated alike.
    score_temperature_first: float = number(1.0, low=0, above=True)
    score_temperature_second: float = number(1.0, low=0, above=True)
    margin: float = number(0.0, low=0)  # by which a modality must win to dominate a query
    eq3_literal: bool = False  # the sign of Eq. 3 as printed
    kd_lambda: float = number(1.0, low=0)  # weight of both distillation terms, the paper's lambda
    kd_strategy: str = choice("bidirectional", STRATEGIES)  # this and the next: see ``amfir_lib.distillation``
    kd_scope: str = choice("group", SCOPES)
    kd_direction: str = choice("forward", DIRECTIONS)
    kd_mask: str = choice("none", MASKS)
    kd_temperature: float = number(1.0, low=0, above=True)
    ami_weight: str = choice("certainty", WEIGHTS)  # this and the next: see ``fusion_weights``
    ami_power: float = number(1.0, low=0)
    ami_distances: str = choice("scaled", ("scaled", "raw"))  # "raw" as Eq. 7 is printed

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ami_weight == "free_energy" and self.score in ("oracle", "random"):
            raise BadParameter(
                f'ami_weight is "free_energy", but the score "{self.score}" does not exist at test. '
                'Set ami_weight to "certainty".'
            )


class Amfir(StreamMethod):
    """Two heads that teach each other where one is more reliable, fused by certainty.

    The first modality is the paper's r (appearance), the second its f (motion).
    """

    def __init__(self, dims: Mapping[str, int], options: AmfirOptions, *, generator: torch.Generator) -> None:
        if len(dims) != 2:
            raise BadParameter(f"AMFIR joins two modalities, but {len(dims)} are given ({', '.join(dims)}). Give two.")
        super().__init__(dims, options, generator=generator)
        if options.score == "random":
            self.score_seed = draw_seed(generator)
            self.register_buffer("score_draws", torch.zeros((), dtype=torch.int64))  # in checkpoints: exact resume

    def join(self, evidence: dict[str, Evidence]) -> EpisodeOutput:
        options = self.options
        log_posteriors = {m: stream.log_posterior for m, stream in evidence.items()}
        scaled = {m: stream.distances for m, stream in evidence.items()}
        energies = self._score(evidence) if options.ami_weight == "free_energy" else None
        weights = fusion_weights(log_posteriors, weight=options.ami_weight, power=options.ami_power, energies=energies)
        raw = options.ami_distances == "raw"
        psi = {m: stream.distances / stream.logit_scale for m, stream in evidence.items()} if raw else scaled
        return EpisodeOutput(fuse_posteriors(psi, weights), log_posteriors, scaled, evidence)

    def free_energies(self, output: EpisodeOutput, target: Tensor | None = None) -> dict[str, Tensor]:
        """The score that forms the groups, detached; only the oracle reads ``target``."""
        return self._score({m: replace(stream, target=target) for m, stream in output.evidence.items()})

    def groups(self, output: EpisodeOutput, target: Tensor | None = None) -> Groups:
        """Dominance of each query (Eq. 3); arguments as ``free_energies``."""
        return self._groups(self.free_energies(output, target))

    def loss(self, output: EpisodeOutput, target: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of each modality plus lambda times distillation both ways (Eq. 9 to 11).

        Teachers are detached, so each head minimises its own cross-entropy and what the other teaches it, as Eq. 11
        asks, in one backward pass.
        """
        options = self.options
        supervision, terms = self.supervise(output.evidence, target)
        energies = self.free_energies(output, target)
        groups = self._groups(energies)
        (a, first), (b, second) = output.modality_log_posteriors.items()
        taught = teaching_members(
            groups,
            first.detach(),
            second.detach(),
            kd_strategy=options.kd_strategy,
            kd_scope=options.kd_scope,
            kd_mask=options.kd_mask,
            target=target,
        )
        how = {"kd_direction": options.kd_direction, "kd_temperature": options.kd_temperature}
        to_second = distillation_loss(first, second, members=taught.first, **how).mean()
        to_first = distillation_loss(second, first, members=taught.second, **how).mean()
        total = supervision + options.kd_lambda * (to_second + to_first)
        if options.score == "random" and self.training:
            self.score_draws += 1
        terms |= {f"score_{m}": energy.mean() for m, energy in energies.items()}
        terms |= {f"kd_{a}_to_{b}": to_second, f"kd_{b}_to_{a}": to_first}
        for kind, members in (("group", groups), ("taught_by", taught)):
            for m, inside in ((a, members.first), (b, members.second)):
                terms[f"{kind}_{m}"] = inside.to(total.dtype).mean()
        return total, {"loss": total.detach(), "accuracy": accuracy(output.log_posterior, target), **detached(terms)}

    def _groups(self, energies: dict[str, Tensor]) -> Groups:
        first, second = energies.values()
        return reliability_groups(first, second, margin=self.options.margin, eq3_literal=self.options.eq3_literal)

    @torch.no_grad()
    def _score(self, evidence: dict[str, Evidence]) -> dict[str, Tensor]:
        options, generator = self.options, None
        if options.score == "random":
            generator = torch.Generator().manual_seed(self.score_seed + int(self.score_draws))
        temperatures = (options.score_temperature_first, options.score_temperature_second)
        evidence = {m: tempered(stream, t) for (m, stream), t in zip(evidence.items(), temperatures, strict=True)}
        if options.score in JOINT_READINGS:
            energies = JOINT_READINGS[options.score]({m: stream.log_posterior for m, stream in evidence.items()})
        else:
            energies = {m: free_energy(s, score=options.score, generator=generator) for m, s in evidence.items()}
        return {m: standardise(energy) for m, energy in energies.items()} if options.standardise_score else energies
