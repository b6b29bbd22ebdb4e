// One motion on a canvas: it draws a frame, and hands drags and wheels to the camera.

import { FlatPen } from "./pen_flat.js";
import { DeepPen } from "./pen_deep.js";
import { drawPart } from "./parts.js";
import { h } from "./dom.js";
import { onTheme, theme } from "./theme.js";
import { numbers, Packed } from "./unpack.js";

const HIGHEST = 420; // pixels of a view

export class View {
  constructor(stage, motion, camera) {
    this.stage = stage;
    this.motion = motion;
    this.camera = camera;
    this.times = numbers(motion.times);
    this.k = 0;
    this.packed = {};
    this.canvas = h("canvas", { tabindex: "0", role: "img" });
    this.words = h("p", { class: "words" });
    this.caption = h("figcaption", {}, h("b", {}, motion.name), motion.caption ? ` ${motion.caption}` : "");
    this.element = h("figure", { class: "view" }, this.caption, this.canvas, this.words);
    this.label();
    this.listen();
    const sizes = new ResizeObserver(() => this.resize());
    sizes.observe(this.canvas);
    const forget = onTheme(() => this.draw());
    this.close = () => {
      sizes.disconnect();
      forget();
    };
    camera.onChange(() => this.draw());
  }

  /** Draw the frame that is nearest to a time. */
  showTime(time) {
    this.show(nearest(this.times, time));
  }

  show(k) {
    if (k === this.k && this.drawn) return;
    this.k = k;
    this.draw();
  }

  label() {
    const what = this.stage.title ? `${this.stage.title}, ` : "";
    this.canvas.setAttribute("aria-label", `${what}${this.motion.name}: ${this.times.length} frames`);
  }

  resize() {
    const width = this.canvas.clientWidth;
    const edge = this.stage.dimensions === 2 ? [52, 24] : [0, 0];
    const height = Math.round(Math.min(HIGHEST, Math.max(150, (width - edge[0]) * this.camera.aspect + edge[1])));
    const ratio = window.devicePixelRatio || 1;
    this.canvas.style.height = `${height}px`;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.ratio = ratio;
    this.width = width;
    this.height = height;
    this.draw();
  }

  /** Return the part of the canvas that shows space. */
  get area() {
    if (this.stage.dimensions !== 2) return { left: 0, top: 0, width: this.width, height: this.height };
    return { left: 46, top: 2, width: this.width - 50, height: this.height - 24 };
  }

  draw() {
    if (!this.width || !this.times.length) return;
    const context = this.canvas.getContext("2d");
    context.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    context.clearRect(0, 0, this.width, this.height);
    const { area } = this;
    context.fillStyle = theme("canvas");
    context.fillRect(area.left, area.top, area.width, area.height);
    const pen = this.stage.dimensions === 3 ? new DeepPen(context, area, this.camera) : new FlatPen(context, area, this.camera);
    pen.begin();
    if (this.stage.ground !== null) pen.ground(this.stage.ground);
    const arrays = (name, k) => this.frame(name, k);
    const words = [];
    for (const part of this.stage.parts) {
      if (part.hidden) continue;
      const lines = this.motion.texts[part.number];
      if (lines && !part.at) words.push(lines[this.k]);
      drawPart(pen, lines ? { ...part, lines } : part, arrays, this.k, this.stage.dimensions);
    }
    pen.end(this.stage.unit);
    if (pen.missing) words.push(`${pen.missing} not finite`);
    this.words.textContent = words.join("   ");
    this.drawn = true;
  }

  /** Return a frame of an array, which may stand still; null where there is none. */
  frame(name, k) {
    if (!name) return null;
    if (!(name in this.packed)) {
      const told = this.motion.arrays[name] || this.stage.stills[name];
      this.packed[name] = told ? new Packed(told) : null;
    }
    const array = this.packed[name];
    return array ? array.frame(Math.min(k, array.frames - 1)) : null;
  }

  /** Turn or shift by dragging, zoom by the wheel once the view was chosen, or by two fingers. */
  listen() {
    const { canvas, camera } = this;
    const fingers = new Map();
    canvas.style.touchAction = this.stage.dimensions === 3 ? "none" : "pan-y";
    canvas.addEventListener("pointerdown", (event) => {
      fingers.set(event.pointerId, [event.clientX, event.clientY]);
      canvas.setPointerCapture(event.pointerId);
      canvas.focus({ preventScroll: true });
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = fingers.get(event.pointerId);
      if (!before) return;
      const gap = spread(fingers);
      const now = [event.clientX, event.clientY];
      fingers.set(event.pointerId, now);
      const [dx, dy] = [(now[0] - before[0]) / this.area.width, (now[1] - before[1]) / this.area.height];
      if (fingers.size > 1) camera.scaleBy(spread(fingers) / gap);
      else if (event.shiftKey) camera.moveBy(dx, dy);
      else camera.drag(dx, dy);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (document.activeElement !== canvas && !event.ctrlKey) return; // the page scrolls
        event.preventDefault();
        const box = canvas.getBoundingClientRect();
        const x = (event.clientX - box.left - this.area.left) / this.area.width - 0.5;
        const y = (event.clientY - box.top - this.area.top) / this.area.height - 0.5;
        camera.scaleBy(Math.exp(-event.deltaY * 0.0015), x, y);
      },
      { passive: false },
    );
    canvas.addEventListener("dblclick", () => camera.reset());
  }
}

function spread(fingers) {
  const [a, b] = [...fingers.values()];
  return b ? Math.hypot(a[0] - b[0], a[1] - b[1]) || 1 : 1;
}

/** Return the place of the time that is nearest, in times that rise. */
export function nearest(times, time) {
  let [low, high] = [0, times.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (times[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low > 0 && time - times[low - 1] <= times[low] - time ? low - 1 : low;
}
