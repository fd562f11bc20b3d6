// Figures of how a search came about: who descends from whom, and who trained what when.

/** Descent: trials by the order in which they were asked; lines lead to the chosen trial, or to the front. */
function descent(search, s, trials) {
  const name = search.objectives[0].name,
    values = search.metrics[name] || [],
    parents = search.lineage.parents;
  const line = new Set(),
    waiting = [...trials];
  while (waiting.length) {
    const trial = waiting.pop();
    if (!line.has(trial)) {
      line.add(trial);
      waiting.push(...(parents[trial] || []));
    }
  }
  const [x, y] = [[], []],
    value = (t) => (search.rows.has(t) ? values[search.rows.get(t)] : null);
  for (const trial of line)
    for (const parent of parents[trial] || []) {
      if (value(trial) === null || value(parent) === null) continue;
      x.push(parent, trial, null);
      y.push(value(parent), value(trial), null);
    }
  const stages = search.lineage.stages.map((stage, i) => {
    const rows = search.trials.trial
      .map((_, row) => row)
      .filter((row) => search.lineage.stage[row] === i && search.trials.measured[row]);
    return scatter(search.trials.trial.length, {
      mode: "markers",
      x: rows.map((r) => search.trials.trial[r]),
      y: rows.map((r) => values[r]),
      customdata: rows,
      meta: s,
      hoverinfo: "none",
      name: label(stage || "not told"),
      marker: {
        color: search.colour,
        size: 6,
        symbol: i % 8,
        opacity: rows.map((r) => (line.has(search.trials.trial[r]) ? 1 : 0.3)),
      },
    });
  });
  const lines = scatter(x.length, {
    mode: "lines",
    x,
    y,
    hoverinfo: "skip",
    showlegend: false,
    line: { color: colour("--soft"), width: 1 },
  });
  const range = interesting(
    values.filter((v, row) => search.trials.measured[row]),
    search.objectives[0].maximize,
  );
  return {
    traces: [lines, ...stages],
    layout: layout({
      xaxis: axis("trial, in the order of proposals"),
      yaxis: axis(titled(search.objectives[0]), { range }),
    }),
  };
}

/** Who trained what, when: a line of bars for each worker. */
function workers(search, s) {
  const { workers: list, worker, start_s: start, end_s: end, earlier } = search.timeline;
  const names = labels(
      list.map((w) => `${w.node} ${w.name}`.trim()),
      40,
    ),
    unit = Math.max(...end, 1) > 7200 ? [3600, "hours"] : [1, "seconds"];
  const rows = search.trials.trial.map((_, row) => row).filter((row) => worker[row] >= 0 && start[row] !== null);
  const traces = report.statuses
    .map((status, i) => {
      const members = rows.filter((row) => search.trials.status[row] === i);
      const common = { name: status, customdata: members, meta: s, hoverinfo: "none" };
      const paint = { completed: search.colour, failed: colour("--ink"), cancelled: colour("--line") }[status];
      if (rows.length <= MANY) {
        return {
          ...common,
          type: "bar",
          orientation: "h",
          y: members.map((r) => names[worker[r]]),
          base: members.map((r) => start[r] / unit[0]),
          x: members.map((r) => (end[r] - start[r]) / unit[0]),
          marker: { color: paint, line: { color: colour("--ground"), width: 1 } },
          width: 0.6,
        };
      }
      const line = (of) => members.flatMap((r) => of(r));
      return scatter(members.length, {
        ...common,
        mode: "lines",
        x: line((r) => [start[r] / unit[0], end[r] / unit[0], null]),
        y: line((r) => [worker[r], worker[r], null]),
        customdata: line((r) => [r, r, null]),
        line: { color: paint, width: 6 },
      });
    })
    .filter((trace) => trace.x.length);
  if (earlier.length) {
    traces.push({
      type: "scatter",
      mode: "markers",
      name: "attempt that was repeated",
      x: earlier.map((e) => e[2] / unit[0]),
      y: earlier.map(() => (rows.length <= MANY ? "earlier attempts" : names.length)),
      marker: { symbol: "x", color: colour("--ink"), size: 8 },
      text: earlier.map((e) => label(`trial ${e[0]}: ${e[3]} after ${duration(e[2] - e[1])}`)),
      hovertemplate: "%{text}<extra></extra>",
    });
  }
  const ticks =
    rows.length <= MANY ? {} : { tickvals: [...names.keys(), names.length], ticktext: [...names, "earlier attempts"] };
  const height = Math.min(900, 130 + 26 * (names.length + (earlier.length ? 1 : 0)));
  return {
    traces,
    layout: layout({
      height,
      barmode: "overlay",
      xaxis: axis(`${unit[1]} since the search was submitted`),
      yaxis: axis("", {
        ...ticks,
        autorange: "reversed",
        ...(rows.length <= MANY
          ? { type: "category", categoryorder: "array", categoryarray: [...names, "earlier attempts"] }
          : {}),
      }),
    }),
  };
}
