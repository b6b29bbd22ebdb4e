// Numbers on a grid as pictures, as lines of equal value, and as surfaces.

import { rgb, shade, shadeCount, shadeOf } from "./colors.js";

/** Paint samples, the first axis to the right and the second upward. */
export function pictured(values, [columns, rows], part) {
  const { picture, image } = blank(columns, rows);
  const count = part.rgb ? 0 : shadeCount(part.map);
  const table = Array.from({ length: count }, (_, k) => shade(part.map, k));
  for (let i = 0; i < columns; i += 1) {
    for (let j = 0; j < rows; j += 1) {
      const place = 4 * ((rows - 1 - j) * columns + i);
      const sample = i * rows + j;
      let color = null;
      if (part.rgb) color = [0, 1, 2].map((k) => 255 * values[3 * sample + k]);
      else {
        const k = shadeOf(values[sample], part.low, part.high, count);
        color = k < 0 ? null : table[k];
      }
      if (color) image.data.set([color[0], color[1], color[2], 255], place);
    }
  }
  picture.getContext("2d").putImageData(image, 0, 0);
  return picture;
}

/** Paint what is at a level or above, three times as fine as the samples. */
export function filled(values, [columns, rows], level, color) {
  const by = 3;
  const [width, height] = [(columns - 1) * by + 1, (rows - 1) * by + 1];
  const { picture, image } = blank(width, height);
  const paint = [...rgb(color), 255];
  for (let x = 0; x < width; x += 1) {
    for (let y = 0; y < height; y += 1) {
      const [i, j] = [Math.min(columns - 2, Math.floor(x / by)), Math.min(rows - 2, Math.floor(y / by))];
      const [u, v] = [x / by - i, y / by - j];
      const [a, b] = [Math.max(0, i) * rows + Math.max(0, j), Math.min(columns - 1, i + 1) * rows + Math.max(0, j)];
      const up = rows > 1 ? 1 : 0;
      const value = (1 - u) * ((1 - v) * values[a] + v * values[a + up]) + u * ((1 - v) * values[b] + v * values[b + up]);
      if (value >= level) image.data.set(paint, 4 * ((height - 1 - y) * width + x));
    }
  }
  picture.getContext("2d").putImageData(image, 0, 0);
  return { picture, by, shape: [width, height], origin: (origin) => origin };
}

function blank(columns, rows) {
  const picture = document.createElement("canvas");
  picture.width = columns;
  picture.height = rows;
  return { picture, image: new ImageData(columns, rows) };
}

/** Return lines of equal value: places, and which of them are joined. */
export function contours(values, [columns, rows], part, count) {
  const places = [];
  const pairs = [];
  for (let n = 1; n <= count; n += 1) {
    const level = part.low + ((part.high - part.low) * n) / (count + 1);
    for (let i = 0; i + 1 < columns; i += 1) {
      for (let j = 0; j + 1 < rows; j += 1) cell(values, rows, i, j, level, part, places, pairs);
    }
  }
  return { places, pairs };
}

/** Add the line through one cell: it joins the edges between whose ends the level lies. */
function cell(values, rows, i, j, level, part, places, pairs) {
  const corners = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]];
  const found = [];
  for (let k = 0; k < 4; k += 1) {
    const [[a, b], [c, d]] = [corners[k], corners[(k + 1) % 4]];
    const [from, to] = [values[a * rows + b], values[c * rows + d]];
    if (from < level === to < level || Number.isNaN(from + to)) continue;
    const share = (level - from) / (to - from);
    found.push([a + share * (c - a), b + share * (d - b)]);
  }
  for (let k = 0; k + 1 < found.length; k += 2) {
    for (const [u, v] of [found[k], found[k + 1]]) {
      pairs.push(places.length / 2);
      places.push(part.origin[0] + u * part.spacing[0], part.origin[1] + v * part.spacing[1]);
    }
  }
}

/** Return places where the numbers pass a level: one for each cell that the surface goes through. */
export function crossings(values, shape, origin, spacing, level) {
  const [nx, ny, nz] = shape;
  const at = (i, j, k) => values[(i * ny + j) * nz + k];
  const places = [];
  for (let i = 0; i < nx; i += 1) {
    for (let j = 0; j < ny; j += 1) {
      for (let k = 0; k < nz; k += 1) {
        const here = at(i, j, k);
        for (const [u, v, w] of [[1, 0, 0], [0, 1, 0], [0, 0, 1]]) {
          if (i + u >= nx || j + v >= ny || k + w >= nz) continue;
          const there = at(i + u, j + v, k + w);
          if (here < level === there < level || Number.isNaN(here + there)) continue;
          const share = (level - here) / (there - here);
          [i + share * u, j + share * v, k + share * w].forEach((value, axis) => {
            places.push(origin[axis] + value * spacing[axis]);
          });
        }
      }
    }
  }
  return places;
}
