// Points that can be dragged, or moved with the arrow keys: see board.py.
//
// Where a point is dragged to is sent on, and the next place only once the answer to it is here:
// however slow the answers, there is never more than one move on the way.

const SVG = "http://www.w3.org/2000/svg";
const PATIENCE = 1500; // milliseconds after which an answer is no longer waited for

function element(parent, kind, name) {
  const made = document.createElementNS(SVG, kind);
  if (name) made.setAttribute("class", name);
  parent.append(made);
  return made;
}

function set(target, values) {
  for (const [key, value] of Object.entries(values)) target.setAttribute(key, value);
}

function children(parent, kind, count) {
  while (parent.children.length > count) parent.lastChild.remove();
  while (parent.children.length < count) element(parent, kind);
  return [...parent.children];
}

function open(parent) {
  const box = document.createElement("div");
  box.className = "board";
  parent.append(box);
  const svg = element(box, "svg");
  set(svg, { role: "group" });
  svg.style.cssText = "display: block; width: 100%; user-select: none";
  const back = element(svg, "g"), rays = element(svg, "g"), ways = element(svg, "g");
  const texts = element(svg, "g"), points = element(svg, "g");
  const place = {}; // of the point that is dragged, ahead of the answers
  let sent = 0, waiting = null;

  const send = (index, x, y) => {
    place.index = index;
    place.x = x;
    place.y = y;
    place.fresh = true;
    flush();
  };
  const flush = () => {
    if (!place.fresh || (waiting && performance.now() - waiting.since < PATIENCE)) return;
    place.fresh = false;
    sent += 1;
    waiting = { number: sent, since: performance.now() };
    setTimeout(flush, PATIENCE + 20);
    box.tell("moved", [place.index, place.x, place.y, sent]);
  };
  const snap = (value, edge) => {
    const grid = box.wanted.grid;
    return Math.round(Math.round(Math.min(Math.max(value, -edge), edge) / grid) * grid * 100) / 100;
  };
  const where = (event) => {
    const { left, top } = svg.getBoundingClientRect();
    const { unit, width, height } = box.size;
    return [(event.clientX - left - width / 2) / unit, (height / 2 - (event.clientY - top)) / unit];
  };

  box.answered = (number) => {
    if (waiting && number >= waiting.number) waiting = null;
    if (!waiting && !place.fresh && box.dragged === undefined) place.index = undefined;
    flush();
  };

  box.draw = () => {
    const { points: all, lines, colours, across, up, circle, chosen, alt } = box.wanted;
    const width = box.clientWidth;
    if (!width) return;
    const height = Math.max(250, Math.min(440, 0.64 * width));
    const margin = 30;
    const unit = Math.min((width / 2 - margin) / across, (height / 2 - margin) / up);
    const small = Math.max(0.72, Math.min(1, width / 700));
    box.size = { unit, width, height };
    set(svg, { height, viewBox: `0 0 ${width} ${height}`, "aria-label": alt });
    const to = ([x, y]) => [width / 2 + x * unit, height / 2 - y * unit];
    const spot = (i) => to(place.index === i ? [place.x, place.y] : [all[i].x, all[i].y]);

    const [frame, ring, down, right] = ["rect", "circle", "line", "line"].map(
      (kind, at) => back.children[at] ?? element(back, kind),
    );
    const [x0, y0] = to([-across, up]), [x1, y1] = to([across, -up]), [cx, cy] = to([0, 0]);
    set(frame, { x: x0 - 26, y: y0 - 26, width: x1 - x0 + 52, height: y1 - y0 + 52, rx: 8, fill: "none", stroke: colours.faint });
    set(ring, { cx, cy, r: circle ? unit : 0, fill: "none", stroke: colours.ink, "stroke-dasharray": "2 4" });
    set(down, { x1: cx, x2: cx, y1: y0 - 26, y2: y1 + 26, stroke: colours.faint });
    set(right, { x1: x0 - 26, x2: x1 + 26, y1: cy, y2: cy, stroke: colours.faint });

    const drawn = circle ? all : [];
    const spokes = children(rays, "g", drawn.length);
    drawn.forEach((point, i) => {
      const line = spokes[i].children[0] ?? element(spokes[i], "line");
      const dot = spokes[i].children[1] ?? element(spokes[i], "circle");
      const [x, y] = spot(i), [ox, oy] = to(point.on);
      set(line, { x1: ox, y1: oy, x2: x, y2: y, stroke: colours.ink, "stroke-dasharray": "1 4" });
      set(dot, { cx: ox, cy: oy, r: 5, fill: point.stays ? colours.stays : colours.paper, stroke: point.stays ? colours.stays : colours.goes, "stroke-width": 2 });
    });

    const strokes = children(ways, "line", lines.length), words = children(texts, "text", lines.length);
    lines.forEach((line, i) => {
      const [ax, ay] = spot(line.source), [bx, by] = spot(line.target);
      set(strokes[i], { x1: ax, y1: ay, x2: bx, y2: by, stroke: colours.line, "stroke-width": line.width * small, "stroke-linecap": "round", opacity: 0.55 });
      // Nearer to where it comes from, so that numbers don't meet where many lines end.
      set(words[i], { x: ax + 0.42 * (bx - ax), y: ay + 0.42 * (by - ay), "text-anchor": "middle", dy: "0.35em", "font-size": 14 * Math.max(0.85, small), fill: colours.ink, stroke: colours.paper, "stroke-width": 4, "paint-order": "stroke" });
      words[i].textContent = line.width < 2 ? "" : line.text;
    });

    const groups = children(points, "g", all.length);
    all.forEach((point, i) => {
      const group = groups[i];
      if (!group.children.length) make(group, i);
      const [halo, hold, disc, label] = group.children;
      const [x, y] = spot(i), r = Math.max(11, point.radius * small);
      set(group, { transform: `translate(${x} ${y})`, "aria-label": point.name, "aria-pressed": i === chosen });
      set(halo, { r: Math.max(r, point.ring * small) + 6, stroke: i === chosen ? colours.chosen : "none" });
      set(hold, { r: point.ring * small, stroke: point.stays ? colours.stays : "none" });
      set(disc, { r, fill: point.stays ? colours.stays : colours.paper, stroke: point.stays ? colours.stays : colours.goes });
      set(label, { fill: point.stays ? colours.paper : colours.ink });
      label.textContent = point.label;
    });
  };

  const make = (group, i) => {
    set(group, { tabindex: 0, role: "button" });
    group.style.cssText = "cursor: grab; outline-offset: 4px; touch-action: none";
    set(element(group, "circle"), { fill: "transparent", "stroke-width": 3 });
    set(element(group, "circle"), { fill: "none", "stroke-width": 2, "stroke-dasharray": "5 4" });
    set(element(group, "circle"), { "stroke-width": 3 });
    set(element(group, "text"), { "text-anchor": "middle", dy: "0.35em", "font-size": 15, "font-weight": 600 });
    group.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      group.focus({ preventScroll: true });
      group.setPointerCapture(event.pointerId);
      box.dragged = i;
      box.from = where(event);
      if (box.wanted.chosen !== i) box.tell("chosen", i);
    });
    group.addEventListener("pointermove", (event) => {
      if (box.dragged !== i) return;
      const [x, y] = where(event);
      if (box.from && Math.hypot(x - box.from[0], y - box.from[1]) * box.size.unit < 4) return;
      box.from = null;
      send(i, snap(x, box.wanted.across), snap(y, box.wanted.up));
      box.draw();
    });
    const drop = () => {
      box.dragged = undefined;
      flush();
    };
    group.addEventListener("pointerup", drop);
    group.addEventListener("pointercancel", drop);
    group.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      const far = box.wanted.grid * (event.shiftKey ? 5 : 1);
      if (step) {
        event.preventDefault();
        const own = place.index === i ? place : box.wanted.points[i];
        send(i, snap(own.x + far * step[0], box.wanted.across), snap(own.y + far * step[1], box.wanted.up));
        box.draw();
      } else if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        box.tell("chosen", i);
      }
    });
  };
  box.watch = new ResizeObserver(box.draw);
  box.watch.observe(box);
  return box;
}

export default function ({ parentElement, data, setTriggerValue }) {
  const box = parentElement.querySelector(":scope > .board") ?? open(parentElement);
  box.wanted = JSON.parse(new TextDecoder().decode(data));
  box.tell = setTriggerValue;
  box.answered(box.wanted.answer);
  box.draw();
  return () => setTimeout(() => box.isConnected || box.watch.disconnect());
}
