"""A headless Chromium, driven by Playwright, for tests that look at pages as a person does.

Debian's Chromium is taken if there is one, else the one that ``playwright install chromium`` brought.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.sync_api import sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
).split()
MISSING = "Chromium is not installed (Debian: apt install chromium; elsewhere: python -m playwright install chromium)"


def find_chromium() -> str | None:
    """Path of the program; None if there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        with sync_playwright() as playwright:
            own = playwright.chromium.executable_path
        found = own if Path(own).exists() else None
    return found


@pytest.fixture(scope="module")
def chromium():
    """The running browser; without one the test is skipped and says why."""
    program = find_chromium()
    if program is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS, timeout=120_000)
        yield browser
        browser.close()


class Complaints(list):
    """What pages complain of: errors and warnings of the console, uncaught exceptions, and requests that fail."""

    def listen(self, page) -> None:
        """Note what this page complains of from now on."""
        page.on("console", lambda said: self.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on("requestfailed", lambda request: self.append(f"{request.url} {request.failure}"))
