"""Extracting the main text of HTML pages.

If a page has a main part, only its text is kept, without navigation, footers and permalinks to headings.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from semsearch.corpus.plain import BOUNDARY, KEEP, KEPT, Heading, Piece, Plain, laid_out, lay_out, tidy
from semsearch.layout import Layout

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

PRESCANNED = 1024
"""Number of bytes at the start of a page in which browsers look for an encoding declaration."""

_SPACE = r"[\t\n\f\r ]*"
_CONTENT = re.compile(rf"charset{_SPACE}={_SPACE}(?:\"([^\"]*)\"|'([^']*)'|([^\"'\t\n\f\r ;][^\t\n\f\r ;]*))", re.I)
_XML = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*(?:\"([^\">]*)\"|'([^'>]*)')")
_UTF16_XML = {b"<\0?\0x\0": "utf-16-le", b"\0<\0?\0x": "utf-16-be"}
_MARKS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}

# A page whose declaration is readable cannot be in UTF-16; the other entries follow the Encoding Standard.
_READ_AS = {"utf-16le": "utf-8", "utf-16be": "utf-8", "x-user-defined": "windows-1252", "gbk": "gb18030"}

MAX_PRODUCT = 1_000_000
"""Maximum product of characters and tags for which the parser handles formatting elements: about 15 MB at worst."""

# The parser reopens an unclosed or misnested formatting element in each paragraph, with its attributes: 45 kB of them
# took 3.3 GB. Renamed, they are ordinary elements. `a` is not listed, since only one can be open at a time.
_FORMATTING = re.compile(r"</?(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?=[\s/>])", re.IGNORECASE)

MAX_STEPS = 100_000_000
"""Maximum sum of the depths of all tags: at many of them the parser walks up the tree, about 10 s at worst."""

# Void, self-closing and implicitly closed elements do not count toward depth.
_NESTING = re.compile(
    r"<(/?)(?!(?:area|base|br|caption|col|colgroup|dd|dt|embed|hr|img|input|li|link|meta|optgroup|option|p|param|rp|rt|"
    r"source|tbody|td|tfoot|th|thead|tr|track|wbr)[\s/>])[a-zA-Z][^<>]*+(?<!/)",
    re.IGNORECASE,
)

_DROPPED = frozenset(("script", "style", "noscript", "template", "svg", "head", "-comment"))
_CELLS = frozenset(("td", "th"))
_LINES = frozenset(("br", "caption", "dd", "dt", "li", "optgroup", "option", "summary", "tr"))
_BLOCKS = frozenset(
    "address article aside blockquote center details dialog dir div dl fieldset figcaption figure footer form h1 h2 h3 "
    "h4 h5 h6 header hgroup hr legend main menu nav ol p pre search section select table textarea ul".split()
)
_APART = frozenset(
    "audio button canvas embed iframe img input kbd label meter object output progress video".split()
)  # rendered as separate boxes
_KEPT = frozenset(("pre", "table"))
_LEVELS = {f"h{level}": level for level in range(1, 7)}
_LOWEST = 6
"""Level of the lowest heading; the terms of definitions are below it."""

_END_OF_DEFINITIONS = Heading(_LOWEST, titled=False)

_TABLE_PART = re.compile(r"\s*</?(?:td|th|tr|tbody|thead|tfoot|caption|colgroup|col)\b", re.IGNORECASE)

_NAVIGATION = 'nav, [role="navigation"]'
_FOOTERS = 'footer, [role="contentinfo"]'
_PERMALINKS = frozenset(("¶", "#", "§", "↩", "🔗", "⚓"))
_INVISIBLE = " \t\n\r\f\xa0\u200b\ufe0e\ufe0f"
_SITE_AFTER = re.compile(r" (?:[-–—|·•»«›‹~]|::) ")
_SITE_BEFORE = re.compile(rf"{_SITE_AFTER.pattern}\Z")

HEADINGS = 20
"""Maximum number of level-1 headings that are compared with the title."""


def from_html(data: bytes) -> Plain:
    """Convert a page, decoded as in a browser: by byte order mark or declaration, otherwise as UTF-8."""
    tree = _parsed(_decoded(data))
    if tree.root is None:
        return Plain("")
    marks = {node.mem_id for node in tree.css('a[href*="#"]') if _is_permalink(node)}
    navigation = {node.mem_id for node in tree.css(_NAVIGATION)}
    badges = {
        image.mem_id
        for heading in tree.css(", ".join(_LEVELS))
        if heading.text().strip()
        for image in heading.css("img")
    }
    footers = {node.mem_id for node in tree.css(_FOOTERS) if node.parent is None or node.parent.tag != "blockquote"}
    whole = [tree.root]
    readings = (
        (_main_part(tree), marks | badges | navigation | footers),
        (whole, marks | badges | navigation),
        (whole, marks | badges),
    )
    for parts, dropped in readings:
        text, layout = lay_out(piece for part in parts for piece in _pieces(part, dropped))
        if text:
            return Plain(text, _title(tree, parts, marks | badges) or layout.title, layout=_named(layout))
    return Plain("", _title(tree, whole, marks))


def fragment_text(html: str) -> str:
    """Convert an HTML fragment, such as HTML in Markdown; rows and cells may appear without their table."""
    tree = _parsed(f"<table>{html}" if _TABLE_PART.match(html) else html)
    return laid_out(_pieces(tree.root, frozenset())) if tree.root else ""


def gap_at(tag: str) -> str | int:
    """Return how a tag separates the text on either side of it, as a piece for `laid_out`."""
    if tag in _BLOCKS or tag in _LINES:
        return 2 if tag in _BLOCKS else 1
    return BOUNDARY if tag in _APART or tag in _CELLS else ""


def _parsed(html: str) -> LexborHTMLParser:
    """Parse a page; raises ValueError if it is nested too deeply or cannot be parsed."""
    from selectolax.lexbor import LexborHTMLParser, SelectolaxError

    if html.count("<") * len(html) > MAX_PRODUCT:
        html = _FORMATTING.sub(r"\g<0>-", html)
    depth = steps = 0
    for tag in _NESTING.finditer(html):
        depth = max(0, depth - 1) if tag[1] else depth + 1
        steps += depth
        if steps > MAX_STEPS:
            raise ValueError("the HTML is nested too deeply or has unclosed elements; repair it, for example with tidy")
    try:
        return LexborHTMLParser(html)
    except SelectolaxError as error:
        raise ValueError(f"the HTML cannot be parsed ({error}); repair it, for example with tidy") from None


def _decoded(data: bytes) -> str:
    """Decode a page by the WHATWG rules; raises ValueError, or UnicodeDecodeError for invalid bytes."""
    import webencodings

    for start, name in {**_MARKS, **_UTF16_XML}.items():
        if data.startswith(start):
            return tidy(data.decode(name))
    labels = list(_declared(data[:PRESCANNED]))
    found = next(filter(None, map(webencodings.lookup, labels)), None)
    name = found.name if found else "utf-8"
    if name == "replacement":
        raise ValueError(f'browsers reject the character set "{labels[0]}" as unsafe; convert the file to UTF-8')
    name = _READ_AS.get(name, name)
    decode = webencodings.lookup(name).codec_info.decode
    try:
        return tidy(decode(data, "strict")[0])
    except UnicodeDecodeError as error:
        if name.startswith("windows-") and error.object[error.start] < 0xA0:
            return tidy(_with_controls(decode(data, "surrogateescape")[0], error))
        if labels and not found:
            raise ValueError(f'unknown character set "{labels[0]:.40}", and not UTF-8; convert it to UTF-8') from None
        raise


def _with_controls(text: str, error: UnicodeDecodeError) -> str:
    """Map bytes that Python's Windows codecs lack to control characters, as browsers do; reraise for other bytes."""
    text = text.translate({0xDC00 + byte: byte for byte in range(0x80, 0xA0)})
    if re.search("[\udca0-\udcff]", text):
        raise error
    return text


