// Draws every chart from the JSON beside it, in the colours of the page, and again where these change.
const dark = matchMedia("(prefers-color-scheme: dark)");
const paper = matchMedia("print");
const exchanged = JSON.parse(document.getElementById("dark-colours").textContent);

function coloured(value, colours) {
  if (typeof value === "string") return colours[value] ?? value;
  if (Array.isArray(value)) return value.map((part) => coloured(part, colours));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, coloured(part, colours)]));
}

function draw() {
  const colours = dark.matches && !paper.matches ? exchanged : {};
  for (const chart of document.querySelectorAll(".chart")) {
    const figure = coloured(JSON.parse(chart.querySelector("script").textContent), colours);
    const layout = { ...figure.layout, width: chart.clientWidth };
    Plotly.react(chart.querySelector(".plot"), figure.data, layout, { displayModeBar: false, displaylogo: false });
  }
}

let waiting;
let width = innerWidth;
addEventListener("resize", () => {
  if (innerWidth === width) return; // a phone's address bar that comes and goes
  width = innerWidth;
  clearTimeout(waiting);
  waiting = setTimeout(draw, 150);
});
dark.addEventListener("change", draw);
paper.addEventListener("change", draw);
addEventListener("beforeprint", draw);
addEventListener("afterprint", draw);
draw();
