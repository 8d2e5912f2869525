// Loads Plotly once for all figures of the page; both components begin with this file.

const script = (name) =>
  (window.plotlyScript ??= new Promise((loaded, failed) => {
    const element = document.createElement("script");
    element.src = new URL(`app/static/${name}`, document.baseURI);
    element.onload = () => loaded(window.Plotly);
    element.onerror = () => {
      window.plotlyScript = undefined; // the next figure tries again
      failed(new Error("The script that draws the figures could not be loaded."));
    };
    document.head.append(element);
  }));

