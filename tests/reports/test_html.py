"""The HTML report: numbers read back by another parser, drawings checked by plotly and in a real browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import call
from fakes import tiny_checkpoint
from layouts import write_labeled
from selectolax.lexbor import LexborHTMLParser, LexborNode

from semsearch.errors import SourceError, UsageError
from semsearch.evaluation.geometry import Geometry, cosine_histogram
from semsearch.evaluation.report import Answer, Duel, Duels, Histogram, Layers, Projection, Report, Table
from semsearch.evaluation.significance import Cell, Comparison
from semsearch.reports.html import write_report

SAMPLE = Path(__file__).parents[2] / "corpora/sample"

HOSTILE = (
    "</script><script>hacked=1</script><img src=x onerror=hacked=1>\"'\u2028\x00\x1b\ud800<b>bold</b> {{7*7}} &amp; $x$"
)
SHOWN = HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd").replace("\ud800", "\ufffd")
"""HOSTILE as the page shows it: unprintable characters are replaced by U+FFFD."""

POOLERS = ("cls", "pooler_output", "mean", "mean, whiten:128", "max", "last4_mean", "first_last_mean", "weighted_mean")
TASKS = ("STS12", "STS13", "STS14", "STS15", "STS16", "STS-B", "SICK-R", "average")

SMALL = Comparison(
    ("STS-B", "average"),
    {
        "cls": (Cell(0.2029, 0.1612, 0.2401, p=0.00002), Cell(None)),
        "mean": (Cell(0.4729, 0.44, 0.5, best=True), Cell(0.55, 0.53, 0.57, p=0.3125, tied=True)),
        "max": (Cell(-0.00001, -0.05, 0.04, p=0.031), Cell(0.56, 0.54, 0.58, best=True)),
    },
    "paired bootstrap over pairs; seed 0",
)

GEOMETRY = Geometry(
    n=2000, dim=768, mean_cosine=0.8512, std_cosine=0.0494, histogram=(*[0] * 46, 1, 4, 2, 0), top1=0.201, top10=0.53,
    effective_rank=52.04, uniformity=-0.551, alignment=None, hubness=float("nan"), dead=3,
)  # fmt: skip


def realistic(rows: tuple[str, ...] = POOLERS) -> Report:
    """Build a report that has every part, in realistic sizes."""
    rng = np.random.default_rng(0)
    quality = dict(zip(rows, rng.uniform(0.2, 0.7, len(rows)), strict=True))
    means = {row: 0.9 - quality[row] for row in rows}
    depths = np.unique(np.geomspace(1, 1000, 47).astype(int)).tolist()
    texts = [f"Document {n}: how long to rest a steak, and why the sauce turned grainy" for n in range(240)]
    answers = (
        Answer("Cheese sauce", True, "relevant, grade 2", 1, 1000, [1, 4]),
        Answer("Oversalted soup", None, "not judged", 7, 1000, [7]),
    )
    duel = Duel("why is my sauce grainy?", (1.0, 0.315), answers, "Cheese sauce", "grade 2")
    return Report(
        "Which pooler searches the sample corpus best",
        {
            "model": "bert-base-uncased",
            "seed": "0",
            "command": "semsearch eval sts --data STS --report report.html " * 2,
        },
        ["Transforms were fitted on the corpus.", "pooler_output was trained on next-sentence prediction."],
        [Table("Semantic textual similarity, Spearman × 100", _comparison(rng, quality), 100, 2)],
        {row: replace(GEOMETRY, histogram=tuple(_cosines(rng, means[row]).tolist())) for row in rows},
        {row: Histogram(_cosines(rng, means[row] + 0.1), _cosines(rng, means[row])) for row in rows},
        Layers("Spearman", rows[:4], np.where(np.eye(4, 13) > 0, np.nan, rng.uniform(0, 0.8, (4, 13)))),
        depths,
        {row: [1 - (1 - quality[row]) / depth**0.5 for depth in depths] for row in rows},
        Duels(
            (rows[3], rows[0]),
            "nDCG@10",
            "queries",
            "the best judged document",
            27,
            4,
            9,
            [duel] * 4,
            [replace(duel, values=(0.0, 1.0))] * 3,
        ),
        Projection(
            rows[3],
            rng.normal(size=(240, 2)),
            texts,
            {
                "topic": [f"topic {n % 5}" for n in range(240)],
                "id": [f"doc-{n}" for n in range(240)],
                "year": [str(2000 + n % 20) if n % 7 else "" for n in range(240)],
                "author": [f"author {int(n**0.5)}" for n in range(240)],
                "language": ["en"] * 240,
            },
            0.187,
        ),
    )


def _comparison(rng: np.random.Generator, quality: dict[str, float]) -> Comparison:
    values = {row: np.clip(rng.normal(mean, 0.03, len(TASKS)), 0, 1).tolist() for row, mean in quality.items()}
    best = [max(values[row][task] for row in values) for task in range(len(TASKS))]
    rows = {
        row: tuple(
            Cell(value, value - 0.02, value + 0.02, None if value == top else 0.01, value == top)
            for value, top in zip(each, best, strict=True)
        )
        for row, each in values.items()
    }
    return Comparison(TASKS, rows, "paired bootstrap over pairs (1,000 resamples), Holm-corrected; seed 0")


def _cosines(rng: np.random.Generator, mean: float) -> np.ndarray:
    return cosine_histogram(rng.normal(mean, 0.06, 3000))


Write = Callable[[Report], LexborHTMLParser]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that writes a report and parses it."""

    def write(report: Report) -> LexborHTMLParser:
        write_report(report, tmp_path / "report.html")
        return LexborHTMLParser((tmp_path / "report.html").read_bytes().decode("utf-8"))

    return write


def text(node: LexborNode | None) -> str:
    assert node is not None
    return re.sub(r"\s+", " ", node.text()).strip()


def grid(page: LexborHTMLParser, selector: str) -> dict[str, list[LexborNode]]:
    """Return the cells of a table by row name, in the order of the page."""
    return {text(row.css_first("th")): row.css("td") for row in page.css(f"{selector} tbody tr")}


def drawings(page: LexborHTMLParser) -> dict[str, dict[str, Any]]:
    """Return the data for plotly by drawing, parsed as strict JSON, which has no NaN."""

    def refuse(name: str) -> None:
        raise AssertionError(name)

    return {
        script.attributes["id"].removesuffix("-data"): json.loads(script.text(), parse_constant=refuse)
        for script in page.css("script[type='application/json']")
    }


# --- tables


