"""`semsearch eval` as users run it: all output formats have the same numbers, and each error is one line."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import ir_measures
import numpy as np
import pytest
from command import Outcome, call, jsonl, run
from fakes import tiny_checkpoint
from layouts import DOCUMENTS, QRELS, QUERIES, SCORED, beir, transfer_tasks, two_tasks, write_labeled, write_pairs
from markdown_it import MarkdownIt
from scipy import stats

from semsearch import Encoder, read_corpus
from semsearch.errors import SourceError
from semsearch.evaluation import studies
from semsearch.evaluation.candidates import Candidate
from semsearch.evaluation.multi_pooler import MultiPooler
from semsearch.evaluation.pseudo_queries import make_pseudo_tasks
from semsearch.reports import html as html_report

pytestmark = pytest.mark.usefixtures("one_thread")

PAIRS = "sentence1\tsentence2\tscore\na heron\ta bird\t4\na heron\tan egret\t5\na heron\ta loaf\t0\na\tb\t\n"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create two checkpoints: one without a head, and one with a head and a declared pooler."""
    folder = tmp_path_factory.mktemp("models")
    tiny_checkpoint(folder / "model", head=False)
    tiny_checkpoint(folder / "declaring", files={"1_Pooling/config.json": {"pooling_mode": "cls"}})
    return folder


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for model in models.iterdir():
        Path(model.name).symlink_to(model)
    Path("pairs.tsv").write_text(PAIRS)
    write_pairs("scored.tsv")
    beir("judged")
    write_labeled("labeled.tsv")
    Path("notes.jsonl").write_bytes(jsonl(DOCUMENTS))


DATA: dict[str, tuple[str, ...]] = {
    "sts": ("--data", "scored.tsv"),
    "retrieval": ("--data", "judged"),
    "transfer": ("--data", "labeled.tsv"),
    "corpus": ("notes.jsonl",),
}
"""The arguments that give each command its data."""

EACH = pytest.mark.parametrize("command", DATA)


def evaluate(command: str, *words: object, poolers: str = "mean,cls,layer:1+max", model: str = "model") -> Outcome:
    """Run a comparison on the small data; the words are appended to the command."""
    return call("eval", command, "--model", model, "--poolers", poolers, *DATA[command], *words)


