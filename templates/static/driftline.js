// What pages gain with scripts: zoomable charts, copying, and the first view stays without Plotly.
"use strict";

(() => {
  const plotlyUrl = document.currentScript.dataset.plotly;
  const looks = {
    main: { color: "#0072B2" }, second: { color: "#5F6770" }, third: { color: "#9AA3AC" },
    shadow: { color: "#B87D00", dash: "dash" }, baseline: { color: "#5F6770", dash: "dot" }, estimate: { color: "#7B4EA3", dash: "dash" }, limit: { color: "#8B1A2B", dash: "dash" },
  };
  let plotly;

  function loadPlotly() {
    plotly ??= new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = plotlyUrl;
      script.onload = () => resolve(window.Plotly);
      script.onerror = reject;
      document.head.append(script);
    });
    return plotly;
  }

  function trace(told) {
    const look = looks[told.look];
    const drawn = { name: told.name, x: told.x, y: told.y, customdata: told.customdata, hovertemplate: told.hovertemplate, connectgaps: false };
    if (told.type === "bar") return { ...drawn, type: "bar", marker: { color: "#9DBCD4" } };
    const isPlain = told.look === "limit" || told.look === "baseline";
    const line = { color: look.color, dash: look.dash, width: 2, shape: told.look === "limit" ? "hvh" : "linear" };
    const result = { ...drawn, type: "scatter", mode: isPlain ? "lines" : "lines+markers", line, marker: { size: 6 } };
    if (told.error) {
      const [lower, upper] = told.error;
      const gap = (bound, i, sign) => (bound[i] === null || told.y[i] === null ? 0 : sign * (bound[i] - told.y[i]));
      result.error_y = { type: "data", symmetric: false, thickness: 1, width: 0, color: look.color + "88",
        array: told.y.map((_, i) => gap(upper, i, 1)), arrayminus: told.y.map((_, i) => gap(lower, i, -1)) };
    }
    return result;
  }

  async function zoom(picture, button) {
    button.disabled = true;
    button.textContent = "Loading…";
    try {
      const Plotly = await loadPlotly();
      const told = JSON.parse(document.getElementById("data-" + picture.dataset.chart).textContent);
      const place = document.createElement("div");
      place.className = "plotly";
      picture.replaceChildren(place);
      const shapes = told.marks.map((mark) => ({ type: "line", yref: "paper", x0: mark.x, x1: mark.x, y0: 0, y1: 1, line: { color: "#16202B", width: 1, dash: mark.word ? "solid" : "dot" } }));
      const annotations = told.marks.filter((mark) => mark.word).map((mark) => ({ x: mark.x, yref: "paper", y: 1.06, text: mark.word, showarrow: false, hovertext: mark.text }));
      await Plotly.newPlot(place, told.traces.map(trace), {
        shapes, annotations, margin: { l: 48, r: 8, t: 22, b: 32 }, hovermode: "x unified", showlegend: false, font: { family: "inherit", size: 12 },
        yaxis: { rangemode: told.zero ? "tozero" : "normal", title: told.unit }, xaxis: { type: "date" }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      }, { displaylogo: false, responsive: true });
      button.remove();
    } catch {
      button.disabled = false;
      button.textContent = "Zoom did not load; try again";
    }
  }

  function offerZoom(root) {
    for (const picture of root.querySelectorAll(".picture[data-chart]:not([data-ready])")) {
      picture.dataset.ready = "";
      const button = document.createElement("button");
      button.type = "button";
      button.className = "zoom small quieter";
      button.textContent = "Zoom";
      button.setAttribute("aria-label", "Zoom: " + picture.closest("figure").querySelector("h3").textContent);
      button.addEventListener("click", () => zoom(picture, button));
      picture.after(button);
    }
  }

  function offerCopy(root) {
    for (const button of root.querySelectorAll("[data-copy]")) {
      button.hidden = false;
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
        button.textContent = "Copied";
      });
    }
    for (const snippet of root.querySelectorAll("pre[id^=snippet]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "small quieter";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(snippet.textContent);
        button.textContent = "Copied";
      });
      snippet.after(button);
    }
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    const cell = event.target.closest?.(".heat .c a");
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    if (!cell || !step) return;
    const td = cell.parentElement, row = td.parentElement, body = row.parentElement;
    const next = body.rows[row.rowIndex - 1 + step[0]]?.cells[td.cellIndex + step[1]]?.querySelector("a");
    if (next) { event.preventDefault(); next.focus(); }
  });

  // A poll replaces a part of the page: what the reader had opened stays open.
  let opened = new Set();
  const titles = (root) => [...root.querySelectorAll("details")].map((details) => [details, details.querySelector("summary").textContent]);
  document.addEventListener("htmx:beforeSwap", (event) => {
    opened = new Set(titles(event.detail.target).filter(([details]) => details.open).map(([, title]) => title));
  });
  document.addEventListener("htmx:afterSwap", (event) => {
    for (const [details, title] of titles(event.detail.target)) details.open = opened.has(title);
  });

  // The intake's refusal is a form like any other; a file's way to the server is worth a bar.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.xhr.status === 422) { event.detail.shouldSwap = true; event.detail.isError = false; }
  });
  document.addEventListener("htmx:xhr:progress", (event) => {
    const state = event.target.closest?.("[data-upload]")?.querySelector(".upload-state");
    if (!state || !event.detail.lengthComputable) return;
    const share = event.detail.loaded / event.detail.total;
    state.hidden = false;
    state.querySelector("progress").value = Math.round(share * 100);
    state.querySelector("label").textContent = share < 1 ? `Sending the file: ${Math.round(share * 100)} %` : state.closest("[data-upload]").dataset.upload;
  });

  // What moves by itself can be stopped.
  function offerPause(root) {
    for (const button of root.querySelectorAll("[data-live] [data-pause]")) {
      button.hidden = false;
      button.addEventListener("click", () => {
        const live = button.closest("[data-live]");
        button.textContent = live.toggleAttribute("data-paused") ? "Go on" : "Pause";
      });
    }
  }
  document.addEventListener("htmx:beforeRequest", (event) => {
    const live = event.target.closest?.("[data-live]");
    if (live && (document.hidden || live.hasAttribute("data-paused"))) event.preventDefault();
  });

  offerPause(document);
  offerZoom(document);
  offerCopy(document);
})();