def test_tables_show_each_number_with_its_interval_and_p(write: Write):
    page = write(Report("t", {}, tables=[Table("STS", SMALL, 100, 2)]))
    assert [text(head) for head in page.css(".comparison thead th")] == ["row", "STS-B", "average"]
    rows = grid(page, ".comparison")
    assert {name: [cell.text(separator="|").strip() for cell in cells] for name, cells in rows.items()} == {
        "max": ["0.00|-5.00–4.00", "56.00|54.00–58.00"],
        "mean": ["47.29|44.00–50.00", "~|\u2009|55.00|53.00–57.00"],
        "cls": ["20.29|16.12–24.01", "–"],
    }
    assert {name: [cell.attributes["title"] for cell in cells] for name, cells in rows.items()} == {
        "cls": ["p < 0.0001 against the best in this column: significantly lower", "no value"],
        "mean": [
            "the highest in this column",
            "p = 0.3125 against the best in this column: not distinguishable",
        ],
        "max": ["p = 0.0310 against the best in this column: significantly lower", "the highest in this column"],
    }
    assert [text(mark) for mark in page.css(".comparison mark")] == ["56.00", "47.29"]
    assert [cell.attributes["data-value"] for cell in rows["cls"]] == ["0.2029", ""]


@pytest.mark.parametrize(
    ("column", "order"),
    [("STS-B", ["mean", "cls", "max"]), ("average", ["max", "mean", "cls"]), ("", ["max", "mean", "cls"])],
)
def test_rows_are_sorted_by_the_column_that_decides(write: Write, column, order):
    page = write(
        Report(
            "t",
            {},
            tables=[Table("STS", SMALL, 100, 2)],
            geometry=dict.fromkeys(SMALL.rows, GEOMETRY),
            histograms={row: realistic().histograms["cls"] for row in SMALL.rows},
            recall_depths=[1, 10],
            recall={row: [0.1, 0.2] for row in SMALL.rows},
            column=column,
        )
    )
    assert [*grid(page, ".comparison")] == [*grid(page, ".geometry")] == order
    assert [text(label) for label in page.css("#recall label")] == order
    assert [text(option) for option in page.css("#pairs-1-choice option")] == order
    (head,) = page.css(".comparison th[aria-sort=descending]")
    assert text(head) == (column or "average")
    assert text(page.css_first(".comparison caption")) == f"Rows sorted by {column or 'average'}, best first"
    listed = {
        name: row.attributes["data-value"]
        for name, row in ((text(row), row) for row in page.css(".comparison tbody th"))
    }
    assert listed == {"cls": "1", "mean": "2", "max": "3"}, "the order in which they were asked for"


@pytest.mark.parametrize(
    ("name", "scale", "heading"),
    [
        ("Spearman", 100, "Spearman × 100"),
        ("Spearman x 100", 100, "Spearman x 100"),
        ("true nDCG@10", 1, "true nDCG@10"),
    ],
)
def test_a_table_names_its_measure_and_its_scale_once(write: Write, name, scale, heading):
    page = write(Report("t", {}, tables=[Table(name, SMALL, scale, 2)]))
    assert text(page.css_first("#which h3")) == heading
    assert "times 100" not in text(page.css_first("#which"))


def test_what_is_not_compared_stands_beside_without_a_mark(write: Write):
    page = write(Report("t", {}, tables=[Table("STS", SMALL, 100, 2, {"ms/query": {"cls": "6.3", "mean": "0.4"}})]))
    assert [text(head) for head in page.css(".comparison thead th")] == ["row", "STS-B", "average", "ms/query"]
    assert {name: text(cells[-1]) for name, cells in grid(page, ".comparison").items()} == {
        "cls": "6.3",
        "mean": "0.4",
        "max": "–",
    }


def test_a_table_says_in_words_what_it_holds(write: Write):
    page = write(Report("t", {}, tables=[Table("STS", SMALL, 100, 2)]))
    said = [text(paragraph) for paragraph in page.css("#which p")]
    assert said[0] == (
        "Highest in average: max with 56.00. Lowest: mean with 55.00. "
        "1 other cannot be told apart from the highest: mean."
    )
    assert "Test: paired bootstrap over pairs; seed 0." in said[1]


def test_rows_that_cannot_be_told_from_the_best_are_named_the_highest_first(write: Write):
    tied = {f"row {n}": (Cell(n / 100, p=0.5, tied=n % 2 == 0),) for n in range(40)}
    comparison = Comparison(("nDCG@10",), {**tied, "top": (Cell(0.9, best=True),)}, "a test")
    page = write(Report("t", {}, tables=[Table("Retrieval", comparison)]))
    first, more = page.css("#which p")[:2]
    assert text(first) == (
        "Highest in nDCG@10: top with 0.9000. Lowest: row 0 with 0.0000. 20 others cannot be told apart from the "
        "highest: row 38; row 36; row 34; row 32; row 30; row 28; row 26; row 24"
    )
    assert text(page.css_first("#which .more summary")) == "and 12 more"
    assert text(more) == "; ".join(f"row {n}" for n in range(22, -2, -2)) + "."


def test_bars_lie_where_the_intervals_lie(write: Write):
    page = write(Report("t", {}, tables=[Table("STS", SMALL)]))
    bars = [span.attributes["style"] for span in page.css(".range > span")]
    # the first column spans -0.05 to 0.5, the second 0.53 to 0.58; the rows are max, mean, cls
    assert bars[0:2] == ["left:0.0%;width:16.4%", "left:20.0%;width:80.0%"]
    assert bars[3:] == ["left:0.0%;width:80.0%", "left:38.4%;width:14.3%"]


def test_a_table_without_any_number_is_dashes(write: Write):
    nothing = Comparison(("x",), {"a": (Cell(None),), "b": (Cell(float("nan")),)}, "no test")
    page = write(Report("t", {}, tables=[Table("T", nothing)]))
    assert [text(cell) for cells in grid(page, ".comparison").values() for cell in cells] == ["–", "–"]
    assert len(page.css("#which p")) == 1  # only the legend, no verdict


def test_geometry_shows_what_there_is_and_dashes(write: Write):
    page = write(Report("t", {}, geometry={"cls": GEOMETRY}))
    first, *cells = grid(page, ".geometry")["cls"]
    assert [text(cell) for cell in cells] == [
        "0.851", "0.049", "20.1%", "53.0%", "52.0", "-0.55", "–", "–", "3", "2,000 × 768",
    ]  # fmt: skip
    assert [cell.attributes.get("data-value") for cell in cells[5:8]] == ["-0.551", "", ""]
    explained = [text(term) for term in page.css("#geometry dt")]
    assert explained == [text(head).removesuffix(" ↕") for head in page.css(".geometry thead th")[1:]]
    # bins 20 to 49: 26 empty bins, then 1, 4 and 2 pairs, then one more empty bin
    assert first.css_first("path").attributes["d"] == f"M0,1{'V1.000h1' * 26}V0.750h1V0.000h1V0.500h1V1.000h1V1Z"
    assert first.css_first("svg").attributes["viewBox"] == "0 0 30 1"
    assert first.css_first("line").attributes["x1"] == "5.0"  # cosine 0


# --- sections


