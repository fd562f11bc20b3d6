// One trial: what hovers beside the pointer, and the panel with everything about it.

/** Rows of a list of facts; what is not known is left out. */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element(
    "dl",
    {},
    known.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]),
  );
}

function trialName(search, trial) {
  return report.searches.length > 1 ? `${nameOf(search)}, trial ${trial}` : `trial ${trial}`;
}

/** A button that shows a trial; text alone where it has not ended. */
function trialButton(s, trial, text = `trial ${trial}`) {
  if (!report.searches[s].rows.has(trial)) return element("span", {}, text);
  return element("button", { class: "link", type: "button", "data-trial": trial, click: () => select(s, trial) }, text);
}

function showHover(event, s, row) {
  const search = report.searches[s],
    trial = search.trials.trial[row];
  const values = search.objectives.map((o) =>
    element("div", {}, `${o.name}: ${number((search.metrics[o.name] || [])[row], o.unit)}`),
  );
  showBox(event, element("strong", {}, trialName(search, trial)), ...values, architecture(search, row, 0.85));
}

/** The box beside the pointer, and what is in it. */
function showBox(event, ...children) {
  const box = document.getElementById("hover");
  box.replaceChildren(...children.filter(Boolean));
  box.hidden = false;
  const [x, y] = event ? [event.clientX, event.clientY] : [40, 40];
  box.style.left = `${Math.max(4, Math.min(x + 16, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${Math.max(4, Math.min(y + 16, innerHeight - box.offsetHeight - 8))}px`;
}

function hideHover() {
  document.getElementById("hover").hidden = true;
}

/** Fill the panel with a trial; called again when the report has changed. */
function showTrial(s, trial) {
  const panel = document.getElementById("trial"),
    search = report.searches[s],
    row = search.rows.get(trial);
  if (row === undefined) return hideTrial();
  const step = (words, id, by) => {
    const next = search.trials.trial[row + by];
    return element("button", { type: "button", id, disabled: next === undefined, click: () => select(s, next) }, words);
  };
  const head = element(
    "header",
    {},
    element("h2", {}, trialName(search, trial)),
    step("← previous", "previous", -1),
    step("next →", "next", 1),
    element("button", { type: "button", id: "close", click: () => select(null) }, "close"),
  );
  const known = panel.dataset.shown === `${s}/${trial}` && !panel.hidden;
  const [top, opened] = [panel.scrollTop, [...panel.querySelectorAll("details")].map((d) => d.open)];
  if (panel.hidden) panel.opener = document.activeElement;
  const focus = panel.contains(document.activeElement) ? document.activeElement.id : panel.hidden ? "close" : "";
  panel.dataset.shown = `${s}/${trial}`;
  panel.replaceChildren(head, ...trialParts(s, trial, row));
  panel.hidden = false;
  panel.scrollTop = known ? top : 0;
  if (known) panel.querySelectorAll("details").forEach((d, i) => (d.open = Boolean(opened[i])));
  if (focus) document.getElementById(focus).focus({ preventScroll: true });
  const chart = panel.querySelector(".plot");
  if (chart) drawPlot(chart);
}

/** Close the panel; whoever opened it by keyboard goes on where they were. */
function hideTrial() {
  const panel = document.getElementById("trial");
  if (!panel.hidden && panel.opener && panel.opener.isConnected) panel.opener.focus({ preventScroll: true });
  panel.hidden = true;
}

function trialParts(s, trial, row) {
  const search = report.searches[s],
    { trials, timeline, lineage } = search,
    text = (name) => trials.texts[trials[name][row]];
  const worker = timeline.workers[timeline.worker[row]],
    parents = lineage.parents[trial] || [];
  const children = search.children.get(trial) || [],
    spec = settings(text("recipe")),
    machine = settings(text("environment"));
  const link = (t) => [trialButton(s, t), " "];
  const parts = [
    search.drawn
      ? [drawing(search, search.drawn[row], 1.15), legend(drawnOperations(search, search.drawn[row]))]
      : null,
    element("p", {}, element("code", {}, text("architecture"))),
    element("h3", {}, "Measured"),
    facts([
      ["status", report.statuses[trials.status[row]]],
      ...search.objectives.map((o) => [o.name, number((search.metrics[o.name] || [])[row], o.unit)]),
      ["on the front", search.front ? (search.front.includes(trial) ? "yes" : "no") : null],
      ...Object.keys(search.metrics)
        .filter((n) => !search.objectives.some((o) => o.name === n) && search.metrics[n][row] !== null)
        .map((n) => [n, number(search.metrics[n][row])]),
    ]),
    failureOf(search, trial),
    element("h3", {}, "Lineage"),
    facts([
      ["made by", lineage.stages[lineage.stage[row]]],
      ["generation", lineage.generations[trial]],
      ["parents", parents.length ? parents.map(link) : "none"],
      ["children", children.length ? children.slice(0, 60).map(link) : "none"],
    ]),
    element("h3", {}, "Attempts"),
    facts([
      ["attempts", trials.attempts[row]],
      ["training", duration(trials.duration_s[row])],
      ["worker", worker ? `${worker.name}${worker.node ? ` on ${worker.node}` : ""}` : null],
      ["reused from", trials.reused_from[trial]],
      ["epochs", trials.fidelity[row]],
      ["replicate", trials.replicate[row] || null],
      ["training seed", trials.train_seed[row]],
      ...timeline.earlier
        .filter((e) => e[0] === trial)
        .map((e) => ["earlier", `${e[3]} after ${duration(e[2] - e[1])}`]),
    ]),
    search.curves[trial] ? [element("h3", {}, "Training"), plotDiv(() => curves(search, trial))] : null,
    explanationParts(search, trial),
    spec.length || machine.length
      ? element("details", {}, element("summary", {}, "recipe and machine"), facts([...spec, ...machine]))
      : null,
  ];
  return parts.flat(Infinity).filter(Boolean);
}

