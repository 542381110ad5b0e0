"""Take the pictures of the README and the documentation from the real program: `make pictures`.

Needs Chromium and tmux. Every picture is taken in a light and a dark version.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fcntl import ioctl
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from urllib.parse import quote

from playwright.sync_api import Browser, Page, sync_playwright
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI
from rich.text import Text

HERE = Path(__file__).parent
CORPUS = HERE.parents[1] / "corpora" / "sample"
COMMAND = [sys.executable, "-m", "semsearch"]
SCHEMES = {"light": DEFAULT_TERMINAL_THEME, "dark": MONOKAI}
QUERY = "why do my plants look thirsty"
COLUMNS = 96

FRAME = """
<style>{stylesheet} body {{ margin: 0; background: {background}; color: {foreground} }}
pre {{ margin: 0; padding: 18px; font: 14px/1.35 "DejaVu Sans Mono", monospace }}</style>
<pre>{code}</pre>
"""
"""The page that rich fills with what commands printed."""

TERMINAL = (
    f'semsearch query "{QUERY}" -k 2',
    "semsearch eval retrieval --data corpora/sample --poolers mean,cls,max",
)
"""The commands that the picture of the terminal shows."""

SESSION = ("semsearch query --interactive -k 3", "how do I keep an index up to date while files change", ":open 1")
"""The command that the picture of a session over these documents shows, and the lines that are typed there."""

LINES = 40
"""Height of the session's terminal."""


def main() -> None:
    """Index the sample corpus and take every picture of it."""
    with TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "corpora").symlink_to(CORPUS.parent)
        subprocess.run([*COMMAND, "index", "corpora/sample"], check=True, cwd=folder)
        report = folder / "report.html"
        evaluate = ["eval", "retrieval", "--data", "corpora/sample", "--poolers", "mean,cls,max,first-last"]
        subprocess.run([*COMMAND, *evaluate, "--report", report.name], check=True, cwd=folder)
        said = "\n\n".join(f"\x1b[1m$ {command}\x1b[0m\n{output(command, folder)}" for command in TERMINAL)
        pages = ["index", HERE.parent, "--include", "guides/*.md", "--index", "manual/indexes/docs"]
        subprocess.run([*COMMAND, *pages], check=True, cwd=folder)
        asked = f"\x1b[1m$ {SESSION[0]}\x1b[0m\n{session(SESSION[0], SESSION[1:], folder / 'manual')}"
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        for scheme in SCHEMES:
            take_terminal(browser, said, f"terminal-{scheme}", scheme)
            take_terminal(browser, asked, f"session-{scheme}", scheme)
            take_report(browser, report, scheme)
            with served(folder) as address:
                take_page(browser, address, scheme)
        browser.close()


def opened(browser: Browser, scheme: str, width: int, height: int) -> Page:
    """Open a blank page of a size in CSS pixels, in a color scheme."""
    viewport = {"width": width, "height": height}
    return browser.new_page(viewport=viewport, color_scheme=scheme, device_scale_factor=1.5)  # type: ignore[arg-type]


def output(command: str, folder: Path) -> str:
    """Run a command in a terminal of its own, and return what it prints there, progress bars left out."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        os.execvp(COMMAND[0], [*COMMAND, *shlex.split(command)[1:]])
    ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 60, COLUMNS, 0, 0))
    printed = b""
    while True:
        try:
            piece = os.read(terminal, 65_536)
        except OSError:  # the end, on Linux
            break
        if not piece:
            break
        printed += piece
    os.waitpid(child, 0)
    text = printed.decode().replace("\r\n", "\n")
    lines = [line for line in text.split("\n") if not re.search("encoding|scoring|vectors of|━|\x1b\\[2K", line)]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")


def session(command: str, lines: Sequence[str], folder: Path) -> str:
    """Run a command in tmux, type a line at each of its prompts, and return what stands there at the last one."""

    def tmux(*arguments: str) -> str:
        return subprocess.run(["tmux", "-L", "pictures", *arguments], check=True, capture_output=True, text=True).stdout

    def at_prompt() -> str:
        while not tmux("capture-pane", "-p").rstrip().endswith("\n>"):
            sleep(0.2)
        return tmux("capture-pane", "-p", "-e")

    size = ("-x", str(COLUMNS), "-y", str(LINES))
    tmux("-f", os.devnull, "new-session", "-d", *size, "-c", str(folder), *COMMAND, *shlex.split(command)[1:])
    try:
        for line in lines:
            at_prompt()
            tmux("send-keys", "-l", line)
            tmux("send-keys", "Enter")
            sleep(1)
        return at_prompt().rstrip().removesuffix(">").rstrip()
    finally:
        tmux("kill-server")


def take_terminal(browser: Browser, said: str, name: str, scheme: str) -> None:
    """Show what commands printed as a terminal would."""
    console = Console(record=True, width=COLUMNS, file=StringIO(), force_terminal=True, highlight=False)
    console.print(Text.from_ansi(said))
    page = opened(browser, scheme, 880, 400)
    page.set_content(console.export_html(theme=SCHEMES[scheme], code_format=FRAME))
    page.screenshot(path=HERE / f"{name}.png", full_page=True)
    page.close()


def take_report(browser: Browser, report: Path, scheme: str) -> None:
    """Look at the report of an evaluation."""
    page = opened(browser, scheme, 1_280, 800)
    page.goto(report.as_uri())
    page.get_by_text("Recall by depth").last.evaluate("heading => heading.scrollIntoView()")
    page.wait_for_timeout(1_000)  # until the figure is drawn
    page.screenshot(path=HERE / f"report-{scheme}.png")
    page.close()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve the indexes of a folder; yields the address."""
    with subprocess.Popen([*COMMAND, "serve", "--port", "0"], stderr=subprocess.PIPE, text=True, cwd=folder) as server:
        try:
            assert server.stderr
            said = next(line for line in server.stderr if line.startswith("serving"))
            yield re.findall(r"http://\S+", said)[0]
        finally:
            server.terminate()
            server.communicate()


def take_page(browser: Browser, address: str, scheme: str) -> None:
    """Search on the server's page, and ask why the first hit was found."""
    page = opened(browser, scheme, 1_280, 800)
    page.goto(f"{address}/#q={quote(QUERY)}")
    page.get_by_text("by meaning and words").wait_for(timeout=60_000)
    page.reload()  # by now the model is warm
    page.get_by_text("by meaning and words").wait_for()
    page.get_by_role("button", name=re.compile("^Why")).first.click()
    page.wait_for_selector(".why .shaded", timeout=60_000)
    page.screenshot(path=HERE / f"page-{scheme}.png")
    page.close()


if __name__ == "__main__":
    main()
