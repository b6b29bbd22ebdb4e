// Elements, and numbers as people write them.

const SVG = "http://www.w3.org/2000/svg";

/** Make an element; attributes that begin with "on" are listeners, false and null ones are left out. */
export function h(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Make an element of a drawing. */
export function s(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === false || value === null || value === undefined) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Write a number with about four digits, and a true minus. */
export function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "no number";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  let text;
  if (size === 0) text = "0";
  else if (size >= 1e6 || size < 1e-4) text = power(value, digits);
  else text = String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}

function power(value, digits) {
  const [front, back] = value.toExponential(digits - 1).split("e");
  return `${Number(front)}e${Number(back)}`;
}

/** Write a number with its unit. */
export function measured(value, unit) {
  return unit ? `${number(value)} ${written(unit)}` : number(value);
}

/** Write a unit as people do: m/s² for m/s^2, μC for uC. */
export function written(unit) {
  const raised = (text) => [...text].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("");
  return unit.replace(/\^(-?\d+)/g, (all, power) => raised(power)).replace(/\bu(?=[A-Zmsg]\b)/g, "μ");
}

/** Write a number of bytes. */
export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let k = 0;
  while (count >= 1024 && k < units.length - 1) {
    count /= 1024;
    k += 1;
  }
  return `${k ? count.toFixed(1) : count} ${units[k]}`;
}

/** Put a heading above a part of the page; returns null where it is empty. */
export function section(title, ...children) {
  const inside = children.flat().filter(Boolean);
  if (!inside.length) return null;
  const id = title.toLowerCase().replace(/[^a-z]+/g, "-");
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, title), inside);
}
