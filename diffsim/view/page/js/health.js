// How the gradient fares on its way back through time.

import { Chart, legend, logSwitch } from "./chart.js";
import { usual } from "./colors.js";
import { h, section } from "./dom.js";
import { numbers } from "./unpack.js";

/** Plot the length of the adjoint of all States at each step. */
export function healthSection(health) {
  if (!health.length) return null;
  const curves = health.map((one, k) => ({
    name: one.name, at: Array.from(numbers(one.norms.at)), values: Array.from(numbers(one.norms.values)), color: usual(k),
  }));
  const chart = new Chart({
    curves, across: "step", whole: true, upward: "adjoint norm", height: 210, log: true,
    label: "length of the derivative of the cost by all States, at each step",
  });
  return section("Gradient through time",
    h("p", { class: "quiet" }, "The length of d cost / d State at each step: flat carries information over the whole " +
      "horizon, a steep rise to the left explodes, a steep fall vanishes."),
    h("div", { class: "tools" }, logSwitch([chart], true)),
    legend(curves),
    chart.element,
    health.filter((one) => one.text).map((one) => h("details", {}, h("summary", {}, `${one.name}, in words`), h("pre", {}, one.text))));
}
