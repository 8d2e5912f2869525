// A Plotly figure that is drawn over the one before: see charts.py. `script` is plotly.js's.
//
// Streamlit calls the function at the end whenever there is a new figure; the box it draws into
// stays the same as long as the chart is on the page. Each chart can be walked through with the arrow
// keys; what a point says is then also said to those who hear the page.

const icon = {
  width: 512,
  height: 512,
  path: "M32 32h160v64H96v96H32zM320 32h160v160h-64V96h-96zM32 320h64v96h96v64H32zM416 320h64v160H320v-64h96z",
};

// The same with larger letters, and the margins they stand in: looks.py sets --letters.
function lettered(part, by) {
  if (by === 1 || part === null || typeof part !== "object" || ArrayBuffer.isView(part)) return part;
  if (Array.isArray(part)) {
    const told = part.every((item) => item !== null && typeof item === "object" && !Array.isArray(item));
    return told ? part.map((item) => lettered(item, by)) : part;
  }
  const larger = ([key, value]) => {
    if (/font$/i.test(key) && typeof value?.size === "number") return [key, { ...value, size: by * value.size }];
    if (key !== "margin") return [key, lettered(value, by)];
    const sides = Object.entries(value).map(([side, room]) => [side, typeof room === "number" ? by * room : room]);
    return [key, Object.fromEntries(sides)];
  };
  return Object.fromEntries(Object.entries(part).map(larger));
}

const magnifier = {
  width: 512,
  height: 512,
  path: "M208 32a176 176 0 1 0 102 320l118 118 42-42-118-118A176 176 0 0 0 208 32zm0 60a116 116 0 1 1 0 232 116 116 0 0 1 0-232zM178 136h60v42h42v60h-42v42h-60v-42h-42v-60h42z",
};

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

// The points that answer, in reading order: [x, y, what a click on them says, their axes].
function points(box) {
  const found = [];
  for (const trace of box._fullData) {
    if (trace.hoverinfo === "skip" || trace.visible !== true || !trace.xaxis) continue;
    const axes = trace.xaxis + trace.yaxis;
    if (trace.type === "heatmap")
      trace.z.forEach((row, y) => {
        const cells = [...row.keys()].filter((x) => Math.abs(row[x]) >= 0.001);
        const best = cells.sort((a, b) => Math.abs(row[b]) - Math.abs(row[a])).slice(0, 20);
        for (const x of best) found.push([x, y, trace.customdata?.[y]?.[x], axes]);
      });
    else if (trace.customdata && trace.x)
      Array.from(trace.x, (x, i) => found.push([x, trace.y[i], trace.customdata[i], axes]));
  }
  const down = box._fullLayout.yaxis?.range[0] < box._fullLayout.yaxis?.range[1] ? -1 : 1;
  const rows = box._fullData.some((trace) => trace.name === "plan");
  return found.sort((a, b) => (rows ? down * (a[1] - b[1]) || a[0] - b[0] : a[0] - b[0] || down * (a[1] - b[1])));
}

// Lets the arrow keys walk over the points of a chart, and Enter choose one.
function walk(box) {
  let at = -1, drawn, all;
  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, PageDown: 20, PageUp: -20 };
  box.addEventListener("keydown", (event) => {
    if (event.target !== box || !box.listens || event.ctrlKey || event.altKey || event.metaKey) return;
    if (drawn !== box._fullData) [drawn, all] = [box._fullData, points(box)];
    const last = all.length - 1;
    if (event.key in steps) at = Math.min(last, Math.max(0, at < 0 ? 0 : at + steps[event.key]));
    else if (event.key === "Home") at = 0;
    else if (event.key === "End") at = last;
    else if (event.key === "Escape") at = -1;
    else if ((event.key === "Enter" || event.key === " ") && all[at]?.[2]) box.clicked(all[at][2]);
    else return;
    event.preventDefault();
    if (!all[at]) return window.Plotly.Fx.unhover(box);
    const [xval, yval, , axes] = all[at];
    window.Plotly.Fx.hover(box, { xval, yval }, axes);
    setTimeout(() => {
      const label = box.querySelector(".hoverlayer .hovertext");
      const lines = [...(label?.querySelectorAll("tspan.line") ?? [])].map((line) => line.textContent);
      box.said.textContent = lines.length ? lines.join(", ") : (label?.textContent ?? "");
    }, 100);
  });
  box.addEventListener("blur", () => box.listens && window.Plotly.Fx.unhover(box));
}