def _declared(start: bytes) -> Iterator[str]:
    """Yield the encoding labels that a page declares: in meta elements, then in an XML declaration."""
    for meta in _parsed(start.decode("latin-1")).css("meta"):
        given = {name: value or "" for name, value in meta.attributes.items()}
        if "charset" in given:
            yield given["charset"]
        elif given.get("http-equiv", "").strip().lower() == "content-type":
            match = _CONTENT.search(given.get("content", ""))
            if match:
                yield next(label for label in match.groups() if label is not None)
    match_xml = _XML.match(start)
    if match_xml:
        yield (match_xml[1] or match_xml[2] or b"").decode("latin-1")


def _main_part(tree: LexborHTMLParser) -> list[LexborNode]:
    """Return the elements that form a page's main part; none if it cannot be determined.

    These are the main elements, or else the only article, unless it is just a teaser: it must contain the page's
    heading or at least half of its text.
    """
    mains = _outermost(tree, 'main, [role="main"]')
    articles = [] if mains else _outermost(tree, "article")
    if mains or len(articles) != 1:
        return mains
    (article,) = articles
    whole = len(tree.body.text() if tree.body else "")
    return articles if article.css_first("h1") or 2 * len(article.text()) >= whole else []


def _outermost(tree: LexborHTMLParser, selector: str) -> list[LexborNode]:
    """Return the elements that match a selector and are not inside another match."""
    fitting = {node.mem_id for node in tree.css(selector)}
    found: list[LexborNode] = []
    stack = [tree.root] if fitting and tree.root else []
    while stack:
        node = stack.pop()
        if node.mem_id in fitting:
            found.append(node)
        else:
            stack.extend(reversed(list(node.iter())))
    return found


