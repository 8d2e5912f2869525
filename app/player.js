// Plays what the slider would show, sparsity by sparsity, in the chart itself; nobody is asked.

const HOLD = 1100; // milliseconds a frame stands still
const TWEEN = 0.45; // seconds from one frame to the next

// Where each fused channel lies in the figure that is drawn, by the channel whose place it takes.
function fusedAt(data) {
  const found = new Map();
  for (const { meta, x, y, customdata, marker } of data)
    if (meta === "fused")
      customdata.forEach(([, channel], i) => {
        const size = Array.isArray(marker.size) || ArrayBuffer.isView(marker.size) ? marker.size[i] : marker.size;
        found.set(channel, { at: [x[i], y[i]], size, colour: marker.color });
      });
  return found;
}

function player(parent, setTriggerValue) {
  const row = document.createElement("div");
  row.className = "player";
  row.style.cssText = "display:flex;flex-wrap:wrap;gap:0.75rem;align-items:center;color:var(--st-text-color)";
  const label = document.createElement("output");
  label.style.cssText = "font-variant-numeric:tabular-nums";
  // `shown` is what the chart was given last, `server` what the page itself shows in it.
  const self = { frames: [], next: 0, playing: false, shown: null, server: null, told: null };
  const main = button("", () => press());
  const back = button("", () => home());
  row.append(main, back, label);
  parent.append(row);

  const put = (figure) => {
    const { box } = self;
    box.wanted = { ...box.wanted, ...figure };
    box.setAttribute("aria-label", box.wanted.alt);
    self.shown = box.wanted;
    return box.draw();
  };
  // Whether the chart still shows what was put there, or what the page itself shows beneath it.
  const ours = () => {
    const { box, shown, server } = self;
    if (!box?.isConnected) return false;
    if (box.wanted === shown) return true;
    if (server && box.wanted.alt !== server.alt) return false;
    self.server = box.wanted; // the same again
    return true;
  };
  const forget = () => {
    self.playing = false;
    self.turn = self.shown = self.server = null;
    self.next = 0;
    dress();
  };
  const home = async () => {
    const { box, server } = self;
    const pressed = document.activeElement === back;
    forget();
    if (pressed) main.focus({ preventScroll: true }); // the other button is gone
    if (server && box?.isConnected) {
      box.wanted = server;
      box.setAttribute("aria-label", server.alt);
      await box.draw();
    }
  };
  // The fused channels on their way; all other points stay where they are.
  const tween = async (frame, goes) => {
    const { box } = self;
    const [before, after] = [fusedAt(box._fullData), fusedAt(frame.figure.data.map(unpacked))];
    if (calm() || !before.size || !after.size) return;
    veil(box, 0, "fused", "lines", "places", "chosen");
    await animate(box, TWEEN, goes, (context, share) => {
      const t = ease(share);
      for (const [channel, { at, size, colour }] of before) {
        const there = after.get(channel);
        context.globalAlpha = there ? 1 : 1 - t;
        const to = there ?? { at, size };
        const place = [at[0] + t * (to.at[0] - at[0]), at[1] + t * (to.at[1] - at[1])];
        diamond(context, pixels(box, ...place), size + t * (to.size - size), colour);
      }
      for (const [channel, { at, size, colour }] of after)
        if (!before.has(channel)) {
          context.globalAlpha = t;
          diamond(context, pixels(box, ...at), size, colour);
        }
    });
    veil(box, null, "fused", "lines", "places", "chosen");
  };
  const run = async () => {
    const turn = (self.turn = {});
    const goes = () => self.playing && self.turn === turn && ours();
    while (goes() && self.next < self.frames.length) {
      const frame = self.frames[self.next];
      await tween(frame, goes);
      if (!goes()) break;
      label.textContent = frame.label;
      await put({ figure: frame.figure, alt: frame.alt, over: frame.over });
      self.next += 1;
      await new Promise((later) => setTimeout(later, HOLD));
    }
    if (self.turn !== turn) return;
    if (self.shown && !ours()) forget();
    else if (self.playing) await home();
  };
  const press = () => {
    const box = document.querySelector(`.${CSS.escape(self.told.around)} .chart`);
    if (self.playing) {
      self.playing = false;
      self.turn = null;
    } else if (self.told.preparing) {
      self.pending = false;
      setTriggerValue("stopped", true);
    } else if (!self.frames.length) {
      self.pending = true;
      setTriggerValue("asked", true);
    } else if (box?.listens) {
      self.pending = false;
      if (self.box !== box || !self.shown || !ours()) {
        Object.assign(self, { box, next: 0, shown: box.wanted, server: box.wanted });
      }
      self.playing = true;
      run();
    }
    dress();
  };
  const dress = () => {
    const { words, preparing } = self.told;
    main.textContent = self.playing ? `❚❚ ${words.pause}` : preparing ? words.stop : `▶ ${words.play}`;
    back.textContent = words.back;
    back.hidden = !self.shown;
    if (!self.shown) label.textContent = "";
  };
  // What the page sends: `name` tells frames from others.
  self.take = (name, told, frames) => {
    const moved = self.told && self.told.words.back !== told.words.back;
    self.told = told;
    if (moved && self.shown) forget(); // the page draws the slider's new sparsity
    if (self.name !== name) {
      if (self.shown) self.box.wanted === self.shown ? home() : forget();
      self.name = name;
      self.frames = JSON.parse(frames);
      if (self.pending && self.frames.length) return press();
    }
    dress();
  };
  return self;
}

// A trace as it was sent: Plotly packs numbers as bytes.
function unpacked(trace) {
  const kinds = { f4: Float32Array, f8: Float64Array, i1: Int8Array, u1: Uint8Array, i2: Int16Array, u2: Uint16Array, i4: Int32Array, u4: Uint32Array };
  const plain = (value) =>
    value?.bdata ? new kinds[value.dtype](Uint8Array.from(atob(value.bdata), (c) => c.charCodeAt(0)).buffer) : value;
  const { meta, customdata, marker } = trace;
  return { meta, customdata, x: plain(trace.x), y: plain(trace.y), marker: { ...marker, size: plain(marker?.size) } };
}

export default function ({ parentElement, data, setTriggerValue }) {
  const text = new TextDecoder().decode(data);
  const [first, second] = [text.indexOf("\n"), text.indexOf("\n", text.indexOf("\n") + 1)];
  const [name, told] = [text.slice(0, first), JSON.parse(text.slice(first + 1, second))];
  parentElement.player ??= player(parentElement, (...value) => parentElement.send(...value));
  parentElement.send = setTriggerValue;
  parentElement.player.take(name, told, text.slice(second + 1));
  const begin = (tries) => {
    const box = document.querySelector(`.${CSS.escape(told.around)} .chart`);
    if (box) tell(box, told);
    else if (tries && parentElement.isConnected) setTimeout(() => begin(tries - 1), 300);
  };
  begin(100);
}
