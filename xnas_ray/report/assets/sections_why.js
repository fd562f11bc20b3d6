// The sections that explain, and those that tell how it came about.

function fillCoordinates(part) {
  const shown = eachSearch((s) => s.best !== null).map(([s]) => s);
  part("words", () =>
    element(
      "p",
      { class: "soft" },
      "Drag along an axis to keep a part of it; choices are ordered by how much of the first objective's variance they tell alone",
      shown.length === 1 && shown[0].genes.length
        ? `: ${shown[0].genes
            .slice(0, 6)
            .map((g) => `${g.name} ${Math.round(g.share * 100)} %`)
            .join(", ")}.`
        : ".",
    ),
  );
  part.plot("plot", () => parallel(shown));
}

function fillLayers(part) {
  for (const [search, s] of eachSearch((one) => one.layers)) {
    part(`words ${s}`, () =>
      element(
        "p",
        { class: "soft" },
        swatch(search),
        `${nameOf(search)}: mean cosine distance between classes, ${search.layers.trials.length} trials: the front, then the best.`,
      ),
    );
    part.plot(`plot ${s}`, () => layers(search));
  }
}

function fillPairs(part) {
  for (const [search, s] of eachSearch((one) => one.pairs)) {
    const options = [
      ["mean", `mean of ${search.pairs.trials.length} trials`],
      ...search.pairs.trials.map((t) => [t, `trial ${t}`]),
    ];
    const fewer =
      search.pairs.of_classes > search.pairs.classes.length
        ? ` The ${search.pairs.classes.length} of ${search.pairs.of_classes} classes that are nearest to another one.`
        : "";
    part(`tools ${s}`, () =>
      element(
        "div",
        { class: "tools" },
        swatch(search),
        nameOf(search),
        viewOf("pairs", "of", "pair", options),
        element(
          "span",
          { class: "soft" },
          `Cosine distance of mean activations: dark pairs are told apart least.${fewer}`,
        ),
      ),
    );
    part.plot(`plot ${s}`, () => pairs(search, view.pair === "mean" ? null : Number(view.pair ?? NaN)));
  }
}

function fillMotifs(part) {
  for (const [search, s] of eachSearch((one) => one.motifs)) {
    const { title, good, panels } = search.motifs;
    const cards = panels.map((p, i) =>
      element(
        "div",
        { class: "card" },
        element("strong", {}, i < good ? "good" : "bad"),
        p.title.split("\n").map((line) => element("div", {}, line)),
        drawing(search, p.drawing, 0.85),
      ),
    );
    const shown = panels.flatMap((p) => drawnOperations(search, p.drawing));
    part(`motifs ${s}`, () => [
      element("p", { class: "soft" }, swatch(search), `${nameOf(search)}: ${title}`),
      legend([...new Set(shown)].sort()),
      element("div", { class: "cards" }, cards),
    ]);
  }
}

function fillLineage(part) {
  const list = eachSearch((s) => Object.keys(s.lineage.parents).length);
  const [search, s] = list.find(([, i]) => String(i) === String(view.descent)) || list[0];
  const own = state.chosen && state.chosen.s === s ? [state.chosen.trial] : search.front || [search.best];
  const whose =
    state.chosen && state.chosen.s === s
      ? `trial ${state.chosen.trial}`
      : search.front
        ? "the front"
        : `trial ${search.best}, the best`;
  part("tools", () =>
    element(
      "div",
      { class: "tools" },
      list.length > 1
        ? viewOf(
            "lineage",
            "of",
            "descent",
            list.map(([one, i]) => [i, nameOf(one)]),
            s,
          )
        : null,
      element("span", { class: "soft" }, `Lines lead to ${whose}; click a trial to see where it came from.`),
    ),
  );
  part.plot("plot", () => descent(search, s, own));
}

function fillWorkers(part) {
  for (const [search, s] of eachSearch((one) => one.timeline.workers.length)) {
    const { workers: list, asked, running } = search.timeline;
    const busy = list.reduce((sum, w) => sum + w.busy, 0) / list.length;
    part(`words ${s}`, () =>
      element(
        "p",
        { class: "soft" },
        swatch(search),
        `${nameOf(search)}: ${list.length} workers, busy ${Math.round(busy * 100)} % of the time between their first start and last end; ${number(asked)} trials asked, ${number(running)} running.`,
      ),
    );
    part.plot(`plot ${s}`, () => workers(search, s));
  }
}

function fillFailures(part) {
  for (const [search, s] of eachSearch((one) => one.failures.length)) {
    const entry = (g) => {
      const often = [
        g.trials.length ? `${number(g.trials.length)} ${g.trials.length === 1 ? "trial" : "trials"}` : null,
        g.retried ? `${number(g.retried)} attempts that were repeated` : null,
      ]
        .filter(Boolean)
        .join(", ");
      return element(
        "details",
        {},
        element("summary", {}, `${often}: ${g.kind} ${g.type}: ${g.message.slice(0, 160)}`),
        element(
          "p",
          {},
          g.trials.slice(0, ROWS).map((t) => [trialButton(s, t), " "]),
        ),
        element("pre", {}, g.message, g.log ? `\n\n${g.log}` : ""),
      );
    };
    part(`list ${s}`, () => [
      report.searches.length > 1 ? element("p", {}, swatch(search), nameOf(search)) : null,
      search.failures.slice(0, ROWS).map(entry),
    ]);
  }
}

function fillTables(part) {
  for (const [search, s] of eachSearch((one) => one.tables.some(loose))) {
    part(`tables ${s}`, () =>
      search.tables
        .filter(loose)
        .map((t) => [
          element("h3", {}, swatch(search), `${nameOf(search)}: ${t.kind}`),
          tableOf(t.columns, t.rows.slice(0, ROWS)),
          t.of > ROWS ? element("p", { class: "soft" }, `${number(t.of)} rows in all`) : null,
        ]),
    );
  }
}

function fillSettings(part) {
  part("list", () =>
    report.searches.map((search) =>
      element(
        "details",
        {},
        element("summary", {}, swatch(search), nameOf(search)),
        facts(settings(JSON.stringify(search.spec))),
      ),
    ),
  );
}
