// The clock of a page: one scrubber that moves all that listens to it.

import { h, measured } from "./dom.js";

const [SHORTEST, LONGEST] = [2, 12]; // seconds that a motion takes at speed 1, which is real time between them
const RATE = 30; // frames a second where nobody knows how long a step is

export class Player {
  /** Args: the times of the frames in steps of the scrubber, and their unit. */
  constructor(times, unit) {
    this.times = times;
    this.unit = unit;
    this.k = 0;
    this.speed = 1;
    this.listeners = [];
    this.playing = false;
    this.play = h("button", { type: "button", class: "play", onclick: () => this.toggle() });
    this.range = h("input", {
      type: "range", min: 0, max: Math.max(0, times.length - 1), value: 0, "aria-label": "time", class: "scrubber",
      oninput: () => this.go(Number(this.range.value)),
    });
    this.read = h("output", { class: "time" });
    this.element = h("div", { class: "player" }, this.play, this.range, this.read, this.speeds());
    this.label();
  }

  speeds() {
    const choice = h("select", { "aria-label": "speed", onchange: () => { this.speed = Number(choice.value); } });
    for (const [value, text] of [[0.1, "× 0.1"], [0.25, "× ¼"], [0.5, "× ½"], [1, "× 1"], [2, "× 2"], [4, "× 4"]]) {
      choice.append(h("option", { value, selected: value === 1 }, text));
    }
    return choice;
  }

  /** Frames a second at speed 1. */
  get rate() {
    const end = this.times[this.times.length - 1];
    return this.unit === "s" ? this.times.length / Math.max(SHORTEST, Math.min(LONGEST, end)) : RATE;
  }

  onMove(listener) {
    this.listeners.push(listener);
    listener(this.k);
  }

  go(k) {
    this.k = Math.max(0, Math.min(this.times.length - 1, k));
    this.range.value = this.k;
    this.label();
    for (const listener of this.listeners) listener(this.k);
  }

  label() {
    const end = this.times.length ? this.times[this.times.length - 1] : 0;
    const now = this.times.length ? this.times[this.k] : 0;
    const digits = Math.max(0, Math.min(6, 3 - Math.ceil(Math.log10(Math.max(end, 1e-9)))));
    this.read.textContent = `t = ${now.toFixed(digits)} of ${measured(Number(end.toPrecision(4)), this.unit)}`;
    this.range.setAttribute("aria-valuetext", this.read.textContent);
    this.play.textContent = this.playing ? "❚❚" : "▶";
    this.play.setAttribute("aria-label", this.playing ? "pause" : "play");
  }

  toggle() {
    this.playing = !this.playing;
    if (this.playing) {
      if (this.k >= this.times.length - 1) this.go(0);
      this.due = null;
      requestAnimationFrame((now) => this.tick(now));
    }
    this.label();
  }

  tick(now) {
    if (!this.playing) return;
    this.due = this.due === null ? now : this.due;
    const frames = Math.floor(((now - this.due) / 1000) * this.rate * this.speed);
    if (frames > 0) {
      this.due += (frames * 1000) / (this.rate * this.speed);
      const next = this.k + frames;
      this.go(next > this.times.length - 1 ? 0 : next);
    }
    requestAnimationFrame((later) => this.tick(later));
  }

  /** Go on where another player is. */
  follow(other) {
    this.speed = other.speed;
    this.element.querySelector("select").value = String(other.speed);
    this.go(other.k);
    if (other.playing) this.toggle();
  }

  close() {
    this.playing = false;
    this.closed = true;
    document.removeEventListener("keydown", this.keys);
  }

  /** Take the keys of the whole page, unless they are for what has the focus. */
  listen() {
    this.keys = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const at = event.target;
      const busy = at !== this.range && /^(INPUT|SELECT|TEXTAREA)$/.test(at.tagName);
      const pressed = event.key === " " && /^(BUTTON|SUMMARY|A)$/.test(at.tagName);
      const act = KEYS[event.key];
      if (busy || pressed || !act) return;
      event.preventDefault();
      act(this, event.shiftKey ? 10 : 1);
    };
    document.addEventListener("keydown", this.keys);
  }
}

const KEYS = {
  " ": (player) => player.toggle(),
  ArrowLeft: (player, by) => player.go(player.k - by),
  ArrowRight: (player, by) => player.go(player.k + by),
  Home: (player) => player.go(0),
  End: (player) => player.go(player.times.length - 1),
};
