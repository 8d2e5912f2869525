// The button that copies the page's address: see head.py. Where the browser does not let us (a page
// that was not opened over https or on this machine) a field holds the address instead. `script` is
// plotly.js's.

function open(parent) {
  const box = document.createElement("div");
  box.className = "copy";
  box.innerHTML =
    '<span role="status" aria-live="polite"></span><label hidden><b></b><input readonly></label><button type="button"></button>';
  const [told, label, button] = box.children;
  const field = label.querySelector("input");
  let timer;
  button.onclick = async () => {
    const address = window.location.href;
    clearTimeout(timer);
    told.textContent = "";
    try {
      await navigator.clipboard.writeText(address);
      label.hidden = true;
      told.textContent = box.words.copied;
      timer = setTimeout(() => (told.textContent = ""), 4000);
    } catch {
      field.value = address;
      label.hidden = false;
      field.focus();
      field.select();
    }
  };
  box.show = (words) => {
    box.words = words;
    button.textContent = words.copy;
    label.firstChild.textContent = words.copy_by_hand;
  };
  parent.append(box);
  return box;
}

export default function ({ parentElement, data }) {
  document.documentElement.lang = data.language;
  if (data.plotly) script(data.plotly).catch(() => {}); // the figures will say what went wrong
  (parentElement.querySelector(".copy") ?? open(parentElement)).show(data.words);
}
