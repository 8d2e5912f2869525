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
  let told, known;
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
        keep(box, figure.layout);
        await Plotly.react(
          box,
          lettered([...figure.data, ...done.over], by),
          lettered({ ...figure.layout, ...zoomed(figure.layout), ...fill(), font }, by),
          settings(done),
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
