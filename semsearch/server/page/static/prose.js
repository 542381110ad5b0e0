// Renders the output of a language model: paragraphs, lists, code, bold text, and citations such as [1] or [1, 3].
// All other Markdown, and HTML, is shown as written.

import { el } from "./dom.js";

const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*|\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]/g;

export function prose(text, cite) {
  return text.split(/^```.*$/m).flatMap((part, number) => (number % 2 ? [el("pre", { tabindex: "0" }, part.trim())] : blocks(part, cite)));
}

function blocks(text, cite) {
  return text.split(/\n\s*\n/).filter((block) => block.trim()).map((block) => {
    const rows = block.trim().split("\n");
    for (const [tag, begin] of [["ul", /^\s*[-*•]\s+/], ["ol", /^\s*\d+[.)]\s+/]]) {
      if (rows.every((row) => begin.test(row))) {
        return el(tag, { dir: "auto" }, rows.map((row) => el("li", {}, inline(row.replace(begin, ""), cite))));
      }
    }
    return el("p", { dir: "auto" }, inline(block.trim(), cite));
  });
}

function inline(text, cite) {
  const nodes = [];
  let behind = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, code, bold, numbers] = match;
    nodes.push(text.slice(behind, match.index));
    if (code) nodes.push(el("code", {}, code));
    else if (bold) nodes.push(el("strong", {}, bold));
    else nodes.push(...numbers.split(",").map((number) => cite(Number(number)) ?? `[${number.trim()}]`));
    behind = match.index + whole.length;
  }
  return [...nodes, text.slice(behind)];
}
