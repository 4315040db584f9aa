"""A method is added with one file and one entry of the registry: then it trains, has its row and its look."""

import json
import os
import subprocess
import sys
from pathlib import Path

from amfir_lib import paths

FILE = '''
from amfir_lib.distances import distances
from amfir_lib.methods.front import DistanceOptions, UnimodalMethod


class NearestFrame(UnimodalMethod):
    """Nearest mean of the middle frames."""

    def embed(self, clips):
        return {"frame": self.frames(clips)[:, 1]}

    def compare(self, support, query):
        return self.answer(distances(query["frame"], support["frame"].mean(2), scaled=self.options.scaled))
'''
ENTRY = """
from amfir_lib.methods import METHODS, MethodSpec
from nearest_frame import DistanceOptions, NearestFrame

METHODS["nearest_frame"] = MethodSpec("NearestFrame", "", NearestFrame, DistanceOptions, "second", "#123456", "v")
"""
USE = """
import json, sys
from pathlib import Path

from toy_tables import QUICK, toy_material

from amfir_lib import figures
from amfir_lib.analysis import table1
from amfir_lib.analysis.answers import collect_answers
from amfir_lib.study.material import TestCell
from amfir_lib.study.runs import Series, run_all

folder = Path(sys.argv[1])
material, cell = toy_material(folder / "stores"), TestCell(n_way=3, n_shot=1, n_query=2, n_episodes=40)
series = [Series(name, name, {"width": 4}) for name in ("amfir", "nearest_frame")]
runs = [run for one in series for run in one.runs(material, QUICK, [0])]
results = run_all(runs, [cell], cache_dir=folder)
frame = table1.table1(collect_answers(results, table1.by_method), results)
row = frame.set_index("method").loc["nearest_frame"]
figure = figures.lines(frame.assign(shots=frame["n_shot"]), x="shots", y="accuracy", series="method")
colours = [line.get_color() for axes in figure.axes for line in axes.get_lines()]
print(json.dumps([row["label"], row["heading"], row["accuracy"], colours, list(frame["method"])]))
"""


def test_a_method_of_one_file_and_one_entry_trains_and_appears_in_table_1_and_in_figures(tmp_path):
    (tmp_path / "nearest_frame.py").write_text(FILE)
    (tmp_path / "use.py").write_text(ENTRY + USE)
    path = os.pathsep.join([str(tmp_path), str(paths.REPOSITORY), str(Path(__file__).parent)])
    done = subprocess.run(
        [sys.executable, "use.py", str(tmp_path)], cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, text=True,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    label, heading, accuracy, colours, methods = json.loads(done.stdout.splitlines()[-1])
    assert (label, heading) == ("NearestFrame", "not in the paper's table") and 1 / 3 < accuracy <= 1
    assert "#123456" in colours and methods == ["amfir", "nearest_frame"]
