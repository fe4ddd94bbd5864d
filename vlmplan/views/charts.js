// Charts take the page's colours, and take them again when the reader switches between light and dark.
const scheme = matchMedia("(prefers-color-scheme: dark)");
function paint() {
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const axis = {gridcolor: colour("--line"), linecolor: colour("--line"), tickcolor: colour("--line")};
  for (const chart of document.querySelectorAll(".plotly-graph-div")) {
    const look = {"font.color": colour("--ink"), "hoverlabel.bgcolor": colour("--raised"), "hoverlabel.font.color": colour("--ink")};
    for (const side of ["xaxis", "yaxis"]) for (const [key, value] of Object.entries(axis)) look[`${side}.${key}`] = value;
    Plotly.relayout(chart, look);
  }
}
scheme.addEventListener("change", paint);
