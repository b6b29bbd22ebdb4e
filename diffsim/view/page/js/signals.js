// Plots beside the views: numbers over time, and numbers along an axis that move.

import { Chart } from "./chart.js";
import { legible, usual } from "./colors.js";
import { h, written } from "./dom.js";
import { numbers, Packed } from "./unpack.js";
import { nearest } from "./view.js";

/** Numbers over time, of each motion in one plot, with the scrubber's time as a line. */
export class Signals {
  constructor(stage, part, motions) {
    this.charts = [];
    this.times = [];
    const name = part.channels.values;
    const upward = `${part.label || part.source}${part.values_unit ? ` [${written(part.values_unit)}]` : ""}`;
    const boxes = motions.map((motion) => {
      const told = motion.arrays[name] || stage.stills[name];
      if (!told) return h("figure", { class: "view" });
      const times = Array.from(new Packed({ ...motion.times, shape: [1, motion.times.shape[0]] }).frame(0));
      if (times.length > this.times.length) this.times = times;
      const array = new Packed(told);
      const curves = Array.from({ length: array.size }, (_, i) => ({
        name: part.names[i] || part.label || "value", at: times, values: Array.from(array.over(i)), color: usual(i),
      }));
      const chart = new Chart({ curves, across: `t [${stage.time_unit}]`, upward, height: 170, limits: part.limits, label: `${motion.name}: ${upward}` });
      this.charts.push(chart);
      return h("figure", { class: "view" }, h("figcaption", {}, h("b", {}, motion.name)), chart.element);
    });
    const names = part.names.map((text, i) => h("li", {}, h("i", { style: `background:${usual(i)}` }), text));
    this.element = h("div", {}, h("div", { class: "views" }, boxes), h("ul", { class: "legend" }, names));
  }

  close() {
    for (const chart of this.charts) chart.close();
  }

  showTime(time) {
    for (const chart of this.charts) chart.setCursor(time);
  }
}

/** Numbers along one axis, of each motion in one plot, as they are at the scrubber's time. */
export class Profiles {
  constructor(stage, parts, motions) {
    this.plots = [];
    this.times = [];
    const [first] = parts;
    const [called, unit] = [parts.map((part) => part.label || part.source), first.values_unit];
    const upward = `${[...new Set(called)].join(", ")}${unit ? ` [${written(unit)}]` : ""}`;
    const across = first.counted ? "index" : `x${stage.unit ? ` [${written(stage.unit)}]` : ""}`;
    const boxes = motions.map((motion) => {
      const arrays = parts.map((part) => motion.arrays[part.channels.values] || stage.stills[part.channels.values]);
      const times = Array.from(numbers(motion.times));
      if (!arrays.some(Boolean)) return h("figure", { class: "view" });
      if (times.length > this.times.length) this.times = times;
      const lines = parts.flatMap((part, i) => (arrays[i] ? [{
        name: called[i], at: part.places, packed: new Packed(arrays[i]), color: legible(part.color || usual(part.number)),
      }] : []));
      const plot = { lines, times, k: -1 };
      plot.chart = new Chart({ curves: this.curves(plot, 0), across, upward, height: 260, limits: first.limits, label: `${motion.name}: ${upward}` });
      this.plots.push(plot);
      return h("figure", { class: "view" }, h("figcaption", {}, h("b", {}, motion.name), motion.caption ? ` ${motion.caption}` : ""), plot.chart.element);
    });
    const names = parts.length > 1 ? parts.map((part, i) =>
      h("li", {}, h("i", { style: `background:${legible(part.color || usual(part.number))}` }), called[i])) : [];
    this.element = h("div", {}, h("div", { class: "views" }, boxes), h("ul", { class: "legend" }, names));
  }

  /** Return the curves of a frame, those of the first one faint behind them. */
  curves(plot, k) {
    const of = (line, frame) => Array.from(line.packed.frame(Math.min(frame, line.packed.frames - 1)));
    const now = plot.lines.map(({ name, at, color, packed }) => ({ name, at, color, values: of({ packed }, k) }));
    const before = plot.lines.map(({ name, at, color, packed }) => ({ name, at, color, values: of({ packed }, 0), faint: true }));
    return [...before, ...now];
  }

  close() {
    for (const plot of this.plots) plot.chart.close();
  }

  showTime(time) {
    for (const plot of this.plots) {
      const k = nearest(plot.times, time);
      if (k === plot.k) continue;
      plot.k = k;
      plot.chart.update({ curves: this.curves(plot, k) });
    }
  }
}
