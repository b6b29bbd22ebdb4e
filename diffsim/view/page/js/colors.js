// Colours of numbers, and colours that can be seen on the paper that the page has.

import { theme } from "./theme.js";

let tables = {};

/** Take the colour maps that the page brings: by name red, green, blue, red, ... */
export function useTables(given) {
  tables = given || {};
}

/** Return the colour of the n-th thing that has none of its own. */
export function usual(n) {
  return tables.parts[n % tables.parts.length];
}

/** Return how many shades a map has. */
export function shadeCount(map) {
  return tables[map].length / 3;
}

/** Return the shade of a number: a place in the map, or -1 where it is no number. */
export function shadeOf(value, low, high, count) {
  if (Number.isNaN(value)) return -1;
  const place = high > low ? ((value - low) / (high - low)) * count : count / 2;
  return Math.max(0, Math.min(count - 1, Math.floor(place)));
}

/** Return red, green and blue of a shade. */
export function shade(map, k) {
  const table = tables[map];
  return [table[3 * k], table[3 * k + 1], table[3 * k + 2]];
}

/** Write a colour for the canvas, lighter or darker by a factor. */
export function css([red, green, blue], factor = 1) {
  return `rgb(${Math.round(red * factor)},${Math.round(green * factor)},${Math.round(blue * factor)})`;
}

/** Read a colour "#rrggbb" or "rgb(r, g, b)". */
export function rgb(color) {
  if (color.startsWith("#") && color.length === 4) color = `#${[...color.slice(1)].map((c) => c + c).join("")}`;
  if (color.startsWith("#")) return [1, 3, 5].map((k) => parseInt(color.slice(k, k + 2), 16));
  const found = color.match(/[\d.]+/g);
  return found ? found.slice(0, 3).map(Number) : named(color);
}

function named(color) {
  const pen = document.createElement("canvas").getContext("2d");
  pen.fillStyle = color; // what the browser does not know leaves it black
  return pen.fillStyle.startsWith("#") ? rgb(pen.fillStyle) : [0, 0, 0];
}

/** Return the colour, mixed with the ink where it could hardly be told from the paper. */
export function legible(color) {
  const ink = rgb(theme("ink"));
  const paper = brightness(rgb(theme("canvas")));
  let found = rgb(color);
  for (let k = 0; k < 4 && contrast(brightness(found), paper) < 1.9; k += 1) {
    found = found.map((value, axis) => 0.6 * value + 0.4 * ink[axis]);
  }
  return css(found);
}

function brightness(color) {
  const [red, green, blue] = color.map((value) => {
    const part = value / 255;
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
}
