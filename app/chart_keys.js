// Charts that are reached and read with the keyboard: for chart.js.

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

// For those who hear the page: never seen, always there.
function aside(parent, live) {
  const words = document.createElement("span");
  words.style.cssText = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap";
  if (live) words.setAttribute("aria-live", "polite");
  words.id = `chart-${Math.random().toString(36).slice(2)}`;
  parent.append(words);
  return words;
}

