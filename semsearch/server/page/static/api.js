// Requests to the server. If it requires a key, the page asks for it once, keeps it in this tab and sends it in a
// header, never in a URL. Cookies and the browser's own password dialog are not used.

import { $, show } from "./dom.js";

const STORED = "semsearch-key";

let asking = null; // promise of the key dialog, while it is open

// Returns the JSON response to a request; throws an Error with the server's message.
export async function ask(path, body = undefined, signal = undefined) {
  const response = await send(path, body, signal);
  return response.json();
}

// Yields each line of a JSON Lines response as it arrives.
export async function* lines(path, body, signal) {
  const response = await send(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop();
    for (const part of parts) if (part) yield JSON.parse(part);
  }
}

async function send(path, body, signal) {
  for (;;) {
    const key = sessionStorage.getItem(STORED);
    const headers = { accept: "application/json" };
    if (key) headers.authorization = `Bearer ${key}`;
    if (body !== undefined) headers["content-type"] = "application/json";
    const response = await reach(path, {
      method: body === undefined ? "GET" : "POST",
      body: body === undefined ? undefined : JSON.stringify(body),
      headers,
      signal,
      credentials: "omit",
      cache: "no-store",
    });
    if (response.ok) return response;
    if (response.status !== 401) throw await failure(response);
    if (sessionStorage.getItem(STORED) === key) await askForKey(Boolean(key));
    signal?.throwIfAborted();
  }
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached.");
  }
}

async function failure(response) {
  let error = null;
  try {
    ({ error } = await response.json());
  } catch {
    // not JSON: something between this page and the server has responded
  }
  const told = error?.message ?? `The server answered with status ${response.status}.`;
  return Object.assign(new Error(told), { code: error?.code ?? "", status: response.status });
}

// Resolves when a key is entered; all waiting requests share one dialog.
function askForKey(wrong) {
  asking ??= new Promise((resolve, reject) => {
    const dialog = $("key");
    const field = $("key-field");
    $("key-why").textContent = wrong
      ? "That key is wrong. Try another."
      : "It stays in this tab until you close it, and is sent only to this server.";
    const end = (given) => {
      asking = null;
      field.value = "";
      dialog.close();
      if (given === null) return reject(new Error("This server requires a key; reload the page to enter one."));
      sessionStorage.setItem(STORED, given);
      resolve();
    };
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      const given = field.value.trim();
      if (/^[\x21-\x7e][\x20-\x7e]*$/.test(given)) end(given);
      else $("key-why").textContent = "A key may contain only printable ASCII characters.";
    };
    $("key-cancel").onclick = () => end(null);
    dialog.oncancel = (event) => {
      event.preventDefault();
      end(null);
    };
    dialog.showModal();
    field.focus();
  });
  show($("key"), true);
  return asking;
}
