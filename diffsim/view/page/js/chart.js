// A plot of curves: linear or logarithmic, with a mark, a read-out under the pointer, and a cursor.

import { h, number, s } from "./dom.js";
import { decades, ticks } from "./ticks.js";

const EDGE = { left: 62, right: 14, top: 10, bottom: 34 };

export class Chart {
  /**
   * Args: told.curves: [{ name, at, values, color, dashed, low, high }], told.across and told.upward: what the
   * axes are, told.height, told.mark: { at, value, text }, told.log: whether to begin so, told.limits: what is
   * shown upward, instead of all that there is.
   */
  constructor(told) {
    this.told = told;
    this.log = Boolean(told.log);
    this.cursor = null;
    this.drawing = s("svg", { role: "img", "aria-label": told.label || told.upward, class: "chart" });
    this.tip = h("div", { class: "tip", hidden: true });
    this.element = h("div", { class: "chart-box", style: `height:${told.height || 220}px` }, this.drawing, this.tip);
    const sizes = new ResizeObserver(() => this.draw());
    sizes.observe(this.element);
    this.close = () => sizes.disconnect();
    this.element.addEventListener("pointermove", (event) => this.hover(event));
    this.element.addEventListener("pointerleave", () => this.leave());
  }

  /** Change what is told, and draw anew. */
  update(told) {
    Object.assign(this.told, told);
    this.draw();
  }

  setLog(log) {
    this.log = log;
    this.draw();
  }

  /** Show a place along the axis by a line, as the scrubber's time. */
  setCursor(at) {
    this.cursor = at;
    if (this.pointer) this.placePointer();
  }

  /** Return what is subtracted before the logarithm: the lowest number where one is not above zero. */
  offset() {
    if (!this.log) return 0;
    const lowest = Math.min(...this.told.curves.map((curve) => least(curve.values)));
    return lowest > 0 ? 0 : lowest;
  }

  draw() {
    const width = this.element.clientWidth;
    const height = this.element.clientHeight;
    this.drawing.replaceChildren();
    this.drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const curves = this.told.curves.filter((curve) => curve.at.length);
    if (width < 80 || !curves.length) return;
    this.base = this.offset();
    this.measure(curves, width, height);
    this.axes(width, height);
    this.inside = this.told.limits
      ? s("svg", { x: 0, y: EDGE.top, width, height: height - EDGE.top - EDGE.bottom, viewBox: `0 ${EDGE.top} ${width} ${height - EDGE.top - EDGE.bottom}`, class: "clipped" })
      : this.drawing;
    if (this.inside !== this.drawing) this.drawing.append(this.inside);
    for (const curve of curves) this.line(curve);
    if (this.told.mark) this.markBest(this.told.mark);
    this.pointer = s("line", { class: "cursor", y1: EDGE.top, y2: height - EDGE.bottom, visibility: "hidden" });
    this.drawing.append(this.pointer);
    this.placePointer();
  }

  measure(curves, width, height) {
    const across = curves.flatMap((curve) => [curve.at[0], curve.at[curve.at.length - 1]]);
    let [left, right] = [Math.min(...across), Math.max(...across)];
    if (!(right > left)) [left, right] = [left - 0.5, right + 0.5];
    let [low, high] = [Infinity, -Infinity];
    const note = (value) => {
      const shown = this.shown(value);
      if (shown < low) low = shown;
      if (shown > high) high = shown;
    };
    if (this.told.limits && !this.log) this.told.limits.forEach(note);
    else for (const curve of curves) for (const band of [curve.values, curve.low, curve.high]) if (band) band.forEach(note);
    if (!(high >= low)) [low, high] = this.log ? [0.1, 1] : [0, 1];
    if (this.log) {
      const room = Math.max(0.04 * Math.log10(high / low), 0.05);
      [this.low, this.high] = [Math.log10(low) - room, Math.log10(high) + room];
    } else {
      const room = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1;
      [this.low, this.high] = [low - room, high + room];
    }
    this.x = (at) => EDGE.left + ((at - left) / (right - left)) * (width - EDGE.left - EDGE.right);
    this.at = (x) => left + ((x - EDGE.left) / (width - EDGE.left - EDGE.right)) * (right - left);
    this.y = (value) => {
      const place = this.log ? Math.log10(value) : value;
      return height - EDGE.bottom - ((place - this.low) / (this.high - this.low)) * (height - EDGE.top - EDGE.bottom);
    };
    this.ends = [left, right];
  }

  /** Return a number as the axis has it; NaN where a logarithm has no place for it. */
  shown(value) {
    const found = value - this.base;
    return this.log && !(found > 0) ? NaN : found;
  }

