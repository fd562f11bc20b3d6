// The list of searches of a service; those that are ticked are compared.

const ticked = new Set();

function reportAddress(ids) {
  return `/report?${new URLSearchParams(ids.map((id) => ["search", id]))}`;
}

function searchRow(search) {
  const best = search.summary_best,
    counts = ["completed", "failed"].map((name) => search[`summary_${name}`]);
  const tick = element("input", {
    type: "checkbox",
    "aria-label": `compare ${search.name || search.search_id}`,
    checked: ticked.has(search.search_id),
    change: (event) => {
      if (event.target.checked) ticked.add(search.search_id);
      else ticked.delete(search.search_id);
      compare();
    },
  });
  const cells = [
    tick,
    [
      element("a", { href: reportAddress([search.search_id]) }, search.name || search.search_id),
      element("br"),
      element("small", {}, search.search_id),
    ],
    search.task,
    search.controller,
    [search.state, search.reason ? element("small", {}, ` ${search.reason.slice(0, 120)}`) : null],
    ...counts.map((c) => number(c ?? null)),
    best ? `${best.objective} ${number(best.value)}` : "–",
    String(search.submitted_at).replace("T", " ").slice(0, 16),
    search.submitted_by || "–",
  ];
  return element(
    "tr",
    {},
    cells.map((c) => element("td", {}, c)),
  );
}

function compare() {
  const link = document.getElementById("compare");
  link.hidden = ticked.size < 2;
  link.href = reportAddress([...ticked]);
}

function listed(searches) {
  const heads = ["", "search", "task", "controller", "state", "completed", "failed", "best", "submitted", "by"];
  const rows = [...searches].reverse().map(searchRow);
  const table = element(
    "table",
    {},
    element(
      "tr",
      {},
      heads.map((h) => element("th", {}, h)),
    ),
    rows,
  );
  const box = document.getElementById("list"),
    focused =
      document.activeElement && box.contains(document.activeElement)
        ? [...box.querySelectorAll("a,input")].indexOf(document.activeElement)
        : -1;
  box.replaceChildren(rows.length ? table : element("p", {}, "There is no search yet."));
  if (focused >= 0) box.querySelectorAll("a,input")[focused]?.focus();
  compare();
}

main.append(
  element("p", {}, element("a", { id: "compare", hidden: true, href: "#" }, "compare the ticked ones")),
  element("div", { id: "list", class: "wide" }),
);
keepAsking(async () => {
  listed((await ask("/v1/searches")).found);
  document.documentElement.dataset.ready = "yes";
  return 5000;
});
