"""Make the picture of the page for the README, from the real program: `python docs/pictures/page.py`.

It needs the extras `serve` and `dev`, and a Chromium.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
CORPUS = HERE.parents[1] / "corpora" / "sample"
QUERY = "why do my plants look thirsty"
SIZE = {"width": 1280, "height": 800}


def main() -> None:
    """Index the sample corpus, serve it, search it, and look."""
    with TemporaryDirectory() as folder:
        index = Path(folder, "sample")
        command = [sys.executable, "-m", "semsearch"]
        subprocess.run([*command, "index", str(CORPUS), "--index", str(index)], check=True)
        serve = [*command, "serve", "--index", str(index), "--port", "0"]
        with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True) as server:
            try:
                assert server.stderr
                said = next(line for line in server.stderr if line.startswith("serving"))
                look(re.findall(r"http://\S+", said)[0], HERE / "page.png")
            finally:
                server.terminate()
                server.communicate()


def look(address: str, picture: Path) -> None:
    """Search, ask why the first hit was found, and take a picture."""
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        page.goto(f"{address}/#q={quote(QUERY)}")
        page.get_by_text("by meaning and words").wait_for(timeout=60_000)
        page.reload()  # by now the model is warm
        page.get_by_text("by meaning and words").wait_for()
        page.get_by_role("button", name=re.compile("^Why")).first.click()
        page.wait_for_selector(".why .shaded", timeout=60_000)
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main()
