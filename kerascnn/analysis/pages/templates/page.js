// The theme: the system's, until the reader chooses.
const root = document.documentElement;
const button = document.getElementById("theme");
const system = matchMedia("(prefers-color-scheme: dark)");
const dark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);

function showTheme() {
  button.textContent = dark() ? "Light" : "Dark";
  button.setAttribute("aria-label", `Switch to the ${dark() ? "light" : "dark"} theme`);
}

try {
  const kept = localStorage.getItem("kerascnn-theme");
  if (kept) root.dataset.theme = kept;
} catch {} // some browsers keep nothing for files
button.hidden = false;
button.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  try {
    localStorage.setItem("kerascnn-theme", root.dataset.theme);
  } catch {}
  showTheme();
});
system.addEventListener("change", showTheme);
showTheme();

// The charts read the tables, so that both show the same numbers.
const tables = {};
function rowsOf(name) {
  if (!tables[name]) {
    const table = document.getElementById(`table-${name}`);
    const keys = [...table.tHead.rows[0].cells].map((cell) => cell.dataset.key);
    tables[name] = [...table.tBodies[0].rows].map((row, index) => {
      const values = [...row.cells].map((cell) => {
        if (cell.querySelector(".none")) return null;
        const exact = cell.querySelector("data")?.value;
        const text = cell.textContent.trim();
        return cell.classList.contains("n") ? Number(exact ?? text.replaceAll(",", "")) : text;
      });
      return { ...Object.fromEntries(keys.map((key, i) => [key, values[i]])), _row: index };
    });
  }
  return tables[name];
}

const line = { domainColor: "currentColor", domainOpacity: 0.4, tickColor: "currentColor", tickOpacity: 0.4 };
const words = { labelColor: "currentColor", titleColor: "currentColor", labelFontSize: 11, titleFontSize: 12, titleFontWeight: 500 };
const config = (width) => ({
  background: null,
  font: getComputedStyle(document.body).fontFamily, // by name, because the library measures texts itself
  view: { stroke: null },
  axis: { ...line, ...words, gridColor: "currentColor", gridOpacity: 0.12, labelOverlap: true },
  legend: { ...words, columns: Math.max(1, Math.floor(width / 160)), labelLimit: 140, symbolOpacity: 1, rowPadding: 3, layout: { bottom: { direction: "vertical", anchor: "start", margin: 10 } } },
  text: { fill: "currentColor" },
});

// Names beside points, as many as fit.
const withLabels = (column) => (chart) => {
  const marks = chart.marks.find((mark) => mark.name === "points_marks" || mark.name === "layer_0_marks");
  chart.marks.push({
    type: "text",
    from: { data: marks.name },
    interactive: false,
    encode: { enter: { text: { field: `datum.${column}` }, fontSize: { value: 11 }, fill: { value: "currentColor" } } },
    transform: [
      {
        type: "label",
        size: { signal: "[width, height]" },
        anchor: ["top", "bottom", "right", "left", "top-right", "bottom-right", "top-left", "bottom-left"],
        offset: [2],
      },
    ],
  });
  return chart;
};

for (const figure of document.querySelectorAll("figure[data-table]")) {
  const chart = figure.querySelector(".chart");
  const { labels, table } = figure.dataset;
  const specification = {
    autosize: { type: "fit-x", contains: "padding" },
    width: "container",
    ...JSON.parse(figure.querySelector("script").textContent),
    data: { values: rowsOf(table) },
    config: config(chart.clientWidth),
  };
  const options = { renderer: "svg", actions: false, ...(labels ? { patch: withLabels(labels) } : {}) };
  vegaEmbed(chart, specification, options)
    .then(() => chart.classList.add("drawn"))
    .catch((error) => {
      console.error(error);
      chart.textContent = "This chart could not be drawn; its numbers are in the table.";
    });
}
