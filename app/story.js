// The first ten seconds: the mass of the discarded channels travels to where it goes, once in a
// browser's session.

const TOLD = "intra-fusion: story told";
const STORY = 5; // seconds

// All stretches that mass travels, with the width of their lines: as many as the figure draws.
function journeys(box) {
  const found = [];
  for (const { x, y, line } of traces(box, "lines"))
    for (let i = 0; i + 1 < x.length; i += 3)
      found.push({ from: [x[i], y[i]], to: [x[i + 1], y[i + 1]], width: line.width });
  return found;
}

// Wait until half of the chart is in the window.
function seen(box) {
  return new Promise((resolve) => {
    const look = new IntersectionObserver(
      ([entry]) => entry.intersectionRatio >= 0.5 && (look.disconnect(), resolve()),
      { threshold: 0.5 },
    );
    look.observe(box);
  });
}

const later = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function tell(box, told) {
  box.told = told; // the latest: the person may choose something else meanwhile
  if (box.waits || calm() || sessionStorage.getItem(TOLD)) return;
  box.waits = true;
  let wanted;
  do {
    await later(800); // the page is drawn first, and then moves nothing any more
    if (!box.isConnected || sessionStorage.getItem(TOLD)) return;
    wanted = box.wanted;
    await seen(box);
  } while (!box.told.story || box.wanted !== wanted || !box.listens || !traces(box, "lines").length);
  sessionStorage.setItem(TOLD, "yes");

  const { story, words } = box.told;
  const alt = box.wanted.alt;
  let stopped = false;
  const stop = () => (stopped = true);
  const escape = (event) => event.key === "Escape" && stop();
  document.addEventListener("keydown", escape);
  const caption = document.createElement("div");
  caption.className = "story";
  caption.style.cssText =
    "position:absolute;left:50%;bottom:0.5rem;transform:translateX(-50%);width:max-content;" +
    "max-width:94%;display:flex;gap:0.75rem;align-items:center;pointer-events:none;padding:0.4rem 0.6rem;" +
    "border-radius:0.5rem;color:var(--st-text-color);background:var(--st-secondary-background-color)";
  const line = document.createElement("span");
  line.setAttribute("role", "status");
  const end = button(words.stop, stop);
  end.style.pointerEvents = "auto";
  caption.append(line, end);
  box.append(caption);
  line.textContent = story;
  try {
    let drawn, ways, gone, fused;
    await animate(
      box,
      STORY,
      () => box.isConnected && !stopped && box.wanted.alt === alt && !document.fullscreenElement,
      (context, share) => {
        if (drawn !== box._fullData) {
          drawn = box._fullData; // drawn anew meanwhile, such as in another theme
          ways = journeys(box);
          gone = traces(box, "discarded")[0].marker.color;
          fused = traces(box, "fused")[0].marker.color;
        }
        const arrived = within((share - 0.82) / 0.18);
        veil(box, arrived, "lines", "places");
        veil(box, 0.15 + 0.85 * within((share - 0.6) / 0.3), "fused");
        ways.forEach(({ from, to, width }, i) => {
          // One after the other, so that the eye can follow some of them.
          const t = ease(within((share - 0.14 - 0.22 * (i / ways.length)) / 0.44));
          const [a, b] = [pixels(box, ...from), pixels(box, ...to)];
          const at = [a[0] + t * (b[0] - a[0]), a[1] + t * (b[1] - a[1])];
          context.globalAlpha = 0.6 * (1 - arrived);
          context.strokeStyle = gone;
          context.lineWidth = width;
          context.beginPath();
          context.moveTo(...a);
          context.lineTo(...at);
          context.stroke();
          context.globalAlpha = 1 - arrived;
          context.fillStyle = t < 1 ? gone : fused;
          context.beginPath();
          context.arc(...at, 2 + 1.6 * width, 0, 2 * Math.PI);
          context.fill();
        });
      },
    );
  } finally {
    veil(box, null, "lines", "places", "fused");
    document.removeEventListener("keydown", escape);
    caption.remove();
  }
}

