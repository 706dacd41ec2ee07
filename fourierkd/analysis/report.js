// Figures are drawn when they come near the window, so a page of many opens at once; all for print.
const draw = place => {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const {data, layout} = JSON.parse(place.nextElementSibling.textContent);
  Plotly.newPlot(place, data, layout, PLOT_CONFIG);
};
const figures = [...document.querySelectorAll(".figure")];
const watcher = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) draw(entry.target);
}, {rootMargin: "600px"});
figures.forEach(place => watcher.observe(place));

// Paper cannot be scrolled: what is too wide for it is made smaller. The table of runs breaks its lines.
const fit = (table, width) => {
  table.style.zoom = "";
  if (!width) return;
  const wrap = table.parentElement;
  wrap.style.width = `${width}px`;
  table.style.zoom = Math.min(1, width / table.offsetWidth);
  wrap.style.width = "";
};
const PAPER = 690; // px between the margins
for (const [event, width] of [["beforeprint", PAPER], ["afterprint", null]])
  window.addEventListener(event, () => {
    const share = place => place.closest(".two:not(.uneven)") ? 0.485 : 1;
    figures.forEach(place => {
      draw(place);
      Plotly.relayout(place, width ? {width: width * share(place), autosize: false}
                                   : {width: null, autosize: true});
    });
    for (const table of document.querySelectorAll(".wrap > table:not(.runs)"))
      fit(table, width && width * share(table));
  });

// Tables sort by the head that is pressed, then the other way round; cells without a value stay last.
const sortBy = (table, heads, column) => {
  const head = heads[column], number = head.classList.contains("n");
  const down = head.getAttribute("aria-sort") === "ascending";
  const key = row => {
    const text = row.cells[column].textContent.trim();
    if (!number) return text && text !== "–" ? text : null;
    const value = parseFloat(text.replaceAll(",", ""));
    return Number.isNaN(value) ? null : value;
  };
  const order = (a, b) => number ? a - b : a.localeCompare(b, "en", {numeric: true});
  const body = table.tBodies[0];
  const rows = [...body.rows].map(row => [key(row), row]).sort(([a], [b]) =>
    a === null || b === null ? (a === null) - (b === null) : down ? order(b, a) : order(a, b));
  body.append(...rows.map(([, row]) => row));
  heads.forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, heads, column));
    head.append(button);
  });
}
