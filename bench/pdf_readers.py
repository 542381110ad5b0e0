"""Compare libraries that read PDFs, and semsearch's own reader, with what poppler's pdftotext reads.

    pip install pypdf pdfminer.six pypdfium2; apt install poppler-utils
    python bench/pdf_readers.py FOLDER [--pdftotext PATH]

FOLDER holds PDFs, such as the manuals of /usr/share/doc. Each reader runs in a process of its own. The columns:

- ms/page and MB: time per page, and the peak memory of the process.
- words: share of pdftotext's words that the reader has too, each as often. Words that are glued or torn are missing.
- torn: share of the reader's words that pdftotext has nowhere in the document.
- order: share of pdftotext's sequences of five words that are in the reader's text too.
- hyphens: share of the words that are divided at the end of a line, and of which the documents of the folder have only
  one spelling within lines (`encoding` or `well-known`), that the reader has in this spelling and not in pieces.
- headings: share of the entries of the outlines that the reader has as a line of their own.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import time
import unicodedata
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

WORD = re.compile(r"[^\W\d_]+")
BROKEN = re.compile(r"([^\W\d_]{2,})[-\xad]\n\s*([^\W\d_]{2,})")
N = 5


def with_pypdf(path: Path) -> str:
    import logging

    from pypdf import PdfReader

    logging.getLogger("pypdf").setLevel(logging.CRITICAL)
    return "\n\n".join(page.extract_text() for page in PdfReader(path).pages)


def with_pdfminer(path: Path) -> str:
    import logging

    from pdfminer.high_level import extract_text

    logging.getLogger("pdfminer").setLevel(logging.CRITICAL)
    return extract_text(path)


def with_pdfium(path: Path) -> str:
    from pypdfium2 import PdfDocument

    document = PdfDocument(path)
    texts = []
    for page in document:
        text = page.get_textpage()
        texts.append(text.get_text_range())
        text.close()
        page.close()
    return "\n\n".join(texts)


def with_semsearch(path: Path) -> str:
    from semsearch.corpus.formats.pdf import from_pdf

    return from_pdf(path.read_bytes()).text


READERS: dict[str, Callable[[Path], str]] = {
    "pypdf": with_pypdf,
    "pdfminer.six": with_pdfminer,
    "pypdfium2": with_pdfium,
    "semsearch": with_semsearch,
}


def read_all(reader: str, folder: Path, out: Path) -> None:
    """Read all PDFs, and write their texts; called in a process of its own."""
    started, texts = time.perf_counter(), {}
    for path in sorted(folder.glob("*.pdf")):
        try:
            texts[path.name] = READERS[reader](path)
        except Exception as error:
            print(f"{reader} {path.name}: {type(error).__name__} {error}", file=sys.stderr)
            texts[path.name] = ""
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    out.write_text(json.dumps([texts, seconds, peak]))


def normal(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()
    return re.sub(r"[\u0640\u200b-\u200f\u202a-\u202e\xa0]", " ", unicodedata.normalize("NFKC", text))


def words_of(text: str) -> list[str]:
    joined = BROKEN.sub(lambda found: found[1] + found[2], normal(text))
    return WORD.findall(joined.replace("-", "").replace("‐", "").casefold())


def spellings(oracles: dict[str, str]) -> tuple[Counter[str], Counter[str]]:
    """Count plain words and compounds within lines, in all documents."""
    plain: Counter[str] = Counter()
    compounds: Counter[str] = Counter()
    for text in oracles.values():
        for line in text.splitlines():
            inner = re.sub(r"^\s*\S+|\S+\s*$", "", line).casefold()
            plain.update(re.findall(r"(?<![\w-])[^\W\d_]+(?![\w-])", inner))
            compounds.update(re.findall(r"(?<![\w-])[^\W\d_]+-[^\W\d_]+(?![\w-])", inner))
    return plain, compounds


def hyphens(oracles: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield name of the document, right spelling and wrong spelling of the divided words whose spelling is certain."""
    plain, compounds = spellings(oracles)
    for name, text in oracles.items():
        for left, right in sorted({(a.casefold(), b.casefold()) for a, b in BROKEN.findall(text)}):
            whole, compound = plain[left + right], compounds[f"{left}-{right}"]
            if bool(whole) != bool(compound):
                pair = (left + right, f"{left}-{right}")
                yield (name, *(pair if whole else pair[::-1]))