function failureOf(search, trial) {
  const group = search.failures.find((g) => g.trials.includes(trial));
  return group
    ? [
        element("h3", {}, "Failure"),
        element("p", { class: "error" }, `${group.kind} ${group.type}: ${group.message}`),
        group.log ? element("pre", {}, group.log) : null,
      ]
    : null;
}

/** What explains this architecture: motifs that it has, its layers, the classes that it tells apart least. */
function explanationParts(search, trial) {
  const found = [],
    motifs = search.motifs && search.motifs.trials[trial];
  if (motifs && motifs.length) {
    found.push(
      element("h3", {}, "Motifs that it has"),
      element(
        "ul",
        {},
        motifs.map((i) =>
          element("li", {}, `${i < search.motifs.good ? "good" : "bad"}: ${search.motifs.panels[i].text}`),
        ),
      ),
    );
  }
  const at = search.layers ? search.layers.trials.indexOf(trial) : -1;
  if (at >= 0) {
    const scores = search.layers.scores[at].map((v, i) => [search.layers.layers[i], v]).filter(([, v]) => v !== null);
    const rows = scores.map(([name, v]) =>
      element("tr", {}, element("td", {}, name), element("td", { class: "number" }, number(v))),
    );
    found.push(
      element(
        "details",
        {},
        element("summary", {}, `introspectability of its ${scores.length} layers`),
        element("table", {}, rows),
      ),
    );
  }
  const p = search.pairs ? search.pairs.trials.indexOf(trial) : -1;
  if (p >= 0) {
    const near = classPairs(search.pairs, p)
      .sort((a, b) => a[2] - b[2])
      .slice(0, 6);
    found.push(
      element("h3", {}, "Classes that activate it most alike"),
      element(
        "ul",
        {},
        near.map(([a, b, d]) => element("li", {}, `${a} – ${b}: ${number(d)}`)),
      ),
    );
  }
  if (!report.only && search.trees && search.trees.trees.some((tree) => tree.trial === trial)) {
    const open = () => showTree(report.searches.indexOf(search), trial);
    found.push(
      element("h3", {}, "Decision tree"),
      element("button", { class: "link", type: "button", click: open }, "what it decides first, and what next"),
    );
  }
  for (const table of search.tables) {
    const c = table.columns.indexOf("trial"),
      rows = c < 0 ? [] : table.rows.filter((r) => r[c] === trial);
    if (rows.length) found.push(element("h3", {}, table.kind), tableOf(table.columns, rows));
  }
  return found;
}

function classPairs(map, which) {
  const found = [];
  let k = 0;
  for (let i = 0; i < map.classes.length; i++)
    for (let j = i + 1; j < map.classes.length; j++, k++) {
      const distance = map.distances[which][k];
      if (distance !== null) found.push([map.classes[i], map.classes[j], distance]);
    }
  return found;
}

function drawnOperations(search, which) {
  const numbers = search.drawings[which].flatMap((cell) => cell[1].filter((_, i) => i % 3 === 0));
  return [...new Set(numbers)].map((n) => search.operations[n]).sort();
}

/** JSON text of settings as rows of facts. */
function settings(text) {
  let found;
  try {
    found = JSON.parse(text || "{}");
  } catch {
    return [];
  }
  return Object.entries(found || {}).map(([name, value]) => [
    name,
    typeof value === "object" ? JSON.stringify(value) : String(value),
  ]);
}

function tableOf(columns, rows) {
  const cell = (value) =>
    element(
      "td",
      { class: typeof value === "number" ? "number" : null },
      typeof value === "number" ? number(value) : value === null ? "–" : value,
    );
  return element(
    "div",
    { class: "wide" },
    element(
      "table",
      {},
      element(
        "tr",
        {},
        columns.map((c) => element("th", {}, c)),
      ),
      rows.map((row) => element("tr", {}, row.map(cell))),
    ),
  );
}
