// What a run was, in tables: its plan, its configuration, versions, figures and warnings.

import { usual } from "./colors.js";
import { bytes, h, number, section } from "./dom.js";

/** Show what looks bad, in front of all else. */
export function warnings(lines) {
  if (!lines.length) return null;
  return h("section", { class: "warnings", "aria-label": "warnings" }, lines.map((line) => h("p", {}, line)));
}

/** Show the figures of merit of each motion. */
export function figures(told) {
  const names = Object.keys(told);
  const keys = [...new Set(names.flatMap((name) => Object.keys(told[name])))];
  if (!keys.length) return null;
  return section("Figures of merit", h("table", {},
    h("thead", {}, h("tr", {}, h("th", {}), names.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, keys.map((key) => h("tr", {}, h("th", { scope: "row" }, key), names.map((name) => h("td", {}, number(told[name][key]))))))));
}

/** Show how it was run. */
export function plan(told) {
  if (!told.text && !told.memory) return null;
  const memory = Object.entries(told.memory || {}).filter(([, size]) => size > 0);
  const total = memory.reduce((sum, [, size]) => sum + size, 0);
  const stack = total ? h("div", { class: "stack", role: "img", "aria-label": "memory by purpose" }, memory.map(([name, size], k) =>
    h("i", { style: `width:${(100 * size) / total}%;background:${usual(k)}`, title: `${name}: ${bytes(size)}` }))) : null;
  const names = total ? h("ul", { class: "legend" }, memory.map(([name, size], k) =>
    h("li", {}, h("i", { style: `background:${usual(k)}` }), `${name} ${bytes(size)}`))) : null;
  return section("Plan", table(told.facts || {}), stack, names,
    told.text ? h("details", {}, h("summary", {}, "in full"), h("pre", {}, told.text)) : null);
}

/** Show tables of facts under their headings. */
export function tables(told) {
  const full = Object.entries(told).filter(([, rows]) => Object.keys(rows).length);
  if (!full.length) return null;
  return section("Facts", h("div", { class: "tables" }, full.map(([heading, rows]) => h("div", {}, h("h3", {}, heading), table(rows)))));
}

function table(rows) {
  const entries = Object.entries(rows);
  if (!entries.length) return null;
  return h("table", {}, h("tbody", {}, entries.map(([key, value]) => h("tr", {}, h("th", { scope: "row" }, key), h("td", {}, text(value))))));
}

/** Write a value of a configuration. */
export function text(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return number(value, 6);
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** Show pictures of the program, in the page itself so that they are light or dark as it is. */
export function graphs(told) {
  return section("Program", told.map((graph) => h("details", {}, h("summary", {}, graph.caption),
    h("div", { class: "graph", role: "img", "aria-label": graph.caption }, drawing(graph.svg)))));
}

/** Make an element of SVG text, without anything in it that could run. */
function drawing(text) {
  const svg = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  if (svg.localName !== "svg") return "";
  for (const element of [svg, ...svg.querySelectorAll("*")]) {
    if (["script", "foreignObject", "a", "use"].includes(element.localName)) element.remove();
    for (const { name } of [...element.attributes]) if (name.startsWith("on")) element.removeAttribute(name);
  }
  return document.importNode(svg, true);
}
