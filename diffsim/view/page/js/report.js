// The report of one run.

import { useTables } from "./colors.js";
import { Courses } from "./course.js";
import { h, section } from "./dom.js";
import { figures, graphs, plan, tables, warnings } from "./facts.js";
import { healthSection } from "./health.js";
import { parameterSection } from "./parameters.js";
import { Stages } from "./stage.js";
import { themeSwitch } from "./theme.js";

/** Draw the page from its data. */
export function main(data) {
  useTables(data.colors);
  const run = data.runs[0];
  const stages = data.stages.length ? new Stages(data.stages) : null;
  document.getElementById("page").replaceChildren(...[
    h("header", {}, h("div", {}, h("h1", {}, run.title || run.name), h("p", { class: "quiet" }, [run.name, run.status].filter(Boolean).join(", "))), themeSwitch()),
    warnings(run.warnings),
    section("Motion", stages ? stages.element : h("p", { class: "quiet" }, "no motion was recorded yet; diffsim report, or the end of the run, records it")),
    new Courses([run]).element,
    figures(run.figures),
    parameterSection(run.parameters),
    healthSection(run.health),
    graphs(run.graphs),
    plan(run.plan),
    tables(run.tables),
  ].filter(Boolean));
}
