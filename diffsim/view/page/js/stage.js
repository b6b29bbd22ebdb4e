// Motions side by side, with one scrubber, one camera and one legend.

import { FlatCamera, OrbitCamera } from "./camera.js";
import { css, legible, shade, shadeCount, usual } from "./colors.js";
import { h, measured } from "./dom.js";
import { Player } from "./player.js";
import { Profiles, Signals } from "./signals.js";
import { onTheme, theme } from "./theme.js";
import { Packed } from "./unpack.js";
import { View } from "./view.js";

/** The stages of a page: those of several scenes share the scrubber. */
export class Stages {
  constructor(told) {
    this.groups = told.map((stage, k) => new Group(stage, k, told.length > 1));
    this.views = this.groups.flatMap((group) => group.views);
    this.curves = this.groups.flatMap((group) => group.curves);
    const units = new Set(told.map((stage) => stage.time_unit));
    this.alike = units.size <= 1;
    const times = this.longest();
    this.player = new Player(times, this.alike ? [...units][0] || "" : "%");
    this.player.onMove((k) => this.show(k));
    if (times.length > 1) this.player.listen();
    this.element = h("div", { class: "stages" },
      times.length > 1 ? this.player.element : null,
      h("div", { class: this.groups.every((group) => group.views.length === 1) ? "views" : "" },
        this.groups.map((group) => group.element)));
  }

  /** Return the times of the longest motion; of scenes whose clocks differ shares of each, in percent. */
  longest() {
    const all = this.groups.flatMap((group) => group.times);
    const most = all.reduce((best, times) => {
      if (!this.alike) return times.length > best.length ? times : best;
      return (times[times.length - 1] || 0) > (best[best.length - 1] || 0) || times.length > best.length ? times : best;
    }, []);
    if (this.alike) return Array.from(most);
    return Array.from(most, (_, k) => (100 * k) / Math.max(1, most.length - 1));
  }

  /** Take the place of older stages: the same time, the same cameras. */
  follow(other) {
    this.groups.forEach((group, k) => other.groups[k] && group.camera.follow(other.groups[k].camera));
    this.player.follow(other.player);
  }

  /** Let go of the page. */
  close() {
    this.player.close();
    for (const group of this.groups) group.close();
  }

  show(k) {
    const time = this.player.times[k];
    for (const view of [...this.views, ...this.curves]) {
      const end = view.times[view.times.length - 1] || 0;
      view.showTime(this.alike ? time : (time / 100) * end);
    }
  }
}

/** Motions of one scene. */
class Group {
  constructor(stage, place, titled) {
    this.stage = stage;
    const there = stage.motions.filter((motion) => motion.times.shape[0]);
    this.camera = stage.dimensions === 3 ? new OrbitCamera(stage.limits, stage.camera) : new FlatCamera(stage.limits);
    this.views = stage.dimensions ? there.map((motion) => new View(stage, motion, this.camera)) : [];
    this.curves = [
      ...panels(stage.parts).map((parts) => new Profiles(stage, parts, there)),
      ...stage.parts.filter((part) => part.kind === "curves").map((part) => new Signals(stage, part, there)),
    ];
    this.times = there.map((motion) => new Packed({ ...motion.times, shape: [1, motion.times.shape[0]] }).frame(0));
    this.keys = keys(stage);
    this.close = () => {
      this.keys.close();
      for (const part of [...this.views, ...this.curves]) part.close();
    };
    this.element = h("div", { class: "group" },
      titled && stage.title ? h("h3", {}, stage.title) : null,
      h("div", { class: "views" }, this.views.map((view) => view.element)),
      this.views.length && place === 0 ? h("p", { class: "hint" }, hint(stage)) : null,
      this.keys.element,
      this.curves.map((curves) => curves.element),
      stage.notes.map((note) => h("p", { class: "quiet" }, note)));
  }
}

/** Return the curves over places by their panels. */
function panels(parts) {
  const found = [];
  for (const part of parts) {
    if (part.kind === "profile") (found[part.panel] = found[part.panel] || []).push(part);
  }
  return found;
}

function hint(stage) {
  const way = stage.dimensions === 3 ? "drag to turn, shift and drag to shift" : "drag to shift";
  return `${way}, wheel or two fingers to zoom once chosen, double click for the whole; space plays, arrows step`;
}

/** Make the legend: what parts are called, switches for those that may be hidden, and their colour bars. */
function keys(stage) {
  const list = h("ul", { class: "legend" });
  const fill = () => list.replaceChildren(...joined(stage.parts).flatMap((part) => keyOf(part)).filter(Boolean));
  fill();
  return { element: list, close: onTheme(fill) };
}

/** Give parts with one colour map one bar, which names them all. */
function joined(parts) {
  const found = [];
  for (const part of parts) {
    const same = found.find((other) => other.map && part.map === other.map && part.low === other.low && part.high === other.high);
    if (!same || part.kind === "curves") found.push({ ...part });
    else same.label = [same.label, part.label].filter(Boolean).join(", ");
  }
  return found;
}

function keyOf(part) {
  if (["curves", "profile", "text"].includes(part.kind)) return [];
  if (part.map && part.low !== undefined) return [bar(part)];
  if (!part.label) return [];
  const color = part.kind === "vectors" && !part.color ? theme("ink") : legible(part.color || usual(part.number));
  return [h("li", {}, h("i", { style: `background:${part.kind === "lines" && !part.color ? theme("quiet") : color}` }), part.label)];
}

function bar(part) {
  const count = shadeCount(part.map);
  const stops = Array.from({ length: count }, (_, k) => css(shade(part.map, k))).join(",");
  return h("li", { class: "bar" }, part.label ? `${part.label} ` : "",
    h("span", {}, measured(part.low)), h("i", { class: "shades", style: `background:linear-gradient(to right,${stops})` }),
    h("span", {}, measured(part.high, part.values_unit)));
}