PARTS = {
    "which": ["tables"],
    "recall": ["recall_depths", "recall"],
    "queries": ["duels"],
    "pairs": ["histograms"],
    "geometry": ["geometry"],
    "layers": ["layers"],
    "map": ["projection"],
}


@pytest.mark.parametrize(("section", "fields"), PARTS.items())
def test_each_section_stands_alone(write: Write, section, fields):
    page = write(Report("t", {}, **{field: getattr(realistic(), field) for field in fields}))
    assert [node.attributes["id"] for node in page.css("section")] == [section]
    assert [link.attributes["href"] for link in page.css("nav a")] == [f"#{section}"]


def test_all_sections_in_the_order_of_the_question(write: Write):
    page = write(realistic())
    assert [node.attributes["id"] for node in page.css("section")] == list(PARTS)
    assert text(page.css_first("h1")) == "Which pooler searches the sample corpus best"
    facts = zip(page.css(".facts dt"), page.css(".facts dd"), strict=True)
    assert {text(name): text(value) for name, value in facts} == {
        name: value.strip() for name, value in realistic().facts.items()
    }
    assert len(page.css(".notes li")) == 2


@pytest.mark.parametrize(
    "empty",
    [
        Report("t", {}),
        Report(
            "t", {}, geometry={}, histograms={}, recall={}, projection=Projection("a", np.empty((0, 2)), [], {}, 0.0)
        ),
        Report("t", {}, layers=Layers("m", [], np.empty((0, 0))), recall_depths=[1, 2]),
    ],
)
def test_what_is_empty_is_left_out(write: Write, empty):
    page = write(empty)
    assert page.css("section, nav, dl, figure, table") == []


def test_answers_are_ticked_by_the_judgments_with_their_grade_and_rank(write: Write):
    won = Duel(
        "why is my sauce grainy?",
        (1.0, 0.315),
        (
            Answer("Cheese sauce", True, "relevant, grade 2", 1, 1000, [1, 4]),
            Answer("Soup", True, "relevant, grade 1", None, 1000, [1]),
        ),
        "Cheese sauce",
        "grade 2",
    )
    lost = Duel(
        "flat tyre",
        (0.0, 0.5),
        (
            Answer("Soup", False, "judged not relevant, grade 0", 1200, 1400, []),
            Answer("Brakes", None, "not judged", 3, 37, [2, 3]),
        ),
        "Punctures",
        "grade 4",
    )
    neither = Answer("", found=0, relevant=[]), Answer("Soup", None, "not judged", None, 9)
    none = Duel("nothing", (0.0, 1.0), neither, "")
    duels = Duels(("mean", "cls"), "nDCG@10", "queries", "the best judged document", 1200, 4, 9, [won], [lost, none])
    page = write(Report("t", {}, duels=duels))
    assert [text(part) for part in page.css(".tally div")] == ["1,200 mean wins", "9 ties", "4 cls wins"]
    assert [text(card) for card in page.css(".duel")] == [
        "why is my sauce grainy?1.000 : 0.315 "
        "1.000mean ✓ First answer: relevant, grade 2 Cheese sauce Relevant in the first 10: ranks 1, 4 "
        "0.315cls ✓ First answer: relevant, grade 1 Soup Relevant in the first 10: rank 1 "
        "The best judged document, grade 2 mean: rank 1; cls: not in the first 1,000",
        "flat tyre0.000 : 0.500 "
        "0.000mean ✗ First answer: judged not relevant, grade 0 Soup Relevant in the first 10: none "
        "0.500cls First answer: not judged Brakes Relevant in the first 10: ranks 2, 3 "
        "The best judged document, grade 4 mean: rank 1,200; cls: rank 3 Punctures",
        "nothing0.000 : 1.000 0.000mean found nothing 1.000cls First answer: not judged Soup "
        "Nothing in the corpus is judged relevant",
    ]
    assert [text(mark) for mark in page.css(".duel .higher b")] == ["1.000", "0.500", "1.000"]
    assert [text(one) for one in page.css(".right + .answer")] == ["Cheese sauce", "Soup"]


def test_pairs_of_sentences_have_no_ticks_but_what_people_said(write: Write):
    duel = Duel("a — b", (1.0, 0.25), (Answer("cosine 0.9"), Answer("cosine 0.1")), "score 5, above 88% of t")
    page = write(Report("t", {}, duels=Duels(("a", "b"), "m", "pairs", "what people said", 1, 0, 0, [duel], [])))
    assert text(page.css_first(".duel dl")) == (
        "1.000a cosine 0.9 0.250b cosine 0.1 What people said score 5, above 88% of t"
    )
    assert text(page.css_first("#queries p")).startswith("Averages hide individual pairs. Here a is compared with b")


# --- drawings


def test_plotly_itself_accepts_every_drawing(write: Write):
    import plotly.graph_objects as go

    figures = drawings(write(realistic()))
    assert [*figures] == ["recall-drawing", "pairs", "layers-drawing", "map-drawing"]
    for figure in figures.values():
        as_drawn = json.loads(re.sub(r'"--[a-z][0-9]?[a-z]*"', '"#123456"', json.dumps(figure)))
        for scale in (part for part in (as_drawn["layout"].get("coloraxis"),) if part):
            scale["colorscale"] = "Blues"
        for view in as_drawn["views"]:
            go.Figure(view, as_drawn["layout"])  # raises on unknown properties and values


def test_histograms_are_shares_by_the_middle_of_their_bin(write: Write):
    similar, dissimilar = np.zeros(50, np.int64), np.zeros(50, np.int64)
    similar[[48, 49]], dissimilar[[0, 25]] = (1, 3), (5, 5)
    page = write(Report("t", {}, histograms={"mean": Histogram(similar, dissimilar)}))
    apart, together = drawings(page)["pairs"]["views"][0]
    assert (together["name"], together["x"], together["y"]) == ("similar", [0.9, 0.94, 0.98, 1.02], [0, 0.25, 0.75, 0])
    assert (apart["x"][:3], apart["x"][-2:]) == ([-1.02, -0.98, -0.94], [0.02, 0.06])
    assert sum(apart["y"]) == 1
    assert apart["y"][1] == apart["y"][-2] == 0.5


def test_histograms_of_nothing_do_not_divide_by_zero(write: Write):
    nothing = np.zeros(50, np.int64)
    (figure,) = drawings(write(Report("t", {}, histograms={"a": Histogram(nothing, nothing)}))).values()
    assert [trace["y"] for trace in figure["views"][0]] == [[], []]


