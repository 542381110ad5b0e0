"""Test the architecture: imports point only to lower ranks, and files do not use what the code promises to avoid."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import semsearch

PACKAGE = Path(semsearch.__file__).parent
FILES = {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}

RANKS = {
    **{
        "errors": 0,
        "version": 0,
        "arrays": 0,
        "messages": 0,
        "checks": 1,
        "forks": 1,
        "files": 1,
        "paths": 1,
        "interrupts": 1,
        "moments": 1,
        "printable": 1,
        "layout": 1,
        "urls": 1,
    },
    **{
        "types": 2,
        "similarity": 3,
        "vector_options": 3,
        "transforms": 3,
        "filters": 3,
        "loss": 3.5,
        "corpus": 4,
        "encoder": 4,
        "stores": 4,
    },
    **{"confidence": 5, "duplicates": 5, "malformed": 5, "poolers": 5, "rerank": 5, "search": 10, "snippets": 10},
    **{"background": 15, "context": 15, "corpus_map": 15, "engines": 15, "explain": 15, "ingest": 20},
    **{
        "index_encoder": 25,
        "evaluation": 25,
        "reencode": 30,
        "verify": 30,
        "rebuild": 30,
        "exchange": 30,
        "copying": 30,
        "reports": 30,
        "datasets": 30,
        "tool": 35,
    },
    **{
        "index": 40,
        "comparison": 40,
        "training": 45,
        "watching": 45,
        "planning": 45,
        "semsearch": 50,
    },  # facades, the package last
    **{"mcp": 55, "integrations": 60, "server": 60, "cli": 70, "__main__": 80},
}
"""Module or package to rank; each may import itself and those of lower rank, never others of the same rank."""

EACH_FILE = pytest.mark.parametrize("file", FILES)


def part_of(module: str) -> str:
    """Map `semsearch.stores.local.reader` to `stores`, and the package itself and its public names to `semsearch`."""
    name = module.partition(".")[2].split(".")[0]
    return "semsearch" if not name or name in semsearch.__all__ else name


def part_of_file(file: str) -> str:
    """Map `stores/local/reader.py` to `stores`."""
    return "semsearch" if file == "__init__.py" else file.removesuffix(".py").split("/")[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a file imports, including imports in functions and for type checkers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            inner = [f"semsearch.{alias.name}" for alias in node.names] if node.module == "semsearch" else [node.module]
            yield from inner


def upward(part: str, tree: ast.AST) -> list[str]:
    """Return the imports of a file in this package that do not point to a lower rank."""
    ours = [module for module in imported(tree) if module.split(".")[0] == "semsearch"]
    return [module for module in ours if part_of(module) != part and RANKS[part_of(module)] >= RANKS[part]]


@EACH_FILE
def test_imports_only_point_down(file):
    assert upward(part_of_file(file), TREES[file]) == []


@pytest.mark.parametrize(
    ("part", "line", "allowed"),
    [
        ("stores", "from semsearch.encoder.encoder import Encoder", False),
        ("corpus", "import semsearch.stores.local.reader", False),
        ("encoder", "from semsearch import corpus", False),
        ("stores", "def f():\n    from semsearch.ingest import ingest", False),
        ("search", "from semsearch.ingest import ingest", False),
        ("types", "from semsearch.transforms import Transform", False),
        ("semsearch", "from semsearch.cli import main", False),
        ("search", "import semsearch", False),
        ("stores", "from semsearch.transforms import Transform", True),
        ("ingest", "from semsearch.encoder.encoder import Encoder", True),
        ("cli", "import semsearch", True),
        ("integrations", "from semsearch import Index", True),
        ("integrations", "from semsearch.cli import main", False),
        ("index", "from semsearch import Index", False),
        ("stores", "from semsearch.stores.local.reader import Index", True),
    ],
)
def test_the_rule_itself_sees_what_it_forbids(part, line, allowed):
    assert (upward(part, ast.parse(line)) == []) == allowed


@pytest.mark.parametrize("file", [file for file in FILES if part_of_file(file) in ("corpus", "encoder")])
def test_corpus_and_encoder_know_nothing_of_filters(file):
    assert [module for module in imported(TREES[file]) if module.startswith("semsearch.filters")] == []


FRONT_ENDS, BACK_ENDS = (
    {"text", "mapping", "read", "openai", "dify", "llamaindex", "haystack"},
    {"milvus", "postgres", "sqlite"},
)
"""Files of filters/; both build on the tree, its notation, and what the front ends for frameworks share."""


BENEATH = {"syntax": {"notation"}, "frameworks": {"syntax"}}
"""Files that each of these shared files may import."""


@pytest.mark.parametrize("file", [file for file in FILES if part_of_file(file) == "filters"])
def test_front_ends_and_back_ends_of_filters_meet_in_the_tree_alone(file):
    name = file.removeprefix("filters/").removesuffix(".py")
    sides = FRONT_ENDS | BACK_ENDS
    others = {name, "syntax", "notation", "frameworks"} | (FRONT_ENDS if name == "read" else set())
    assert name in sides | {"__init__", "syntax", "notation", "frameworks"}
    known = {module.split(".")[2] for module in imported(TREES[file]) if module.startswith("semsearch.filters.")}
    assert known <= (others if name in sides else BENEATH.get(name, set()))


def test_every_part_has_a_rank():
    assert {part_of_file(file) for file in FILES} == set(RANKS)


@EACH_FILE
def test_only_the_command_line_knows_how_things_look(file):
    if part_of_file(file) != "cli":
        assert not {module.split(".")[0] for module in imported(TREES[file])} & {"typer", "rich", "click"}


PUBLIC_PACKAGES = {"evaluation/__init__.py", "training/__init__.py"}
"""`__init__.py` files of packages with public names of their own, which are imported on first use."""


def test_inner_init_files_hold_a_docstring_only():
    inner = {file for file in FILES if file.endswith("/__init__.py")} - PUBLIC_PACKAGES
    assert len(inner) > 5
    for file in inner:
        (docstring,) = TREES[file].body
        assert isinstance(docstring, ast.Expr)


# --- docstrings


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Yield public functions, classes and methods without a docstring, except those inside functions."""
    nodes: list[ast.AST] = [tree]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and not ast.get_docstring(node):
            yield getattr(node, "name", "the module")
        if isinstance(node, ast.Module | ast.ClassDef):
            definitions = [child for child in node.body if isinstance(child, ast.ClassDef | ast.FunctionDef)]
            nodes += [child for child in definitions if not child.name.startswith("_")]


