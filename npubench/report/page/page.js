"use strict";
// Charts from the page's own data by Plot; tables that sort and filter. Nothing is loaded.
(() => {
  const COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8a8a00", "#888888"];
  // Colours come round again, lighter; every series named has a symbol and a dash that tell it from those of its colour.
  const LIGHTER = ["#66b0dc", "#ff9a5c", "#5fcfae", "#e8b4d0", "#f4cd73", "#a9d9f5", "#c4c44d", "#bdbdbd"];
  const SYMBOLS = ["circle", "square", "diamond", "triangle", "star", "cross", "wye"];
  const DASHES = [undefined, "6 3", "2 3"];
  const turnOf = (i) => Math.floor(i / COLORS.length);
  const colorOf = (i) => (turnOf(i) % 2 ? LIGHTER : COLORS)[i % COLORS.length];
  const symbolOf = (i) => SYMBOLS[(i + turnOf(i)) % SYMBOLS.length];
  const MOST_NAMED = 12;
  const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "u"], [1e-9, "n"], [1e-12, "p"], [1e-15, "f"], [1e-18, "a"]];
  const PLAIN = new Set(["", "%", "mm2", "1/s", "TOPS/W", "bit/cycle", "cycles"]);

  const digits = (value) => (value === 0 ? "0" : String(Number(value.toPrecision(4))));
  const prefixOf = (value) => PREFIXES.find(([size]) => Math.abs(value) >= size) ?? PREFIXES.at(-1);
  const shown = (value, unit) => {
    if (value === null || value === undefined) return "not stated";
    if (typeof value === "string") return value;
    if (PLAIN.has(unit) || value === 0) return `${digits(value)} ${unit}`.trim();
    const [size, prefix] = prefixOf(value);
    return `${digits(value / size)} ${prefix}${unit}`;
  };
  const brief = (value) => `${digits(value / prefixOf(value)[0])}${prefixOf(value)[1]}`;
  // One prefix for an axis, that of its largest value, so that labels stay short.
  const axisOf = (title, unit, values) => {
    const largest = Math.max(0, ...values.map(Math.abs));
    const [size, prefix] = PLAIN.has(unit) || largest === 0 ? [1, ""] : prefixOf(largest);
    const label = [title, unit ? `[${prefix}${unit}]` : ""].filter(Boolean).join(" ");
    return { label, format: (value) => digits(value / size) };
  };
  const element = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  function scaleOf(field) {
    if (!field.numeric) return { label: field.title, type: "point", domain: [...new Set(field.values.filter((value) => value !== null))] };
    const known = field.values.filter((value) => value !== null);
    const low = Math.min(...known), high = Math.max(...known), log = low > 0 && high / low > 30;
    const { label, format } = axisOf(field.title, field.unit, known);
    const whole = (value) => Math.abs(Math.log10(value) - Math.round(Math.log10(value))) < 1e-9;
    return { label, grid: true, nice: !log, type: log ? "log" : "linear", tickFormat: log ? (value) => (whole(value) ? format(value) : "") : format };
  }

  function front(xs, ys, x, y) {
    if (!x.better || !y.better || !x.numeric || !y.numeric) return [];
    const sx = x.better === "low" ? 1 : -1, sy = y.better === "low" ? 1 : -1;
    const order = xs.map((_, i) => i).filter((i) => xs[i] !== null && ys[i] !== null)
      .sort((a, b) => sx * (xs[a] - xs[b]) || sy * (ys[a] - ys[b]) || a - b);
    let best = Infinity;
    return order.filter((i) => sy * ys[i] < best && ((best = sy * ys[i]), true)).sort((a, b) => xs[a] - xs[b]);
  }

  function points(chart, width) {
    const field = (key) => chart.fields.find((one) => one.key === key);
    const x = field(chart.x), y = field(chart.y), color = chart.color ? field(chart.color) : null;
    const name = (i) => (color ? shown(color.values[i], color.unit) : "points");
    // A line follows one axis: points that differ along another are never joined.
    const along = chart.axes.includes(chart.x) || !chart.along ? x : field(chart.along);
    const others = chart.axes.filter((key) => key !== along.key).map(field);
    const line = (i) => JSON.stringify([name(i), ...others.map((one) => one.values[i])]);
    const rows = x.values.map((_, i) => ({ i, x: x.values[i], y: y.values[i], series: name(i), value: color?.values[i], line: line(i), along: along.numeric ? along.values[i] : i }))
      .filter((row) => row.x !== null && row.y !== null);
    const names = [...new Set(rows.map((row) => row.series))];
    const named = names.length <= MOST_NAMED, several = named && names.length > 1;
    const continuous = !named && color.numeric;
    const words = (row) => chart.fields.filter((one) => one.values[row.i] !== null)
      .map((one) => `${one.title}: ${shown(one.values[row.i], one.unit)}`).join("\n");
    const stroke = continuous ? "value" : named ? "series" : () => "points";
    const marks = [];
    if (chart.joined) {
      const turns = named ? Math.ceil(names.length / COLORS.length) : 1;
      for (let turn = 0; turn < turns; turn += 1) {
        const part = named ? rows.filter((row) => turnOf(names.indexOf(row.series)) === turn) : rows;
        marks.push(Plot.line(part, { x: "x", y: "y", z: "line", stroke, sort: "along", strokeDasharray: DASHES[turn % DASHES.length], strokeOpacity: named ? 1 : 0.5 }));
      }
    }
    if (chart.front) {
      const on = front(x.values, y.values, x, y).map((i) => ({ x: x.values[i], y: y.values[i] }));
      marks.push(Plot.line(on, { x: "x", y: "y", stroke: "currentColor", strokeDasharray: "4 3", strokeOpacity: 0.7 }));
    }
    marks.push(Plot.dot(rows, { x: "x", y: "y", stroke, fill: stroke, fillOpacity: 0.35, r: rows.length > 500 ? 2 : 4,
      symbol: several ? "series" : undefined, title: words, tip: true }));
    const scale = continuous ? { type: "linear", scheme: "viridis", label: color.title, legend: true }
      : { domain: named ? names : ["points"], range: named ? names.map((_, i) => colorOf(i)) : [COLORS[0]] };
    return Plot.plot({ width, height: Math.min(460, width * 0.6), marginLeft: 64, marginBottom: 42, x: scaleOf(x), y: scaleOf(y), color: scale,
      symbol: several ? { domain: names, range: names.map((_, i) => symbolOf(i)), legend: true } : undefined, marks });
  }

  function stack(chart, width) {
    const rows = chart.parts.flatMap((part) => chart.items.map((item, i) => ({ item: i, name: item, part: part.name, value: part.values[i] })))
      .filter((row) => row.value !== 0);
    const totals = chart.items.map((_, i) => chart.parts.reduce((sum, part) => sum + part.values[i], 0));
    const { label, format } = axisOf("", chart.unit, totals);
    const longest = Math.max(...chart.items.map((item) => item.length));
    return Plot.plot({ width, height: 70 + 19 * chart.items.length, marginLeft: Math.min(260, 12 + 6.2 * Math.min(longest, 40)), marginBottom: 40,
      x: { label, grid: true, tickFormat: format },
      y: { label: null, domain: chart.items.map((_, i) => i), tickFormat: (i) => (chart.items[i].length > 40 ? "…" + chart.items[i].slice(-39) : chart.items[i]) },
      color: { legend: true, domain: chart.parts.map((part) => part.name), range: chart.parts.map((_, i) => colorOf(i)) },
      marks: [Plot.barX(rows, { x: "value", y: "item", fill: "part", insetTop: 1, insetBottom: 1, tip: true, fillOpacity: 0.9,
        title: (row) => `${row.name}\n${row.part}: ${shown(row.value, chart.unit)}\nall of it: ${shown(totals[row.item], chart.unit)}` }),
        Plot.ruleX([0])] });
  }

  function roofline(chart, width) {
    const rows = chart.names.map((name, i) => ({ name, x: chart.intensity[i], y: chart.rate[i] }));
    const low = Math.min(...chart.intensity) / 2, high = Math.max(...chart.intensity) * 2;
    const marks = [], tops = chart.peaks.map(([, peak]) => peak);
    chart.peaks.forEach(([name, peak], i) => {
      const ridge = chart.bandwidth ? Math.max(low, peak / chart.bandwidth) : low, end = Math.max(high, 2 * ridge);
      const stroke = COLORS[(i + 1) % COLORS.length];
      marks.push(Plot.line([[ridge, peak], [end, peak]], { stroke, strokeWidth: 2 }));
      marks.push(Plot.text([[end, peak]], { text: () => `${name}: ${shown(peak, "MAC/s")}`, textAnchor: "end", dy: -8, fill: stroke }));
    });
    if (chart.bandwidth) {
      const end = Math.max(...(tops.length ? tops : chart.rate)) / chart.bandwidth, start = Math.min(low, end / 2), middle = Math.sqrt(start * end);
      marks.push(Plot.line([[start, start * chart.bandwidth], [end, end * chart.bandwidth]], { stroke: "currentColor" }));
      marks.push(Plot.text([[middle, middle * chart.bandwidth]], { text: () => `off chip: ${shown(chart.bandwidth, "B/s")}`, textAnchor: "end", dx: -8, fill: "currentColor" }));
    }
    marks.push(Plot.dot(rows, { x: "x", y: "y", fill: COLORS[0], fillOpacity: 0.6, r: 4, tip: true,
      title: (row) => `${row.name}\n${shown(row.y, "MAC/s")}\n${digits(row.x)} MACs for each byte` }));
    const tens = (v) => (Math.abs(Math.log10(v) % 1) < 1e-9 ? brief(v) : "");
    const label = chart.inside ? `MACs for each byte off chip (${chart.inside} layers move none)` : "MACs for each byte off chip";
    return Plot.plot({ width, height: Math.min(440, width * 0.6), marginLeft: 60, marginBottom: 42,
      x: { type: "log", label, grid: true, tickFormat: tens }, y: { type: "log", label: "MAC/s", grid: true, tickFormat: tens }, marks });
  }

  const DRAWERS = { points, stack, roofline };

  function draw(figure, chart) {
    const canvas = figure.querySelector(".canvas"), controls = figure.querySelector(".controls");
    const redraw = () => {
      const picture = DRAWERS[chart.kind](chart, Math.max(320, canvas.clientWidth || 900));
      for (const svg of picture.tagName === "svg" ? [picture] : picture.querySelectorAll(":scope > svg")) {
        svg.setAttribute("role", "img");
        svg.setAttribute("aria-label", chart.title);
      }
      canvas.replaceChildren(picture);
    };
    if (chart.kind === "points") {
      for (const [role, title] of [["x", "Across"], ["y", "Upwards"], ["color", "Colour"]]) {
        const select = element("select", {});
        if (role === "color") select.append(element("option", { value: "", textContent: "none" }));
        for (const field of chart.fields) select.append(element("option", { value: field.key, textContent: field.title }));
        select.value = chart[role];
        select.addEventListener("change", () => { chart[role] = select.value; redraw(); });
        controls.append(element("label", {}, title, select));
      }
    }
    redraw();
  }

  function sortable(table) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const key = (row, i) => {
      const cell = row.cells[i], value = cell.dataset.v;
      return value === undefined ? [1, cell.textContent.trim()] : [0, Number(value)];
    };
    heads.forEach((head, i) => {
      const button = element("button", { type: "button" }, ...head.childNodes);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const sign = down ? -1 : 1;
        const rows = [...body.rows].map((row) => [key(row, i), row]);
        rows.sort(([a], [b]) => a[0] - b[0] || sign * (a[0] ? a[1].localeCompare(b[1], "en", { numeric: true }) : a[1] - b[1]));
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  function filterable(block) {
    const input = element("input", { type: "search", placeholder: "words, all of which a row must have" });
    const count = element("span", { className: "dim" });
    const rows = [...block.querySelector("table").tBodies[0].rows];
    input.addEventListener("input", () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let left = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        left += row.hidden ? 0 : 1;
      }
      count.textContent = words.length ? `${left} of ${rows.length} rows` : "";
    });
    block.prepend(element("div", { className: "controls filter" }, element("label", {}, "Filter", input), count));
  }

  const charts = JSON.parse(document.getElementById("chart-data").textContent);
  document.querySelectorAll("figure[data-chart]").forEach((figure) => draw(figure, charts[Number(figure.dataset.chart)]));
  document.querySelectorAll(".table table").forEach(sortable);
  document.querySelectorAll(".table[data-filter]").forEach(filterable);
})();