@pytest.mark.parametrize(
    ("rows", "two", "chosen"),
    [
        (["a", "b", "c"], ("b", "a"), ["b", "a"]),
        (["a", "b", "c"], None, ["a", "c"]),
        (["a", "b", "c"], ("keyword", "b"), ["b", "a"]),
        (["a", "b"], ("a", "b"), ["a", "b"]),
    ],
)
def test_histograms_of_the_two_compared_rows_face_each_other(write: Write, rows, two, chosen):
    duels = Duels(two, "m", "queries", "the source", 0, 0, 0, [], []) if two else None
    histograms = dict.fromkeys(rows, realistic().histograms["cls"])
    page = write(Report("t", {}, histograms=histograms, duels=duels, pairs="Pairs that belong together."))
    assert len(drawings(page)["pairs"]["views"]) == len(rows), "one copy for both"
    assert [text(option) for option in page.css("#pairs option[selected]")] == chosen
    views = [int(node.attributes["data-view"]) for node in page.css("#pairs .drawing")]
    assert [rows[view] for view in views] == chosen
    assert "Pairs that belong together." in text(page.css_first("#pairs p"))


def test_the_histogram_of_one_row_has_no_choice(write: Write):
    page = write(Report("t", {}, histograms={"mean": realistic().histograms["cls"]}))
    assert len(page.css("#pairs .drawing")) == 1
    assert text(page.css_first("#pairs figcaption")) == "mean"
    assert page.css("#pairs select") == []


def test_layers_are_a_map_with_the_best_framed(write: Write):
    values = np.array([[0.1, np.nan, 0.3], [0.2, 0.71234, -0.00004]])
    page = write(Report("t", {}, layers=Layers("Spearman", ["cls", "<mean>"], values)))
    figure = drawings(page)["layers-drawing"]
    (trace,) = figure["views"][0]
    assert trace["z"] == [[0.1, None, 0.3], [0.2, 0.71234, -4e-05]]
    assert trace["text"] == [["0.100", "–", "0.300"], ["0.200", "0.712", "0.000"]]
    assert figure["layout"]["yaxis"]["ticktext"] == ["cls", "&lt;mean&gt;"]  # plotly interprets tags as markup
    (frame,) = figure["layout"]["shapes"]
    assert (frame["x0"], frame["x1"], frame["y0"], frame["y1"]) == (0.5, 1.5, 0.5, 1.5)
    assert "<mean> at layer 1 is highest with 0.712" in text(page.css_first("#layers p"))


def test_layers_without_a_number_have_no_best(write: Write):
    figure = drawings(write(Report("t", {}, layers=Layers("m", ["a"], np.full((1, 2), np.nan)))))["layers-drawing"]
    assert "shapes" not in figure["layout"]


