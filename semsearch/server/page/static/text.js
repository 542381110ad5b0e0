// Text spans and citations. The server counts characters in Unicode code points, JavaScript in UTF-16 code units.

import { el } from "./dom.js";

// Returns the text before, inside and after a span of code points.
export function split(text, start, end) {
  const from = unit(text, start, 0, 0);
  const to = unit(text, end, from, start);
  return [text.slice(0, from), text.slice(from, to), text.slice(to)];
}

// Returns the UTF-16 offset of a code point, counting from a known offset.
function unit(text, point, place, count) {
  while (count < point && place < text.length) {
    place += text.codePointAt(place) > 0xffff ? 2 : 1;
    count += 1;
  }
  return place;
}

// Returns text nodes and <mark>s for a text and spans in it, which must be ascending and must not overlap.
export function marked(text, spans) {
  const nodes = [];
  let rest = text;
  let behind = 0;
  for (const [start, end] of spans) {
    const [before, inside, after] = split(rest, start - behind, end - behind);
    nodes.push(before, el("mark", {}, inside));
    rest = after;
    behind = end;
  }
  return [...nodes, rest].filter((node) => node !== "");
}

// Makes the URL of a document's page relative to this page, because its public address may be unreachable from here.
export function local(url) {
  return url.slice(url.indexOf("/doc/") + 1);
}

export function citation({ title, id, start, end, text, page, source, url }) {
  const place = page ? `page ${page}` : `characters ${start}–${end}`;
  const named = title ? `${title} (${id})` : id;
  const quoted = text.trim().replace(/\s+/g, " ");
  const short = [...quoted].length > 300 ? `${[...quoted].slice(0, 300).join("")}…` : quoted;
  return `“${short}” ${named}, ${place}. ${source || new URL(url, location.href).href}`;
}

// Returns the source URL in a document's metadata, or an empty string.
export function sourceOf(metadata) {
  const found = ["url", "link", "source", "href"].map((name) => metadata[name]);
  return found.find((value) => typeof value === "string" && /^https?:\/\/\S+$/.test(value)) ?? "";
}

// Returns a metadata value as readable text.
export function shown(value) {
  if (Array.isArray(value)) return value.map(shown).join(", ");
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text); // only over HTTPS or on localhost
  } catch {
    const area = el("textarea", { class: "unseen", "aria-hidden": "true" });
    area.value = text;
    const before = document.activeElement;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
    before?.focus();
  }
}
