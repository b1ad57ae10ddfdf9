"use strict";
// What pages do besides htmx; each works without it, too.

function drawHeatMaps() {
  for (const place of document.querySelectorAll(".heat-map:not([data-drawn])")) {
    if (!window.Plotly) return;
    place.dataset.drawn = "yes";
    fetch(place.dataset.figure)
      .then((answer) => answer.json())
      .then((figure) => {
        window.Plotly.newPlot(place, figure.data, figure.layout, {
          displaylogo: false,
          displayModeBar: false,
          responsive: false,
        });
        place.on("plotly_click", (event) => collect(event.points[0].customdata));
      });
  }
}

// One residue a position: a second click takes a mutation back, another one there replaces it.
function collect(mutation) {
  const field = document.querySelector("#mutations");
  if (!field || !mutation) return;
  const site = mutation.slice(0, -1);
  const before = field.value.split(",").map((text) => text.trim()).filter(Boolean);
  const others = before.filter((text) => text.slice(0, -1) !== site);
  if (!before.includes(mutation)) others.push(mutation);
  field.value = others.join(",");
}

document.addEventListener("DOMContentLoaded", drawHeatMaps);
// After an answer in place, the keyboard is where the answer is.
document.addEventListener("htmx:afterSettle", () => {
  drawHeatMaps();
  const wrong = document.querySelector("[aria-invalid=true]");
  if (wrong) wrong.focus();
});
