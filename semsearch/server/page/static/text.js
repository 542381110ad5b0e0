// Stretches of texts. The server counts characters as Unicode code points, JavaScript strings in UTF-16 units.

import { el } from "./dom.js";

// The text before, inside and behind a span of code points.
export function split(text, start, end) {
  const from = unit(text, start, 0, 0);
  const to = unit(text, end, from, start);
  return [text.slice(0, from), text.slice(from, to), text.slice(to)];
}

// The UTF-16 place of a code point, counted on from a place that is known.
function unit(text, point, place, count) {
  while (count < point && place < text.length) {
    place += text.codePointAt(place) > 0xffff ? 2 : 1;
    count += 1;
  }
  return place;
}

// Text nodes and <mark>s for a text and the spans in it, ascending and without overlaps.
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

// The page of a document at the address at which this page was reached; others are for other machines.
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

// Where a document says that it is from, if that is an address.
export function sourceOf(metadata) {
  const found = ["url", "link", "source", "href"].map((name) => metadata[name]);
  return found.find((value) => typeof value === "string" && /^https?:\/\/\S+$/.test(value)) ?? "";
}

// A metadata value as a person reads it.
export function shown(value) {
  if (Array.isArray(value)) return value.map(shown).join(", ");
  return value !== null && typeof value === "object" ? JSON.stringify(value) : String(value);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text); // only where the page came over https, or from this machine
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
