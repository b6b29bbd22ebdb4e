// Round numbers along an axis.

/** Return round numbers between two, about as many as there is room for. */
export function ticks(low, high, room) {
  if (!(high > low) || !Number.isFinite(high - low)) return [];
  const rough = (high - low) / Math.max(2, Math.min(8, room));
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((width) => width >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    found.push(Number((k * step).toPrecision(12)));
  }
  return found;
}

/** Return the powers of ten between two positive numbers, about as many as there is room for. */
export function decades(low, high, room) {
  const [first, last] = [Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9)];
  const every = Math.max(1, Math.ceil((last - first + 1) / Math.max(2, room)));
  const found = [];
  for (let k = first; k <= last; k += every) found.push(10 ** k);
  return found.length > 1 ? found : [low, high];
}
