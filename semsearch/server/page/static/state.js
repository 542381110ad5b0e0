// What the page shows, kept behind the # of its address: it can be kept as a bookmark, and no server ever sees it.

const EMPTY = { view: "search", q: "", index: "", mode: "hybrid", where: "", chosen: {}, beside: "", doc: "", from: "", chars: "" };

export const state = { ...EMPTY };

const heard = [];

export function onChange(hear) {
  heard.push(hear);
}

// Change the state; `push` makes it a place that the browser's Back leads to.
export function change(changes, push = false) {
  Object.assign(state, changes);
  const address = `#${written()}`;
  if (push) history.pushState(null, "", address);
  else history.replaceState(null, "", address);
  tell();
}

export function read() {
  const asked = new URLSearchParams(location.hash.slice(1));
  for (const [name, plain] of Object.entries(EMPTY)) {
    const text = asked.get(name);
    if (name === "chosen") state[name] = chosen(text);
    else state[name] = text ?? plain;
  }
  tell();
}

function tell() {
  for (const hear of heard) hear();
}

function written() {
  const told = new URLSearchParams();
  for (const [name, plain] of Object.entries(EMPTY)) {
    if (name === "chosen") {
      if (Object.keys(state.chosen).length) told.set(name, JSON.stringify(state.chosen));
    } else if (state[name] !== plain) told.set(name, state[name]);
  }
  return told;
}

// {field: [values]}, whatever stands in the address.
function chosen(text) {
  try {
    const found = Object.entries(JSON.parse(text ?? "{}"));
    return Object.fromEntries(found.filter(([, values]) => Array.isArray(values) && values.length));
  } catch {
    return {};
  }
}
