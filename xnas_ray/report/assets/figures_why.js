// Figures that explain: what goes with what, which layers and classes tell most, how a network learnt.

/** Parallel coordinates over what all shown searches have: objectives, other metrics, choices. */
function parallel(shown, most = 6) {
  const first = shown[0];
  const aimed = first.objectives.map((o) => o.name);
  const metrics = [...new Set([...aimed, "flops", "params", ...Object.keys(first.metrics)])].filter((name) =>
    shown.every((s) => s.metrics[name]),
  );
  const genes = first.genes
    .filter((g) => shown.every((s) => s.genes.some((o) => o.name === g.name && o.options.join() === g.options.join())))
    .slice(0, most);
  const values = [],
    dimensions = [];
  const add = (name, of, more = {}) => {
    dimensions.push({ label: label(name, 22), ...more });
    values.push(of);
  };
  for (const name of metrics.slice(0, 6)) add(name, (s, r) => s.metrics[name][r]);
  add("duration [s]", (s, r) => s.trials.duration_s[r]);
  for (const gene of genes) {
    const ticks = gene.options.map((_, i) => i);
    add(gene.name, (s, r) => s.genes.find((o) => o.name === gene.name).picked[r], {
      tickvals: ticks,
      ticktext: gene.options.map((o) => label(o, 11)),
      range: [-0.2, ticks.length - 0.8],
    });
  }
  const columns = values.map(() => []),
    colours = [];
  shown.forEach((search, s) =>
    search.trials.trial.forEach((_, row) => {
      const point = values.map((of) => of(search, row));
      if (!search.trials.measured[row] || point.some((v) => v === null)) return;
      point.forEach((v, i) => columns[i].push(v));
      colours.push(shown.length > 1 ? s : search.metrics[search.objectives[0].name][row]);
    }),
  );
  dimensions.forEach((d, i) => {
    d.values = columns[i];
  });
  const several = shown
    .map((s, i) => [
      [i / shown.length, s.colour],
      [(i + 1) / shown.length, s.colour],
    ])
    .flat();
  const line =
    shown.length > 1
      ? { color: colours, colorscale: several, cmin: -0.5, cmax: shown.length - 0.5 }
      : {
          color: colours,
          colorscale: "Cividis",
          reversescale: !first.objectives[0].maximize,
          showscale: true,
          colorbar: { title: { text: label(titled(first.objectives[0]), 24) }, thickness: 12 },
        };
  return {
    traces: [{ type: "parcoords", line, dimensions, labelangle: -20, labelside: "top" }],
    layout: layout({ height: 430, margin: { l: 90, r: 60, t: 90, b: 30 } }),
  };
}

function layers(search) {
  const map = search.layers;
  return {
    traces: [
      {
        type: "heatmap",
        x: labels(map.layers, 40),
        y: map.trials.map((t) => `trial ${t}`),
        z: map.scores,
        zmin: 0,
        colorscale: "Cividis",
        hoverongaps: false,
        colorbar: { title: { text: "distance" }, thickness: 12 },
        hovertemplate: "%{y}<br>%{x}<br>%{z:.3f}<extra></extra>",
      },
    ],
    layout: layout({
      height: Math.min(900, 220 + 16 * map.trials.length),
      xaxis: axis("layer, from input to output", { type: "category", nticks: 24 }),
      yaxis: axis("", { type: "category", autorange: "reversed" }),
    }),
  };
}

/** Distances between classes: of one trial, or the mean of all that are kept. */
function pairs(search, trial) {
  const map = search.pairs,
    size = map.classes.length,
    chosen = map.trials.indexOf(trial);
  const used = chosen >= 0 ? [map.distances[chosen]] : map.distances;
  const z = map.classes.map(() => Array(size).fill(null));
  let k = 0;
  for (let i = 0; i < size; i++)
    for (let j = i + 1; j < size; j++, k++) {
      const known = used.map((d) => d[k]).filter((v) => v !== null);
      if (known.length) z[i][j] = z[j][i] = known.reduce((a, b) => a + b, 0) / known.length;
    }
  const names = labels(map.classes, 24);
  return {
    traces: [
      {
        type: "heatmap",
        x: names,
        y: names,
        z,
        colorscale: "Cividis",
        hoverongaps: false,
        colorbar: { title: { text: "distance" }, thickness: 12 },
        hovertemplate: "%{y} – %{x}<br>%{z:.3f}<extra></extra>",
      },
    ],
    layout: layout({
      height: 460,
      xaxis: axis("", { type: "category" }),
      yaxis: axis("", { type: "category", autorange: "reversed" }),
    }),
  };
}

function curves(search, trial) {
  const shown = Object.entries(search.curves[trial] || {}).filter(([metric]) => !["lr", "elapsed_s"].includes(metric));
  const traces = shown.map(([metric, [x, y]]) => ({
    type: "scatter",
    mode: x.length > 1 ? "lines" : "markers",
    x,
    y,
    name: label(metric),
    hovertemplate: "epoch %{x}: %{y:.5g}<extra></extra>",
    yaxis: /loss/.test(metric) ? "y2" : "y",
  }));
  const second = traces.some((t) => t.yaxis === "y2") && traces.some((t) => t.yaxis === "y");
  if (!second)
    traces.forEach((t) => {
      t.yaxis = "y";
    });
  const colours = report.palette;
  traces.forEach((t, i) => {
    t.line = { color: colours[i % colours.length] };
    t.marker = t.line;
  });
  return {
    traces,
    layout: layout({
      height: 240,
      margin: { l: 50, r: 50, t: 40, b: 40 },
      xaxis: axis("epoch"),
      yaxis: axis(""),
      ...(second ? { yaxis2: axis("loss", { overlaying: "y", side: "right", showgrid: false }) } : {}),
    }),
  };
}
