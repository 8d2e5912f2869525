// Plans are sent as their cells; here they become a heatmap or ribbons with words: for chart.js.

// Numbers as Plotly's Python side sends them, a list or the bytes of an array.
const kinds = {
  i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array,
  f4: Float32Array, f8: Float64Array,
};
const numbers = (sent) =>
  sent.bdata === undefined
    ? sent
    : new kinds[sent.dtype](Uint8Array.from(atob(sent.bdata), (c) => c.charCodeAt(0)).buffer);

// A row that is made when it is asked for: a plan may have 100,000 cells, and few are pointed at.
const lazy = (make) =>
  new Proxy([], { get: (own, at) => (typeof at === "string" && /^\d+$/.test(at) ? make(+at) : own[at]) });

// What is said of one tie between two channels; see `words` in figures/plan.py.
function teller(words) {
  const three = new Intl.NumberFormat(words.language, { maximumSignificantDigits: 3 });
  const signed = new Intl.NumberFormat(words.language, {
    maximumSignificantDigits: 3, signDisplay: "exceptZero",
  });
  const written = (value) =>
    words.kind === "coefficient"
      ? signed.format(value).replace("-", "−")
      : value < 0.001 ? `< ${three.format(0.1)}` : three.format(100 * value);
  return (source, target, value, cost) => {
    const holes = { source, target, value: written(value), cost: three.format(cost ?? 0) };
    return words[source === target ? "own" : "moved"].replace(/{(\w+)}/g, (_, name) => holes[name]);
  };
}

// Makes what was sent of a plan into a heatmap and its dots (figures/plan.py), and gives the ties of
// ribbons (figures/ribbons.py) their words.
function unfold({ data }) {
  for (const trace of data.filter((trace) => trace.meta?.ties)) {
    const [source, target, value, cost] = trace.meta.ties.map(numbers);
    const tell = teller(trace.meta.words);
    const all = Array.from({ length: numbers(trace.x).length }, (_, i) => i % source.length);
    trace.hovertext = all.map((i) => tell(source[i], target[i], value[i], cost[i]));
    trace.customdata = all.map((i) => [source[i], target[i]]);
  }
  const plan = data.find((trace) => trace.meta?.cells);
  if (!plan) return;
  const { cells, words } = plan.meta;
  const [source, target] = [numbers(plan.meta.rows), numbers(plan.meta.columns)];
  const [n, m, sent] = [source.length, target.length, numbers(cells.value)];
  let value = sent, cost = cells.cost && numbers(cells.cost);
  if (cells.row) {
    const [row, column, costs] = [numbers(cells.row), numbers(cells.column), cost];
    value = new Float32Array(n * m).fill(NaN);
    cost = costs && new Float32Array(n * m);
    row.forEach((y, i) => {
      value[y * m + column[i]] = sent[i];
      if (costs) cost[y * m + column[i]] = costs[i];
    });
  }
  const tell = teller(words);
  const says = (y, x) => tell(source[y], target[x], value[y * m + x], cost && cost[y * m + x] * cells.unit);
  const rows = Array.from({ length: n }, (_, y) => y);
  plan.z = rows.map((y) => value.subarray(y * m, (y + 1) * m));
  plan.hovertext = rows.map((y) => lazy((x) => says(y, x)));
  plan.customdata = rows.map((y) => lazy((x) => [source[y], target[x]]));
  const dots = data.find((trace) => trace.name === "cells");
  if (!dots) return;
  const [xs, ys] = [numbers(dots.x), numbers(dots.y)];
  dots.marker.color = Array.from(xs, (x, i) => value[ys[i] * m + x]);
  dots.hovertext = Array.from(xs, (x, i) => says(ys[i], x));
  dots.customdata = Array.from(xs, (x, i) => [source[ys[i]], target[x]]);
}

