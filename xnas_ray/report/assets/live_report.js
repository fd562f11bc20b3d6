// The report of searches that go on: asked for again and again; what is zoomed and chosen stays.

const ENDED = new Set(["finished", "cancelled", "failed"]);
const wanted = new URLSearchParams(location.search).getAll("search");
let newest = null;

main.querySelector("h1").after(element("p", {}, element("a", { href: "/" }, "all searches")));
document.head.append(element("script", { src: "/assets/plotly.js", load: plotlyIsHere }));
if (!wanted.length) notice("Which search? Choose one from the list.");
else
  keepAsking(async () => {
    const answer = await ask(`/v1/report?${new URLSearchParams(wanted.map((id) => ["search", id]))}`, newest);
    if (answer) {
      newest = answer.tag;
      show(answer.found);
      main.querySelector("h1").textContent = clean(report.searches.map(nameOf).join(", "));
      document.title = `xnas: ${clean(report.searches.map(nameOf).join(", "))}`;
    }
    return report.searches.every((search) => ENDED.has(search.state)) ? 30000 : 3000;
  });