def test_recall_is_drawn_over_the_logarithm_of_the_depth(write: Write):
    recall = {"mean": [0.1, 0.5, float("nan")], "cls": [0.0, 0.2, 1.0]}
    figure = drawings(write(Report("t", {}, recall_depths=[1, 30, 1000], recall=recall)))["recall-drawing"]
    assert [(trace["name"], trace["x"], trace["y"]) for trace in figure["views"][0]] == [
        ("mean", [1, 30, 1000], [0.1, 0.5, None]),
        ("cls", [1, 30, 1000], [0.0, 0.2, 1.0]),
    ]
    axis = figure["layout"]["xaxis"]
    assert axis["type"] == "log"
    assert axis["tickvals"] == [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
    assert axis["range"] == [pytest.approx(-0.02), pytest.approx(3.02)]


@pytest.mark.parametrize(("n", "on"), [(8, [*range(8)]), (61, [60, 59, 58, 57, 56, 30, 2])])
def test_of_many_curves_the_best_five_and_the_two_compared_are_switched_on(write: Write, n, on):
    rows = {f"row {place}": (Cell(place / 100),) for place in range(n)}
    duels = Duels(("row 30", "row 2"), "m", "queries", "the source", 0, 0, 0, [], [])
    table = Table("Retrieval", Comparison(("nDCG@10",), rows, "a test"))
    recall = {row: [0.1, 0.9] for row in rows}
    page = write(Report("t", {}, tables=[table], recall_depths=[1, 10], recall=recall, duels=duels))
    labels = page.css("#recall label")
    assert [text(label) for label in labels] == [f"row {place}" for place in reversed(range(n))]
    switched = {text(label) for label in labels if "checked" in label.css_first("input").attributes}
    assert switched == {f"row {place}" for place in on}
    traces = drawings(page)["recall-drawing"]["views"][0]
    assert [trace["name"] for trace in traces] == [text(label) for label in labels]


# --- the projection


def fields(write: Write, **values: list[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the traces of the projection by the field that the page offers for coloring."""
    n = len(next(iter(values.values())))
    points = np.array([(number, -number) for number in range(n)], np.float64)
    page = write(Report("t", {}, projection=Projection("mean", points, [f"text {i}" for i in range(n)], values, 0.5)))
    views = drawings(page)["map-drawing"]["views"]
    offered = [text(option) for option in page.css("option")] or [""]
    return dict(zip(offered, views, strict=True))


def test_points_are_colored_by_category_with_the_rest_as_other(write: Write):
    authors = [name for n in range(20) for name in [f"author {n}"] * (20 - n)] + [""]
    offered = fields(write, topic=["a", "b", "a"] * 70 + ["b"], author=authors)
    assert [(trace["name"], len(trace["x"])) for trace in offered["topic"]] == [("a", 140), ("b", 71)]
    assert offered["topic"][0]["x"][:3] == [0, 2, 3]
    assert offered["topic"][0]["y"][:3] == [0, -2, -3]
    assert offered["topic"][1]["hovertext"][0] == "text 1"
    names = [trace["name"] for trace in offered["author"]]
    assert names == [*(f"author {n}" for n in range(11)), "(other)", "(none)"]
    styles = {(trace["marker"]["color"], trace["marker"]["symbol"]) for trace in offered["author"][:11]}
    assert len(styles) == 11  # no two share both color and symbol
    assert sum(len(trace["x"]) for trace in offered["author"]) == len(authors)


def test_ids_and_what_is_always_the_same_are_not_offered(write: Write):
    ids, numbers = [f"doc-{n}" for n in range(40)], [str(n) for n in range(40)]
    offered = fields(write, id=ids, number=numbers, language=["en"] * 40, empty=[""] * 40, topic=["a", "b"] * 20)
    assert len(offered) == 1  # only `topic`, so no choice is offered
    assert [trace["name"] for trace in next(iter(offered.values()))] == ["a", "b"]


def test_numbers_are_a_scale_of_colors(write: Write):
    years = [str(1990 + n % 20) for n in range(60)]
    scale, none = fields(write, year=["", *years[1:]], topic=["a", "b", "c"] * 20)["year"]
    assert scale["marker"]["color"][:2] == [1991, 1992]
    assert scale["marker"]["coloraxis"] == "coloraxis"
    assert (none["name"], none["x"]) == ("(none)", [0])


@pytest.mark.parametrize("odd", ["nan", "inf", "1e999", "x"])
def test_what_is_no_number_makes_categories(write: Write, odd):
    # 31 distinct values, of which the most common cover too few points: neither a color scale nor categories
    offered = fields(write, year=[odd, *(str(n // 2) for n in range(60))], topic=["a"] * 30 + ["b"] * 31)
    assert [trace["name"] for trace in next(iter(offered.values()))] == ["b", "a"]


def test_without_a_field_points_have_one_color(write: Write):
    ((trace,),) = fields(write, id=[f"doc-{n}" for n in range(30)]).values()
    assert len(trace["x"]) == 30


# --- hostile texts, NaN, reproducible bytes


def hostile() -> Report:
    """Build a report with HOSTILE in every text field."""
    whole = realistic((HOSTILE, *POOLERS[1:]))
    table = whole.tables[0]
    columns = (HOSTILE, *table.comparison.columns[1:])
    answers = Answer(HOSTILE, True, HOSTILE, 1, 9, [1]), Answer(HOSTILE * 900, None, HOSTILE)
    duel = Duel(HOSTILE, (0.1, 0.2), answers, HOSTILE, HOSTILE)
    unwanted = replace(duel, answers=answers[::-1][:1] * 2)
    assert whole.duels
    assert whole.projection
    assert whole.layers
    return replace(
        whole,
        title=HOSTILE,
        facts={HOSTILE: HOSTILE, "long": "x" * 100_000},
        notes=[HOSTILE, "y" * 100_000],
        tables=[replace(table, name=HOSTILE, comparison=replace(table.comparison, columns=columns, test=HOSTILE))],
        layers=replace(whole.layers, measure=HOSTILE),
        column=HOSTILE,
        pairs=HOSTILE,
        duels=replace(
            whole.duels,
            rows=(HOSTILE, HOSTILE),
            measure=HOSTILE,
            unit=HOSTILE,
            wanted=HOSTILE,
            wins=[duel],
            losses=[unwanted],
        ),
        projection=replace(
            whole.projection,
            row=HOSTILE,
            texts=[HOSTILE, "z" * 100_000, *whole.projection.texts[2:]],
            fields={HOSTILE: [HOSTILE, *["a", "b"] * 119, "a"], "topic": whole.projection.fields["topic"]},
        ),
    )


def test_hostile_texts_stay_texts(write: Write):
    page = write(hostile())
    assert page.css("img, b b, main script:not([type='application/json'])") == []
    assert len(page.css("script:not([type])")) == 2
    assert text(page.css_first("h1")) == text(page.css_first("title")) == re.sub(r"\s+", " ", SHOWN)
    assert text(page.css_first(".facts dd")) == text(page.css_first(".duel summary span")) == re.sub(r"\s+", " ", SHOWN)
    assert {text(part) for part in page.css(".answer, .wanted")} >= {re.sub(r"\s+", " ", SHOWN)}
    assert [text(node)[:60] for node in page.css("#map option")] == [SHOWN[:60], "topic"]
    whole = "dd, dt, p, li, th, td, h1, h2, h3, option, label, caption"
    assert all(len(node.text()) < 2_300 for node in page.css(whole))
    lines = [trace["name"] for trace in drawings(page)["recall-drawing"]["views"][0]]
    assert sum(line.startswith("&lt;/script&gt;&lt;script&gt;") for line in lines) == 1


BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""The explicit directional formatting characters, which can reorder the text around them: UAX #9, section 2."""


def test_nothing_can_reorder_a_text(write: Write):
    """Guard against CVE-2021-42574: characters are shown in their stored order, and Hebrew text is kept."""
    trick = f"grades{BIDI}.txt \u05e9\u05dc\u05d5\u05dd"
    whole = hostile()
    duel = Duel(trick, (0.0, 1.0), (Answer(trick, True, trick), Answer(trick)), trick, trick)
    names = {trick: whole.histograms["mean"]}
    page = write(
        replace(
            whole,
            title=trick,
            facts={trick: trick},
            notes=[trick] * 7,
            histograms=names,
            recall=dict.fromkeys(names, [0.5] * len(whole.recall_depths)),
            duels=replace(whole.duels, rows=(trick, trick), wins=[duel], losses=[]),
            projection=replace(whole.projection, texts=[trick] * 240, fields={trick: [trick, "b"] * 120}),
        )
    )
    for script in page.css("script:not([type])"):
        script.decompose()
    source = page.html
    escaped = [f"\\u{ord(mark):04x}" for mark in BIDI]
    assert [mark for mark in (*BIDI, *escaped) if mark in source] == []
    assert text(page.css_first("h1")) == "grades.txt \u05e9\u05dc\u05d5\u05dd"
    assert text(page.css_first(".answer")) == "grades.txt \u05e9\u05dc\u05d5\u05dd"


def test_only_the_two_scripts_of_the_page_may_run(write: Write):
    page = write(realistic())
    policy = page.css_first("meta[http-equiv='Content-Security-Policy']").attributes["content"]
    allowed = re.search(r"script-src ([^;]*);", policy)[1].split()
    scripts = [script.text() for script in page.css("script:not([type])")]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert allowed == [f"'sha256-{digest}'" for digest in digests]
    assert policy.startswith("default-src 'none';")
    assert not re.search(r"https?:|unsafe-eval", policy)


def test_what_is_not_a_number_is_printed_nowhere(write: Write):
    nan, whole = float("nan"), realistic()
    nothing = Geometry(0, 768, None, nan, (), nan, None, nan, None, nan, None, None)
    cells = {"a": (Cell(nan, nan, nan, nan),), "b": (Cell(0.5, nan, float("inf"), nan),), "c": (Cell(None),)}
    page = write(
        replace(
            whole,
            tables=[Table("T", Comparison(("x",), cells, "untested"))],
            geometry={"empty": nothing, "cls": replace(GEOMETRY, top1=nan)},
            layers=Layers("m", ["a"], np.array([[nan, 0.5]])),
            recall={"a": [nan] * len(whole.recall_depths)},
            duels=Duels(
                ("a", "b"), "m", "queries", "w", 0, 0, 0, [Duel("q", (nan, 1.0), (Answer("x"), Answer("")), "")], []
            ),
            projection=Projection("a", np.array([[nan, 1.0], [0.0, np.inf]]), ["x", "y"], {}, nan),
        )
    )
    assert drawings(page)["map-drawing"]["views"][0][0]["x"] == [None, 0]
    assert [text(cell) for cells in grid(page, ".comparison").values() for cell in cells] == ["0.5000", "–", "–"]
    for script in page.css("script:not([type])"):
        script.decompose()
    assert re.findall(r"\b(?:None|NaN|nan|[Ii]nf|Infinity)\b", page.body.html) == []


def test_the_same_report_gives_the_same_bytes(tmp_path: Path):
    for name in ("a.html", "b.html"):
        write_report(realistic(), tmp_path / name)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


# --- the file on disk


def test_nothing_but_the_report_is_left_behind_and_an_older_one_is_replaced(tmp_path: Path):
    path = tmp_path / "report.html"
    path.write_text("older")
    write_report(Report("newer", {}), path)
    assert os.listdir(tmp_path) == ["report.html"]
    assert "newer" in path.read_text("utf-8")


@pytest.mark.parametrize(
    ("place", "reason"),
    [("nowhere/report.html", "No such file or directory"), ("", "Is a directory"), ("file/r.html", "Not a directory")],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, place, reason):
    (tmp_path / "file").touch()
    path = tmp_path / place
    with pytest.raises(SourceError) as caught:
        write_report(Report("t", {}), path)
    assert str(caught.value) == f"cannot write {str(path)!r}: {reason}"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("missing", ["plotly", "jinja2"])
def test_a_missing_library_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing):
    for module in [name for name in sys.modules if name.split(".")[0] == missing]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UsageError) as caught:
        write_report(Report("t", {}), tmp_path / "report.html")
    assert str(caught.value) == (
        "the report needs plotly and jinja2, which are not installed; pip install 'semsearch[report]'"
    )
    assert os.listdir(tmp_path) == []


# --- accessibility


def test_the_page_is_built_for_screen_readers(write: Write):
    page = write(realistic())
    assert page.css_first("html").attributes["lang"] == "en"
    assert len(page.css("h1")) == 1
    assert page.css("th:not([scope]), table:not(:has(caption))") == []
    levels = [int(node.tag[1]) for node in page.css("h1, h2, h3, h4")]
    assert levels[0] == 1
    assert all(below - above <= 1 for above, below in pairwise(levels)), "no level is left out"
    assert all(len(page.css(f"#{part.attributes['aria-controls']}")) == 1 for part in page.css("[aria-controls]"))
    assert all(len(page.css(f"#{part.attributes['aria-labelledby']}")) == 1 for part in page.css("[aria-labelledby]"))
    assert all(node.attributes.get("aria-label") for node in page.css("[role=img]"))
    assert all(page.css_matches(f"label[for='{node.attributes['id']}']") for node in page.css("select"))
    ids = [node.attributes["id"] for node in page.css("[id]")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colors_stand_out_from_the_paper(write: Write, theme):
    """Check the contrast that WCAG requires: 4.5 for text, 3 for lines and points."""
    style = text(write(Report("t", {})).css_first("style"))
    light, dark = re.findall(r":root \{(.*?)\}", style)
    colors = dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]+);", light if theme == "light" else dark))

    def contrast(name: str, paper: str = "--paper") -> float:
        bright, dim = sorted((luminance(colors[name]), luminance(colors[paper])), reverse=True)
        return (bright + 0.05) / (dim + 0.05)

    assert min(contrast("--ink"), contrast("--muted"), contrast("--accent"), contrast("--best")) >= 4.5
    assert min(contrast("--best", "--best-paper"), contrast("--muted", "--raised")) >= 4.5
    assert min(contrast("--ink", f"--h{step}") for step in range(5)) >= 4.5
    assert min(contrast(f"--c{number}") for number in range(8)) >= 3


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * digit for digit in color[1:])
    parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- in a browser


