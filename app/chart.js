// A Plotly figure that is drawn over the one before: see charts.py. `script` is plotly.js's.
//
// Streamlit calls the function at the end whenever there is a new figure; the box it draws into
// stays the same as long as the chart is on the page.

const icon = {
  width: 512,
  height: 512,
  path: "M32 32h160v64H96v96H32zM320 32h160v160h-64V96h-96zM32 320h64v96h96v64H32zM416 320h64v160H320v-64h96z",
};

const magnifier = {
  width: 512,
  height: 512,
  path: "M208 32a176 176 0 1 0 102 320l118 118 42-42-118-118A176 176 0 0 0 208 32zm0 60a116 116 0 1 1 0 232 116 116 0 0 1 0-232zM178 136h60v42h42v60h-42v42h-60v-42h-42v-60h42z",
};

function open(parent) {
  const box = document.createElement("div");
  box.className = "chart";
  box.setAttribute("role", "figure");
  box.style.contain = "strict"; // what happens inside never has the rest of the page laid out again
  parent.append(box);
  // Plotly takes the wheel even from fixed axes: until somebody asks to zoom it never hears of it.
  box.addEventListener("wheel", (event) => box.zooming || event.stopPropagation(), { capture: true });
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
        const family = getComputedStyle(box).fontFamily;
        const buttons = done.full
          ? [{ name: "full", title: "Fill the screen", icon, click: () => box.requestFullscreen() }]
          : [];
        if (done.zoom) buttons.push({ name: "zoom", title: done.zoom, icon: magnifier, click: zoom });
        await Plotly.react(
          box,
          [...figure.data, ...done.over],
          { ...figure.layout, ...zoomed(figure.layout), ...fill(), font: { ...figure.layout.font, family } },
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
  box.wanted = JSON.parse(new TextDecoder().decode(data));
  box.clicked = (customdata) => setTriggerValue("clicked", customdata);
  box.setAttribute("aria-label", box.wanted.alt);
  box.style.height = `${box.wanted.figure.layout.height}px`;
  box.style.background = document.fullscreenElement === box ? "var(--st-background-color)" : "";
  box.draw();
  return () => setTimeout(() => box.isConnected || box.close());
}
