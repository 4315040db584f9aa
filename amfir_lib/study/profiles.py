"""How much is computed: the numbers of the three profiles, in one table."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Profile:
    """The sizes of one profile.

    Attributes:
        name: ``smoke``, ``study`` or ``paper``.
        clips_per_class: clips of each synthetic class.
        class_counts: synthetic data set -> number of (train, val, test) classes; a data set that is not named has
            its own counts, at least those of the real one.
        corpus_classes: classes of the pretraining corpus.
        corpus_clips_per_class: clips of each of them.
        pretrain_epochs: passes over the pretraining corpus.
        n_way: classes per episode.
        train_shots: supports per class in training; episodes alternate between them.
        test_shots: supports per class at meta-test.
        n_query: queries per class.
        train_steps: optimiser steps of one meta-training run.
        episodes_per_step: episodes in one step.
        validate_every: steps between two validations.
        curve_every: the same where a curve over training is drawn (Figure 2).
        n_val_episodes: validation episodes.
        n_test_episodes: test episodes per cell of a table.
        n_seeds: training seeds.
        backbone: ``compact``, or the paper's ``resnet50+i3d``.
    """

    name: str
    clips_per_class: int
    corpus_classes: int
    corpus_clips_per_class: int
    pretrain_epochs: int
    n_way: int
    train_shots: tuple[int, ...]
    test_shots: tuple[int, ...]
    n_query: int
    train_steps: int
    episodes_per_step: int
    validate_every: int
    curve_every: int
    n_val_episodes: int
    n_test_episodes: int
    n_seeds: int
    backbone: str
    class_counts: dict[str, tuple[int, int, int]] = field(default_factory=dict)


SMOKE_CLASSES = dict.fromkeys(
    ("synth-kinetics", "synth-ssv2", "synth-hmdb51", "synth-ucf101"), (6, 6, 8)
)  # even: those of synth-ssv2 come in pairs

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile(
            name="smoke",
            clips_per_class=8,
            class_counts=SMOKE_CLASSES,
            corpus_classes=6,
            corpus_clips_per_class=8,
            pretrain_epochs=1,
            n_way=5,
            train_shots=(1, 2),
            test_shots=(1, 2),
            n_query=2,
            train_steps=4,
            episodes_per_step=2,
            validate_every=2,
            curve_every=2,
            n_val_episodes=20,
            n_test_episodes=40,
            n_seeds=1,
            backbone="compact",
        ),
        Profile(
            name="study",
            clips_per_class=20,
            corpus_classes=128,
            corpus_clips_per_class=12,
            pretrain_epochs=8,
            n_way=5,
            train_shots=(1, 5),
            test_shots=(1, 5),
            n_query=5,
            train_steps=200,
            episodes_per_step=8,
            validate_every=50,
            curve_every=5,
            n_val_episodes=200,
            n_test_episodes=1000,
            n_seeds=3,
            backbone="compact",
        ),
        Profile(
            name="paper",
            clips_per_class=20,
            corpus_classes=128,
            corpus_clips_per_class=12,
            pretrain_epochs=8,
            n_way=5,
            train_shots=(1, 5),
            test_shots=(1, 5),
            n_query=5,
            train_steps=10_000,
            episodes_per_step=16,
            validate_every=500,
            curve_every=100,
            n_val_episodes=1000,
            n_test_episodes=10_000,
            n_seeds=3,
            backbone="resnet50+i3d",
        ),
    )
}
