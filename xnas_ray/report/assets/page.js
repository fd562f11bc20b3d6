// The page itself: it reads the report, keeps what is chosen, and draws a section when somebody gets to it.

let report = null;
const state = { chosen: null };
const main = document.querySelector("main");

/** Make indices that the report does not carry. */
function indexed(found) {
  for (const search of found.searches) {
    search.rows = new Map(search.trials.trial.map((trial, row) => [trial, row]));
    search.children = new Map();
    for (const [child, parents] of Object.entries(search.lineage.parents)) {
      for (const parent of new Set(parents))
        search.children.set(parent, [...(search.children.get(parent) || []), Number(child)]);
    }
  }
  return found;
}

// ---- plots ----------------------------------------------------------------------------------------------------------

const watcher = new IntersectionObserver(
  (entries) => {
    for (const entry of entries)
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        drawPlot(entry.target);
      }
  },
  { rootMargin: "250px" },
);

// Plotly takes longer to read than everything else: it comes when the page stands, and draws what waits for it.
const waiting = new Set();

function plotlyIsHere() {
  for (const div of waiting) if (div.isConnected) drawPlot(div);
  waiting.clear();
}

// Plotly would offer to upload what it shows.
const CONFIG = {
  responsive: true,
  displaylogo: false,
  plotlyServerURL: "",
  modeBarButtonsToRemove: ["sendChartToCloud", "lasso2d", "select2d", "autoScale2d"],
};

/** A place for a figure; ``make`` computes it when it is drawn. */
function plotDiv(make) {
  const div = element("div", { class: "plot" });
  div.make = make;
  return div;
}

function drawPlot(div) {
  if (!window.Plotly) return waiting.add(div);
  const figure = div.make();
  if (!figure) return div.replaceChildren();
  const first = !div.drawn;
  div.drawn = true;
  Plotly.react(div, figure.traces, figure.layout, CONFIG).then(() => {
    div.dataset.drawn = "yes";
    if (!performance.getEntriesByName("first figure").length) performance.mark("first figure");
  });
  if (first) listen(div);
}

function listen(div) {
  const point = (event) => event.points.find((p) => typeof p.customdata === "number" && p.data.meta !== undefined);
  let pointer = null; // which figures in three dimensions do not tell
  div.addEventListener("pointermove", (event) => (pointer = event), { capture: true });
  div.on("plotly_hover", (event) => {
    const p = point(event);
    if (p) showHover(event.event || pointer, p.data.meta, p.customdata);
  });
  div.on("plotly_unhover", hideHover);
  div.on("plotly_click", (event) => {
    const p = point(event);
    if (p) select(p.data.meta, report.searches[p.data.meta].trials.trial[p.customdata]);
  });
}

// ---- sections --------------------------------------------------------------------------------------------------------

/** Draw the sections, or one of them, from the report; what is on the page already keeps its place and zoom. */
function refresh(only = null) {
  const kept = [];
  for (const section of SECTIONS) {
    let node = document.getElementById(section.id);
    if (!section.has() || (report.only && report.only !== section.id)) {
      if (node) node.remove();
      continue;
    }
    if (!node) {
      node = element("section", { id: section.id }, element("h2", {}, section.title));
      node.parts = new Map();
      const next = SECTIONS.slice(SECTIONS.indexOf(section) + 1)
        .map((s) => document.getElementById(s.id))
        .find(Boolean);
      main.insertBefore(node, next || null);
    }
    kept.push(section);
    if (only === null || only === section.id) section.fill(partsOf(node));
  }
  const links = kept.map((section) => element("a", { href: `#${section.id}` }, section.title));
  document.getElementById("sections").replaceChildren(...links);
}

function partsOf(node) {
  const slot = (name, make) => {
    if (!node.parts.has(name)) {
      node.parts.set(name, make());
      node.append(node.parts.get(name));
    }
    return node.parts.get(name);
  };
  const part = (name, make) => {
    const held = slot(name, () => element("div")),
      focus = held.contains(document.activeElement)
        ? [...held.querySelectorAll("button,select")].indexOf(document.activeElement)
        : -1;
    const opened = [...held.querySelectorAll("details")].map((d) => d.open);
    held.replaceChildren(...[make()].flat(Infinity).filter(Boolean));
    held.querySelectorAll("details").forEach((d, i) => {
      d.open = Boolean(opened[i]);
    });
    if (focus >= 0) (held.querySelectorAll("button,select")[focus] || held).focus();
  };
  part.plot = (name, make) => {
    const div = slot(name, () => plotDiv(make));
    div.make = make;
    if (div.drawn) drawPlot(div);
    else watcher.observe(div);
  };
  return part;
}

// ---- what is chosen ---------------------------------------------------------------------------------------------------

/** Show a trial, or none; the address remembers it, so that "back" goes back. */
function select(s, trial) {
  const hash = s === null ? "#" : `#trial=${report.searches[s].id}/${trial}`;
  if (location.hash !== hash) location.hash = hash;
  else follow();
}

function follow() {
  const found = /^#trial=(\w+)\/(\d+)$/.exec(location.hash);
  const s = found ? report.searches.findIndex((one) => one.id === found[1]) : -1;
  if (s >= 0) state.chosen = { s, trial: Number(found[2]) };
  else if (location.hash === "" || location.hash === "#") state.chosen = null;
  else return;
  hideHover();
  if (state.chosen) showTrial(state.chosen.s, state.chosen.trial);
  else hideTrial();
  if (document.getElementById("lineage")) refresh("lineage");
}

function keys(event) {
  if (event.key === "Escape" && state.chosen) select(null);
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName),
    step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!typing && step && state.chosen) {
    const { s, trial } = state.chosen,
      search = report.searches[s],
      next = search.trials.trial[search.rows.get(trial) + step];
    if (next !== undefined) select(s, next);
  }
}

/** Put a report on the page, or a newer one in its place. */
function show(found) {
  const first = report === null;
  performance.mark("data");
  report = indexed(found);
  if (first) {
    main.append(
      element("p", { id: "made", class: "soft" }),
      element("nav", { id: "sections", "aria-label": "sections" }),
    );
    document.body.append(
      element("div", { id: "hover", hidden: true }),
      element("aside", { id: "trial", hidden: true, "aria-label": "trial" }),
    );
    addEventListener("hashchange", follow);
    addEventListener("keydown", keys);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
      document.querySelectorAll(".plot").forEach((div) => {
        if (div.drawn) drawPlot(div);
      }),
    );
  }
  document.getElementById("made").textContent =
    `xnas-ray ${clean(report.version)}, ${clean(report.made_at).replace("T", " ")}`;
  refresh();
  follow();
  performance.mark("sections");
  document.documentElement.dataset.ready = "yes";
}
