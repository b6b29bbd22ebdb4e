// How optimisations went: cost and gradient norm against the iteration.

import { Chart, legend, logSwitch } from "./chart.js";
import { usual } from "./colors.js";
import { h, number, section } from "./dom.js";
import { numbers } from "./unpack.js";

const GRADIENT = "#8a63c4";

/** Plot the course of one run or several. */
export class Courses {
  constructor(runs) {
    this.cost = new Chart({ ...costOf(runs), across: "iteration", whole: true, height: 250 });
    this.norm = new Chart({ ...normOf(runs), across: "iteration", whole: true, height: 170, log: true });
    this.log = logSwitch([this.cost]);
    this.names = h("div", {});
    this.words = h("p", {});
    this.body = h("div", {}, this.words, h("div", { class: "tools" }, this.log), this.names, this.cost.element, this.norm.element);
    this.tell(runs);
    this.element = section("Cost", this.body);
  }

  update(runs) {
    this.cost.update(costOf(runs));
    this.norm.update(normOf(runs));
    this.tell(runs);
  }

  tell(runs) {
    this.names.replaceChildren(runs.length > 1 || runs[0].course.band ? legend(costOf(runs).curves) : "");
    this.words.textContent = runs.map(summary).join("; ");
    const empty = runs.every((run) => !run.course.iterations);
    for (const chart of [this.cost, this.norm, { element: this.log }]) chart.element.hidden = empty;
  }
}

function summary(run) {
  const { course } = run;
  const name = run.short ? `${run.short}: ` : "";
  if (!course.iterations) return `${name}no iteration was done yet`;
  const best = course.best ? `best ${number(course.best.cost)} in iteration ${course.best.iteration}` : "no finite cost";
  const pace = course.seconds ? `, ${number(course.iterations / course.seconds, 3)} iterations per second` : "";
  return `${name}${best} of ${course.iterations}${pace}`;
}

function costOf(runs) {
  const curves = runs.map((run, k) => {
    const { course } = run;
    const curve = { name: run.short || "cost", ...read(course.cost), color: usual(k) };
    if (course.band) {
      const [low, high] = [read(course.band.low), read(course.band.high)];
      if (low.at.length === curve.at.length && high.at.length === curve.at.length) {
        curve.low = low.values;
        curve.high = high.values;
      }
    }
    return curve;
  });
  const { best, label } = runs[0].course;
  const mark = runs.length === 1 && best
    ? { at: best.iteration, value: best.cost, text: `best: ${number(best.cost)}` } : null;
  return { curves, mark, upward: label };
}

function normOf(runs) {
  const curves = runs.map((run, k) => ({
    name: run.short || "gradient norm", ...read(run.course.norm), color: runs.length > 1 ? usual(k) : GRADIENT,
  }));
  return { curves, upward: "gradient norm" };
}

function read(told) {
  return { at: Array.from(numbers(told.at)), values: Array.from(numbers(told.values)) };
}
