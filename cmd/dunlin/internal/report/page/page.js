"use strict";
// Says what a plot shows at the place that is pointed at, or moved to with the
// arrow keys. The page is complete without it.
for (const plot of document.querySelectorAll(".plot")) {
  const data = JSON.parse(plot.querySelector("script").textContent);
  const svg = plot.querySelector("svg[viewBox]"), cursor = svg.querySelector(".cursor"), out = plot.querySelector(".readout");
  let at = -1;
  const show = i => {
    at = i;
    cursor.setAttribute("visibility", i < 0 ? "hidden" : "visible");
    out.textContent = "";
    if (i < 0) return;
    cursor.setAttribute("x1", data.x[i]);
    cursor.setAttribute("x2", data.x[i]);
    out.textContent = [data.names[i], ...data.lines.map(l => l.name + ": " + l.text[i])].join("\n");
    const box = svg.getBoundingClientRect(), scale = box.width / svg.viewBox.baseVal.width;
    const left = svg.offsetLeft + data.x[i] * scale || box.left - plot.getBoundingClientRect().left + data.x[i] * scale;
    out.style.left = Math.max(4, left + (data.x[i] < 346 ? 12 : -12 - out.offsetWidth)) + "px";
  };
  svg.addEventListener("pointermove", e => {
    const box = svg.getBoundingClientRect(), x = (e.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    let best = 0;
    data.x.forEach((v, i) => { if (Math.abs(v - x) < Math.abs(data.x[best] - x)) best = i; });
    show(best);
  });
  svg.addEventListener("pointerleave", () => show(-1));
  svg.addEventListener("blur", () => show(-1));
  svg.addEventListener("keydown", e => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key];
    if (step) { show(Math.min(data.x.length - 1, Math.max(0, at + step))); e.preventDefault(); }
    if (e.key === "Escape") show(-1);
  });
}