// A button of the bar that saves the figure, with the format's name for an icon.
const saving = (box, [format, title], colour) => ({
  name: format,
  title,
  icon: {
    svg: `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 30 20"><text x="15" y="15"
      text-anchor="middle" font-size="13" font-weight="700" fill="${colour}">${format.toUpperCase()}</text></svg>`,
  },
  click: () => {
    const { width, height } = box._fullLayout;
    const [filename, scale] = [box.wanted.save.name, format === "png" ? 2 : 1];
    return window.Plotly.downloadImage(box, { format, filename, width, height, scale });
  },
});

// For those who hear the page: never seen, always there.
function aside(parent, live) {
  const words = document.createElement("span");
  words.style.cssText = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap";
  if (live) words.setAttribute("aria-live", "polite");
  words.id = `chart-${Math.random().toString(36).slice(2)}`;
  parent.append(words);
  return words;
}

function open(parent) {
  const box = document.createElement("div");
  box.className = "chart";
  box.setAttribute("role", "figure");
  box.tabIndex = 0;
  box.style.contain = "strict"; // what happens inside never has the rest of the page laid out again
  parent.append(box);
  // Plotly takes the wheel even from fixed axes: until somebody asks to zoom it never hears of it.
  box.addEventListener("wheel", (event) => box.zooming || event.stopPropagation(), { capture: true });
  box.said = aside(parent, true);
  box.keys = aside(parent, false);
  box.setAttribute("aria-describedby", box.keys.id);
  walk(box);
  const fill = () => {
    const full = document.fullscreenElement === box;
    return { width: box.clientWidth, height: full ? window.innerHeight : box.wanted.figure.layout.height };
  };
  // Axes are fixed until somebody asks to zoom: before that the wheel and a finger move the page.
  // Another `uirevision`, so that everything is seen again afterwards.
  const zoomed = ({ xaxis, yaxis, uirevision }) =>
    box.zooming && {
      dragmode: "pan",
      xaxis: { ...xaxis, fixedrange: false },
      yaxis: { ...yaxis, fixedrange: false },
      uirevision: `${uirevision} zoomed`,
    };
  const zoom = () => {
    box.zooming = !box.zooming;
    box.drawn = null; // again, though the figure is the same
    box.draw();
  };
  box.draw = async () => {
    if (box.drawing) return; // the last figure that was asked for is drawn at the end
    box.drawing = true;
    try {
      const Plotly = await script(box.wanted.plotly);
      for (box.drawn = null; box.drawn !== box.wanted && box.isConnected && box.clientWidth; ) {
        const done = (box.drawn = box.wanted);
        const { figure, config } = done;
        const style = getComputedStyle(box), family = style.fontFamily;
        const by = Number(style.getPropertyValue("--letters")) || 1;
        const ink = figure.layout.template?.layout?.modebar?.color ?? "currentColor";
        const buttons = Object.entries(done.save.as).map((one) => saving(box, one, ink));
        if (done.full)
          buttons.push({ name: "full", title: done.full, icon, click: () => box.requestFullscreen() });
        if (done.zoom) buttons.push({ name: "zoom", title: done.zoom, icon: magnifier, click: zoom });
        const font = { ...figure.layout.font, family };
        await Plotly.react(
          box,
          lettered([...figure.data, ...done.over], by),
          lettered({ ...figure.layout, ...zoomed(figure.layout), ...fill(), font }, by),
          { ...config, modeBarButtonsToAdd: buttons },
        );
        if (!box.listens) {
          box.listens = true;
          box.on("plotly_click", ({ points: [point] }) => box.clicked(point.customdata ?? null));
        }
      }
    } catch (error) {
      box.textContent = error.message;
    } finally {
      box.drawing = false;
    }
  };
  const resize = () => {
    const size = fill();
    if (!box.listens) return box.draw();
    if (size.width && (size.width !== box._fullLayout.width || size.height !== box._fullLayout.height))
      window.Plotly.relayout(box, size);
  };
  box.watch = new ResizeObserver(resize);
  box.watch.observe(box);
  document.addEventListener("fullscreenchange", resize);
  box.close = () => {
    box.watch.disconnect();
    document.removeEventListener("fullscreenchange", resize);
    if (box.listens) window.Plotly.purge(box);
  };
  return box;
}

export default function ({ parentElement, data, setTriggerValue }) {
  const box = parentElement.querySelector(":scope > .chart") ?? open(parentElement);
  const wanted = JSON.parse(new TextDecoder().decode(data));
  unfold(wanted.figure);
  box.wanted = wanted;
  box.keys.textContent = wanted.keys;
  box.clicked = (customdata) => setTriggerValue("clicked", customdata);
  box.setAttribute("aria-label", box.wanted.alt);
  box.style.height = `${box.wanted.figure.layout.height}px`;
  box.style.background = document.fullscreenElement === box ? "var(--st-background-color)" : "";
  box.draw();
  return () => setTimeout(() => box.isConnected || box.close());
}
