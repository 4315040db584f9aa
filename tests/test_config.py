"""What a notebook's variables and the environment turn into."""

from __future__ import annotations

from pathlib import Path

import pytest

from amfir_lib import paths
from amfir_lib.data.synthetic.benchmarks import CHARACTERS
from amfir_lib.errors import AmfirError, BadParameter, UnknownName
from amfir_lib.study.config import PROFILES, SYNTHETIC_BENCHMARKS, Config, check_count
from amfir_lib.workers import resolve_device


def configure(environ: dict[str, str] | None = None, **parameters: object) -> Config:
    return Config.from_notebook(parameters, environ=environ or {})


def test_no_parameters_mean_the_study_on_all_synthetic_benchmarks():
    config = configure()
    assert config.profile is PROFILES["study"]
    assert config.study == "study"
    assert config.datasets == SYNTHETIC_BENCHMARKS
    assert config.output_dir == paths.RESULTS / "study"
    assert config.seeds == (0, 1, 2)


def test_modules_functions_and_private_names_of_the_notebook_are_no_options():
    config = configure(n_ways=[5, 6], Path=Path, _hidden=1, In=["x"], function=len, margin=0.1)
    assert config.options == {"n_ways": [5, 6], "margin": 0.1}


def test_an_unknown_profile_or_data_set_is_refused_with_the_nearest_name():
    with pytest.raises(UnknownName, match='did you mean "smoke"'):
        configure(profile="smoked")
    with pytest.raises(UnknownName, match='did you mean "synth-ssv2"'):
        configure(dataset="synth-ssv")


def test_a_folder_data_set_needs_its_folder_and_names_the_results_after_it():
    with pytest.raises(BadParameter, match="--data-root DIR"):
        configure(dataset="folder")
    config = configure(dataset="folder", data_root="/clips/utd_mhad_depth")
    assert config.study == "utd_mhad_depth"
    assert configure(dataset="folder", data_root="/clips/study").study == "folder-study"
    assert config.data_root == Path("/clips/utd_mhad_depth")


def test_a_data_root_without_a_data_set_that_reads_it_is_refused():
    with pytest.raises(BadParameter, match="--dataset folder"):
        configure(data_root="/clips")


def test_a_relative_data_root_counts_from_the_repository():
    assert configure(dataset="folder", data_root="../clips").data_root == paths.REPOSITORY.parent / "clips"


def test_a_smoke_run_of_one_data_set_overwrites_no_result():
    assert configure(dataset="synth-ssv2").study == "synth-ssv2"
    assert configure(dataset="synth-ssv2", profile="smoke").study == "smoke/synth-ssv2"


def test_where_and_how_come_from_the_environment():
    environ = {"AMFIR_CACHE_DIR": "/c", "AMFIR_RESULTS_DIR": "/r", "AMFIR_DEVICE": "cuda:1", "AMFIR_JOBS": "3"}
    config = configure(environ | {"AMFIR_VARIANT": "n_way=7"})
    assert (config.cache_dir, config.device, config.jobs) == (Path("/c"), "cuda:1", 3)
    assert config.output_dir == Path("/r/study/variants/n_way=7")


def test_seeds_are_counted_from_the_first_one():
    assert configure(n_seeds=2, seed=10).seeds == (10, 11)
    with pytest.raises(BadParameter, match="n_seeds is -1"):
        configure(n_seeds=-1)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_way": 1}, "n_way is 1, but must be whole and at least 2"),
        ({"n_way": -2}, "n_way is -2"),
        ({"seed": -1}, "seed is -1"),
        ({"n_shots": [1, 0]}, r"n_shots is \[1, 0\]"),
        ({"score": "center"}, 'did you mean "centred"'),
        ({"kd_lambda": -1.0}, "kd_lambda is -1.0 but must be at least 0"),
        ({"method_options": {"margn": 0.1}}, 'did you mean "margin"'),
        ({"methods": ["trxx"]}, 'did you mean "trx"'),
        ({"backbone": "resnet51"}, 'did you mean "resnet50"'),
        ({"flow_algorithm": "dsi"}, 'did you mean "dis"'),
    ],
)
def test_values_that_no_data_set_makes_right_are_refused_at_once(parameters, message):
    with pytest.raises(AmfirError, match=message):
        configure(**parameters)
    assert configure(n_way=0, n_shots=[], score="centred", backbone="", flow_algorithm="").size("n_way") == 5


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:x", "cpu:0"])
def test_a_malformed_device_is_refused(device):
    with pytest.raises(BadParameter, match="auto, cpu, cuda or cuda:N"):
        configure({"AMFIR_DEVICE": device})


def test_a_gpu_that_is_not_there_is_refused_with_a_remedy(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(BadParameter, match="sees 0 GPUs here. Use --device auto"):
        resolve_device("cuda:0")


@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5"])
def test_a_number_of_jobs_that_cannot_be_is_refused(jobs):
    with pytest.raises(BadParameter, match="at least 1"):
        check_count("jobs", jobs)


def test_profiles_fit_the_benchmarks():
    """Enough test classes for the interval, and even numbers where classes come in pairs."""
    assert tuple(CHARACTERS) == SYNTHETIC_BENCHMARKS
    for profile in PROFILES.values():
        assert profile.class_counts.keys() <= CHARACTERS.keys()
        for name, character in CHARACTERS.items():
            counts = profile.class_counts.get(name, character.class_counts)
            assert counts[2] >= profile.n_way + 2
            assert min(counts) >= profile.n_way
            assert not (character.reversals and any(count % 2 for count in counts))
        assert profile.clips_per_class >= max(profile.test_shots + profile.train_shots) + profile.n_query
