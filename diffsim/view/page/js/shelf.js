// The runs of a folder: a table with the course of each cost, and boxes to choose those to compare.

import { useTables } from "./colors.js";
import { h, number, s } from "./dom.js";
import { themeSwitch } from "./theme.js";

const PAUSE = 3000; // milliseconds between two questions
const MOST = 4;

/** Draw the page, and ask from now on. */
export function main(data) {
  useTables(data.colors);
  const shelf = new Shelf(data.folder);
  shelf.ask();
}

class Shelf {
  constructor(folder) {
    this.chosen = new Set();
    this.rows = h("tbody", {});
    this.words = h("p", { class: "quiet", role: "status" }, "…");
    this.compare = h("button", { type: "button", onclick: () => this.go() });
    const heads = ["", "run", "task", "status", "iterations", "cost", "best cost", "changed"];
    document.getElementById("page").replaceChildren(
      h("header", {}, h("div", {}, h("h1", {}, folder), this.words), themeSwitch()),
      h("div", { class: "tools" }, this.compare),
      h("div", { class: "wide" }, h("table", { class: "shelf" },
        h("thead", {}, h("tr", {}, heads.map((text) => h("th", { scope: "col" }, text)))), this.rows)),
    );
    this.label();
  }

  async ask() {
    try {
      this.tell(await (await fetch("runs.json")).json());
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // what fetch throws where nobody answers
      this.words.textContent = "diffsim serve has ended";
      return;
    }
    setTimeout(() => this.ask(), PAUSE);
  }

  tell(runs) {
    const text = JSON.stringify(runs);
    if (text === this.last) return;
    this.last = text;
    this.words.textContent = runs.length ? `${runs.length} runs` : "no run is in this folder yet";
    for (const name of this.chosen) if (!runs.some((run) => run.name === name)) this.chosen.delete(name);
    this.rows.replaceChildren(...runs.sort((a, b) => b.changed - a.changed).map((run) => this.row(run)));
    this.label();
  }

  row(run) {
    const box = h("input", {
      type: "checkbox", "aria-label": `compare ${run.name}`, checked: this.chosen.has(run.name), disabled: run.status === "damaged",
      onchange: () => {
        if (box.checked && this.chosen.size >= MOST) box.checked = false;
        else if (box.checked) this.chosen.add(run.name);
        else this.chosen.delete(run.name);
        this.label();
      },
    });
    const done = run.total ? `${run.iterations} of ${run.total}` : String(run.iterations);
    const link = h("a", { href: `run/${run.name.split("/").map(encodeURIComponent).join("/")}` }, run.name);
    return h("tr", {}, h("td", {}, box), h("td", {}, link), h("td", {}, run.task),
      h("td", { class: run.status, title: run.note }, run.status), h("td", {}, done), h("td", {}, spark(run.costs)),
      h("td", {}, run.best === null ? "–" : number(run.best, 5)), h("td", {}, new Date(1000 * run.changed).toLocaleString()));
  }

  label() {
    this.compare.disabled = this.chosen.size < 2;
    this.compare.textContent = this.chosen.size < 2 ? "choose 2 to 4 runs to compare" : `compare ${this.chosen.size} runs`;
  }

  go() {
    const query = [...this.chosen].map((name) => `run=${encodeURIComponent(name)}`).join("&");
    window.location.href = `compare?${query}`;
  }
}

/** Draw the course of a cost in a line's height. */
function spark(costs) {
  const drawing = s("svg", { class: "spark", viewBox: "0 0 100 24", "aria-hidden": "true" });
  const finite = costs.filter((cost) => cost !== null);
  if (finite.length < 2) return drawing;
  const [low, high] = [Math.min(...finite), Math.max(...finite)];
  const points = costs.flatMap((cost, k) => (cost === null ? [] :
    [`${((100 * k) / (costs.length - 1)).toFixed(1)} ${(22 - (20 * (cost - low)) / (high - low || 1)).toFixed(1)}`]));
  drawing.append(s("path", { d: `M${points.join("L")}` }));
  return drawing;
}