@pytest.fixture
def look(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return a function that opens a report; fail on any console message, error, or request for another file."""
    pages, troubles = [], []

    def look(report: Report | Path, width: int = 1280, **wishes: str) -> Any:
        path = report if isinstance(report, Path) else tmp_path / "report.html"
        if isinstance(report, Report):
            write_report(report, path)
        page = browser.new_page(viewport={"width": width, "height": 900}, **wishes)
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("request", lambda request: _note(troubles, request.url, path))
        pages.append(page)
        page.goto(path.as_uri())
        return page

    yield look
    for page in pages:
        page.close()
    assert troubles == []


def _note(troubles: list[str], url: str, path: Path) -> None:
    if url != path.as_uri() and not url.startswith(("data:", "blob:")):
        troubles.append(url)


COUNT_MARKS = """() => Object.fromEntries([...document.querySelectorAll('.drawing')].map(drawing =>
    [drawing.id, drawing.querySelectorAll('.trace path, .heatmaplayer image').length]))"""
OPEN_ALL = "() => document.querySelectorAll('details').forEach(details => { details.open = true; })"
OVERFLOW = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 375])
def test_every_drawing_is_drawn_once_it_is_seen_and_nothing_overflows(look, width):
    page = look(realistic(), width)
    closed = {name for name, n in page.evaluate(COUNT_MARKS).items() if not n}
    assert closed == {"layers-drawing", "map-drawing"}
    assert page.evaluate(OVERFLOW) <= 0
    for section in ("geometry", "layers", "map"):
        page.locator(f"#{section} > details > summary").click()
    page.wait_for_function("() => document.querySelectorAll('#map .trace path').length >= 240")
    marks = page.evaluate(COUNT_MARKS)
    assert {*marks} == {"recall-drawing", "pairs-1", "pairs-2", "layers-drawing", "map-drawing"}
    assert min(marks.values()) >= 1
    assert marks["recall-drawing"] >= len(POOLERS)
    assert page.evaluate(OVERFLOW) <= 0
    if width == 1280:
        assert page.evaluate(
            "() => [...document.querySelectorAll('.scroll')].every(e => e.scrollWidth <= e.clientWidth)"
        )


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_hostile_texts_neither_run_nor_break_the_page(look, width):
    page = look(hostile(), width)
    page.evaluate(OPEN_ALL)
    page.wait_for_function("() => document.querySelector('#map .trace path')")
    assert page.evaluate("() => typeof hacked") == "undefined"
    assert min(page.evaluate(COUNT_MARKS).values()) >= 1
    assert page.evaluate(OVERFLOW) <= 0
    name = page.locator("#recall label").filter(has_text="hacked").text_content()
    assert name.startswith("</script><script>hacked=1</script>")
    page.locator("#recall .nsewdrag").hover(force=True)
    page.locator("#recall .hoverlayer .legendtext").first.wait_for()
    hovered = page.locator("#recall .hoverlayer .legendtext").all_text_contents()
    assert any("</script><script>hacked=1</script>" in line for line in hovered)
    assert page.locator("#recall .hoverlayer a, main img").count() == 0


@pytest.mark.slow
def test_a_field_can_be_chosen(look):
    page = look(realistic())
    page.get_by_role("link", name="A map of the texts").click()
    legend = page.locator("#map .legendtext")
    legend.first.wait_for()
    assert legend.all_text_contents() == [f"topic {n}" for n in range(5)]
    page.select_option("#map-drawing-choice", label="year")
    assert page.locator("#map .cbaxis text").first.text_content() == "2000"
    assert legend.all_text_contents() == ["(none)"]
    assert page.locator("#map-drawing-choice option").all_text_contents() == ["topic", "year", "author"]


@pytest.mark.slow
def test_a_click_on_a_heading_sorts_and_what_is_missing_comes_last(look):
    page = look(Report("t", {}, tables=[Table("STS", SMALL, 100, 2)]))

    def click(column: str) -> list[str]:
        page.get_by_role("button", name=column).click()
        return page.locator(".comparison tbody th").all_text_contents()

    assert click("average") == ["mean", "max", "cls"], "sorted by it the other way round already"
    assert click("STS-B") == ["mean", "cls", "max"]
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert click("STS-B") == ["max", "cls", "mean"]
    assert click("average") == ["max", "mean", "cls"]
    assert click("average") == ["mean", "max", "cls"], "the second time in the opposite order"
    assert click("row") == ["cls", "mean", "max"]
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"


INK = """() => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(() =>
    resolve(getComputedStyle(document.querySelector('#recall .xtick text')).fill))))"""
"""Color of the axis labels, read after two frames so that the page has time to redraw."""


@pytest.mark.slow
def test_drawings_follow_light_dark_and_paper(look):
    page = look(realistic(), color_scheme="dark")
    assert page.evaluate(INK) == "rgb(230, 233, 239)"
    page.emulate_media(color_scheme="light")
    assert page.evaluate(INK) == "rgb(28, 34, 48)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(INK) == "rgb(230, 233, 239)"
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(INK) == "rgb(28, 34, 48)"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.slow
def test_a_pointer_on_a_point_shows_its_text_as_it_is(look):
    points = np.array([[0.0, 0.0], [1.0, 1.0]])
    page = look(Report("t", {}, projection=Projection("mean", points, ["a <b>bold</b> &lt; text", "y"], {}, 0.5)))
    page.locator("#map > details > summary").click()
    page.locator("#map .point").first.wait_for()
    page.locator("#map .point").first.hover(force=True)
    shown = page.locator("#map .hovertext .nums")
    shown.wait_for()
    assert shown.text_content() == "a <b>bold</b> &lt; text"


def many() -> Report:
    """Build a report with as many rows as all poolers have with two transforms in all modes."""
    rows = tuple(f"pooler {n % 20}, whiten:128{', hybrid' * (n % 2)}, {n}" for n in range(61))
    return replace(realistic(rows), recall_depths=[1, 10, 100], recall={row: [0.1, 0.5, 0.9] for row in rows})


@pytest.mark.slow
def test_a_page_of_many_rows_is_bounded_and_shows_all_on_demand(look):
    page = look(many())
    assert page.evaluate("() => document.documentElement.scrollHeight") < 5000
    for table, button in ((".comparison", "#which .all"), (".geometry", "#geometry .all")):
        page.locator(f"section:has({table}) > details").evaluate("details => { details.open = true; }")
        rows = page.locator(f"{table} tbody tr:visible")
        assert rows.count() == 12
        press = page.locator(button)
        assert (press.text_content(), press.get_attribute("aria-expanded")) == ("Show all 61 rows", "false")
        press.click()
        assert rows.count() == 61
        assert (press.text_content(), press.get_attribute("aria-expanded")) == ("Show the first 12 rows", "true")
        press.click()
        assert rows.count() == 12
    best = page.locator(".comparison tbody th:visible").all_text_contents()
    page.locator(".comparison th[aria-sort] button").click()
    worst = page.locator(".comparison tbody th:visible").all_text_contents()
    assert not {*best} & {*worst}
    page.emulate_media(media="print")
    assert page.locator(".comparison tbody tr:visible").count() == 61


@pytest.mark.slow
def test_without_scripts_everything_is_in_reach(browser, tmp_path: Path):
    write_report(many(), tmp_path / "report.html")
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator(".comparison tbody tr:visible").count() == 61
    assert page.locator(".all:visible, .switches:visible").count() == 0
    page.locator("#geometry > details > summary").click()
    assert page.locator(".geometry tbody tr:visible").count() == 61
    context.close()


CURVES = """() => [...document.querySelectorAll('#recall .trace .js-line')].map(line =>
    [line.style.stroke, line.style.strokeDasharray])"""
SWATCHES = """() => [...document.querySelectorAll('#recall label:has(:checked) line')].map(line =>
    getComputedStyle(line).stroke)"""


@pytest.mark.slow
def test_curves_can_be_switched_and_are_told_apart(look):
    page = look(many())
    before = page.evaluate(CURVES)
    boxes = page.locator("#recall input")
    assert (len(before), boxes.count()) == (7, 61)
    assert len({*map(tuple, before)}) == 7
    assert [stroke for stroke, _ in before] == page.evaluate(SWATCHES)
    boxes.nth(0).uncheck()
    assert page.evaluate(CURVES) == before[1:], "the others stay as they are"
    boxes.nth(20).focus()
    page.keyboard.press("Space")
    assert {*map(tuple, page.evaluate(CURVES))} == {*map(tuple, before)}, "the free color and dash are taken again"
    for number in range(40):
        boxes.nth(number).check()
    lines = [*map(tuple, page.evaluate(CURVES))]
    assert len({*lines}) == 32, "eight colors by four dashes"


@pytest.mark.slow
def test_two_histograms_share_both_axes_whichever_rows_are_chosen(look):
    flat, narrow = np.ones(50, np.int64), np.zeros(50, np.int64)
    narrow[40] = 100  # shares are 1/50 per bin in `flat`, 1 in `narrow`
    rows = {"flat": Histogram(flat, flat), "narrow": Histogram(narrow, narrow), "other": Histogram(flat, flat)}
    duels = Duels(("flat", "other"), "m", "queries", "the source", 0, 0, 0, [], [])
    page = look(Report("t", {}, histograms=rows, duels=duels))

    def axes() -> list[list[float]]:
        return page.evaluate("""() => [...document.querySelectorAll('#pairs .drawing')].map(one =>
            [...one._fullLayout.yaxis.range, ...one._fullLayout.xaxis.range])""")

    first, second = axes()
    assert first == second
    assert first[:2] == [0, pytest.approx(1.05 / 50)]
    page.select_option("#pairs-2-choice", label="narrow")
    first, second = axes()
    assert first == second
    assert first[:2] == [0, pytest.approx(1.05)]
    tops = [page.locator(f"#pairs-{n}").bounding_box()["y"] for n in (1, 2)]
    assert tops[0] == tops[1], "side by side"


@pytest.mark.slow
def test_a_link_opens_its_section_and_paper_shows_all(look):
    page = look(realistic())
    assert page.locator("#geometry table:visible").count() == 0
    page.get_by_role("link", name="The shape of the vectors").click()
    assert page.locator("#geometry table:visible").count() == 1
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    page.wait_for_function("() => document.querySelectorAll('#map .trace path').length >= 240")
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert page.locator("#map > details").get_attribute("open") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "drawn"),
    [
        (("sts", "--data", SAMPLE / "pairs.tsv"), {"layers-drawing", "map-drawing"}),
        (("retrieval", "--data", SAMPLE), {"layers-drawing", "map-drawing", "recall-drawing"}),
        (("transfer", "--data", "labeled.tsv"), {"layers-drawing", "map-drawing"}),
        (("corpus", SAMPLE, "--sample", 60, "--no-check"), {"layers-drawing", "map-drawing"}),
    ],
)
def test_the_commands_write_a_page_that_shows_what_they_print(look, tmp_path: Path, words, drawn, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_labeled("labeled.tsv")
    model, path = tiny_checkpoint(tmp_path / "model"), tmp_path / "page.html"
    options = ("--model", model, "--poolers", "mean,cls", "--transforms", "center", "--report", path)
    done = call("eval", *words, *options)
    assert done.code == 0
    page = look(path)
    page.evaluate(OPEN_ALL)
    page.wait_for_function("() => document.querySelector('#map .trace path')")
    marks = page.evaluate(COUNT_MARKS)
    assert drawn <= set(marks)
    assert min(marks.values()) >= 1
    printed = {row[0]: row[1].rstrip("*~") for row in reversed(done.rows) if len(row) > 1}  # the first table counts
    table = page.locator(".comparison").first
    for row in table.locator("tbody tr").all():
        name, number = (row.locator(part).first.text_content() for part in ("th", "td mark, td > span:not(.range)"))
        assert printed[name.strip()] == number.strip()
    for section in ("which", "pairs", "queries", "map"):
        assert page.locator(f"#{section}").count() == 1
    assert page.evaluate(OVERFLOW) <= 0


def told_by_trec(folder: Path, row: str, query: str) -> list[str]:
    """Return the documents in trec_eval's order: by single-precision score, then by id, both descending."""
    lines = [line.split() for line in (folder / f"{row}.run").read_text().splitlines()]
    scores = {doc_id: np.float32(score) for query_id, _, doc_id, _, score, _ in lines if query_id == query}
    return sorted(scores, key=lambda doc_id: (scores[doc_id], doc_id), reverse=True)


