// Several runs side by side.

import { useTables } from "./colors.js";
import { Courses } from "./course.js";
import { h, number, section } from "./dom.js";
import { text } from "./facts.js";
import { healthSection } from "./health.js";
import { Stages } from "./stage.js";
import { themeSwitch } from "./theme.js";

/** Draw the page from its data. */
export function main(data) {
  useTables(data.colors);
  const { runs } = data;
  for (const run of runs) run.short = run.name;
  const stages = data.stages.length ? new Stages(data.stages) : null;
  const health = runs.flatMap((run) => run.health.slice(-1).map((one) => ({ ...one, name: run.name })));
  document.getElementById("page").replaceChildren(...[
    h("header", {}, h("div", {}, h("h1", {}, "Comparison"), h("p", { class: "quiet" }, runs.map((run) => run.name).join(", "))), themeSwitch()),
    section("Motion", stages ? stages.element : h("p", { class: "quiet" }, "no motion was recorded")),
    new Courses(runs).element,
    merit(runs),
    differing(runs, data.differences),
    healthSection(health),
  ].filter(Boolean));
}

function merit(runs) {
  const keys = [...new Set(runs.flatMap((run) => Object.values(run.figures).flatMap((row) => Object.keys(row))))];
  const rows = keys.map((key) => [key, runs.map((run) => {
    const cells = Object.values(run.figures).map((row) => (key in row ? number(row[key]) : "–"));
    return cells.length ? cells.join(" → ") : "–";
  })]);
  rows.unshift(["best cost", runs.map((run) => (run.course.best ? number(run.course.best.cost, 6) : "–"))]);
  rows.push(["warnings", runs.map((run) => run.warnings.join("; ") || "none")]);
  return section("Figures of merit", grid(runs, rows));
}

function differing(runs, told) {
  const rows = Object.entries(told).flatMap(([heading, table]) =>
    [[heading, null], ...Object.entries(table).map(([key, values]) => [key, values.map(text)])]);
  return section("What differs", rows.length ? grid(runs, rows) : h("p", { class: "quiet" }, "nothing in the configuration"));
}

function grid(runs, rows) {
  return h("div", { class: "wide" }, h("table", {},
    h("thead", {}, h("tr", {}, h("th", {}), runs.map((run) => h("th", { scope: "col" }, run.name)))),
    h("tbody", {}, rows.map(([key, cells]) => (cells
      ? h("tr", {}, h("th", { scope: "row" }, key), cells.map((cell) => h("td", {}, cell)))
      : h("tr", { class: "heading" }, h("th", { colspan: runs.length + 1, scope: "rowgroup" }, key)))))));
}
