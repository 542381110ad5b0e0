// Explanation of a hit's score: the contributions of the words in its passage and in the query.

import { el } from "./dom.js";
import { split } from "./text.js";

const SHADES = 5; // shades for words, by contribution
const NAMED = 5; // number of words to list

export function why({ dense, keyword, score, note }, hit) {
  const parts = [dense && ["meaning", dense.share], keyword && ["words", keyword.share]].filter(Boolean);
  const sum = parts.map(([name, share]) => `${name} ${share.toFixed(3)}`).join(" + ");
  return [
    el("p", {}, parts.length > 1 ? `Score ${score.toFixed(3)} = ${sum}` : `Score ${score.toFixed(3)}, all from ${parts[0]?.[0] ?? "nothing"}`),
    keyword ? terms(keyword) : null,
    ...(dense ? tokens(dense, hit) : []),
    note ? el("p", { class: "note" }, note) : null,
  ].filter(Boolean);
}

function terms({ terms: found, note }) {
  const scored = found.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score);
  const told = scored.map(({ term, score }) => `${term} ${score.toFixed(2)}`).join(", ");
  return el("p", {}, told ? `Matching query words: ${told} (BM25).` : "No query word matches.", note ? ` ${note}` : "");
}

function tokens(dense, hit) {
  if (!dense.tokens.length) return [el("p", { class: "note" }, dense.note)];
  const found = joined(dense.tokens);
  const best = found.filter(({ contribution }) => contribution > 0).sort((a, b) => b.contribution - a.contribution);
  const told = best.slice(0, NAMED).map(({ token, contribution }) => `${token} ${contribution.toFixed(3)}`).join(", ");
  const summary = el("p", {}, `Words that contribute most to the ${dense.similarity} ${dense.score === null ? "" : dense.score.toFixed(3)}: ${told}.`);
  if (dense.start !== hit.start || dense.end !== hit.end) return [summary]; // the best passage by meaning is a different one
  return [summary, el("p", { class: "snippet shaded", dir: "auto", "aria-hidden": "true" }, shaded(hit.text, found, best[0]?.contribution ?? 1))];
}

// Joins the tokens of each word, and sums their contributions.
function joined(found) {
  const whole = [];
  for (const token of found) {
    const last = whole.at(-1);
    const word = /[\p{L}\p{N}]$/u.test(last?.token ?? "") && /^[\p{L}\p{N}]/u.test(token.token);
    if (word && token.start !== null && last.part === token.part && last.end === token.start) {
      whole[whole.length - 1] = { ...last, token: last.token + token.token, end: token.end, contribution: last.contribution + token.contribution };
    } else whole.push(token);
  }
  return whole;
}

// Shades the words of a text: the larger the contribution, the darker.
function shaded(text, found, most) {
  const nodes = [];
  let rest = text;
  let behind = 0;
  for (const { part, start, end, contribution } of found) {
    const shade = Math.round((SHADES * Math.max(0, contribution)) / most);
    if (part !== "text" || start === null || start < behind || !shade) continue;
    const [before, inside, after] = split(rest, start - behind, end - behind);
    nodes.push(before, el("span", { class: `shade-${shade}` }, inside));
    [rest, behind] = [after, end];
  }
  return [...nodes, rest];
}
