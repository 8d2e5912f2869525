// A Plotly figure that is drawn over the one before: see charts.py. `script` is plotly.js's.
//
// Streamlit calls the function at the end whenever there is a new figure; the box it draws into
// stays the same as long as the chart is on the page.

const icon = {
  width: 512,
  height: 512,
  path: "M32 32h160v64H96v96H32zM320 32h160v160h-64V96h-96zM32 320h64v96h96v64H32zM416 320h64v160H320v-64h96z",
};

// The same with larger letters, and the margins they stand in: looks.py sets --letters.
function lettered(part, by) {
  if (by === 1 || part === null || typeof part !== "object") return part;
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

function open(parent) {
  const box = document.createElement("div");
  box.className = "chart";
  box.setAttribute("role", "figure");
  box.style.contain = "strict"; // what happens inside never has the rest of the page laid out again
  parent.append(box);
  const fill = () => {
    const full = document.fullscreenElement === box;
    return { width: box.clientWidth, height: full ? window.innerHeight : box.wanted.figure.layout.height };
  };
  box.draw = async () => {
    if (box.drawing) return; // the last figure that was asked for is drawn at the end
    box.drawing = true;
    try {
      const Plotly = await script(box.wanted.plotly);
      for (let done; done !== box.wanted && box.isConnected && box.clientWidth; ) {
        done = box.wanted;
        const { figure, config } = done;
        const style = getComputedStyle(box), family = style.fontFamily;
        const by = Number(style.getPropertyValue("--letters")) || 1;
        const buttons = done.full
          ? [{ name: "full", title: "Fill the screen", icon, click: () => box.requestFullscreen() }]
          : [];
        await Plotly.react(
          box,
          lettered([...figure.data, ...done.over], by),
          lettered({ ...figure.layout, ...fill(), font: { ...figure.layout.font, family } }, by),
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
