"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const DARK = matchMedia("(prefers-color-scheme: dark)");
/* In CSS pixels: an A4 sheet without its margins. */
const PRINTED_WIDTH = 700;
const PLOT_HEIGHT = 340;
/* Of an axis' name, with as much room beside it as the other axis may take. */
const CHARACTER = 12;
const LEGEND_ENTRY = { width: 190, height: 21 };

/* Charts name the theme's colours: "@ink". */
function themed(value, colours) {
  if (typeof value === "string") {
    return value.startsWith("@") ? colours[value.slice(1)] : value;
  }
  if (Array.isArray(value)) return value.map((each) => themed(each, colours));
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, themed(each, colours)]));
  }
  return value;
}

/* A chart is as high as its plot (or as it says) and the rows that its legend needs above it. */
function height(chart, traces, width) {
  const entries = traces.filter((each) => each.showlegend !== false).length;
  const rows = Math.ceil(entries / Math.max(1, Math.floor(width / LEGEND_ENTRY.width)));
  return (chart.layout.height ?? PLOT_HEIGHT) + rows * LEGEND_ENTRY.height;
}

/* Breaks the name of an axis into lines of at most so many characters. */
function wrapped(text, length) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line && line.length + word.length >= length) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines.join("<br>");
}

/* Leaves out the lines of arms that are not chosen, unless that would leave nothing to see. */
function chosen(traces) {
  const on = new Set(new FormData(document.getElementById("arms")).getAll("arm"));
  const found = traces.filter((each) => each.meta === undefined || on.has(each.meta));
  return found.some((each) => each.meta !== undefined) ? found : traces;
}

/* Draws every chart, or draws it again for another width, theme or choice of arms. */
function draw({ printed = false } = {}) {
  const colours = DATA.themes[DARK.matches && !printed ? "dark" : "light"];
  for (const [identifier, chart] of Object.entries(DATA.charts)) {
    const element = document.getElementById(identifier);
    const width = printed ? PRINTED_WIDTH : element.clientWidth;
    const traces = themed(chosen(chart.traces), colours);
    const layout = { ...themed(chart.layout, colours), width, height: height(chart, traces, width) };
    layout.xaxis.title.text = wrapped(layout.xaxis.title.text, width / CHARACTER);
    Plotly.react(element, traces, layout, { displayModeBar: false });
  }
}

/* Sorts by a column, from low to high, then from high to low; what is not known stays last. */
function sortBy(table, heading) {
  const column = heading.cellIndex;
  const descending = heading.getAttribute("aria-sort") === "ascending";
  const key = (row) => row.cells[column].dataset.key;
  const number = heading.classList.contains("number");
  const compare = (one, other) => {
    const [a, b] = [key(one), key(other)];
    if (a === "" || b === "") return (a === "") - (b === "");
    const order = number ? Number(a) - Number(b) : a.localeCompare(b);
    return descending ? -order : order;
  };
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort(compare));
  for (const each of heading.parentElement.cells) each.setAttribute("aria-sort", "none");
  heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const name = heading.querySelector(".name").textContent;
  document.getElementById("sorted").textContent = `sorted by ${name}, ${descending ? "descending" : "ascending"}`;
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const heading of table.tHead.rows[0].cells) {
    heading.querySelector("button").addEventListener("click", () => sortBy(table, heading));
  }
}

document.getElementById("arms").addEventListener("change", () => draw());

let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return; /* a phone's address bar came or went */
  width = window.innerWidth;
  draw();
});
DARK.addEventListener("change", () => draw());
window.addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("header details")) each.open = true;
  draw({ printed: true });
});
window.addEventListener("afterprint", () => draw());
draw();
