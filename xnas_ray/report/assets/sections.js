// The sections of a report, from top to bottom; those that have nothing to show are left out.

const BEST = 12,
  ROWS = 40;
const view = { over: "trials", x: null, y: null, z: null, pair: null, descent: 0, supernet: 0, read: 0 };

/** Buttons of which one is pressed. */
function choiceOf(words, current, options, change) {
  return element(
    "span",
    { role: "group", "aria-label": words },
    `${words} `,
    options.map(([value, text]) =>
      element(
        "button",
        { type: "button", "aria-pressed": String(value === current), click: () => change(value) },
        text,
      ),
    ),
  );
}

function selectOf(words, current, options, change) {
  const list = element(
    "select",
    { "aria-label": words, change: (event) => change(event.target.value) },
    options.map(([value, text]) => element("option", { value, selected: String(value) === String(current) }, text)),
  );
  return element("label", {}, `${words} `, list);
}

/** A list whose choice is what a section shows. */
function viewOf(section, words, which, options, current = view[which]) {
  return selectOf(words, current, options, (value) => {
    view[which] = value;
    refresh(section);
  });
}

function overTools(id) {
  return choiceOf(
    "over",
    view.over,
    [
      ["trials", "trials"],
      ["hours", overTitle("hours")],
    ],
    (over) => {
      view.over = over;
      refresh(id);
    },
  );
}

const eachSearch = (has) => report.searches.map((search, s) => [search, s]).filter(([search]) => has(search));
const aims = () => [...new Set(report.searches.flatMap((s) => s.objectives.map((o) => o.name)))];

const SECTIONS = [
  { id: "searches", title: "Searches", has: () => true, fill: fillSearches },
  {
    id: "front",
    title: "Pareto front",
    has: () => report.searches.some((s) => s.front && s.front.length),
    fill: fillFront,
  },
  { id: "best", title: "Best architectures", has: () => report.searches.some((s) => s.best !== null), fill: fillBest },
  { id: "progress", title: "Best so far", has: () => report.searches.some((s) => s.best !== null), fill: fillProgress },
  {
    id: "volume",
    title: "Hypervolume",
    has: () => report.searches.some((s) => s.progress.hypervolume),
    fill: fillVolume,
  },
  {
    id: "joint",
    title: "What made these architectures good",
    has: () => report.searches.some((s) => s.joint),
    fill: fillJoint,
  },
  {
    id: "coordinates",
    title: "Objectives, costs and choices",
    has: () => webgl && report.searches.some((s) => s.best !== null),
    fill: fillCoordinates,
  },
  {
    id: "layers",
    title: "Introspectability by layer",
    has: () => report.searches.some((s) => s.layers),
    fill: fillLayers,
  },
  {
    id: "pairs",
    title: "Introspectability by pair of classes",
    has: () => report.searches.some((s) => s.pairs),
    fill: fillPairs,
  },
  { id: "motifs", title: "Motifs", has: () => report.searches.some((s) => s.motifs), fill: fillMotifs },
  {
    id: "supernets",
    title: "Supernets",
    has: () => report.searches.some((s) => s.supernets),
    fill: fillSupernets,
  },
  { id: "trees", title: "Decision trees", has: () => report.searches.some((s) => s.trees), fill: fillTrees },
  { id: "nars", title: "Rounds and predictions", has: () => report.searches.some((s) => s.nars), fill: fillNars },
  {
    id: "lineage",
    title: "Lineage",
    has: () => report.searches.some((s) => Object.keys(s.lineage.parents).length),
    fill: fillLineage,
  },
  {
    id: "workers",
    title: "Workers",
    has: () => report.searches.some((s) => s.timeline.workers.length),
    fill: fillWorkers,
  },
  { id: "failures", title: "Failures", has: () => report.searches.some((s) => s.failures.length), fill: fillFailures },
  {
    id: "tables",
    title: "What else the controllers say",
    has: () => report.searches.some((s) => s.tables.some(loose)),
    fill: fillTables,
  },
  { id: "settings", title: "Settings", has: () => true, fill: fillSettings },
];

const loose = (table) => !table.columns.includes("trial");

function swatch(search) {
  return element("span", { class: "swatch", style: `background:${search.colour}` });
}