def _title(tree: LexborHTMLParser, parts: Sequence[LexborNode], marks: set[int]) -> str:
    """Return the title without the site name, which is recognized if the rest of the title equals a heading."""
    node = tree.css_first("head > title")
    title = " ".join(node.text().split()) if node else ""
    for heading in _headings(parts) if title else ():
        own = " ".join(laid_out(_pieces(heading, marks)).split())
        rest = title.removeprefix(own) if title.startswith(own) else title.removesuffix(own)
        if own and (_SITE_AFTER.match(rest) if title.startswith(own) else _SITE_BEFORE.search(rest)):
            return own
    return title


def _headings(parts: Sequence[LexborNode]) -> Iterator[LexborNode]:
    """Yield the headings that may be a page's title: those of level 1, then the first of level 2."""
    for level, most in (("h1", HEADINGS), ("h2", 1)):
        for heading in [heading for part in parts for heading in part.css(level)][:most]:
            links = heading.css("a[href]")
            if all("#" in (link.attributes.get("href") or "") for link in links):  # others lead to the home page
                yield heading


def _is_permalink(link: LexborNode) -> bool:
    """Return whether a link to a place in a page contains nothing but a permalink symbol."""
    node = link.first_child
    for _ in range(3):
        if node is None or node.next is not None:
            return False
        if node.is_text_node:
            return (node.text_content or "").strip(_INVISIBLE) in _PERMALINKS
        node = node.first_child
    return False


def _pieces(root: LexborNode, dropped: set[int] | frozenset[int]) -> Iterator[Piece]:
    """Yield a tree's pieces, using an explicit stack: a page may nest deeper than Python's recursion limit."""
    stack: list[tuple[LexborNode | Piece, bool]] = [(root, False)]
    definitions = _Definitions()
    while stack:
        node, preformatted = stack.pop()
        if node is _END_OF_DEFINITIONS:
            yield from definitions.end()
        elif isinstance(node, Piece):
            yield node
        elif node.is_text_node:
            text = node.text_content or ""
            yield text if preformatted else re.sub(r"[ \t\n\r\f]+", " ", text)
        elif node.tag not in _DROPPED and node.mem_id not in dropped:
            for before, after in _around(node, definitions):
                yield before
                stack.append((after, False))
            if node.tag == "img":
                yield " ".join((node.attributes.get("alt") or "").split())
            inside = preformatted or node.tag == "pre"
            stack.extend((child, inside) for child in reversed(list(node.iter(include_text=True))))


def _around(node: LexborNode, definitions: _Definitions) -> Iterator[tuple[Piece, Piece]]:
    """Yield the pieces before and after the contents of an element, in pairs, the outermost first."""
    gap = " " if node.tag in _CELLS else gap_at(node.tag or "")
    if gap:
        yield gap, gap
    if node.tag in _KEPT:
        yield KEEP, KEPT
    elif node.tag in _LEVELS:
        yield Heading(_LEVELS[node.tag]), ""
    elif node.tag == "dl":
        definitions.depth += 1
        yield "", _END_OF_DEFINITIONS
    elif node.tag == "dt" and node.attributes.get("id"):
        yield definitions.term(), ""


def _named(layout: Layout) -> Layout:
    """Name the sections of definitions by their terms without parameters: `csv.reader` for `csv.reader(csvfile, …)`."""
    sections = (
        replace(one, title=one.title.partition("(")[0].strip() or one.title) if one.level > _LOWEST else one
        for one in layout.sections
    )
    return Layout(tuple(sections), layout.blocks)


@dataclass(slots=True)
class _Definitions:
    """Definition lists: a term that can be linked to, such as a function, is the heading of its definition.

    Attributes:
        depth: How many lists are open.
        headed: The depths of those with such terms.
    """

    depth: int = 0
    headed: set[int] = field(default_factory=set)

    def term(self) -> Heading:
        """Return the piece before a term."""
        self.headed.add(self.depth)
        return Heading(_LOWEST + self.depth)

    def end(self) -> Iterator[Heading]:
        """Yield the piece after a list, if any: what follows does not belong to the last definition."""
        if self.depth in self.headed:
            self.headed.remove(self.depth)
            yield Heading(_LOWEST + self.depth, titled=False)
        self.depth -= 1
