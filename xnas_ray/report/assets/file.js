// The report that has its data in the file.

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function trouble(error) {
  console.error(error);
  main.append(element("p", { class: "error" }, `This report cannot be shown: ${error.message || error}`));
}

unpacked(document.getElementById("data").textContent)
  .then((found) => {
    show(found);
    setTimeout(() => {
      // after the page is painted
      const script = document.createElement("script");
      script.textContent = document.getElementById("plotly").textContent;
      document.head.append(script);
      plotlyIsHere();
    }, 50);
  })
  .catch(trouble);
