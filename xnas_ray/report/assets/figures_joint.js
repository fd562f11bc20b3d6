// Figures that set explanations beside each other: motifs for two objectives, operations by three sources.

/** What every motif is worth for two objectives: in the upper right it is good for both, elsewhere they differ. */
function motifsForTwo(search, i, j) {
  const { objectives, motifs } = search.joint,
    shown = motifs.filter((m) => m.effects[i] !== null && m.effects[j] !== null);
  const error = (of) => ({ type: "data", array: shown.map((m) => m.stds[of] ?? 0), thickness: 0.5, width: 0 });
  const named = (of) => {
    const found = search.objectives.find((o) => o.name === objectives[of]);
    return `effect on ${titled(found)}${found.maximize ? "" : ", positive is less of it"}`;
  };
  return {
    traces: [
      {
        type: "scatter",
        mode: "markers",
        x: shown.map((m) => m.effects[i]),
        y: shown.map((m) => m.effects[j]),
        error_x: { ...error(i), color: colour("--line") },
        error_y: { ...error(j), color: colour("--line") },
        text: shown.map((m) => label(m.text, 90)),
        customdata: shown.map((m) => [String(m.support), m.layer]),
        marker: {
          color: search.colour,
          size: shown.map((m) => 6 + Math.min(12, Math.sqrt(m.support))),
          opacity: 0.75,
          line: { color: colour("--ground"), width: 1 },
        },
        hovertemplate: "%{text}<br>%{x:+.3g}, %{y:+.3g}<br>in %{customdata[0]} architectures<extra></extra>",
      },
    ],
    layout: layout({
      height: 400,
      xaxis: axis(named(i), { zeroline: true, zerolinecolor: colour("--soft") }),
      yaxis: axis(named(j), { zeroline: true, zerolinecolor: colour("--soft") }),
    }),
  };
}

/** Every operation by its sources, a small plot each: they have different units and share the order alone. */
function operationsBySource(search) {
  const { operations, methods } = search.joint,
    first = titled(search.objectives[0]);
  const sources = [
    ["main effect", first, (o) => o.main_effect, () => null],
    ["motif effect", first, (o) => o.motif_effect, (o) => o.motif_std],
    ...methods.map((name, k) => [name, "standing", (o) => o.standings[k], () => null]),
  ].filter(([, , value]) => operations.some((o) => value(o) !== null));
  const names = labels(
    operations.map((o) => o.name),
    24,
  );
  const gap = 0.03,
    width = (1 - gap * (sources.length - 1)) / sources.length,
    placed = {};
  const traces = sources.map(([title, unit, value, std], k) => {
    const own = operations.map((o, i) => [o, names[i]]).filter(([o]) => value(o) !== null);
    placed[k ? `xaxis${k + 1}` : "xaxis"] = axis(unit, {
      domain: [k * (width + gap), k * (width + gap) + width],
      zeroline: unit !== "standing",
      zerolinecolor: colour("--soft"),
      nticks: 4,
      ...(unit === "standing" ? { range: [-0.08, 1.08] } : {}),
    });
    return {
      type: "scatter",
      mode: "markers",
      x: own.map(([o]) => value(o)),
      y: own.map(([, name]) => name),
      xaxis: k ? `x${k + 1}` : "x",
      error_x: { type: "data", array: own.map(([o]) => std(o) ?? 0), thickness: 1, width: 3, color: colour("--soft") },
      marker: { color: report.palette[k % report.palette.length], size: 10 },
      name: label(title),
      showlegend: false,
      hovertemplate: `%{y}: %{x:.3g}<extra>${label(title)}</extra>`,
    };
  });
  const heads = sources.map(([title], k) => ({
    text: label(title, 26),
    xref: "paper",
    yref: "paper",
    x: k * (width + gap) + width / 2,
    y: 1,
    xanchor: "center",
    yanchor: "bottom",
    showarrow: false,
  }));
  return {
    traces,
    layout: layout({
      height: 160 + 26 * operations.length,
      margin: { l: 60, r: 20, t: 60, b: 48 },
      annotations: heads,
      yaxis: axis("", { type: "category", categoryorder: "array", categoryarray: [...names].reverse() }),
      ...placed,
    }),
  };
}