@EACH_FILE
def test_everything_public_has_a_docstring(file):
    assert list(undocumented(TREES[file])) == []


def test_a_missing_docstring_is_seen():
    source = (
        "'''M.'''\ndef f(): ...\nclass C:\n    '''C.'''\n    def m(self): ...\n    def _n(self): ...\ndef _g(): ..."
    )
    assert set(undocumented(ast.parse(source))) == {"f", "m"}


# --- running untrusted code

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
EVALUATORS = {"eval", "exec", "compile", "__import__"}


def dangers(tree: ast.AST) -> set[str]:
    """Return the names in a file that can run code from files or users."""
    found = {module for module in imported(tree) if module.split(".")[0] in PICKLES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in EVALUATORS:
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ("torch.load", "pickle.loads", "pickle.load"):
            found.add(ast.unparse(node))
        elif isinstance(node, ast.ImportFrom) and node.module == "torch":
            found |= {f"torch.{alias.name}" for alias in node.names if alias.name == "load"}
        elif isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "trust_remote_code"):
            if not (isinstance(node.value, ast.Constant) and node.value.value is False):
                found.add(node.arg)
    return found


@EACH_FILE
def test_no_file_unpickles_or_evaluates(file):
    assert dangers(TREES[file]) == set()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("torch.load(path)", "torch.load"),
        ("from torch import load", "torch.load"),
        ("eval('1')", "eval"),
        ("exec(code)", "exec"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("AutoModel.from_pretrained(name, trust_remote_code=asked)", "trust_remote_code"),
    ],
)
def test_foreign_code_is_seen(source, name):
    assert dangers(ast.parse(source)) == {name}


def test_a_model_in_eval_mode_is_no_danger():
    assert dangers(ast.parse("model.eval(); re.compile('x'); f(trust_remote_code=False)")) == set()
