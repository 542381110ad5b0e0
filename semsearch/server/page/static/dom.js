// Elements and screen reader announcements. Text is inserted only as text nodes, so no document can become markup.

export const $ = (id) => document.getElementById(id);

// el("a", {href: "x", class: "y", onclick: f, dataset: {n: 1}}, "text", node, null)
export function el(tag, props = {}, ...children) {
  const made = tag === "svg" || SVG.has(tag) ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(made.dataset, value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

const SVG = new Set(["circle", "g", "path"]);

export function show(node, shown) {
  node.hidden = !shown;
}

// Announces a text to screen readers, whatever has the focus.
export function announce(text) {
  $("said").textContent = text;
}

export function trouble(error) {
  const node = $("trouble");
  node.textContent = error ? error.message : "";
  show(node, Boolean(error));
}