def outline(path: Path) -> list[str]:
    from pypdfium2 import PdfDocument

    return [bookmark.get_title() for bookmark in PdfDocument(path).get_toc()]


def letters(text: str) -> str:
    return re.sub(r"[\W\d_]+", "", normal(text)).casefold()


def measure(
    texts: dict[str, str],
    oracles: dict[str, str],
    outlines: dict[str, list[str]],
    divided: list[tuple[str, str, str]],
) -> dict[str, float]:
    found = total = strange = own = kept = runs = 0
    for name, oracle in oracles.items():
        theirs, ours = words_of(oracle), words_of(texts[name])
        bag, mine = Counter(theirs), Counter(ours)
        found += (bag & mine).total()
        total += bag.total()
        strange += sum(n for word, n in mine.items() if word not in bag)
        own += mine.total()
        grams = {tuple(ours[at : at + N]) for at in range(len(ours) - N + 1)}
        wanted = {tuple(theirs[at : at + N]) for at in range(len(theirs) - N + 1)}
        kept += len(wanted & grams)
        runs += len(wanted)
    folded = {name: normal(text).casefold() for name, text in texts.items()}
    right = sum(
        bool(re.search(rf"(?<![\w-]){good}(?![\w-])", folded[name])) and not re.search(pieces(good, bad), folded[name])
        for name, good, bad in divided
    )
    lines = {name: {letters(line) for line in text.splitlines()} for name, text in texts.items()}
    entries = [(name, letters(entry)) for name, some in outlines.items() for entry in some if letters(entry)]
    return {
        "words": found / total,
        "torn": strange / own,
        "order": kept / runs,
        "hyphens": right / max(len(divided), 1),
        "headings": sum(entry in lines[name] for name, entry in entries) / max(len(entries), 1),
    }


def pieces(good: str, bad: str) -> str:
    """Return a pattern for a word that is still divided, or has the wrong spelling."""
    left, right = max(good, bad, key=len).split("-")
    return rf"\b{left}[-\xad\x02‐￾\ufffe]\s+{right}\b|(?<![\w-]){bad}(?![\w-])"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pdftotext", default="pdftotext")
    parser.add_argument("--reader", choices=READERS, help="for the processes that this one starts")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.reader:
        read_all(given.reader, given.folder, given.out)
        return
    oracles, raw, outlines, n = {}, {}, {}, 0
    for path in sorted(given.folder.glob("*.pdf")):
        run = partial(subprocess.run, capture_output=True, check=True)
        for texts, mode in ((oracles, []), (raw, ["-raw"])):  # as it stands, with the hyphens at the ends of lines
            done = run([given.pdftotext, *mode, "-enc", "UTF-8", str(path), "-"])
            texts[path.name] = done.stdout.decode(errors="replace")
        n += oracles[path.name].count("\f")
        outlines[path.name] = outline(path)
    divided = list(hyphens(raw))
    print(f"{len(oracles)} PDFs, {n} pages, {len(divided)} divided words, {sum(map(len, outlines.values()))} headings")
    print("| reader | ms/page | MB | words | torn | order | hyphens | headings |\n|---|---|---|---|---|---|---|---|")
    for reader in READERS:
        out = Path(f"/tmp/pdf_readers_{reader}.json")
        command = [sys.executable, __file__, str(given.folder), "--reader", reader, "--out", str(out)]
        subprocess.run(command, check=True)
        texts, seconds, peak = json.loads(out.read_text())
        shares = " | ".join(f"{share:.1%}" for share in measure(texts, oracles, outlines, divided).values())
        print(f"| {reader} | {1000 * seconds / n:.0f} | {peak:.0f} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
