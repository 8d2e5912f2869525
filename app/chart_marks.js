// Marks of a channel that was just chosen, drawn before the server has answered: for chart.js.
//
// The server's own marks (figures/plan.py, figures/scatter.py) come a moment later and replace these;
// ribbons wait for them. Only charts of the same network and group answer each other.

const CHOSEN = "channel-chosen";
const PATIENCE = 5000; // milliseconds until the server's marks are taken to be the right ones

// Frames around a row of a heatmap and, if the channel stays, its column; or a ring around a point
// with the lines that begin or end at its places. Nothing for charts that show no channels.
function provisional({ data }, channel, colour) {
  const [across, up, line] = [[], [], { color: colour, width: 2 }];
  const plan = data.find((trace) => trace.meta?.rows);
  if (plan) {
    const [rows, columns] = [numbers(plan.meta.rows), numbers(plan.meta.columns)];
    const [y, x, right, down] = [rows.indexOf(channel), columns.indexOf(channel), columns.length - 0.5, rows.length - 0.5];
    const frames = y < 0 ? [] : [[-0.5, right, y - 0.5, y + 0.5]];
    if (x >= 0) frames.push([x - 0.5, x + 0.5, -0.5, down]);
    for (const [a, b, top, bottom] of frames) {
      across.push(a, b, b, a, a, null);
      up.push(top, top, bottom, bottom, top, null);
    }
    return shapes([{ name: "chosen", mode: "lines", line, x: across, y: up }]);
  }
  const places = data.flatMap(({ meta, customdata, x, y }) => {
    if (!["discarded", "kept", "fused"].includes(meta)) return [];
    const [xs, ys] = [numbers(x), numbers(y)];
    return customdata.flatMap(([, one], i) => (one === channel ? [{ meta, x: xs[i], y: ys[i] }] : []));
  });
  const ring = places.find(({ meta }) => meta !== "fused");
  if (!ring) return [];
  for (const lines of data.filter(({ meta }) => meta === "lines")) {
    const [xs, ys] = [numbers(lines.x), numbers(lines.y)];
    for (let i = 0; i + 1 < xs.length; i += 3)
      if (places.some(({ meta, x, y }) => {
        const end = meta === "fused" ? i + 1 : i;
        return xs[end] === x && ys[end] === y;
      })) {
        across.push(xs[i], xs[i + 1], null);
        up.push(ys[i], ys[i + 1], null);
      }
  }
  return shapes([
    { name: "chosen", mode: "markers", x: [ring.x], y: [ring.y], marker: { size: 20, line: { width: 3 }, color: colour } },
    { name: "chosen", mode: "lines", line: { color: colour, width: 2.2 }, opacity: 0.9, x: across, y: up },
  ]);
}

// Tells all charts of the page which channel a click in this one has chosen.
function announce(box, customdata) {
  const { mark } = box.wanted;
  const channel = mark && Array.isArray(customdata) ? customdata[mark.place] : undefined;
  if (Number.isInteger(channel))
    document.dispatchEvent(new CustomEvent(CHOSEN, { detail: { of: mark.of, channel } }));
}

// What stays marked until the server has marked something: a page that is drawn again for another
// reason meanwhile, such as a step of the counting, does not take it away.
function guessed(box, { figure, over }) {
  if (box.guess?.figure !== figure || box.guess.over !== JSON.stringify(over)) box.guess = null;
  return box.guess?.shapes;
}

// Lets a chart mark what was chosen in any; returns how to stop it.
function answering(box) {
  const heard = ({ detail }) => {
    const { mark, figure } = box.wanted;
    if (!mark || mark.of !== detail.of || !box.listens || box.drawing) return;
    const found = provisional(figure, detail.channel, mark.color);
    if (!found.length) return;
    const guess = (box.guess = { figure, over: JSON.stringify(box.wanted.over), shapes: found });
    window.Plotly.relayout(box, { shapes: [...(figure.layout.shapes ?? []), ...found] });
    // The server may not follow: somebody else's click came first, or the channel was let go again.
    setTimeout(() => guess === box.guess && ((box.guess = null), box.draw()), PATIENCE);
  };
  document.addEventListener(CHOSEN, heard);
  return () => document.removeEventListener(CHOSEN, heard);
}
