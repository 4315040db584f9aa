"""The parameters cell: what is read from it, and which values are refused."""

from __future__ import annotations

import pytest
from small_notebooks import write_notebook

from amfir_lib.errors import BadParameter, UnknownParameter
from amfir_lib.run.notebooks import check_values, read_notebook

CELL = """
profile: str = "study"   # smoke | study | paper
n_way: int = 5  # classes per episode
margin: float = 0.1
n_ways: list = [5, 10]
weights: dict = {"rgb": 1.0}
literal: bool = False
plain = 3
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    return read_notebook(write_notebook(tmp_path_factory.mktemp("notebooks"), "01_a", parameters=CELL))


def test_names_types_defaults_and_comments_are_read(notebook):
    parameters = notebook.parameters
    assert list(parameters)[:3] == ["profile", "n_way", "margin"]
    n_way = parameters["n_way"]
    assert (n_way.kind, n_way.default, n_way.comment) == ("int", 5, "classes per episode")
    assert parameters["plain"].kind == "int"


def test_a_derived_default_is_refused(tmp_path):
    path = write_notebook(tmp_path, "01_a", parameters="a: int = 2\nb: int = 2 * a")
    with pytest.raises(BadParameter, match='01_a: The default of "b" .* Derive values in the next cell'):
        read_notebook(path)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("n_way", "7", 7),
        ("margin", "1e-3", 1e-3),
        ("margin", "1", 1.0),
        ("n_ways", "5,6,8", [5, 6, 8]),
        ("n_ways", "[5]", [5]),
        ("n_ways", "(5, 6)", [5, 6]),
        ("weights", "{rgb: 0.5}", {"rgb": 0.5}),
        ("literal", "true", True),
        ("profile", "5", "5"),
    ],
)
def test_text_from_the_command_line_becomes_the_declared_type(notebook, name, text, value):
    checked = check_values(notebook, {name: text})[name]
    assert checked == value and type(checked) is type(value)


def test_a_whole_number_is_read_as_a_person_means_it(notebook):
    assert check_values(notebook, {"n_way": "010"}) == {"n_way": 10}


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("n_way", "five", "a whole number"),
        ("n_way", "5.5", "a whole number"),
        ("n_way", "true", "a whole number"),
        ("margin", "high", "a number"),
        ("n_ways", "[5", "a list"),
        ("literal", "2", "true or false"),
        ("weights", "[1]", "a mapping"),
        ("plain", "[", "a whole number"),
    ],
)
def test_a_value_of_another_type_is_refused_with_an_example(notebook, name, text, words):
    with pytest.raises(BadParameter, match=f"{name} of 01_a is .* must be {words}.* for example -p {name}="):
        check_values(notebook, {name: text})


def test_an_unknown_name_is_refused_with_the_nearest_one(notebook):
    with pytest.raises(UnknownParameter, match='did you mean "margin"'):
        check_values(notebook, {"magrin": "1"})
