// Charts take the page's colours, and take them again when the reader switches between light and dark.
const scheme = matchMedia("(prefers-color-scheme: dark)");
function look() {
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = {gridcolor: colour("--line"), linecolor: colour("--line"), tickcolor: colour("--line")};
  const found = {"font.color": colour("--ink"), "hoverlabel.bgcolor": colour("--raised"), "hoverlabel.font.color": colour("--ink")};
  for (const side of ["xaxis", "yaxis"]) for (const [key, value] of Object.entries(axis)) found[`${side}.${key}`] = value;
  return found;
}
function paint() {
  for (const chart of document.querySelectorAll(".plotly-graph-div")) Plotly.relayout(chart, look());
}
scheme.addEventListener("change", paint);
