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

// A button of the bar that saves the figure, with the format's name for an icon. What is saved has the
// page's background: on a slide of another colour its letters could not be read without.
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
    const paper_bgcolor = getComputedStyle(box).getPropertyValue("--st-background-color");
    const shown = { data: box.data, layout: { ...box.layout, paper_bgcolor }, config: box._context };
    return window.Plotly.downloadImage(shown, { format, filename, width, height, scale });
  },
});


// What is chosen is marked with shapes: changing those draws nothing else again. Lines may have gaps.
function shapes(marks) {
  return marks.flatMap(({ name, mode, line, marker, opacity, ...at }) => {
    const [x, y] = [numbers(at.x), numbers(at.y)];
    const common = { name, opacity: opacity ?? 1, layer: "above", xref: "x", yref: "y" };
    if (mode === "markers")
      return Array.from(x, (across, i) => ({
        ...common, type: "circle", xsizemode: "pixel", ysizemode: "pixel", xanchor: across, yanchor: y[i],
        x0: -marker.size / 2, x1: marker.size / 2, y0: -marker.size / 2, y1: marker.size / 2,
        line: { color: marker.color, width: marker.line.width },
      }));
    let path = "", pen = "M";
    const there = (value) => value !== null && Number.isFinite(value);
    Array.from(x, (across, i) => {
      if (!there(across) || !there(y[i])) return void (pen = "M");
      path += `${pen}${across},${y[i]} `;
      pen = "L";
    });
    return path ? [{ ...common, type: "path", path, line }] : [];
  });
}

// Whoever has zoomed in stays there as long as `uirevision` is the same. Plotly sees to that only
// where a new figure has the ranges that were there before the zoom, as it had changed them itself
// (to make distances alike in both directions, or with the wheel): so it is given those.
function keep({ _fullLayout: old }, layout) {
  for (const axis of ["xaxis", "yaxis"]) {
    const [low, high] = [0, 1].map((end) => old?._preGUI?.[`${axis}.range[${end}]`]);
    if (layout[axis]?.range && low != null && high != null) layout[axis].range = [low, high];
  }
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
  // The same object as long as it says the same: Plotly builds a chart anew where it finds another
  // function for a button.
  let told, known, before = [NaN]; // what was drawn last: nothing yet
  const settings = ({ config, figure, save, full, zoom: by }) => {
    const ink = figure.layout.template?.layout?.modebar?.color ?? "currentColor";
    const says = JSON.stringify([config, save, full, by, ink]);
    if (says === told) return known;
    const buttons = Object.entries(save.as).map((one) => saving(box, one, ink));
    if (full) buttons.push({ name: "full", title: full, icon, click: () => box.requestFullscreen() });
    if (by) buttons.push({ name: "zoom", title: by, icon: magnifier, click: zoom });
    [told, known] = [says, { ...config, modeBarButtonsToAdd: buttons }];
    return known;
  };
  // Nothing of what was drawn is built upon.
  const anew = () => {
    if (box.listens) window.Plotly.purge(box);
    [box.listens, before] = [false, [NaN]];
  };
  box.draw = async () => {
    if (box.drawing) return; // the last figure that was asked for is drawn at the end
    box.drawing = true;
    try {
      const Plotly = await script(box.wanted.plotly);
      for (box.drawn = null; box.drawn !== box.wanted && box.isConnected && box.clientWidth; ) {
        const done = (box.drawn = box.wanted);
        const { figure } = done;
        const style = getComputedStyle(box), family = style.fontFamily;
        const by = Number(style.getPropertyValue("--letters")) || 1;
        const font = { ...figure.layout.font, family };
        const [marks, over] = [true, false].map((chosen) => done.over.filter((t) => (t.name === "chosen") === chosen));
        const marked = [...(figure.layout.shapes ?? []), ...(guessed(box, done) ?? shapes(marks))];
        const set = settings(done);
        const now = [figure, set, by, box.zooming, JSON.stringify(over)];
        if (box.listens && before.every((one, i) => one === now[i])) {
          await Plotly.relayout(box, { shapes: marked });
          continue;
        }
        before = now;
        keep(box, figure.layout);
        if (!box.listens) box.textContent = ""; // what went wrong before
        await Plotly.react(
          box,
          lettered([...figure.data, ...over], by),
          lettered({ ...figure.layout, ...zoomed(figure.layout), ...fill(), font, shapes: marked }, by),
          set,
        );
        if (!box.listens) {
          box.listens = true;
          box.on("plotly_click", ({ points: [point] }) => box.clicked(point.customdata ?? null));
        }
      }
    } catch (error) {
      console.error(error);
      anew();
      box.textContent = error.message;
    } finally {
      box.drawing = false;
    }
  };
  const resize = () => {
    const size = fill();
    // A figure that came while the chart had no room, such as in a closed box, is still to be drawn.
    if (!box.listens || (box.drawn !== box.wanted && size.width)) return box.draw();
    if (size.width && (size.width !== box._fullLayout.width || size.height !== box._fullLayout.height))
      window.Plotly.relayout(box, size);
  };
  box.watch = new ResizeObserver(resize);
  box.watch.observe(box);
  document.addEventListener("fullscreenchange", resize);
  const silence = answering(box);
  box.close = () => {
    silence();
    box.watch.disconnect();
    document.removeEventListener("fullscreenchange", resize);
    anew();
    for (const part of [box, box.said, box.keys]) part.remove(); // who comes back finds no empty box
  };
  return box;
}

// Where the figure begins in what charts.py sends, behind all that is told of it.
const FIGURE = ', "figure": ';

export default function ({ parentElement, data, setTriggerValue }) {
  const box = parentElement.querySelector(":scope > .chart") ?? open(parentElement);
  const text = new TextDecoder().decode(data), at = text.indexOf(FIGURE), figure = text.slice(at + FIGURE.length, -1);
  if (figure !== box.sent) {
    [box.sent, box.figure] = [figure, JSON.parse(figure)];
    unfold(box.figure);
  }
  const wanted = (box.wanted = { ...JSON.parse(`${text.slice(0, at)}}`), figure: box.figure });
  box.keys.textContent = wanted.keys;
  box.clicked = (customdata) => {
    announce(box, customdata);
    setTriggerValue("clicked", customdata);
  };
  box.setAttribute("aria-label", box.wanted.alt);
  box.style.height = `${box.wanted.figure.layout.height}px`;
  box.style.background = document.fullscreenElement === box ? "var(--st-background-color)" : "";
  box.draw();
  return () => setTimeout(() => box.isConnected || box.close());
}
