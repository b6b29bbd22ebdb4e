// Parameters before and after: bars for few numbers, pictures and a histogram for many, curves for those over time.

import { Chart } from "./chart.js";
import { css, shade, shadeCount, shadeOf, usual } from "./colors.js";
import { h, number, s, section } from "./dom.js";
import { numbers, Packed } from "./unpack.js";

/** Show all parameters. */
export function parameterSection(parameters) {
  return section("Parameters", parameters.map(one));
}

function one(parameter) {
  const shape = parameter.shape.length ? parameter.shape.join(" × ") : "one number";
  const title = h("h3", {}, parameter.key, h("small", {}, ` ${parameter.kind}, ${shape}${parameter.unit ? ` [${parameter.unit}]` : ""}`));
  const pictures = parameter.lines ? lines(parameter)
    : parameter.numbers ? bars(parameter)
    : h("div", { class: "pair" }, parameter.picture ? matrix(parameter) : null, parameter.histogram ? histogram(parameter) : null);
  return h("article", { class: "parameter" }, title, figures(parameter), pictures);
}

function figures(parameter) {
  const { first, best, unit } = parameter;
  if (first.mean === undefined || best.mean === undefined) return h("p", { class: "quiet" }, "no finite numbers");
  const scale = first.length > 0 && parameter.change !== undefined ? `, ${number((100 * parameter.change) / first.length, 2)} % of its length` : "";
  const moved = parameter.change === undefined ? "" : parameter.change === 0 ? "did not move" : `moved by ${number(parameter.change, 3)}${scale}`;
  const [low, high] = parameter.bounds;
  const bounds = low === null && high === null ? "" : `; bounds ${number(low ?? -Infinity)} to ${number(high ?? Infinity)}, ${parameter.hit} at a bound`;
  const range = (told) => `${number(told.low, 3)} to ${number(told.high, 3)}`;
  const single = parameter.numbers && best.low === best.high && first.low === first.high;
  const words = single ? `${number(first.low)} → ${number(best.low)}` : `${range(first)} → ${range(best)}`;
  return h("p", { class: "quiet" }, `${words}${unit ? ` ${unit}` : ""}; ${moved}${bounds}`);
}

/** Draw a bar for each number, the outline where it was before. */
function bars(parameter) {
  const [first, best] = [numbers(parameter.numbers.first), numbers(parameter.numbers.best)];
  const all = [...first, ...best, 0].filter(Number.isFinite);
  if (best.length < 2 || all.length < 2) return null;
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const width = Math.max(6, Math.min(28, 560 / best.length));
  const y = (value) => 8 + ((high - value) / (high - low || 1)) * 84;
  const drawing = s("svg", { class: "bars", role: "img", viewBox: `0 0 ${width * best.length + 60} 100`, "aria-label": `${parameter.key} before and after`, style: `width:${width * best.length + 60}px` });
  for (let k = 0; k < best.length; k += 1) {
    const x = 56 + k * width;
    if (Number.isFinite(best[k])) drawing.append(bar(x + 1, y(best[k]), y(0), width - 2, "after", `${k}: ${number(best[k])}, before ${number(first[k])}`));
    if (Number.isFinite(first[k])) drawing.append(bar(x + 1, y(first[k]), y(0), width - 2, "before", ""));
  }
  drawing.append(s("line", { x1: 54, x2: 56 + width * best.length, y1: y(0), y2: y(0), class: "zero" }));
  for (const value of [low, high]) drawing.append(s("text", { x: 50, y: y(value) + 4, "text-anchor": "end" }, number(value, 3)));
  return h("div", {}, drawing, beforeAfter());
}

function bar(x, from, to, width, name, title) {
  const box = { x, y: Math.min(from, to), width, height: Math.max(0.5, Math.abs(to - from)), class: name };
  return s("rect", box, title ? s("title", {}, title) : null);
}

function beforeAfter() {
  return h("ul", { class: "legend" }, h("li", {}, h("i", { class: "outline" }), "before"), h("li", {}, h("i", { style: "background:var(--accent);opacity:0.75" }), "best"));
}

function histogram(parameter) {
  const { low, high, first, best } = parameter.histogram;
  const most = Math.max(...first, ...best, 1);
  const drawing = s("svg", { class: "bars histogram", role: "img", viewBox: "0 0 330 118", "aria-label": `${parameter.key}: how often each value occurs` });
  best.forEach((count, k) => {
    const title = `${number(low + ((high - low) * k) / best.length, 3)} to ${number(low + ((high - low) * (k + 1)) / best.length, 3)}: ${count}, before ${first[k]}`;
    drawing.append(bar(4 + 8 * k, 96 - (90 * count) / most, 96, 7, "after", title));
    drawing.append(bar(4 + 8 * k, 96 - (90 * first[k]) / most, 96, 7, "before", ""));
  });
  drawing.append(s("text", { x: 4, y: 112 }, number(low, 3)), s("text", { x: 324, y: 112, "text-anchor": "end" }, number(high, 3)));
  return h("div", { class: "histogram-box" }, drawing, beforeAfter());
}

/** Paint a matrix before, at its best, and what changed. */
function matrix(parameter) {
  const { first, best, most } = parameter.picture;
  const [a, b] = [numbers(first), numbers(best)];
  const difference = Float64Array.from(b, (value, k) => value - a[k]);
  const change = difference.reduce((top, value) => (Math.abs(value) > top ? Math.abs(value) : top), 0) || 1;
  const tell = (name, values, limit) => h("figure", {}, picture(values, best.shape, limit, `${parameter.key} ${name}`), h("figcaption", {}, `${name}, ±${number(limit, 2)}`));
  return h("div", { class: "matrices" }, tell("before", a, most), tell("best", b, most), tell("change", difference, change));
}

function picture(values, [rows, columns], most, label) {
  const canvas = h("canvas", { width: columns, height: rows, class: "matrix", role: "img", "aria-label": label });
  const ratio = Math.max(0.4, Math.min(2.5, columns / rows));
  canvas.style.width = `${Math.round(Math.sqrt(ratio) * 96)}px`;
  canvas.style.height = `${Math.round(96 / Math.sqrt(ratio))}px`;
  const image = new ImageData(columns, rows);
  const count = shadeCount("two");
  values.forEach((value, k) => {
    const place = shadeOf(value, -most, most, count);
    image.data.set(place < 0 ? [128, 128, 128, 255] : [...shade("two", place), 255], 4 * k);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Plot a Control over time, before dashed. */
function lines(parameter) {
  const curves = [];
  for (const [name, dashed] of [["first", true], ["best", false]]) {
    const array = new Packed(parameter.lines[name]);
    const at = Array.from({ length: array.frames }, (_, k) => (k * (parameter.lines.steps - 1)) / Math.max(1, array.frames - 1));
    for (let i = 0; i < array.size; i += 1) {
      const which = array.size > 1 ? ` ${i}` : "";
      curves.push({ name: `${name === "first" ? "before" : "best"}${which}`, at, values: Array.from(array.over(i)), color: usual(i), dashed });
    }
  }
  const chart = new Chart({ curves, across: "step", whole: true, upward: parameter.unit ? `value [${parameter.unit}]` : "value", height: 180, label: parameter.key });
  const names = h("ul", { class: "legend" }, h("li", {}, h("i", { class: "dash", style: `background:${usual(0)}` }), "before"), h("li", {}, h("i", { style: `background:${usual(0)}` }), "best"));
  return h("div", {}, chart.element, names);
}