@pytest.mark.slow
def test_ticks_grades_and_ranks_are_those_of_the_qrels_and_the_run(tmp_path: Path):
    path, runs = tmp_path / "page.html", tmp_path / "runs"
    options = ("--poolers", "mean,cls", "--modes", "dense,keyword", "--duel", "mean", "--duel", "keyword")
    words = ("retrieval", "--data", SAMPLE, "--model", tiny_checkpoint(tmp_path / "model"))
    assert call("eval", *words, *options, "--run-dir", runs, "--report", path).code == 0
    lines = [line.split("\t") for line in (SAMPLE / "qrels/test.tsv").read_text("utf-8").splitlines()[1:]]
    qrels: dict[str, dict[str, int]] = {}
    for query, doc_id, grade in lines:
        qrels.setdefault(query, {})[doc_id] = int(grade)
    asked = [json.loads(line) for line in (SAMPLE / "queries.jsonl").read_text("utf-8").splitlines()]
    ids = {each["text"]: each["_id"] for each in asked}
    cards = LexborHTMLParser(path.read_text("utf-8")).css(".duel")
    assert len(cards) > 8
    for card in cards:
        query = ids[text(card.css_first("summary span"))]
        judged = qrels[query]
        verdicts = [text(node) for node in card.css(".right, .judged")]
        ranks = [text(node) for node in card.css(".ranks")]
        orders = {row: told_by_trec(runs, row, query) for row in ("mean", "keyword")}
        answered = [order for order in orders.values() if order]
        expected = []
        for order in answered:
            grade = judged.get(order[0])
            mark = "" if grade is None else "✓ " if grade > 0 else "✗ "
            said = "not judged" if grade is None else f"{'' if grade else 'judged not '}relevant, grade {grade}"
            expected.append(f"{mark}First answer: {said}")
        assert verdicts == expected
        for order, said in zip(answered, ranks, strict=False):
            relevant = [str(rank) for rank, doc_id in enumerate(order[:10], 1) if judged.get(doc_id, 0) > 0]
            assert said.split(": ")[1].removeprefix("ranks ").removeprefix("rank ") == (", ".join(relevant) or "none")
        best = [doc_id for doc_id, grade in judged.items() if grade == max(judged.values())]
        for row, order in orders.items():
            (where,) = re.findall(rf"{row}: (?:rank ([\d,]+)|(not in|found nothing))", ranks[-1])
            places = [str(order.index(doc_id) + 1) for doc_id in best if doc_id in order]
            assert where[0].replace(",", "") in (places if where[0] else [""]), (query, row, where, places)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 375])