  axes(width, height) {
    const rows = this.log
      ? decades(10 ** this.low, 10 ** this.high, height / 40)
      : ticks(this.low, this.high, height / 45);
    const grid = s("g", { class: "axes" });
    for (const value of rows) {
      const y = this.y(value);
      grid.append(s("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y }));
      grid.append(s("text", { x: EDGE.left - 6, y: y + 4, "text-anchor": "end" }, this.log ? power(value) : number(value)));
    }
    const across = ticks(this.ends[0], this.ends[1], width / 90);
    const whole = this.told.whole ? across.filter(Number.isInteger) : across;
    for (const value of whole) {
      grid.append(s("text", { x: this.x(value), y: height - EDGE.bottom + 15, "text-anchor": "middle" }, number(value)));
    }
    const middle = (EDGE.left + width - EDGE.right) / 2;
    grid.append(s("text", { x: middle, y: height - 4, "text-anchor": "middle", class: "title" }, this.told.across));
    const up = this.base ? `${this.told.upward} − lowest` : this.told.upward;
    const half = (EDGE.top + height - EDGE.bottom) / 2;
    const room = Math.floor((height - 20) / 6.2);
    const words = up.length > room ? `${up.slice(0, room - 1)}…` : up;
    const turned = `rotate(-90 12 ${half})`;
    grid.append(s("text", { x: 12, y: half, "text-anchor": "middle", transform: turned, class: "title" }, words));
    this.drawing.append(grid);
  }

  line(curve) {
    const style = `stroke:${curve.color}`;
    if (curve.low) {
      const there = curve.at.map((at, k) => [at, this.shown(curve.low[k]), this.shown(curve.high[k])]);
      const good = [...there].filter(([, low, high]) => low === low && high === high);
      const upper = good.map(([at, , high]) => `${this.x(at)} ${this.y(high)}`);
      const lower = good.reverse().map(([at, low]) => `${this.x(at)} ${this.y(low)}`);
      if (upper.length) {
        this.inside.append(s("path", { d: `M${[...upper, ...lower].join("L")}Z`, class: "band", style: `fill:${curve.color}` }));
      }
    }
    let path = "";
    let open = false;
    let dots = 0;
    for (let k = 0; k < curve.at.length; k += 1) {
      const value = this.shown(curve.values[k]);
      if (value !== value || !Number.isFinite(value)) {
        open = false;
        continue;
      }
      path += `${open ? "L" : "M"}${this.x(curve.at[k]).toFixed(1)} ${this.y(value).toFixed(1)}`;
      open = true;
      dots += 1;
      if (curve.at.length === 1) this.inside.append(s("circle", { cx: this.x(curve.at[k]), cy: this.y(value), r: 3, style: `fill:${curve.color}` }));
    }
    if (dots) this.inside.append(s("path", { d: path, class: `line${curve.dashed ? " dashed" : ""}${curve.faint ? " faint" : ""}`, style }));
  }

  markBest(mark) {
    const value = this.shown(mark.value);
    if (this.log && value !== value) return; // the lowest itself, where only differences from it are shown
    const [x, y] = [this.x(mark.at), this.y(value)];
    const left = x > this.x(this.ends[1]) - 170;
    const above = y > 40;
    this.drawing.append(
      s("circle", { cx: x, cy: y, r: 4.5, class: "best" }),
      s("text", { x: x + (left ? -8 : 8), y: y + (above ? -8 : 18), "text-anchor": left ? "end" : "start", class: "note" }, mark.text),
    );
  }

  placePointer() {
    const at = this.pointed === undefined ? this.cursor : this.pointed;
    this.pointer.setAttribute("visibility", at === null ? "hidden" : "visible");
    if (at === null) return;
    const x = this.x(at);
    this.pointer.setAttribute("x1", x);
    this.pointer.setAttribute("x2", x);
  }

  /** Tell the numbers under the pointer. */
  hover(event) {
    const curves = this.told.curves.filter((curve) => curve.at.length && !curve.faint);
    if (!this.x || !curves.length) return;
    const box = this.element.getBoundingClientRect();
    const at = this.at(event.clientX - box.left);
    const places = curves.map((curve) => closest(curve.at, at));
    this.pointed = curves[0].at[places[0]];
    this.placePointer();
    const rows = curves.slice(0, 8).map((curve, k) =>
      h("div", {}, h("i", { style: `background:${curve.color}` }), `${curve.name}: ${number(curve.values[places[k]])}`));
    this.tip.replaceChildren(h("div", {}, `${this.told.across} ${number(this.pointed)}`), ...rows);
    this.tip.hidden = false;
    const right = this.x(this.pointed) > box.width / 2;
    this.tip.style.left = right ? "auto" : `${this.x(this.pointed) + 10}px`;
    this.tip.style.right = right ? `${box.width - this.x(this.pointed) + 10}px` : "auto";
  }

  leave() {
    this.pointed = undefined;
    this.tip.hidden = true;
    if (this.pointer) this.placePointer();
  }
}

/** Make the switch between a linear and a logarithmic axis of some charts. */
export function logSwitch(charts, log = false) {
  const button = h("button", { type: "button", class: "switch log", "aria-pressed": String(log) }, "log axis");
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(on));
    for (const chart of charts) chart.setLog(on);
  });
  return button;
}

/** Name curves by their colours. */
export function legend(curves) {
  return h("ul", { class: "legend" }, curves.map((curve) =>
    h("li", {}, h("i", { class: curve.dashed ? "dash" : "", style: `background:${curve.color}` }), curve.name)));
}

function least(values) {
  let found = Infinity;
  for (const value of values) if (value < found) found = value;
  return found;
}

function closest(at, place) {
  let best = 0;
  for (let k = 1; k < at.length; k += 1) if (Math.abs(at[k] - place) < Math.abs(at[best] - place)) best = k;
  return best;
}

function power(value) {
  const exponent = Math.log10(value);
  if (Math.abs(exponent - Math.round(exponent)) > 1e-9) return number(value, 2);
  const raised = [...String(Math.round(exponent))].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"["0123456789".indexOf(sign)] || "⁻").join("");
  return `10${raised}`;
}
