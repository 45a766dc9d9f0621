"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
/* In CSS pixels. */
const LEGEND_ENTRY = 180;
const PANEL = 220;
const POINTER_GAP = 12;

/* What a mark stands for, while it is pointed at or touched. */
const tip = document.getElementById("tip");
function showTip(_, event, item, text) {
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + POINTER_GAP, document.documentElement.clientWidth - box.width - 4);
  const above = event.clientY - POINTER_GAP - box.height;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${above > 0 ? above : event.clientY + POINTER_GAP}px`;
}

/* Returns a specification that fits a width. Panels side by side become fewer a row. */
function fitted(spec, width) {
  if (!spec.facet) return { ...spec, width, autosize: { type: "fit-x", contains: "padding" } };
  const columns = Math.max(1, Math.min(spec.columns, Math.floor(width / PANEL)));
  const size = Math.floor((width - 60) / columns) - 24;
  return { ...spec, columns, spec: { ...spec.spec, width: size, height: size } };
}

/* Returns a specification with the chosen arms, or with all that it has where it has none of them. */
function chosen(spec) {
  const on = new Set(new FormData(document.getElementById("arms")).getAll("arm"));
  const params = (spec.params ?? []).map((each) => {
    if (each.name !== "arms") return each;
    const value = each.value.filter((arm) => on.has(arm));
    return { ...each, value: value.length ? value : each.value };
  });
  return { ...spec, params };
}

/* Draws every chart, one at a time, for the width it has and the arms that are chosen. */
async function drawAll() {
  for (const [identifier, spec] of Object.entries(DATA.charts)) {
    const element = document.getElementById(identifier);
    const width = element.clientWidth;
    const legend = { ...DATA.config.legend, orient: "top", columns: Math.max(1, Math.floor(width / LEGEND_ENTRY)) };
    await vegaEmbed(element, chosen(fitted(spec, width)), {
      mode: "vega-lite", config: { ...DATA.config, legend }, renderer: "svg", ast: true,
      actions: false, defaultStyle: false, tooltip: showTip,
    });
    element.dataset.width = width;
  }
}
let drawing = Promise.resolve();
function draw() {
  drawing = drawing.then(drawAll);
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

document.getElementById("arms").addEventListener("change", draw);

let width = window.innerWidth;
window.addEventListener("resize", () => {
  if (window.innerWidth === width) return; /* a phone's address bar came or went */
  width = window.innerWidth;
  draw();
});
window.addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });
window.addEventListener("beforeprint", () => {
  for (const each of document.querySelectorAll("header details")) each.open = true;
});
draw();