def strict_json(done: Outcome) -> Any:
    """Parse the printed object as strict JSON, which has no NaN and no infinities."""
    return json.loads(done.ok().out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def cells_of(shown: dict[str, Any], table: int = 0) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the cells of a table in `--json`, by row and column."""
    rows = shown["tables"][table]["rows"]
    return {(label, column): cell for label, row in rows.items() for column, cell in row.items()}


def cosines(pooler: str, pairs: Sequence[tuple[str, str, float]], **wishes: Any) -> np.ndarray:
    encoder = Encoder.load("model", pooler, device="cpu", **wishes)
    first, second = (encoder.encode_documents([pair[side] for pair in pairs]).astype(np.float64) for side in (0, 1))
    return (first * second).sum(1)


# --- the numbers are right


def test_the_table_has_tasks_as_columns_and_poolers_as_rows():
    done = call("eval", "sts", "--model", "model", "--data", "pairs.tsv", "--poolers", "mean,cls,pooler-output")
    assert [row[0] for row in done.rows] == ["Spearman x 100", "mean", "cls"]
    assert done.rows[0] == ["Spearman x 100", "pairs"]
    assert done.code == 0
    legend, warning, left_out = done.err.splitlines()
    assert "paired bootstrap" in legend
    assert legend.endswith("seed 0")
    assert warning.startswith("warning: pooler 'pooler-output' needs the checkpoint's own head")
    assert left_out == "pairs: pairs without a score, left out: 1"


def test_sts_prints_spearman_times_100_of_each_row():
    done = evaluate("sts", "--transforms", "truncate:5,none")
    labels = ["mean", "mean, truncate:5", "cls", "cls, truncate:5", "layer:1+max", "layer:1+max, truncate:5"]
    assert [row[0] for row in done.rows[1:]] == labels
    gold = [score for _, _, score in SCORED]
    for label, printed in done.rows[1:]:
        pooler, _, truncated = label.partition(", ")
        ours = cosines(pooler, SCORED, **({"dim": 5} if truncated else {}))
        assert printed.rstrip("*~") == f"{100 * stats.spearmanr(ours, gold).statistic:.2f}"


def test_json_has_both_correlations_of_every_subset_and_aggregation():
    done = call("eval", "sts", "--model", "model", "--data", "scored.tsv", "--poolers", "mean", "--json").ok().json
    assert (done["split"], list(done["poolers"]), done["refused"]) == ("test", ["mean"], {})
    task = done["poolers"]["mean"]["tasks"]["scored"]
    assert set(task) == {"subsets", "all", "mean", "wmean"}
    ours, gold = cosines("mean", SCORED), [score for _, _, score in SCORED]
    assert task["all"] == {
        "spearman": pytest.approx(stats.spearmanr(ours, gold).statistic),
        "pearson": pytest.approx(stats.pearsonr(ours, gold).statistic, abs=1e-5),
        "n": len(SCORED),
    }
    assert task["all"] == task["mean"] == task["wmean"] == task["subsets"]["scored.tsv"]
    assert done["poolers"]["mean"]["average"] == task["all"]["spearman"]


def test_the_runs_of_a_retrieval_give_its_numbers_to_whoever_measures_them():
    measures = "nDCG@10,AP,RR,R@2,P@1"
    words = ("--poolers", "layer:-1+cls,layer:1+cls,mean", "--transforms", "center,whiten:3")
    shown = strict_json(evaluate("retrieval", "--measures", measures, "--run-dir", "a/runs", "--json", *words))
    cells = cells_of(shown)
    labels = list(dict.fromkeys(label for label, _ in cells))
    assert len(labels) == 3 * 3 * 2 + 1
    runs = {path.name: path for path in Path("a/runs").iterdir()}
    assert len(runs) == len(labels)  # one for each row: the names of layer:-1 and layer:1 differ
    assert {"keyword.run", "mean-hybrid.run", "mean-whiten-3.run", "mean-center-hybrid.run"} < set(runs)
    qrels: dict[str, dict[str, int]] = {}
    for query, doc, gain in QRELS:
        qrels.setdefault(query, {})[doc] = gain
    found = sorted(
        tuple(
            ir_measures.calc_aggregate([name], qrels, ir_measures.read_trec_run(str(path)))[name]
            for name in map(ir_measures.parse_measure, measures.split(","))
        )
        for path in runs.values()
    )
    theirs = sorted(tuple(cells[label, name]["value"] for name in measures.split(",")) for label in labels)
    np.testing.assert_allclose(found, theirs, rtol=0, atol=1e-12)
    for file, label in (("keyword", "keyword"), ("layer--1+cls", "layer:-1+cls"), ("layer-1+cls", "layer:1+cls")):
        (value,) = ir_measures.calc_aggregate(
            [ir_measures.nDCG @ 10], qrels, ir_measures.read_trec_run(f"a/runs/{file}.run")
        ).values()
        assert value == pytest.approx(cells[label, "nDCG@10"]["value"], abs=1e-12)


def test_a_corpus_is_measured_by_where_each_source_stands_among_the_passages():
    cells = cells_of(strict_json(evaluate("corpus", "--json", "--sample", 6, "--seed", 3)))
    tasks, _ = make_pseudo_tasks(read_corpus(["notes.jsonl"]), sample=6, seed=3)
    assert {task.name for task in tasks} == {"title", "sentence", "first"}
    for pooler in ("mean", "cls", "layer:1+max"):
        encoder, gains = Encoder.load("model", pooler, device="cpu"), []
        for task in tasks:
            scores = encoder.encode_queries(task.queries) @ encoder.encode_documents(task.passages).T
            ranks = [int((row > row[source]).sum()) + 1 for row, source in zip(scores, task.sources, strict=True)]
            gains.append([1 / np.log2(1 + rank) if rank <= 10 else 0 for rank in ranks])
            assert cells[pooler, task.name]["value"] == pytest.approx(np.mean(gains[-1]), abs=1e-9)
        assert cells[pooler, "all"]["value"] == pytest.approx(np.mean(np.concatenate(gains)), abs=1e-9)


def test_geometry_has_a_row_for_each_row_of_the_table():
    done = evaluate("sts", "--geometry", "--transforms", "center", poolers="mean,cls")
    blank = done.rows.index([""])
    labels = [row[0] for row in done.rows[1:blank]]
    assert done.rows[blank + 1] == ["geometry"]
    head, *rows = done.rows[blank + 2 :]
    assert [row[0] for row in rows] == labels == ["mean", "mean, center", "cls", "cls, center"]
    sentences = list(dict.fromkeys(side for pair in SCORED for side in pair[:2]))
    unit = Encoder.load("model", "mean", device="cpu").encode_documents(sentences).astype(np.float64)
    upper = (unit @ unit.T)[np.triu_indices(len(sentences), 1)]
    shown = dict(zip(head, rows[0], strict=True))
    assert (shown["mean cosine"], shown["sd"]) == (f"{upper.mean():.3f}", f"{upper.std():.3f}")
    assert shown["dim"] == "32"


# --- all output formats have the same numbers

NO_VECTORS = ("keyword", "majority class")
"""Rows without vectors."""

WISHES = ("--transforms", "truncate:4", "--seed", "7")


def rounded(command: str, value: float | None) -> str:
    """Format a value as the tables do."""
    if value is None:
        return "–"
    return f"{100 * value:.2f}" if command in ("sts", "transfer") else f"{value:.4f}"


def marked(command: str, shown: dict[str, Any], best: str, tied: str, *, intervals: bool = False) -> list[list[str]]:
    """Build the first table as an output format should print it, from the numbers of `--json` and without times."""
    rows = []
    for label, cells in shown["tables"][0]["rows"].items():
        texts = []
        for cell in cells.values():
            text = (best if cell["best"] else tied if cell["tied"] else "{}").format(rounded(command, cell["value"]))
            ends = f" [{rounded(command, cell['low'])}, {rounded(command, cell['high'])}]"
            texts.append(text + ends if intervals else text)
        rows.append([label, *texts])
    return rows


def without_times(rows: list[list[str]], command: str) -> list[list[str]]:
    return [row[:-1] for row in rows] if command == "retrieval" else rows


@EACH
def test_json_says_all_of_each_number(command: str):
    shown = strict_json(evaluate(command, "--json", *WISHES))
    assert shown["seed"] == "7"
    assert shown["model"] == str(Path("model").resolve())
    assert shown["command"].startswith(f"semsearch eval {command} --model model")
    table, *others = shown["tables"]
    assert [other["name"] for other in others] == (["Macro-F1"] if command == "transfer" else [])
    assert "Holm-corrected" in table["test"]
    assert table["test"].endswith("seed 7")
    assert list(table["rows"])[:3] == ["mean", "mean, truncate:4", "cls"]
    cells = cells_of(shown)
    for cell in cells.values():
        assert set(cell) == {"value", "low", "high", "p", "best", "tied"}
        assert cell["low"] <= cell["value"] <= cell["high"]
        assert (cell["p"] is None) == cell["best"]
        assert cell["tied"] == (not cell["best"] and cell["p"] >= 0.05)
    for column in {column for _, column in cells}:
        values = {label: cells[label, column]["value"] for label in table["rows"]}
        (best,) = [label for label in values if cells[label, column]["best"]]
        assert values[best] == max(values.values())


@EACH
@pytest.mark.parametrize("intervals", [False, True])
def test_the_table_has_the_numbers_of_json_with_marks(command: str, intervals: bool):
    done = evaluate(command, *WISHES, *(["--intervals"] if intervals else []))
    expected = marked(command, strict_json(evaluate(command, *WISHES, "--json")), "{}*", "{}~", intervals=intervals)
    assert without_times(done.rows[1 : 1 + len(expected)], command) == expected
    assert done.err.splitlines()[0].startswith("* best in its column, ~ not distinguishable from it (p >= 0.05): ")


@EACH
def test_markdown_is_read_back_as_the_same_tables(command: str):
    expected = marked(command, strict_json(evaluate(command, *WISHES, "--json")), "**{}**", "{} ~")
    done = evaluate(command, *WISHES, "--markdown", "--geometry")
    tables: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(done.out):
        assert token.type not in ("paragraph_open", "heading_open")
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline":
            tables[-1][-1].append(token.content)
    numbers, *_, geometry = tables
    assert without_times(numbers[1:], command) == expected
    assert [row[0] for row in geometry[1:]] == [
        label for label, *_ in expected if label not in NO_VECTORS and not label.endswith("hybrid")
    ]
    assert {len(row) for row in geometry} == {11}


@EACH
def test_csv_has_a_line_for_each_number(command: str):
    shown = strict_json(evaluate(command, *WISHES, "--json"))
    lines = [*csv.DictReader(evaluate(command, *WISHES, "--csv").out.splitlines())]
    times = [line for line in lines if line["column"] == "ms/query"]
    assert [line["row"] for line in times] == (list(shown["tables"][0]["rows"]) if command == "retrieval" else [])
    assert all(float(line["value"]) >= 0 for line in times)
    cells = cells_of(shown)
    assert {line["table"] for line in lines} == {table["name"] for table in shown["tables"]}
    lines = [line for line in lines if line["table"] == shown["tables"][0]["name"]]
    assert [(line["row"], line["column"]) for line in lines if line not in times] == [*cells]
    for line in lines:
        if line not in times:
            cell = cells[line["row"], line["column"]]
            for name in ("value", "low", "high", "p"):
                assert line[name] == ("" if cell[name] is None else repr(cell[name]))
            assert line["mark"] == ("best" if cell["best"] else "tied" if cell["tied"] else "")


@EACH
def test_latex_has_the_same_table(command: str):
    done = evaluate(command, *WISHES, "--latex", "--geometry")
    expected = marked(command, strict_json(evaluate(command, *WISHES, "--json")), r"\textbf{{{}}}", r"{}$^\sim$")
    numbers, *_, geometry = done.out.removesuffix("\n").split("\n\n")
    for table in (numbers, geometry):
        begin, top, head, *rows, bottom, end = table.splitlines()
        columns = head.removesuffix(r" \\ \midrule").split(" & ")
        assert (begin, top) == (rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}", r"\toprule")
        assert (bottom, end) == (r"\bottomrule", r"\end{tabular}")
        cells = [row.removesuffix(r" \\").split(" & ") for row in rows]
        assert {len(row) for row in cells} == {len(columns)}
        if table is numbers:
            assert without_times(cells, command) == expected


def test_a_name_may_hold_what_a_form_has_a_meaning_for():
    name = r"o,d|d_na&me 5% #1 {a} ~b^c\$d" + '"e'
    write_pairs(f"{name}.tsv")
    words = ("eval", "sts", "--model", "model", "--poolers", "mean", "--data", f"{name}.tsv")
    assert call(*words).rows[0] == ["Spearman x 100", name]
    assert [*strict_json(call(*words, "--json"))["tables"][0]["rows"]["mean"]] == [name]
    (line,) = csv.DictReader(call(*words, "--csv").out.splitlines())
    assert line["column"] == name
    head = call(*words, "--markdown").out.splitlines()[0]
    (cell,) = re.split(r" (?<!\\)\| ", head.removesuffix(" |"))[1:]
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", cell) == name  # unescaped as in CommonMark
    latex = r"o,d\textbar{}d\_na\&me 5\% \#1 \{a\} \textasciitilde{}b\^{}c\textbackslash{}\$d"
    assert latex in call(*words, "--latex").out


def test_a_constant_gold_score_is_a_dash_and_nowhere_a_nan():
    write_pairs("flat.tsv", [("a", "b", 1), ("c", "d", 1)])
    write_pairs("same.tsv", [("a", "a", 1), ("b", "b", 2)])
    for file, said in (
        ("flat.tsv", "flat: no correlation, because its 2 pairs do not differ in score"),
        ("same.tsv", "mean: no correlation on same, because it gives every pair the same cosine"),
    ):
        words = ("eval", "sts", "--model", "model", "--data", file, "--poolers", "mean", "--transforms", "center")
        for form in ((), ("--intervals",), ("--markdown",), ("--csv",), ("--latex",)):
            done = call(*words, "--geometry", *form)
            assert (done.code, said in done.err.splitlines()) == (0, True)
            assert not re.search(r"\b(nan|none|inf)\b", done.out, re.IGNORECASE)
        assert call(*words).rows[1:] == [["mean", "–"], ["mean, center", "–"]]
        shown = strict_json(call(*words, "--geometry", "--json"))
        nothing = dict.fromkeys(("value", "low", "high", "p")) | {"best": False, "tied": False}
        assert [*cells_of(shown).values()] == [nothing, nothing]
        assert said in shown["notes"]
        assert shown["poolers"]["mean"]["average"] is None


def test_whitening_as_many_texts_as_axes_is_a_dash_with_the_reason():
    sentences = len({side for pair in SCORED for side in pair[:2]})
    done = evaluate("sts", "--transforms", "whiten,whiten:4", "--geometry", poolers="mean")
    said = f"whitening on {sentences} texts makes all cosines equal; use whiten:K with K well below {sentences}"
    assert {row[0]: row[1] for row in done.rows[1:4]}["mean, whiten"] == "–"
    assert f"mean, whiten: no correlation on scored, because {said}" in done.err.splitlines()
    assert f"mean, whiten: no geometry, because {said}" in done.err.splitlines()
    assert "whiten:4: no" not in done.err
    (geometry,) = [row for row in done.rows[5:] if row[0] == "mean, whiten"]
    assert {*geometry[1:-1]} == {"–"}


def test_what_transforms_are_fitted_on_is_said_where_table_and_geometry_differ():
    two_tasks()
    words = ("eval", "sts", "--model", "model", "--data", ".", "--split", "dev", "--poolers", "mean")
    said = "transforms are fitted on each task's own sentences for the table"
    assert said in call(*words, "--transforms", "center", "--geometry").err
    assert said not in call(*words, "--transforms", "center").err
    assert said not in call(*words, "--transforms", "center", "--geometry", "--tasks", "STS-B").err
    assert said not in call(*words, "--geometry").err


def test_the_older_name_of_split_is_still_known_but_not_shown():
    two_tasks()
    words = ("eval", "sts", "--model", "model", "--data", ".", "--poolers", "mean", "--csv")
    assert call(*words, "--mode", "dev").out == call(*words, "--split", "dev").out != ""
    assert not re.search(r"--mode\s", run("eval", "sts", "--help").out)


def test_a_duel_with_keyword_search_is_drawn_as_the_pooler_sees_the_texts():
    words = ("--report", "page.html", "--duel", "keyword", "--duel", "cls", "--modes", "dense,keyword")
    assert evaluate("retrieval", *words, poolers="mean,cls").code == 0
    page = Path("page.html").read_text(encoding="utf-8")
    (seen,) = re.findall(r"The vectors of <b><bdi>(.*?)</bdi>", page)
    assert seen == "cls"


def test_options_are_named_where_the_library_names_parameters():
    beir("own", [{"_id": query["_id"], "text": query["text"]} for query in QUERIES], [("q0", "q0", 1), ("q1", "q1", 1)])
    words = ("eval", "retrieval", "--data", "own", "--model", "model", "--poolers", "mean", "--modes", "dense")
    said = "to leave out such hits as BEIR does, use --drop-same-id"
    assert said in call(*words).err
    assert any(note.endswith(said) for note in strict_json(call(*words, "--json"))["notes"])
    assert said not in call(*words, "--drop-same-id").err


def test_one_constant_task_among_others_leaves_the_others_their_numbers():
    two_tasks()
    words = ("eval", "sts", "--model", "model", "--data", ".", "--split", "dev", "--poolers", "mean")
    (head_row, row) = call(*words).rows
    assert head_row == ["Spearman x 100", "STS-B", "SICK-R", "average"]
    rho = stats.spearmanr(cosines("mean", SCORED), [score for _, _, score in SCORED]).statistic
    assert row == ["mean", f"{100 * rho:.2f}*", "–", "–"]
    assert call(*words, "--tasks", "STS-B").rows == [["Spearman x 100", "STS-B"], ["mean", f"{100 * rho:.2f}*"]]


# --- seeds and the cache


def two_lines_in_a_process(hash_seed: str, cache: Path) -> bytes:
    """Run the two commands that print no times in a separate process, and return their output."""
    program = (
        "import sys\nfrom semsearch.cli.main import main\n"
        "wishes = ['--model', 'model', '--poolers', 'mean,cls', '--json', '--geometry', '--transforms', 'all']\n"
        "for words in (['sts', '--data', 'scored.tsv'], ['corpus', 'judged']):\n"
        "    sys.argv = ['semsearch', 'eval', *words, *wishes]\n"
        "    try: main()\n"
        "    except SystemExit as stop: assert stop.code == 0\n"
    )
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "SEMSEARCH_CACHE": str(cache)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, timeout=120)
    assert done.returncode == 0
    return done.stdout


@pytest.mark.slow
def test_two_processes_print_the_same_bytes(tmp_path: Path):
    one, two = two_lines_in_a_process("1", tmp_path / "one"), two_lines_in_a_process("2", tmp_path / "two")
    assert one == two
    assert len(one.splitlines()) == 2


@EACH
def test_the_same_seed_gives_the_same_numbers_with_and_without_a_cache_and_another_other_intervals(command: str):
    def numbers(*words: object) -> list[str]:
        lines = evaluate(command, "--csv", "--geometry", *words).out.splitlines()
        return [line for line in lines if ",ms/query," not in line]

    first = numbers("--seed", 1)
    assert numbers("--seed", 1) == first  # from the cache
    assert numbers("--seed", 1, "--cache-mb", 0) == first
    if command not in ("corpus", "transfer"):  # where the seed also determines the queries or the folds
        one, two = ([*csv.DictReader(lines)] for lines in (first, numbers("--seed", 2)))
        assert [line["value"] for line in one] == [line["value"] for line in two]
        assert [line["low"] for line in one] != [line["low"] for line in two]


def test_the_cache_is_a_file_that_another_comparison_gains_by():
    file = Path(os.environ["SEMSEARCH_CACHE"], "vectors.sqlite")
    evaluate("retrieval", "--cache-mb", 0)
    assert not file.exists()
    texts = len(DOCUMENTS) + len(QUERIES) - 1  # q5 has no judgments
    assert f"together: {texts} encoded\n" in evaluate("retrieval").err
    assert file.is_file()
    said = next(line for line in evaluate("retrieval", poolers="max,cls").err.splitlines() if "passages in" in line)
    assert said.startswith(f"vectors of {len(DOCUMENTS)} passages in ")
    assert said.endswith(f" s, all poolers together: {texts} from the cache")


def test_a_cache_that_cannot_be_used_is_a_warning_and_the_numbers_are_the_same(monkeypatch: pytest.MonkeyPatch):
    good = evaluate("sts")
    monkeypatch.setenv("SEMSEARCH_CACHE", str(Path("pairs.tsv").resolve()))
    done = evaluate("sts")
    assert (done.code, done.out) == (0, good.out)
    graphs, vectors = sorted(set(done.err.splitlines()) - set(good.err.splitlines()), reverse=True)
    assert vectors.startswith("warning: the cache ")
    assert graphs.startswith("warning: the converted model cannot be saved in ")


# --- eval corpus and the index command that it prints


@pytest.mark.parametrize(
    ("words", "fields"),
    [
        ((), {"pooler": "cls", "max_tokens": 64}),
        (("--max-tokens", 32, "--precision", "bfloat16"), {"max_tokens": 32, "precision": "bfloat16"}),
        (("--simcse-names", "--poolers", "cls_before_pooler"), {"pooler": "cls"}),
    ],
)
def test_a_corpus_ends_with_the_command_that_indexes_it_and_that_works(
    words: tuple[object, ...], fields: dict[str, Any]
):
    done = evaluate("corpus", *words, poolers="cls")
    *_, blank, why, command = done.out.splitlines()
    assert (blank, why.partition(": ")[2]) == ("", "the best here")
    program, *arguments = shlex.split(command)
    assert program == "semsearch"
    call(*arguments).ok()
    encoder = call("status", "--json").ok().json["encoder"]
    assert {name: encoder[name] for name in fields} == fields
    hits = call("query", "who brought a glacier", "--mode", "keyword", "-k", 1, "--json").ok().json["hits"]
    assert [hit["doc_id"] for hit in hits] == ["d3"]
    hits = call("query", "who brought a glacier", "--json").ok().json["hits"]
    assert {hit["doc_id"] for hit in hits} == {document["_id"] for document in DOCUMENTS}


@pytest.mark.filterwarnings("always:bad records skipped")
def test_the_index_command_reads_the_corpus_as_the_comparison_did():
    records = [{"key": d["_id"], "name": d["title"], "body": d["text"]} for d in DOCUMENTS]
    Path("odd notes.txt").write_bytes(jsonl(records) + b"{oops\n")
    reading = ("--id-field", "key", "--text-field", "body", "--title-field", "name", "--format", "jsonl", "--skip-bad")
    words = ("eval", "corpus", "odd notes.txt", "--model", "model", "--poolers", "mean", *reading)
    done = call(*words)
    assert (done.code, done.err.splitlines()[0]) == (0, "warning: bad records skipped: 1")
    indexing = call(*shlex.split(done.out.splitlines()[-1])[1:])
    assert indexing.code == 0
    assert "8 documents" in indexing.out
    assert call("query", "--mode", "keyword", "violin", "-k", 1, "--json").ok().json["hits"][0]["title"] == (
        "About the violin"
    )
    call(*words[:-1]).fails(1, "odd notes.txt:9", "not valid JSON")


def test_a_transform_that_wins_is_part_of_the_command(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(studies, "recommend", lambda *_: (Candidate("mean", "whiten:4"), "because"))
    done = evaluate("corpus", "--transforms", "whiten:4")
    call(*shlex.split(done.out.splitlines()[-1])[1:]).ok()
    encoder = call("status", "--json").ok().json["encoder"]
    assert (encoder["pooler"], encoder["transform"]) == ("mean", "whiten:4")


def test_the_checkpoint_s_own_pooler_is_known_under_simcse_s_name():
    words = ("--simcse-names", "--json")
    shown = strict_json(evaluate("corpus", *words, poolers="cls,cls_before_pooler,avg", model="declaring"))
    assert shown["declared pooler"] == "cls"  # our name; cls in SimCSE includes the head
    assert shown["recommended"] == "cls_before_pooler"
    assert shlex.split(shown["next"])[-2:] == ["--pooler", "cls"]


def test_a_corpus_may_be_a_file_a_folder_or_standard_input(monkeypatch: pytest.MonkeyPatch):
    from_file = evaluate("corpus")
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(BytesIO(jsonl(DOCUMENTS))))
    words = ("--model", "model", "--poolers", "mean,cls,layer:1+max")
    piped = call("eval", "corpus", "-", *words)
    *table, _, _, command = piped.out.splitlines()
    assert table == from_file.out.splitlines()[:-3]
    assert shlex.split(command)[:3] == ["semsearch", "index", "-"]
    Path("texts").mkdir()
    for document in DOCUMENTS:
        Path("texts", f"{document['_id']}.txt").write_text(document["text"])
    done = call("eval", "corpus", "texts", *words)
    assert done.rows[0] == ["nDCG@10", "title", "sentence", "first", "all"]  # the title is the first line
    assert "pseudo-queries from 8 of 8 documents: 8 title, 8 sentence, 8 first" in done.err


def test_a_corpus_with_judgments_says_how_far_they_agree():
    def shown(*words: object, poolers: str = "mean,cls,layer:1+max,layer:0+mean") -> dict[str, Any]:
        return strict_json(call("eval", "corpus", "judged", "--model", "model", "--poolers", poolers, "--json", *words))

    checked = shown()
    proxy, true = checked["tables"]
    assert true["name"] == "true nDCG@10"
    values = [
        [row[column]["value"] for row in table["rows"].values()]
        for table, column in ((proxy, "all"), (true, "nDCG@10"))
    ]
    assert checked["agreement"] == pytest.approx(stats.kendalltau(*values).statistic)
    note = checked["notes"][-1]
    assert note.startswith(f"agreement with the true judgments of judged: Kendall's tau {checked['agreement']:.2f} (1 ")
    retrieval = strict_json(evaluate("retrieval", "--json", "--modes", "dense", "--measures", "nDCG@10"))
    assert true["rows"]["cls"]["nDCG@10"]["value"] == cells_of(retrieval)["cls", "nDCG@10"]["value"]
    unchecked = shown("--no-check")
    assert (unchecked["tables"], unchecked["agreement"]) == ([proxy], None)
    assert not any("agreement" in note for note in unchecked["notes"])
    alone = shown(poolers="mean")
    assert alone["agreement"] is None
    assert alone["notes"][-1].endswith("undefined, because too few rows differ")


@pytest.mark.filterwarnings("always:bad records skipped")
def test_judgments_are_an_extra_that_is_read_as_the_corpus_is():
    def shown(folder: str, *words: object) -> Any:
        done = call("eval", "corpus", folder, "--model", "model", "--poolers", "mean,cls,layer:1+max", "--json", *words)
        return done.code, json.loads(done.out)

    records = [{"key": d["_id"], "name": d["title"], "body": d["text"]} for d in DOCUMENTS]
    beir("fields", [*records, records[0]])
    with Path("fields/corpus.jsonl").open("a") as file:
        file.write("{oops\n")
    reading = ("--id-field", "key", "--text-field", "body", "--title-field", "name", "--skip-bad")
    code, found = shown("fields", *reading)
    expected = shown("judged")[1]
    assert (code, found["tables"], found["agreement"]) == (0, expected["tables"], expected["agreement"])
    beir("strangers", qrels=[("z", "d0", 1)])
    beir("twice", [*DOCUMENTS, DOCUMENTS[0]])
    for folder, reason in (
        ("strangers", "no query in strangers/queries.jsonl"),
        ("twice", "corpus.jsonl:9: duplicate"),
    ):
        code, found = shown(folder)
        assert (code, found["tables"], found["agreement"]) == (0, expected["tables"][:1], None)
        (note,) = [note for note in found["notes"] if "agreement" in note]
        assert note.startswith("warning: cannot measure agreement with the true judgments: ")
        assert reason in note


# --- omissions are counted


def test_what_the_judgments_name_and_nobody_has_is_counted_and_warned_of():
    qrels = [*QRELS, ("q0", "d99", 1), ("q1", "d98", 0), *((f"z{number}", "d1", 1) for number in range(4))]
    beir("unknown", qrels=qrels)
    words = ("--modes", "dense", "--measures", "R@100")
    done = call("eval", "retrieval", "--data", "unknown", "--model", "model", "--poolers", "mean", *words)
    said = done.err.splitlines()[1:-1]
    assert said == [
        "warning: queries in the qrels without a text, left out: 4 (z0, z1, z2, …)",
        "warning: 2 documents in the qrels are not in the corpus; relevant ones count as not found",
        "queries without judgments, skipped: 1",
    ]
    assert done.rows[1][1] == f"{np.mean([2 / 3, 1, 1, 1, 0]):.4f}*"  # finds all 8 documents; none is relevant to q4
    (line,) = [
        line
        for line in call(
            "eval", "retrieval", "--data", "unknown", "--model", "model", "--poolers", "mean", *words, "--style", "st"
        ).err.splitlines()
        if "without a relevant" in line
    ]
    assert line == "queries without a relevant document, not counted: 1"


def test_a_refused_pooler_is_a_warning_and_the_others_go_on():
    poolers = "mean,pooler-output,layer:9+cls"
    for command in DATA:
        done = evaluate(command, poolers=poolers)
        assert done.code == 0
        assert {row[0] for row in done.rows[1:] if len(row) > 1} <= {
            *("mean", "keyword", "mean, hybrid", "majority class", "macro-F1 x 100")
        }
        warned = [line for line in done.err.splitlines() if line.startswith("warning: ")]
        assert ["'pooler-output'" in warned[0], "layers 0 to 4" in warned[1], len(warned)] == [True, True, 2]
        shown = strict_json(evaluate(command, "--json", poolers=poolers))
        assert [*shown["refused"]] == ["pooler-output", "layer:9+cls"]


def test_either_runtime_gives_the_same_table():
    words = ("sts", "--precision", "float32", "--cache-mb", 0, "--runtime")
    ours, theirs = (cells_of(strict_json(evaluate(*words, runtime, "--json"))) for runtime in ("openvino", "torch"))
    assert ours.keys() == theirs.keys()
    for key, cell in ours.items():
        assert cell["value"] == pytest.approx(theirs[key]["value"], abs=1e-4)


# --- errors are one line

MODEL = ("--model", "model", "--poolers", "mean")

USAGE: dict[str, tuple[tuple[object, ...], tuple[str, ...]]] = {
    "two forms": (("--csv", "--json"), ("--csv and --json cannot be combined; choose one",)),
    "three forms": (("--markdown", "--latex", "--json"), ("--markdown and --latex and --json",)),
    "a duel without a report": (("--duel", "mean", "--duel", "cls"), ("--duel", "--report FILE")),
    "seed": (("--seed", "-1"), ("seed", " must be at least 0, got -1")),
    "seed that is none": (("--seed", "x"), ("--seed", "int")),
    "cache": (("--cache-mb", "-1"), ("cache", " must be at least 0 MiB (0 for no cache), got -1")),
    "no pooler": (("--poolers", ""), ("no pooler given",)),
    "commas": (("--poolers", " , "), ("no pooler given",)),
    "pooler": (("--poolers", "mean,average"), ("unknown pooler 'average'", "mean, max")),
    "simcse": (("--simcse-names",), ("unknown pooler 'mean'", "avg_first_last")),
    "transform": (("--transforms", "center,zorg"), ("unknown transform 'zorg'", "whiten")),
    "truncate": (("--transforms", "truncate:0"), ("'truncate:0'", "from 1 to 32")),
    "truncate to more": (("--transforms", "truncate:33"), ("'truncate:33'", "from 1 to 32")),
    "truncate to nothing": (("--transforms", "truncate:"), ("'truncate:'", "from 1 to 32")),
    "whiten": (("--transforms", "whiten:33"), ("'whiten:33'", "from 1 to 32")),
    "center": (("--transforms", "center:2"), ("center takes no K",)),
    "max tokens": (("--max-tokens", 4), ("--max-tokens must be at least 8 and at most 64 for this model, got 4",)),
    "precision": (("--precision", "float8"), ("unknown precision 'float8'", "bfloat16")),
    "device": (("--device", "gpux"), ("'gpux'", "try --device 'cpu'")),
    "runtime": (("--runtime", "onnx"), ("unknown runtime 'onnx'", "openvino, torch")),
    "option": (("--transform", "center"), ("--transform",)),
}


@EACH
@pytest.mark.parametrize("wrong", USAGE)
def test_wrong_usage_is_one_line_for_each_command(command: str, wrong: str):
    words, parts = USAGE[wrong]
    call("eval", command, *MODEL, *DATA[command], *words).fails(2, *parts)


@EACH
def test_errors_of_the_model_are_one_line_for_each_command(command: str):
    for words, parts in (
        (("--model", "no/such/folder"), ("'no/such/folder': no such directory",)),
        (("--model", "judged"), ("'judged'", "no config.json")),
        (("--poolers", "pooler-output"), ("no requested pooler is available for this checkpoint", "own head")),
        (("--poolers", "layer:7+mean,layer:-9+cls"), ("layers 0 to 4", "layer:-9+cls")),
        (("--report", "judged", "--model", "no/model"), ("cannot write 'judged': it is a folder",)),
        (("--report", "nowhere/page.html"), ("cannot write 'nowhere/page.html'", "no folder 'nowhere'")),
    ):
        call("eval", command, *MODEL, *DATA[command], *words).fails(1, *parts)


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        ((), 2, ("--data",)),
        (("--data", "nowhere"), 1, ("no nowhere", "expected SentEval's layout")),
        (("--data", "judged", "--tasks", "SICK-R"), 1, ("no judged/SICK/SICK_test_annotated.txt", "STS/ and SICK/")),
        (("--data", ".", "--tasks", "STS99"), 2, ("unknown task 'STS99'", "STS12, STS13")),
        (("--data", ".", "--tasks", "STS12", "--split", "dev"), 2, ("'STS12' has no dev split", "STS-B, SICK-R")),
        (("--data", ".", "--split", "train"), 2, ("unknown split 'train'", "test, dev")),
        (("--data", ".", "--split", "dev", "--mode", "test"), 2, ("--split dev", "--mode test", "choose one")),
        (("--data", "pairs.tsv", "--tasks", "STS12"), 2, ("tasks", "'pairs.tsv' is a file of pairs")),
        (("--data", "notes.jsonl"), 1, ("notes.jsonl:1", "no sentence1, sentence2, score")),
        (("--data", "model/model.safetensors"), 1, ("unknown extension", ".jsonl, .csv, .tsv")),
    ],
)
def test_what_sts_cannot_be_asked_is_one_line(words: tuple[object, ...], code: int, parts: tuple[str, ...]):
    call("eval", "sts", *MODEL, *words).fails(code, *parts)


@pytest.mark.parametrize("content", ["", "sentence1\tsentence2\tscore\n", "sentence1\tsentence2\tscore\na\tb\t\n"])
def test_a_file_without_a_scored_pair_is_an_error(content: str):
    Path("empty.tsv").write_text(content)
    call("eval", "sts", *MODEL, "--data", "empty.tsv").fails(1, "no pair in 'empty.tsv' has a score")


def test_a_gold_file_that_is_shorter_than_its_input_is_an_error():
    year = Path("STS/STS13-en-test")
    year.mkdir(parents=True)
    for subset in ("FNWN", "headlines", "OnWN"):
        (year / f"STS.input.{subset}.txt").write_text("a\tb\nc\td\n")
        (year / f"STS.gs.{subset}.txt").write_text("1\n2\n" if subset != "OnWN" else "1\n")
    words = ("eval", "sts", *MODEL, "--data", ".", "--tasks", "STS13")
    call(*words).fails(1, "STS.gs.OnWN.txt has 1 scores for 2 sentence pairs")
    (year / "STS.gs.OnWN.txt").write_text("1\n\n")  # the line exists, but has no score
    done = call(*words)
    assert (done.code, "STS13: pairs without a score, left out: 1" in done.err.splitlines()) == (0, True)


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        ((), 2, ("--data",)),
        (("--data", "nowhere"), 1, ("no nowhere/corpus.jsonl", "queries.jsonl, qrels/test.tsv")),
        (("--data", "judged", "--split", "dev"), 1, ("no judged/qrels/dev.tsv", "available splits: test")),
        (
            ("--data", "judged", "--measures", "nDCG@10,Zorg@5"),
            2,
            ("unknown measure 'Zorg@5'", "nDCG@10, MAP", "Rprec"),
        ),
        (("--data", "judged", "--measures", " ,"), 2, ("no measure given", "nDCG@10")),
        (("--data", "judged", "--modes", "dense,sparse"), 2, ("unknown mode 'sparse'", "dense, keyword, hybrid")),
        (("--data", "judged", "--modes", ""), 2, ("no mode given", "dense, keyword, hybrid")),
        (("--data", "judged", "--style", "beir"), 2, ("--style", "beir", "trec", "st")),
        (("--data", "judged", "--fusion", "sum"), 2, ("--fusion", "sum", "convex", "rrf")),
        (("--data", "judged", "--chunk-tokens", "9999"), 2, ("9999",)),
        (("--data", "judged", "--run-dir", "pairs.tsv"), 1, ("cannot write 'pairs.tsv'",)),
        (("--data", "judged", "--run-dir", "pairs.tsv/runs"), 1, ("cannot write 'pairs.tsv/runs'",)),
    ],
)
def test_what_retrieval_cannot_be_asked_is_one_line(words: tuple[object, ...], code: int, parts: tuple[str, ...]):
    call("eval", "retrieval", *MODEL, *words).fails(code, *parts)


@pytest.mark.parametrize(
    ("words", "code", "parts"),
    [
        ((), 2, ("--data",)),
        (("--data", "nowhere"), 1, ("'nowhere' does not exist", "SentEval's layout", "labeled texts")),
        (("--data", "judged"), 1, ("no known task in 'judged'", "MR/, CR/, SUBJ/")),
        (("--data", "downstream", "--tasks", "MR,SST"), 2, ("unknown task 'SST'", "SST2, SST5, TREC, MRPC")),
        (("--data", "judged", "--tasks", "CR"), 1, ("no judged/CR/custrev.pos", "CR/custrev.pos, CR/custrev.neg")),
        (("--data", "labeled.tsv", "--tasks", "MR"), 2, ("--tasks", "'labeled.tsv' is a file of labeled texts")),
        (("--data", "pairs.tsv"), 1, ("pairs.tsv:2", "(fields found: sentence1, sentence2, score)")),
        (("--data", "model/config.json"), 1, ("unknown extension", ".jsonl, .csv, .tsv")),
        (("--data", "labeled.tsv", "--measures", "AP"), 2, ("--measures",)),
        (("--data", "labeled.tsv", "--split", "dev"), 2, ("--split",)),
    ],
)
def test_what_transfer_cannot_be_asked_is_one_line(words: tuple[object, ...], code: int, parts: tuple[str, ...]):
    transfer_tasks()
    call("eval", "transfer", *MODEL, *words).fails(code, *parts)


@pytest.mark.parametrize(
    ("documents", "qrels", "code", "parts"),
    [
        ([], QRELS, 1, ("the corpus is empty",)),
        ([{"_id": "d0", "text": " "}], QRELS, 1, ("the corpus is empty", "no document has a text or a title")),
        ([*DOCUMENTS, DOCUMENTS[0]], QRELS, 1, ("corpus.jsonl:9: duplicate id 'd0'",)),
        ([*DOCUMENTS, {"text": "a"}], QRELS, 1, ("corpus.jsonl:9",)),
        (DOCUMENTS, [("z", "d0", 1)], 1, ("no query in", "queries.jsonl has judgments in")),
        (DOCUMENTS, [], 1, ("no query in", "has judgments")),
        (DOCUMENTS, [("q0", "d0", 0.5)], 1, ("qrels/test.tsv:2", "the score is '0.5'; expected a whole number")),
    ],
)
def test_a_collection_that_cannot_be_used_is_one_line(
    documents: list[dict[str, Any]], qrels: list[tuple[str, str, Any]], code: int, parts: tuple[str, ...]
):
    beir("bad", documents, qrels)
    call("eval", "retrieval", *MODEL, "--data", "bad").fails(code, *parts)


def test_ids_that_a_run_cannot_hold_are_an_error_that_names_the_option():
    beir("spaced", [{**document, "_id": document["_id"] + " x"} for document in DOCUMENTS])
    words = ("eval", "retrieval", *MODEL, "--data", "spaced")
    without = call(*words)
    done = call(*words, "--run-dir", "runs")
    assert (without.code, done.code) == (0, 2)
    assert [row[:-1] for row in done.rows] == [row[:-1] for row in without.rows]  # same numbers, apart from the times
    said = done.err.splitlines()[-1]
    assert said.startswith("error: one of the ids ('q0', 'd")
    assert "white space" in said
    assert "--run-dir" in said
    assert list(Path("runs").iterdir()) == []


@EACH
def test_a_report_that_cannot_be_written_costs_no_numbers(command: str, monkeypatch: pytest.MonkeyPatch):
    def full(page: Any, path: Path) -> None:
        raise SourceError(f"cannot write {str(path)!r}: No space left on device")

    monkeypatch.setattr(html_report, "write_report", full)
    done = evaluate(command, "--report", "page.html", poolers="mean")
    assert (done.code, done.rows[1][0]) == (1, "mean")
    assert done.err.splitlines()[-1] == "error: cannot write 'page.html': No space left on device"
    assert command != "corpus" or done.out.splitlines()[-1].startswith("semsearch index ")


@EACH
def test_a_duel_of_unknown_rows_is_refused_before_anything_is_encoded(command: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(MultiPooler, "_encode", lambda *_: pytest.fail("encoded"))
    words = ("--report", "page.html", "--duel", "mean", "--duel", "max", "--transforms", "center")
    evaluate(command, *words).fails(2, "unknown row 'max' for ", "expected one of: mean; mean, center; cls")


def test_auto_names_what_the_checkpoint_declares():
    for model, said in (("model", "declares none); list some"), ("declaring", "declares cls); list some or pass all")):
        evaluate("sts", model=model, poolers="mean,auto").fails(2, "auto, the pooler that a checkpoint declares", said)


def test_a_collection_of_one_document_can_be_searched():
    beir("one", DOCUMENTS[:1], [("q0", "d0", 1)])
    done = call("eval", "retrieval", *MODEL, "--data", "one", "--measures", "RR,R@1", "--geometry")
    assert [row[1:3] for row in done.rows[1:4]] == [
        ["1.0000*", "1.0000*"],
        ["1.0000~", "1.0000~"],
        ["1.0000~", "1.0000~"],
    ]
    call("eval", "retrieval", *MODEL, "--data", "one", "--transforms", "whiten:4").fails(2, "which has 1 vectors")


@pytest.mark.parametrize(
    ("documents", "words", "code", "parts"),
    [
        ([], (), 1, ("too few pseudo-queries from 0 documents",)),
        (DOCUMENTS[:1], (), 1, ("too few pseudo-queries from 1 documents", "expected at least 2 of a kind")),
        (
            [{"_id": str(n), "text": f"short {n}"} for n in range(5)],
            (),
            1,
            ("too few pseudo-queries from 5 documents",),
        ),
        ([*DOCUMENTS, {"text": 7}], (), 1, ("corpus.jsonl:9",)),
        (DOCUMENTS, ("--sample", 1), 2, ("sample", " must be at least 2 documents, got 1")),
        (DOCUMENTS, ("--format", "doc"), 2, ('unknown format "doc"', "jsonl")),
        (DOCUMENTS, ("--text-field", "body"), 1, ("corpus.jsonl:1", '"body"')),
    ],
)
def test_a_corpus_that_cannot_be_compared_on_is_one_line(
    documents: list[dict[str, Any]], words: tuple[object, ...], code: int, parts: tuple[str, ...]
):
    Path("corpus.jsonl").write_bytes(jsonl(documents))
    call("eval", "corpus", *MODEL, "corpus.jsonl", *words).fails(code, *parts)


def test_a_corpus_must_be_named_and_be_there():
    call("eval", "corpus", *MODEL).fails(2, "CORPUS")
    call("eval", "corpus", *MODEL, "nowhere").fails(1, '"nowhere" does not exist')


# --- help


@EACH
def test_help_names_what_matters(command: str):
    shown = run("eval", command, "--help").ok().out
    assert shown.startswith(f"Usage: semsearch eval {command} ")
    assert {"--poolers", "--simcse-names", "--transforms", "--seed", "--intervals", "--json", "--csv"} <= set(
        shown.split()
    )
    assert max(map(len, shown.splitlines())) <= 80
    assert f"  {command} " in run("eval", "--help").ok().out


HEAVY = {
    "sklearn",
    "torch",
    "transformers",
    "numpy",
    "scipy",
    "faiss",
    "tokenizers",
    "ir_measures",
    "plotly",
    "rich",
    "sqlite3",
}


@pytest.mark.parametrize(
    ("words", "heavy"),
    [
        *((("eval", *command, "--help"), HEAVY) for command in ((), *((each,) for each in DATA))),
        (("eval", "sts", "--data", "scored.tsv", "--csv", "--json"), {"torch", "transformers", "scipy"}),
        (("eval", "retrieval", "--data", "nowhere"), {"torch", "transformers", "scipy"}),
        (("eval", "transfer", "--data", "nowhere"), {"torch", "transformers", "scipy", "sklearn"}),
        (("eval", "corpus", "nowhere"), {"torch", "transformers", "scipy"}),
    ],
)
def test_help_and_early_errors_import_nothing_heavy(words: tuple[str, ...], heavy: set[str]):
    program = (
        "import sys; from semsearch.cli.main import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, timeout=60)
    modules = {name.split(".")[0] for name in done.stderr.split()}
    assert "semsearch" in modules
    assert not modules & heavy
