"""Episodes: disjoint groups, reproducible draws, and messages that name the class.  Exact on every machine."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amfir_lib.errors import BadParameter, ShapeError, TooFewVideos
from amfir_lib.study.episodes import Episodes, sample_episodes


def draw(labels, groups=None, rows=None, *, n_way=2, n_shot=1, n_query=1, n_episodes=20, seed=0, class_names=None):
    labels = np.asarray(labels)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    rows = np.arange(len(labels)) if rows is None else rows
    return sample_episodes(
        labels, groups, rows, n_way=n_way, n_shot=n_shot, n_query=n_query, n_episodes=n_episodes,
        rng=np.random.default_rng(seed), class_names=class_names,
    )  # fmt: skip


def assert_valid(episodes, labels, groups):
    for support, query, classes in zip(episodes.support, episodes.query, episodes.classes, strict=True):
        assert len(set(classes)) == len(classes)
        assert (labels[support] == classes[:, None]).all() and (labels[query] == classes[:, None]).all()
        used = np.concatenate([support.ravel(), query.ravel()])
        assert len(np.unique(used)) == len(used)
        assert not set(groups[support.ravel()]) & set(groups[query.ravel()])


@settings(deadline=None, max_examples=60)
@given(
    n_classes=st.integers(2, 6),
    n_clips=st.integers(4, 12),
    n_groups=st.integers(4, 30),
    n_shot=st.integers(1, 3),
    n_query=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_groups_of_supports_and_queries_are_disjoint_in_every_episode(
    n_classes, n_clips, n_groups, n_shot, n_query, seed
):
    labels = np.repeat(np.arange(n_classes), n_clips)
    groups = np.random.default_rng(seed).integers(0, n_groups, len(labels))
    try:
        episodes = draw(labels, groups, n_shot=n_shot, n_query=n_query, n_episodes=5, seed=seed)
    except TooFewVideos:
        return  # refused with a sentence, which other tests read
    assert_valid(episodes, labels, groups)


@pytest.mark.parametrize(("n_shot", "n_query"), [(1, 8), (8, 1), (5, 4), (4, 5)])
def test_a_class_with_exactly_enough_groups_is_always_filled(n_shot, n_query):
    labels, groups = np.repeat(np.arange(5), 9), np.tile(np.arange(9), 5)
    assert_valid(draw(labels, groups, n_way=3, n_shot=n_shot, n_query=n_query), labels, groups)


def test_a_seed_gives_one_digest_its_first_episodes_do_not_depend_on_how_many_follow_and_rows_are_respected():
    labels, groups, rows = np.repeat(np.arange(6), 10), np.tile(np.arange(5), 12), np.arange(20, 60)
    assert draw(labels).digest == draw(labels).digest != draw(labels, seed=1).digest
    assert draw(labels, groups, n_episodes=30)[:7].digest == draw(labels, groups, n_episodes=7).digest
    episodes = draw(labels, rows=rows)
    assert np.isin(episodes.support, rows).all() and np.isin(episodes.query, rows).all()
    assert_valid(draw(labels, n_way=5, n_shot=5, n_query=5), labels, np.arange(60))  # each clip a group of its own


def test_every_class_and_clip_is_drawn_about_equally_often():
    labels = np.repeat(np.arange(8), 6)
    episodes = draw(labels, n_episodes=4000)
    counts = np.bincount(episodes.support.ravel(), minlength=48)
    assert abs(counts / counts.mean() - 1).max() < 0.3  # 167 expected, standard deviation 13


def test_targets_follow_the_order_of_the_flattened_queries():
    labels = np.repeat(np.arange(6), 10)
    episodes = draw(labels, n_way=3, n_query=2)
    assert episodes.target.shape == (20, 6) and episodes.target[0].tolist() == [0, 0, 1, 1, 2, 2]
    drawn = np.take_along_axis(episodes.classes, episodes.target, axis=1)
    assert (labels[episodes.query.reshape(20, 6)] == drawn).all()
    assert (episodes.n_way, episodes.n_shot, episodes.n_query, len(episodes)) == (3, 1, 2, 20)


@pytest.mark.parametrize("n_groups", [8, 800])
def test_a_thousand_episodes_take_well_under_a_second_of_work(n_groups):
    labels, groups = np.repeat(np.arange(40), 20), np.tile(np.arange(n_groups), 800 // n_groups)
    start = time.process_time()
    draw(labels, groups, n_way=5, n_shot=5, n_query=5, n_episodes=1000)
    assert time.process_time() - start < 2  # 0.1 s on an idle core


def test_arrays_of_different_episode_counts_are_refused():
    with pytest.raises(ShapeError, match="must agree"):
        Episodes(np.zeros((2, 5, 1), int), np.zeros((3, 5, 1), int), np.zeros((2, 5), int))


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        (
            [0] * 20 + [1] * 4, {"n_query": 15, "class_names": ["jump", "cartwheel"]},
            'class "cartwheel" has 4 videos but 1-shot episodes with 15 queries need 16. Lower n_query to 3, or drop',
        ),
        ([0] * 20 + [1], {}, r'class "1" has 1 videos but .* Lower n_shot and n_query, or drop'),
        (
            [0] * 6 + [1] * 6, {"groups": [0, 1, 2, 3, 4, 5] + [6] * 6},
            r'class "1" has 6 videos from 1 group.* must come from different groups',
        ),
        (
            [0, 0, 1, 1, 2, 2], {"groups": [0, 1, 1, 2, 2, 0], "n_way": 3},  # an odd cycle has no two sides
            "no split of the groups gives every one of the classes",
        ),
        (np.repeat(np.arange(3), 10), {"n_way": 5}, "there are 3 classes to draw from but 5-way .* Lower n_way"),
        (np.repeat(np.arange(3), 10), {"n_shot": 0}, "n_shot is 0"),
    ],
)  # fmt: skip
def test_episodes_that_cannot_be_are_refused_with_the_class_and_a_remedy(labels, options, message):
    with pytest.raises((TooFewVideos, BadParameter), match=message):
        draw(labels, **options)
