// State of the page, kept in the URL fragment: it can be bookmarked, and it is never sent to a server.

const EMPTY = { view: "search", q: "", index: "", mode: "hybrid", where: "", chosen: {}, beside: "", doc: "", from: "", chars: "" };

export const state = { ...EMPTY };

const heard = [];

export function onChange(hear) {
  heard.push(hear);
}

// Changes the state; `push` adds an entry to the browser's history.
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

// Returns {field: [values]}, whatever the URL contains.
function chosen(text) {
  try {
    const found = Object.entries(JSON.parse(text ?? "{}"));
    return Object.fromEntries(found.filter(([, values]) => Array.isArray(values) && values.length));
  } catch {
    return {};
  }
}
