"use strict";
const config = { displaylogo: false, responsive: true, modeBarButtons: [["toImage", "resetScale2d"]] };
const DASHES = [["solid", ""], ["dash", "7 4"], ["dot", "2 3"], ["dashdot", "7 3 2 3"]]; // in plotly and in SVG
const drawings = [...document.querySelectorAll(".drawing")].map(place => ({
  place, source: document.getElementById(place.dataset.source), view: Number(place.dataset.view), drawn: false,
  boxes: [...document.querySelectorAll(`[data-for="${place.id}"] input`)], slots: new Map(),
}));

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function template() {
  const axis = { gridcolor: color("--line"), zerolinecolor: color("--line"), linecolor: color("--line"),
    spikecolor: color("--muted"), spikethickness: 1, ticklabelstandoff: 4, automargin: true };
  const font = { family: getComputedStyle(document.body).fontFamily, size: 12, color: color("--ink") };
  return { layout: {
    font, paper_bgcolor: color("--paper"), plot_bgcolor: color("--paper"), xaxis: axis, yaxis: axis,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    hoverlabel: { bgcolor: color("--raised"), bordercolor: color("--line"), font, align: "left", namelength: 40 },
    coloraxis: { colorbar: { thickness: 12, outlinewidth: 0 } },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--muted"), activecolor: color("--ink") },
  } };
}

function colored(key, value) {
  if (key === "colorscale") return [0, 1, 2, 3, 4].map(step => [step / 4, color(`${value}${step}`)]);
  return key === "color" && /^--[a-z0-9]+$/.test(value) ? color(value) : value;
}

function highest(scale) { // over all drawings with this scale
  const shown = drawings.filter(drawing => drawing.place.dataset.scale === scale);
  return Math.max(...shown.flatMap(({ source, view }) => JSON.parse(source.textContent).views[view].flatMap(({ y }) => y)), 0);
}

function switchedOn(traces, boxes, slots) { // a line keeps its color and dash as long as it is shown
  boxes.forEach((box, row) => box.checked || slots.delete(row));
  return traces.filter((trace, row) => {
    const swatch = boxes[row].parentNode.querySelector("line");
    swatch.style.stroke = "none";
    if (!boxes[row].checked) return false;
    const used = new Set(slots.values());
    let slot = slots.get(row) ?? 0;
    while (!slots.has(row) && used.has(slot)) slot++;
    slots.set(row, slot);
    const [dash, strokes] = DASHES[((slot >> 2) + (slot >> 4)) % 4], name = `--c${slot % 8}`;
    trace.line = { ...trace.line, dash, color: color(name) };
    swatch.style.stroke = `var(${name})`;
    swatch.style.strokeDasharray = strokes;
    return true;
  });
}

function draw(drawing) {
  const { place, source, view, boxes, slots } = drawing;
  drawing.drawn = !place.closest("details:not([open])");
  if (!drawing.drawn) return; // the place has no size yet
  const { views, layout } = JSON.parse(source.textContent, colored);
  const traces = boxes.length ? switchedOn(views[view], boxes, slots) : views[view];
  if (place.dataset.scale) layout.yaxis.range = [0, 1.05 * highest(place.dataset.scale) || 1];
  const entries = layout.showlegend !== false && place.clientWidth < 600 ? traces.length : 0;
  place.style.height = `${Number(place.dataset.height) + 19 * entries}px`; // a narrow legend has one line per entry
  const bar = place.clientHeight > 250 ? "hover" : false;
  Plotly.newPlot(place, traces, { ...layout, template: template() }, { ...config, displayModeBar: bar });
}

for (const drawing of drawings) {
  const { place, boxes } = drawing, choice = document.getElementById(`${place.id}-choice`);
  draw(drawing);
  boxes.forEach(box => box.addEventListener("change", () => draw(drawing)));
  choice?.addEventListener("change", () => {
    drawing.view = Number(choice.value);
    drawings.filter(other => other === drawing || (place.dataset.scale && other.place.dataset.scale === place.dataset.scale)).forEach(draw);
  });
}
for (const change of ["screen and (prefers-color-scheme: dark)", "print"])
  matchMedia(change).addEventListener("change", () => drawings.forEach(draw));

const drawMissing = () => drawings.filter(drawing => !drawing.drawn).forEach(draw);
document.addEventListener("toggle", drawMissing, true);

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach(details => { details.open = true; });
  drawMissing();
});
addEventListener("afterprint", () => closed.forEach(details => { details.open = false; }));

function reveal(hash) {
  const section = document.getElementById(hash.slice(1))?.querySelector("details");
  if (section) section.open = true;
}
document.querySelectorAll("nav a").forEach(link => link.addEventListener("click", () => reveal(link.hash)));
addEventListener("hashchange", () => reveal(location.hash));
reveal(location.hash);

function sort(head) {
  const first = head.cellIndex ? "descending" : "ascending", other = head.cellIndex ? "ascending" : "descending";
  const order = head.getAttribute("aria-sort") === first ? other : first;
  const body = head.closest("table").tBodies[0], key = row => row.cells[head.cellIndex].dataset.value;
  const known = [...body.rows].filter(row => key(row)), unknown = [...body.rows].filter(row => !key(row));
  known.sort((a, b) => (key(a) - key(b)) * (order === "ascending" ? 1 : -1));
  [...head.parentNode.cells].forEach(cell => cell.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", order);
  body.append(...known, ...unknown);
}
for (const button of document.querySelectorAll("th button"))
  button.addEventListener("click", () => sort(button.closest("th")));

for (const button of document.querySelectorAll("button.all"))
  button.addEventListener("click", () => {
    const fewer = document.getElementById(button.getAttribute("aria-controls")).classList.toggle("bounded");
    button.setAttribute("aria-expanded", !fewer);
    button.textContent = fewer ? button.dataset.all : button.dataset.fewer;
  });
