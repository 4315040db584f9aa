"""A person opens JupyterLab with ``./run_all.sh lab``, runs the tour, and moves its menus and sliders.

Without Chromium this is skipped and says so.  Profile smoke, in folders of its own: Lab saves what it opens.
"""

from __future__ import annotations

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from chromium import MISSING, chromium, find_chromium  # noqa: F401 (a fixture)

from amfir_lib import paths
from amfir_lib.run import doctor
from amfir_lib.run.command import FIRST_NOTEBOOK
from amfir_lib.storage import read_json, write_json

URL = re.compile(r"http://(?:localhost|127\.0\.0\.1):\d+/lab/tree/\S+token=\w+")
SETTINGS = {"tracker": {"windowingMode": "none"}}  # every cell stays in the page, where the test can find it
RUN_MINUTES = 12
STEPS = 8  # of a slider, each with a time
SLOWEST_MS = 1500  # the goal is 300 on an idle machine; this machine also runs the browser, and perhaps other tests

pytestmark = pytest.mark.timeout(1200, method="thread")  # which ends the run, even where the browser hangs


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A running JupyterLab: its folder and its address."""
    if find_chromium() is None:
        pytest.skip(MISSING)
    if differing := doctor.differences(paths.LOCK_FILE):
        pytest.skip(f"run_all.sh would set up an environment of its own here: {'; '.join(differing[:3])}")
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.read(paths.NOTEBOOKS / FIRST_NOTEBOOK, as_version=4)
    given = next(cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", []))
    given.source = given.source.replace('profile: str = "study"', 'profile: str = "smoke"')
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / FIRST_NOTEBOOK)
    for plugin, values in SETTINGS.items():
        write_json(folder / "settings" / "@jupyterlab/notebook-extension" / f"{plugin}.jupyterlab-settings", values)
    own = {
        "AMFIR_CACHE_DIR": "cache", "AMFIR_RESULTS_DIR": "results", "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime", "IPYTHONDIR": "ipython",
        "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
    }  # fmt: skip
    variables = os.environ | {name: str(folder / place) for name, place in own.items()}
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables["PATH"]])
    command = ["bash", str(paths.REPOSITORY / "run_all.sh"), "lab", "--no-browser", f"--ServerApp.root_dir={folder}"]
    command += ["--ServerApp.ip=127.0.0.1", "--ServerApp.port=18888"]  # the next free one from there
    command += ["--allow-root"] if os.geteuid() == 0 else []
    log = folder / "lab.log"
    with log.open("w") as stream:
        process = subprocess.Popen(command, env=variables, stdout=stream, stderr=stream, start_new_session=True)
    try:
        yield folder, _address(process, log)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)


def _address(process, log) -> str:
    for _ in range(240):
        if found := URL.search(log.read_text(encoding="utf-8")):
            return found[0]
        assert process.poll() is None, log.read_text(encoding="utf-8")
        time.sleep(0.5)
    raise AssertionError(f"JupyterLab does not say where it is: {log.read_text(encoding='utf-8')}")


def menu(page, *names: str) -> None:
    """Choose from the menu bar as a person does."""
    page.locator(".lm-MenuBar-itemLabel", has_text=re.compile(f"^{names[0]}$")).click()
    for name in names[1:]:
        page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{name}$")).first.click()


def note_questions(page) -> list[str]:
    """Accept whatever Lab asks, whenever it asks, and return the list that will hold its words.

    A dialog lies over the whole page and could come between any two actions: Playwright looks for one before each.
    """
    asked = []

    def accept(dialog) -> None:
        asked.append(dialog.inner_text())
        dialog.locator(".jp-mod-accept").click()

    page.add_locator_handler(page.locator("dialog.jp-Dialog").first, accept)
    return asked


def wait_for_kernel(page) -> None:
    """Until the status bar says so: the indicator beside the notebook is "idle" before there is any kernel.

    Cells that are run too early make Lab ask which kernel to take.
    """
    page.locator(".jp-StatusBar-TextItem", has_text=re.compile(r"AMFIR study\) \| Idle$")).wait_for()


def widget(page, name: str):
    """A slider or menu by the word beside it."""
    return page.locator(".jupyter-widgets", has=page.locator(f'label.widget-label:text-is("{name}")')).last


def wait_for_record(folder, page, minutes: float) -> dict:
    """The record of the tour, once it is finished; a cell that fails ends the wait."""
    path = folder / "results" / "smoke" / "records" / f"{Path(FIRST_NOTEBOOK).stem}.json"
    for _ in range(int(60 * minutes)):
        if path.exists() and read_json(path)["status"] == "done":
            return read_json(path)
        failed = page.locator('.jp-RenderedText[data-mime-type="application/vnd.jupyter.error"]')
        assert failed.count() == 0, failed.first.inner_text()
        page.wait_for_timeout(1000)
    raise AssertionError(f"the tour did not end within {minutes} minutes")


def bars(panel) -> list[str]:
    """Lengths of all bars of the posteriors below the sliders."""
    return panel.locator(".amfir-page .bar i").evaluate_all("bars => bars.map(bar => bar.style.width)")


def step(page) -> float:
    """Milliseconds from a key press on the slider of the blur to the new page."""
    widget(page, "blur").locator(".noUi-handle").focus()
    page.evaluate(
        """() => {
          const text = () => [...document.querySelectorAll('.widget-vbox .amfir-page b')].map(b => b.innerText).join();
          const before = text(), begin = performance.now();
          window.answered = new Promise(resolve => {
            const look = () => {
              const took = performance.now() - begin;
              text() !== before || took > 30000 ? resolve(took) : setTimeout(look, 10);
            };
            look();
          });
        }"""
    )
    page.keyboard.press("ArrowRight")
    return page.evaluate("window.answered")


def test_the_tour_runs_in_lab_and_its_menus_and_sliders_answer(lab, chromium, record_property):  # noqa: F811
    folder, address = lab
    saved = folder / "notebooks" / FIRST_NOTEBOOK
    committed = saved.read_text(encoding="utf-8")
    page = chromium.new_context(viewport={"width": 1400, "height": 1000}).new_page()
    page.set_default_timeout(120_000)
    broken = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    asked = note_questions(page)
    page.goto(address)
    page.locator(".jp-Notebook").wait_for()  # the tour is open without a click
    assert page.locator(".lm-TabBar-tabLabel", has_text=FIRST_NOTEBOOK).count() >= 1
    wait_for_kernel(page)
    page.locator(".jp-Cell").first.wait_for()
    assert page.get_by_text("Jupyter news").count() == 0  # nobody is asked for anything
    page.screenshot(path=folder / "lab-opened.png")

    menu(page, "Run", "Run All Cells")
    record = wait_for_record(folder, page, RUN_MINUTES)
    assert "figures/fig1_architecture.png" in record["exports"]
    wait_for_kernel(page)
    page.wait_for_timeout(1000)  # the number of the last cell
    prompts = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt").all_inner_texts()
    assert all(re.fullmatch(r"\[\d+\]:", prompt.strip()) for prompt in prompts) and len(prompts) > 10

    opened = saved.stat().st_mtime_ns
    page.keyboard.press("Control+s")
    for _ in range(100):
        if saved.stat().st_mtime_ns != opened:
            break
        page.wait_for_timeout(100)
    assert saved.stat().st_mtime_ns != opened and saved.read_text(encoding="utf-8") == committed
    assert page.locator(".jp-Notebook .jp-OutputArea-output").count() > 10  # they stay in the page

    explorer = page.locator(".widget-vbox", has=page.locator('label:text-is("data set")')).last
    explorer.scroll_into_view_if_needed()
    widget(page, "show").locator("select").select_option(label="degraded clips")
    explorer.locator(".amfir-page", has_text="degraded:").wait_for()
    assert explorer.locator(".amfir-page img").count() > 10
    page.screenshot(path=folder / "explorer.png")

    panel = page.locator(".widget-vbox", has=page.locator('label:text-is("darkness")')).last
    panel.scroll_into_view_if_needed()
    before, picture = bars(panel), panel.screenshot(path=folder / "what-if-before.png")
    handle = widget(page, "darkness").locator(".noUi-handle")
    handle.hover()  # scrolls to it
    box, track = handle.bounding_box(), widget(page, "darkness").locator(".noUi-target").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(track["x"] + 0.8 * track["width"], middle, steps=4)
    page.mouse.up()
    panel.locator(".amfir-page", has_text=re.compile(r"darkness 0\.[78]")).wait_for()
    page.wait_for_timeout(1000)
    after = bars(panel)
    assert len(after) == len(before) > 0 and after != before
    assert panel.screenshot(path=folder / "what-if-after.png") != picture

    times = [step(page) for _ in range(STEPS)]
    record_property("what_if_ms", times)
    print(f"a step of a slider takes {statistics.median(times):.0f} ms (median of {STEPS}), screenshots in {folder}")
    assert statistics.median(times) < SLOWEST_MS
    assert broken == asked == []
    page.context.close()
