// Critique and reward of one attention map against the epoch: pick the map, read values by pointing
// at the plot or with the slider. uPlot draws; the data stand in the page (dreal_lib/interactive.py).
"use strict";

(() => {
  const QUANTITIES = ["critique", "reward"];
  const HEIGHT = 260;
  let made = 0;

  const signed = (value) => {
    if (value === null) return "undefined";
    const size = Math.abs(value).toFixed(3);
    return Number(size) === 0 ? size : (value < 0 ? "\u2212" : "+") + size;
  };

  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };

  // A column a quantity and run, after the epochs.
  const columns = (map) => [map.epochs, ...QUANTITIES.flatMap((q) => map[q])];

  // One range for all maps, so that they can be compared.
  const valueRange = (maps) => {
    const values = maps.flatMap((map) => columns(map).slice(1).flat()).filter((v) => v !== null);
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    const room = 0.05 * (high - low || 1);
    return [low - room, high + room];
  };

  // One epoch alone still takes some width.
  const epochRange = (maps) => {
    const epochs = maps.flatMap((map) => map.epochs);
    const [first, last] = [Math.min(...epochs), Math.max(...epochs)];
    return first === last ? [first - 1, last + 1] : [first, last];
  };

  const series = (colours, runs, alone) =>
    QUANTITIES.flatMap((q) =>
      Array.from({ length: runs }, () => ({
        stroke: colours[q],
        width: runs > 1 ? 1.25 : 2,
        points: { show: alone, fill: colours[q], size: 7 },
      })),
    );

  const build = (box) => {
    const data = JSON.parse(box.querySelector("script").textContent);
    const id = `curve-explorer-${++made}`;
    const select = element("select", { id: `${id}-map` });
    data.maps.forEach((map, i) => select.append(element("option", { value: i }, map.label)));
    const slider = element("input", { id: `${id}-epoch`, type: "range", step: 1 });
    const plot = element("div", { class: "curve-explorer-plot", "aria-hidden": "true" });
    const reading = element("output", { for: `${select.id} ${slider.id}` });
    const key = element("span", { class: "curve-explorer-key" });
    for (const q of QUANTITIES) {
      key.append(element("span", { style: `border-color: ${data.colours[q]}` }, q));
    }
    box.replaceChildren(
      element(
        "div",
        { class: "curve-explorer-controls" },
        element("label", {}, "Block ", select),
        element("label", {}, "Epoch ", slider),
        key,
      ),
      plot,
      reading,
    );

    let map = data.maps[0];
    let pinned = map.epochs.length - 1; // where the slider stands
    const seeds = data.seeds.length > 1 ? ` (seeds ${data.seeds.join(", ")})` : "";

    const read = (index) => {
      const parts = QUANTITIES.map(
        (q) => `${q} ${map[q].map((ofRun) => signed(ofRun[index])).join(", ")}`,
      );
      const text = `${map.label}, epoch ${map.epochs[index]}: ${parts.join("; ")}${seeds}`;
      if (reading.textContent !== text) reading.textContent = text;
    };

    const ink = () => getComputedStyle(box).color;
    const faint = () => getComputedStyle(box).getPropertyValue("--pst-color-border").trim();
    const axis = (label, size) => ({
      label,
      size,
      labelSize: 20,
      font: "12px system-ui, sans-serif",
      labelFont: "12px system-ui, sans-serif",
      stroke: ink,
      grid: { stroke: faint, width: 1 },
      ticks: { stroke: faint, width: 1 },
    });
    const width = () => Math.max(200, plot.clientWidth);
    const chart = new uPlot(
      {
        width: width(),
        height: HEIGHT,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        scales: {
          x: { time: false, range: epochRange(data.maps) },
          y: { range: valueRange(data.maps) },
        },
        axes: [
          { ...axis("epoch", 32), incrs: [1, 2, 5, 10, 20, 50] },
          axis("critique, reward", 52),
        ],
        series: [{}, ...series(data.colours, data.seeds.length, map.epochs.length === 1)],
        hooks: { setCursor: [(u) => read(u.cursor.left >= 0 ? u.cursor.idx ?? pinned : pinned)] },
      },
      columns(map),
      plot,
    );

    const point = () => {
      slider.value = map.epochs[pinned];
      slider.setAttribute("aria-valuetext", `epoch ${map.epochs[pinned]}`);
      chart.setCursor({ left: chart.valToPos(map.epochs[pinned], "x"), top: 10 }, false);
      read(pinned);
    };
    const pick = () => {
      map = data.maps[select.value];
      pinned = Math.min(pinned, map.epochs.length - 1);
      slider.min = map.epochs[0];
      slider.max = map.epochs.at(-1);
      chart.setData(columns(map));
      point();
    };
    const nearest = (epoch) =>
      map.epochs.reduce((best, e, i) =>
        Math.abs(e - epoch) < Math.abs(map.epochs[best] - epoch) ? i : best, 0);

    select.addEventListener("change", pick);
    slider.addEventListener("input", () => {
      pinned = nearest(Number(slider.value));
      point();
    });
    chart.over.addEventListener("click", () => {
      if (chart.cursor.idx == null) return;
      pinned = chart.cursor.idx;
      point();
    });
    chart.over.addEventListener("mouseleave", () => requestAnimationFrame(point));
    new ResizeObserver(() => {
      if (width() === chart.width) return;
      chart.setSize({ width: width(), height: HEIGHT });
      requestAnimationFrame(point); // the new places are known only then
    }).observe(plot);
    new MutationObserver(() => chart.redraw(false)).observe(document.documentElement, {
      attributeFilter: ["data-theme"],
    });
    pick();
  };

  document.querySelectorAll(".curve-explorer").forEach(build);
})();
