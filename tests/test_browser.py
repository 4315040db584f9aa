"""What a browser makes of the report.  Chromium is needed; without it these tests are skipped and say so."""

import html
import re
import shutil
import subprocess

import pytest
from small_study import make_study

from amfir_lib import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr"
).split()

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt install chromium)")


def open_page(path, folder):
    """The page as the browser holds it after loading, and what it complains of in its console."""
    for seconds in (60, 200):  # a headless Chromium now and then never ends; a second one does
        command = [CHROMIUM, *QUIET, f"--user-data-dir={folder}-{seconds}", "--dump-dom", path.as_uri()]
        try:
            process = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
            break
        except subprocess.TimeoutExpired:
            if seconds == 200:
                raise
    assert process.returncode == 0, process.stderr
    return process.stdout, [line for line in process.stderr.splitlines() if "CONSOLE" in line]


def test_report_and_notebook_page_load_without_a_word_in_the_console(tmp_path):
    index = report.write(make_study(tmp_path / "results"))
    for page in (index, index.parent / "notebooks" / "90_small.html"):
        shown, complaints = open_page(page, tmp_path / "profile")
        assert "A small title" in shown
        assert complaints == []


def test_nothing_sticks_out_of_a_phone_screen_and_every_picture_is_drawn(tmp_path):
    index = report.write(make_study(tmp_path / "results"))
    measure = (
        "const page = document.querySelector('iframe').contentDocument, pictures = [...page.images];"
        "const drawn = pictures.filter(picture => picture.naturalWidth > 0).length;"
        "document.title = `${page.documentElement.scrollWidth} ${drawn} ${pictures.length}`;"
    )
    text = index.read_text(encoding="utf-8").replace('loading="lazy"', "")  # so that loading waits for the pictures
    source = html.escape(text, quote=True)
    frame = tmp_path / "phone.html"
    frame.write_text(
        f'<meta charset="utf-8"><iframe width="360" height="640" style="border:0" srcdoc="{source}" '
        f'onload="{html.escape(measure, quote=True)}"></iframe>',
        encoding="utf-8",
    )
    shown, _ = open_page(frame, tmp_path / "profile")
    width, n_drawn, n_pictures = map(int, re.search(r"<title>(\d+) (\d+) (\d+)</title>", shown).groups())
    assert width <= 360
    assert n_drawn == n_pictures > 0
