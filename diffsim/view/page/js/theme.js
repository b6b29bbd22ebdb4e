// Light or dark: what the system says, until the reader switches.

import { h } from "./dom.js";

const listeners = new Set();
let colors = null;

/** Call a function whenever colours changed; returns what ends that. */
export function onTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Return the colour of a name in the style sheet: "ink", "quiet", "paper" ... */
export function theme(name) {
  colors = colors || getComputedStyle(document.documentElement);
  return colors.getPropertyValue(`--${name}`).trim();
}

function changed() {
  colors = null;
  for (const listener of listeners) listener();
}

/** Make the button that switches. */
export function themeSwitch() {
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const button = h("button", { class: "switch", type: "button" });
  const label = () => {
    button.textContent = dark() ? "☀ light" : "☾ dark";
    button.setAttribute("aria-label", `switch to the ${dark() ? "light" : "dark"} theme`);
  };
  button.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    label();
    changed();
  });
  system.addEventListener("change", () => {
    label();
    changed();
  });
  label();
  return button;
}