function fillSearches(part) {
  const heads = [
    "search",
    "task",
    "controller",
    "state",
    "completed",
    "failed",
    "running",
    "best",
    "spent",
    "submitted",
  ];
  const rows = report.searches.map((search, s) => {
    const row = search.rows.get(search.best),
      objective = search.objectives[0],
      hours = search.progress.hours;
    const best =
      row === undefined
        ? "–"
        : trialButton(
            s,
            search.best,
            `${number(search.metrics[objective.name][row], objective.unit)} (trial ${search.best})`,
          );
    const cells = [
      [swatch(search), search.name, element("br"), element("small", {}, search.id)],
      search.task,
      search.controller,
      [search.state, search.reason ? element("small", {}, ` ${search.reason.slice(0, 200)}`) : null],
      number(search.counts.completed),
      number(search.counts.failed),
      number(search.timeline.running),
      best,
      `${number(hours.length ? hours[hours.length - 1] : 0)} ${search.progress.unit}`,
      search.submitted_at.replace("T", " ").slice(0, 16),
    ];
    return element(
      "tr",
      {},
      cells.map((c) => element("td", {}, c)),
    );
  });
  part("table", () =>
    element(
      "div",
      { class: "wide" },
      element(
        "table",
        {},
        element(
          "tr",
          {},
          heads.map((h) => element("th", {}, h)),
        ),
        rows,
      ),
    ),
  );
  part("notes", () =>
    report.searches.filter((s) => s.note).map((s) => element("p", { class: "error" }, `${nameOf(s)}: ${s.note}`)),
  );
}

function fillFront(part) {
  const names = aims();
  const metrics = [
    ...new Set(report.searches.filter((s) => s.front).flatMap((s) => [...Object.keys(s.metrics), "duration_s"])),
  ];
  const options = [...names.filter((n) => metrics.includes(n)), ...metrics.filter((n) => !names.includes(n))].map(
    (n) => [n, n],
  );
  if (!metrics.includes(view.x)) view.x = names[1] || names[0];
  if (!metrics.includes(view.y)) view.y = names[0];
  const deep = report.searches.some((s) => s.front && s.objectives.length > 2);
  if (deep && !metrics.includes(view.z)) view.z = names[2];
  const pick = (words, which) => viewOf("front", words, which, options);
  part("tools", () =>
    element(
      "div",
      { class: "tools" },
      pick("across", "x"),
      pick("up", "y"),
      deep && webgl ? pick("and", "z") : null,
      element("span", { class: "soft" }, "point at a trial to see it, click it for everything about it"),
      deep && webgl ? element("span", { class: "soft" }, "in space the front has a shadow on the floor") : null,
      deep && !webgl
        ? element("span", { class: "soft" }, "This browser has no WebGL, by which three objectives are drawn at once.")
        : null,
    ),
  );
  part.plot("plot", () => front(view.x, view.y));
  if (deep && webgl) part.plot("space", () => frontInSpace([view.x, view.y, view.z]));
}

/** The front, or the best ones where there is none: drawings that can be reached by keyboard. */
function fillBest(part) {
  const operations = new Set(),
    cards = [];
  for (const [search, s] of eachSearch((one) => one.best !== null)) {
    const list = (search.front || bestTrials(search)).slice(0, BEST);
    for (const trial of list) {
      const row = search.rows.get(trial);
      if (search.drawn) drawnOperations(search, search.drawn[row]).forEach((o) => operations.add(o));
      cards.push(
        element(
          "button",
          { class: "card", type: "button", click: () => select(s, trial) },
          swatch(search),
          element("strong", {}, trialName(search, trial)),
          search.objectives.map((o) => element("div", {}, `${o.name} ${number(search.metrics[o.name][row], o.unit)}`)),
          architecture(search, row, 0.8),
        ),
      );
    }
    if (search.front && search.front.length > BEST)
      cards.push(
        element("p", { class: "soft" }, `and ${search.front.length - BEST} more on the front of ${nameOf(search)}`),
      );
  }
  part("legend", () => legend([...operations].sort()));
  part("cards", () => element("div", { class: "cards" }, cards));
}

function bestTrials(search) {
  const objective = search.objectives[0],
    values = search.metrics[objective.name] || [],
    sign = objective.maximize ? -1 : 1;
  const rows = search.trials.trial.map((_, row) => row).filter((row) => search.trials.measured[row]);
  return rows.sort((a, b) => sign * (values[a] - values[b])).map((row) => search.trials.trial[row]);
}

function fillProgress(part) {
  part("tools", () => element("div", { class: "tools" }, overTools("progress")));
  for (const name of aims()) part.plot(`best ${name}`, () => bestSoFar(name, view.over));
}

function fillVolume(part) {
  const boxes = new Map(
    report.searches
      .filter((s) => s.progress.reference)
      .map((s) => {
        const corner = (values) => s.objectives.map((o, i) => `${o.name} ${number(values[i], o.unit)}`).join(", ");
        return [
          s.objectives.map((o) => o.name).join(),
          `The box reaches from ${corner(s.progress.reference)} (a tenth beyond the worst values) to ${corner(s.progress.ideal)} (the best value of each).`,
        ];
      }),
  );
  part("tools", () => [
    element("div", { class: "tools" }, overTools("volume")),
    [...boxes.values()].map((text) => element("p", { class: "soft" }, text)),
  ]);
  part.plot("plot", () => hypervolume(view.over));
}
