// What moves above a chart: see motion.py. A canvas lies over the plot, in the chart's own axes, and
// lets every click through.

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const ease = (t) => (t < 0.5 ? 2 * t * t : 1 - 2 * (1 - t) * (1 - t));
const within = (t) => Math.min(1, Math.max(0, t));

// The traces of a role, by their meta: names are in the page's language.
const traces = (box, ...roles) => box._fullData.filter((trace) => roles.includes(trace.meta));

// Pixels of a place in the chart.
function pixels(box, x, y) {
  const { xaxis, yaxis } = box._fullLayout;
  return [xaxis._offset + xaxis.d2p(x), yaxis._offset + yaxis.d2p(y)];
}

// How much is seen of the traces of some roles; null: as Plotly draws them.
function veil(box, opacity, ...roles) {
  for (const node of box.querySelectorAll(".scatterlayer .trace")) {
    const trace = node.__data__?.[0]?.trace; // whose own opacity Plotly has put on the node
    if (roles.includes(trace?.meta)) node.style.opacity = trace.opacity * (opacity ?? 1);
  }
}

// Calls `draw(context, share)` with every frame for some seconds, on a canvas above the chart. Ends
// true; or false, as soon as `goes` says no.
async function animate(box, seconds, goes, draw) {
  const canvas = document.createElement("canvas");
  canvas.setAttribute("aria-hidden", "true");
  canvas.style.cssText = "position:absolute;inset:0;width:100%;height:100%;pointer-events:none";
  box.append(canvas);
  try {
    const begun = performance.now();
    for (let share = 0; share < 1; ) {
      const now = await new Promise(requestAnimationFrame);
      if (!goes()) return false;
      share = within((now - begun) / 1000 / seconds);
      const scale = devicePixelRatio;
      const [width, height] = [box.clientWidth * scale, box.clientHeight * scale];
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
      const context = canvas.getContext("2d");
      context.setTransform(scale, 0, 0, scale, 0, 0);
      context.clearRect(0, 0, box.clientWidth, box.clientHeight);
      draw(context, share);
    }
    return true;
  } finally {
    canvas.remove();
  }
}

function diamond(context, [x, y], size, colour) {
  const r = size * 0.65; // as Plotly's, from corner to centre
  context.beginPath();
  context.moveTo(x, y - r);
  context.lineTo(x + r, y);
  context.lineTo(x, y + r);
  context.lineTo(x - r, y);
  context.fillStyle = colour;
  context.fill();
}

function button(label, act) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = label;
  made.style.cssText =
    "font:inherit;font-size:0.9rem;padding:0.25rem 0.75rem;cursor:pointer;color:var(--st-text-color);" +
    "background:var(--st-background-color);border:1px solid color-mix(in srgb, currentColor 45%, transparent);" +
    "border-radius:0.5rem";
  made.onclick = act;
  return made;
}

