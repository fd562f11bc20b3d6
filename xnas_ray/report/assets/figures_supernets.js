// Figures of differentiable searches: how supernets learnt, what their choices came to, what methods read off them.

const DASHES = ["solid", "dot", "dash", "dashdot", "longdash"];
const SIGNED = [
  [0, "#762a83"],
  [0.5, "#f7f7f7"],
  [1, "#1b7837"],
];
const FRAME = "#d55e00"; // seen on every colour of a map
const CELL = 13; // pixels of a row of a map

/** Quantities of all supernets, epoch by epoch: a small plot for each unit, a colour a quantity, a dash a supernet. */
function supernetCurves(search) {
  const { lines } = search.supernets,
    axes = [...new Set(lines.map((line) => line.axis))],
    names = [...new Set(lines.map((line) => line.name))],
    numbers = [...new Set(lines.map((line) => line.supernet))],
    named = new Set();
  const columns = Math.min(2, axes.length),
    rows = Math.ceil(axes.length / columns);
  const traces = lines.map((line) => {
    const place = axes.indexOf(line.axis) + 1,
      first = !named.has(line.name);
    named.add(line.name);
    const paint = report.palette[names.indexOf(line.name) % report.palette.length];
    return {
      type: "scatter",
      mode: line.epochs.length > 1 ? "lines" : "markers",
      x: line.epochs,
      y: line.values,
      xaxis: place > 1 ? `x${place}` : "x",
      yaxis: place > 1 ? `y${place}` : "y",
      name: label(line.name),
      legendgroup: label(line.name),
      showlegend: first,
      line: { color: paint, dash: DASHES[numbers.indexOf(line.supernet) % DASHES.length], width: 1.6 },
      marker: { color: paint },
      hovertemplate: `${label(line.name)}, supernet ${line.supernet}, epoch %{x}: %{y:.5g}<extra></extra>`,
    };
  });
  const placed = {};
  axes.forEach((name, i) => {
    placed[i ? `xaxis${i + 1}` : "xaxis"] = axis("epoch");
    placed[i ? `yaxis${i + 1}` : "yaxis"] = axis(name);
  });
  return {
    traces,
    layout: layout({
      height: 60 + 220 * rows,
      grid: { rows, columns, pattern: "independent", ygap: 0.35, xgap: 0.16 },
      ...placed,
    }),
  };
}

/** Probabilities of all options of a supernet, a row an option, with a gap between decisions. */
function choiceMap(map) {
  const z = [],
    text = [],
    ticks = [];
  let row = 0;
  map.decisions.forEach((decision, d) => {
    if (z.length) {
      z.push(map.epochs.map(() => null));
      text.push(map.epochs.map(() => ""));
    }
    ticks.push(z.length + (map.options[d].length - 1) / 2);
    for (const option of map.options[d]) {
      const words = `${label(decision)}: ${label(option)}`;
      z.push(map.values[row++]);
      text.push(map.epochs.map(() => words));
    }
  });
  return {
    traces: [
      {
        type: "heatmap",
        x: map.epochs,
        y: z.map((_, i) => i),
        z,
        text,
        zmin: 0,
        colorscale: "Cividis",
        hoverongaps: false,
        colorbar: { title: { text: "probability" }, thickness: 12 },
        hovertemplate: "%{text}<br>epoch %{x}: %{z:.3f}<extra></extra>",
      },
    ],
    layout: layout({
      height: Math.min(1600, 120 + CELL * z.length),
      xaxis: axis("epoch"),
      yaxis: axis("", {
        autorange: "reversed",
        showgrid: false,
        zeroline: false,
        tickvals: ticks,
        ticktext: labels(map.decisions, 30),
      }),
    }),
  };
}

/** Strengths of all options: a row a decision; frames mark what the architecture has. */
function strengthMap(map) {
  const alike = map.options.every((own) => own.join("\n") === map.options[0].join("\n"));
  const width = Math.max(...map.options.map((own) => own.length));
  const padded = (rows, nothing) => rows.map((own) => [...own, ...Array(width - own.length).fill(nothing)]);
  const known = map.values.flat().filter((v) => v !== null),
    signed = known.some((v) => v < 0),
    largest = Math.max(...known.map(Math.abs), 0) || 1;
  const words = map.options.map((own, d) => own.map((o) => `${label(map.decisions[d])}: ${label(o)}`));
  const rows = map.chosen.map((_, d) => d).filter((d) => map.chosen[d] !== null);
  return {
    traces: [
      {
        type: "heatmap",
        x: Array.from({ length: width }, (_, i) => i),
        y: map.decisions.map((_, d) => d),
        z: padded(map.values, null),
        text: padded(words, ""),
        zmin: signed ? -largest : 0,
        zmax: largest,
        colorscale: signed ? SIGNED : "Cividis",
        hoverongaps: false,
        colorbar: { title: { text: "strength" }, thickness: 12 },
        hovertemplate: "%{text}<br>%{z:.4g}<extra></extra>",
      },
      {
        type: "scatter",
        mode: "markers",
        x: rows.map((d) => map.chosen[d]),
        y: rows,
        hoverinfo: "skip",
        showlegend: false,
        marker: { symbol: "square-open", size: CELL - 1, color: FRAME, line: { width: 2 } },
      },
    ],
    layout: layout({
      height: Math.min(1600, 160 + (CELL + 6) * map.decisions.length),
      xaxis: axis(alike ? "" : "option, by its place among those of the decision", {
        showgrid: false,
        zeroline: false,
        ...(alike ? { tickvals: map.options[0].map((_, i) => i), ticktext: labels(map.options[0], 24) } : {}),
      }),
      yaxis: axis("", {
        autorange: "reversed",
        showgrid: false,
        zeroline: false,
        tickvals: map.decisions.map((_, d) => d),
        ticktext: labels(map.decisions, 30),
      }),
    }),
  };
}

/** What the architectures of every method are worth, one a supernet, and their mean and spread. */
function derivedValues(search, s, which) {
  const { derived, methods } = search.supernets,
    names = labels(
      methods.map((m) => m.method),
      30,
    ),
    place = new Map(methods.map((m, i) => [m.method, i]));
  const known = derived.filter((d) => d.values[which] !== null && search.rows.has(d.trial) && place.has(d.method));
  return {
    traces: [
      {
        type: "scatter",
        mode: "markers",
        x: known.map((d) => place.get(d.method)),
        y: known.map((d) => d.values[which]),
        customdata: known.map((d) => search.rows.get(d.trial)),
        meta: s,
        hoverinfo: "none",
        name: "an architecture",
        marker: { color: search.colour, size: 8, opacity: 0.5 },
      },
      {
        type: "scatter",
        mode: "markers",
        x: methods.map((_, i) => i + 0.15),
        y: methods.map((m) => m.means[which]),
        error_y: { type: "data", array: methods.map((m) => m.stds[which] ?? 0), thickness: 1.5, width: 6 },
        name: "mean ± std",
        marker: { color: colour("--ink"), size: 9, symbol: "diamond" },
        hovertemplate: "mean %{y:.5g}<extra></extra>",
      },
    ],
    layout: layout({
      xaxis: axis("", { tickvals: methods.map((_, i) => i), ticktext: names, range: [-0.5, methods.length - 0.3] }),
      yaxis: axis(titled(search.objectives[which])),
    }),
  };
}