def test_a_hostile_corpus_neither_runs_nor_breaks_the_page(look, tmp_path: Path, width):
    """Check hostile ids, titles, texts, metadata and queries from the files to the page."""
    attacks = [
        "</script><script>hacked=1</script>",
        "<img src=x onerror=hacked=1>",
        "\"' onmouseover=hacked=1 autofocus onfocus=hacked=1 x='",
        "<svg onload=hacked=1><a href=javascript:hacked=1>",
        "</title></style></details><base href=//evil.example>",
        "{{ 7*7 }}{% raw %}",
        "<!--<script>",
        f"a{BIDI}b",
    ]
    folder = tmp_path / "<b onclick=hacked=1>"
    (folder / "qrels").mkdir(parents=True)

    def write(name: str, records: list[dict[str, Any]]) -> None:
        (folder / name).write_text("".join(f"{json.dumps(record)}\n" for record in records), "utf-8")

    write(
        "corpus.jsonl",
        [
            {
                "_id": f"{attack} {n}",
                "title": attack,
                "text": f"{attack} word{n}",
                "metadata": {attack: attack, "n": n % 2},
            }
            for n in range(3)
            for attack in attacks
        ],
    )
    write("queries.jsonl", [{"_id": attack, "text": f"{attack} word0"} for attack in attacks])
    judged = "".join(f"{attack}\t{attack} 0\t{n}\n" for n, attack in enumerate(attacks, 1))
    (folder / "qrels/test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}", "utf-8")
    model, path = tiny_checkpoint(tmp_path / "model"), tmp_path / "page.html"
    words = ("--model", model, "--poolers", "mean,cls", "--duel", "mean", "--duel", "keyword", "--report", path)
    assert call("eval", "retrieval", "--data", folder, *words).code == 0
    page = look(path, width)
    page.evaluate(OPEN_ALL)
    page.wait_for_function("() => document.querySelector('#map .trace path')")
    page.locator("#map .point").first.hover(force=True)
    page.locator("#map .hovertext").wait_for()
    assert page.evaluate("() => typeof hacked") == "undefined"
    assert page.locator("main img, base, [onmouseover], [onfocus], [onload], [href^=javascript]").count() == 0
    assert page.locator("main > section").count() == len(PARTS), "none is closed too early"
    assert page.evaluate(OVERFLOW) <= 0
    shown = page.locator(".duel > summary > span:first-child").all_text_contents()
    assert shown
    assert {*shown} <= {f"{attack} word0" for attack in (*attacks[:-1], "ab")}, "as they stand in the files"
