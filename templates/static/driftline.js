// What pages gain with scripts: zoomable charts, copying, and the first view stays without Plotly.
"use strict";

(() => {
  const plotlyUrl = document.currentScript.dataset.plotly;
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

  // The figure is made on the server for those who ask for it.
  async function figureOf(picture) {
    const [Plotly, answer] = await Promise.all([loadPlotly(), fetch(picture.dataset.figure, { headers: { Accept: "application/json" } })]);
    if (!answer.ok) throw new Error(answer.statusText);
    const { data, layout } = await answer.json();
    const page = getComputedStyle(document.documentElement);
    layout.font = { family: getComputedStyle(document.documentElement).fontFamily, size: 12 };
    return { Plotly, data, layout };
  }

  async function zoom(picture) {
    const { Plotly, data, layout } = await figureOf(picture);
    delete layout.title; // it stands above
    const place = document.createElement("div");
    place.className = "plotly";
    picture.replaceChildren(place);
    await Plotly.newPlot(place, data, { ...layout, margin: { ...layout.margin, t: 40 } }, { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["lasso2d", "select2d"] });
  }

  async function savePicture(picture) {
    const { Plotly, data, layout } = await figureOf(picture);
    const filename = picture.closest("figure").id;
    await Plotly.downloadImage({ data, layout }, { format: "png", width: 1200, height: 500, scale: 2, filename });
  }

  function offerButton(picture, name, work) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = `${name.toLowerCase()} small quieter`;
    button.textContent = name;
    button.setAttribute("aria-label", `${name}: ${picture.closest("figure").querySelector("h3").textContent.trim()}`);
    button.addEventListener("click", async () => {
      button.disabled = true;
      button.textContent = "Loading…";
      try {
        await work(picture);
        button.textContent = name;
        button.disabled = false;
        if (name === "Zoom") button.remove();
      } catch {
        button.disabled = false;
        button.textContent = `${name} did not load; try again`;
      }
    });
    picture.parentElement.querySelector(".save").append(" ", button);
  }

  function offerCharts(root) {
    for (const picture of root.querySelectorAll(".picture[data-figure]:not([data-ready])")) {
      picture.dataset.ready = "";
      offerButton(picture, "PNG", savePicture);
      offerButton(picture, "Zoom", zoom);
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

  // Keys beside those of the browser; `?` lists them.
  const keys = { "/": "Search, or the list of models", j: "Next row of a list", k: "Previous row of a list", "?": "These keys" };

  function showKeys() {
    let dialog = document.getElementById("keys");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "keys";
      dialog.setAttribute("aria-label", "Keys");
      const list = document.createElement("dl");
      for (const [key, meaning] of Object.entries(keys)) {
        const name = document.createElement("dt"), text = document.createElement("dd");
        name.append(Object.assign(document.createElement("kbd"), { textContent: key }));
        text.textContent = meaning;
        list.append(name, text);
      }
      const close = Object.assign(document.createElement("button"), { textContent: "Close" });
      const form = Object.assign(document.createElement("form"), { method: "dialog" });
      form.append(close);
      dialog.append(list, form);
      document.body.append(dialog);
    }
    dialog.showModal();
  }

  function search() {
    const field = document.querySelector("main input[type=search]");
    if (field) field.focus();
    else document.querySelector("nav a[data-search]")?.click();
  }

  // A row of a list is the first link in it; where nothing is chosen yet, both keys begin at the first.
  function moveRow(step) {
    const links = [...document.querySelectorAll("main table:not(.heat) tbody tr")].map((row) => row.querySelector("a")).filter(Boolean);
    const row = document.activeElement.closest?.("tr");
    const at = links.findIndex((link) => link.closest("tr") === row);
    links[at < 0 ? 0 : Math.min(Math.max(at + step, 0), links.length - 1)]?.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea, dialog")) return;
    const act = { "/": search, j: () => moveRow(1), k: () => moveRow(-1), "?": showKeys }[event.key];
    if (act) { event.preventDefault(); act(); }
  });

  // Moments are written in the browser's time zone from the next page on, unless the reader chose one.
  if (!/(^|; )time_zone=/.test(document.cookie)) {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    document.cookie = `time_zone=${zone}; max-age=31536000; path=/; samesite=lax`;
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
  offerCharts(document);
  document.addEventListener("htmx:afterSettle", (event) => offerCharts(event.detail.elt));
  offerCopy(document);
})();
