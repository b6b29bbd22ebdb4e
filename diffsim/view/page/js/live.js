// A run while it trains: the page asks how far it is, and shows the newest motion when there is one.

import { useTables } from "./colors.js";
import { Courses } from "./course.js";
import { h, section } from "./dom.js";
import { Stages } from "./stage.js";
import { themeSwitch } from "./theme.js";

const PAUSE = 1000; // milliseconds between two questions
const PATIENCE = 5; // questions without an answer after which the run is gone

/** Draw the page, and ask from now on. */
export function main(data) {
  useTables(data.colors);
  new Live(data).ask();
}

class Live {
  constructor(data) {
    this.name = data.name;
    this.status = h("p", { class: "quiet", role: "status" }, "…");
    this.hold = h("button", { type: "button", class: "switch", "aria-pressed": "false", onclick: () => this.toggle() }, "hold the motion");
    this.motion = h("div", {}, h("p", { class: "quiet" }, "the first motion is recorded …"));
    this.course = h("div", {});
    this.shown = -1;
    this.missed = 0;
    document.getElementById("page").replaceChildren(
      h("header", {}, h("div", {}, h("h1", {}, data.title || data.name), this.status), themeSwitch()),
      section("Motion", h("div", { class: "tools" }, this.hold), this.motion),
      this.course,
    );
  }

  toggle() {
    this.held = !this.held;
    this.hold.setAttribute("aria-pressed", String(this.held));
  }

  async ask() {
    try {
      const state = await (await fetch("state.json")).json();
      this.missed = 0;
      await this.tell(state);
      if (state.report) return await this.finish();
    } catch (error) {
      this.missed += 1;
      if (!(error instanceof TypeError)) throw error; // what fetch throws where nobody answers
    }
    if (this.missed < PATIENCE) setTimeout(() => this.ask(), PAUSE);
    else this.status.textContent = `${this.name}: the run has ended; its folder has the report`;
    return null;
  }

  async tell(state) {
    const { iterations } = state.course;
    this.status.textContent = `${this.name}: ${state.status}, iteration ${iterations} of ${state.total}`;
    const run = { course: state.course };
    if (this.courses) this.courses.update([run]);
    else {
      this.courses = new Courses([run]);
      this.course.replaceChildren(this.courses.element);
    }
    if (state.stage > this.shown && !this.held) {
      this.shown = state.stage;
      this.show(await (await fetch("stage.json")).json());
    }
  }

  show(stage) {
    if (!stage) return;
    const stages = new Stages([stage]);
    if (this.stages) {
      stages.follow(this.stages);
      this.stages.close();
    }
    this.stages = stages;
    this.motion.replaceChildren(stages.element);
  }

  /** Become the report, which needs no server. */
  async finish() {
    const page = await (await fetch("report.html")).text();
    if (this.stages) this.stages.close();
    document.open();
    document.write(page);
    document.close();
  }
}
