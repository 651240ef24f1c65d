"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = Object.fromEntries(data.fields.map((name, index) => [name, index]));
  const rows = data.rows.map((values, index) => ({ values, index }));
  const get = (row, name) => row.values[at[name]];
  const board = document.querySelector(".board");
  const body = board.tBodies[0];
  const heads = [...board.tHead.rows[0].cells];
  const control = Object.fromEntries(
    ["view", "model", "method", "params", "megabytes", "sort", "reset", "more", "count"].map((id) => [
      id,
      document.getElementById(id),
    ]),
  );
  const columns = heads.map((head) => ({ head, key: head.dataset.key, label: head.dataset.label, look: head.className }));
  const views = data.views.map((_, view) => rows.filter((row) => get(row, "view") === view));
  const FIRST = 100;
  let state = { sort: null, down: false, shown: FIRST };

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  // ---------------------------------------------------------------- the table

  // A row's element is made when it is first shown, and kept: sorting and filtering only put elements in order. Rows
  // out of sight are then not laid out either (`content-visibility` in the style).

  const chosen = () => {
    const [view, model, method, params, megabytes] = ["view", "model", "method", "params", "megabytes"].map(
      (name) => control[name].value,
    );
    const atMost = (row, key, limit) => limit === "" || (get(row, key) !== null && get(row, key) <= Number(limit));
    return (views[view] ?? []).filter(
      (row) =>
        (model === "" || get(row, "model") === Number(model)) &&
        (method === "" || get(row, "method") === method || get(row, "variant") === "dense") &&
        atMost(row, "params", params) &&
        atMost(row, "megabytes", megabytes),
    );
  };

  // One number a row for each column that was sorted by: the value, or the place of a text; NaN where it is missing.
  const keys = new Map();
  const keysOf = (name) => {
    if (!keys.has(name)) {
      let values = rows.map((row) => (name === "model" ? data.models[get(row, name)].toLowerCase() : get(row, name)));
      if (values.some((value) => typeof value === "string")) {
        const places = new Map([...new Set(values)].sort().map((value, place) => [value, place]));
        values = values.map((value) => places.get(value));
      }
      keys.set(name, Float64Array.from(values, (value) => value ?? NaN));
    }
    return keys.get(name);
  };

  const ordered = (found) => {
    if (state.sort === null) return found;
    const sign = state.down ? -1 : 1;
    const key = keysOf(state.sort);
    return found.sort(({ index: first }, { index: second }) => {
      const [a, b] = [key[first], key[second]];
      // what is missing comes last, whichever way
      if (a !== a || b !== b) return (a !== a) - (b !== b) || first - second;
      return sign * (a - b) || first - second;
    });
  };

  const figure = (text) => {
    const cell = document.createElement("td");
    const [value, ...range] = text.split(" [");
    cell.append(element("span", value));
    if (range.length) {
      cell.append(" ", element("span", "[" + range.join(" ["), "range"));
    }
    return cell;
  };

  const made = (row) => {
    const tr = document.createElement("tr");
    tr.setAttribute("role", "row");
    for (const { key, label, look } of columns) {
      let cell;
      if (key === "variant") {
        cell = element("td");
        const open = element("button", get(row, "variant"));
        open.type = "button";
        open.dataset.row = row.index;
        open.setAttribute("aria-haspopup", "dialog");
        cell.append(open);
        const flags = element("div");
        const marked = get(row, "flags");
        for (const [flag, words] of marked.slice(0, data.flags_shown)) {
          const chip = element("span", words, "flag");
          chip.title = data.flags[flag] || "";
          flags.append(chip);
        }
        if (marked.length > data.flags_shown) flags.append(element("span", `${marked.length - data.flags_shown} more`, "flag"));
        if (flags.childNodes.length) cell.append(flags);
      } else if (key === "model") {
        cell = element("td", data.models[get(row, "model")]);
      } else if (key === "accuracy_group" || key === "set_size_group") {
        const group = get(row, key);
        cell = element("td");
        cell.append(element("span", group === null ? "–" : String(group), group === 1 ? "first" : ""));
      } else {
        cell = figure(get(row, key + "_shown"));
      }
      cell.className = look;
      cell.setAttribute("role", "cell");
      cell.dataset.label = label;
      tr.append(cell);
    }
    return tr;
  };

  const render = () => {
    const found = ordered(chosen());
    const shown = document.createDocumentFragment();
    for (const row of found.slice(0, state.shown)) shown.append((row.line ??= made(row)));
    const count = shown.childElementCount;
    body.replaceChildren(shown);
    control.count.textContent = `${count} of ${found.length} rows shown`;
    control.more.hidden = count === found.length;
    for (const { head, key } of columns) {
      const way = key !== state.sort ? "none" : state.down ? "descending" : "ascending";
      if (head.getAttribute("aria-sort") !== way) head.setAttribute("aria-sort", way);
    }
  };

  const sortBy = (key, down) => {
    state = { ...state, sort: key, down };
    control.sort.value = key === null ? "" : `${key} ${down ? "down" : "up"}`;
    render();
  };

  for (const { head, key } of columns) {
    head.querySelector("button").addEventListener("click", () => {
      const first = head.dataset.better === "higher";
      sortBy(key, state.sort === key ? !state.down : first);
    });
  }
  control.sort.addEventListener("change", () => {
    const [key, way] = control.sort.value.split(" ");
    sortBy(key || null, way === "down");
  });
  for (const name of ["view", "model", "method", "params"]) control[name].addEventListener("change", render);
  control.megabytes.addEventListener("input", render);
  control.reset.addEventListener("click", () => {
    for (const name of ["model", "method", "params", "megabytes"]) control[name].value = "";
    control.view.selectedIndex = 0;
    state.shown = FIRST;
    sortBy(null, false);
  });
  control.more.addEventListener("click", () => {
    state.shown = Infinity;
    render();
    body.rows[FIRST].querySelector("button").focus(); // the button that had the focus is gone
  });

  // ---------------------------------------------------------------- what one row is made of

  const SVG = "http://www.w3.org/2000/svg";
  const mark = (name, attributes, text) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const W = 360, H = 210, LEFT = 42, RIGHT = 10, TOP = 10, BOTTOM = 30;

  const frame = (label, low, high, decimals) => {
    const svg = mark("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": label });
    const y = (value) => H - BOTTOM - ((value - low) / (high - low || 1)) * (H - BOTTOM - TOP);
    for (let step = 0; step <= 4; step++) {
      const value = low + ((high - low) * step) / 4;
      svg.append(mark("line", { class: "axis", x1: LEFT, x2: W - RIGHT, y1: y(value), y2: y(value) }));
      svg.append(mark("text", { x: LEFT - 5, y: y(value) + 4, "text-anchor": "end" }, value.toFixed(decimals)));
    }
    return { svg, y };
  };

  const described = (caption, svg) => {
    const made = element("figure");
    made.append(svg, element("figcaption", caption));
    return made;
  };

  const curve = (points, key, name, chosenRow) => {
    const known = points.filter((row) => get(row, key) !== null);
    const ends = known.flatMap((row) => [get(row, key), get(row, key + "_low"), get(row, key + "_high")]);
    const chance = known.map((row) => get(row, key + "_chance")).find((value) => value !== null) ?? null;
    const values = [...ends, chance].filter((value) => value !== null);
    if (!values.length) return element("p", `${name}: no values`);
    const pad = (Math.max(...values) - Math.min(...values)) * 0.06 || 0.05;
    const label = `${name}: ` + known.map((row) => `${get(row, "label")} ${get(row, key + "_shown")}`).join("; ");
    const { svg, y } = frame(label, Math.max(0, Math.min(...values) - pad), Math.max(...values) + pad, 2);
    const x = (place) => LEFT + ((place + 0.5) * (W - LEFT - RIGHT)) / known.length;
    if (chance !== null)
      svg.append(mark("line", { class: "chance", x1: LEFT, x2: W - RIGHT, y1: y(chance), y2: y(chance) }));
    const idle = (row) => get(row, "flags").some(([flag]) => flag === "no-op");
    const moved = known.map((row, place) => [row, place]).filter(([row]) => !idle(row));
    const joined = get(points[points.length - 1], "curve") !== "other";
    if (joined)
      svg.append(
        mark("polyline", { class: "line", points: moved.map(([row, at_]) => `${x(at_)},${y(get(row, key))}`).join(" ") }),
      );
    known.forEach((row, place) => {
      const [low, high] = [get(row, key + "_low"), get(row, key + "_high")];
      if (low !== null && high !== null)
        svg.append(mark("line", { class: "bar", x1: x(place), x2: x(place), y1: y(low), y2: y(high) }));
      const look = `point${idle(row) ? " idle" : ""}${row === chosenRow ? " chosen" : ""}`;
      const dot = mark("circle", { class: look, cx: x(place), cy: y(get(row, key)), r: row === chosenRow ? 5 : 3.5 });
      dot.append(mark("title", {}, `${get(row, "variant")}: ${get(row, key + "_shown")}`));
      svg.append(dot);
      const words = get(row, "label");
      if (known.length <= 12 || place % 2 === 0)
        svg.append(
          mark("text", { x: x(place), y: H - 12, "text-anchor": "middle" }, words.length > 9 ? words.slice(0, 8) + "…" : words),
        );
    });
    return described(`${name}; bars are 95 % intervals${chance === null ? "" : ", dotted is chance"}`, svg);
  };

  const reliability = (series) => {
    const label = "Accuracy by confidence. " + series
      .map(([name, bins]) => `${name}: ` + bins.map(([c, a, n]) => `${c} ${a} (${n} items)`).join(", "))
      .join(". ");
    const { svg, y } = frame(label, 0, 1, 2);
    const x = (value) => LEFT + value * (W - LEFT - RIGHT);
    svg.append(mark("line", { class: "chance", x1: x(0), x2: x(1), y1: y(0), y2: y(1) }));
    series.forEach(([name, bins], order) => {
      const total = bins.reduce((sum, [, , n]) => sum + n, 0);
      for (const [confidence, accuracy, n] of bins) {
        const dot = mark("circle", {
          class: order === series.length - 1 ? "point" : "raw",
          cx: x(confidence),
          cy: y(accuracy),
          r: 2 + 12 * Math.sqrt(n / total),
          "fill-opacity": n < 5 ? 0.25 : 0.65,
        });
        dot.append(mark("title", {}, `${name}: confidence ${confidence}, accuracy ${accuracy}, ${n} items`));
        svg.append(dot);
      }
    });
    for (const value of [0, 0.5, 1]) svg.append(mark("text", { x: x(value), y: H - 12, "text-anchor": "middle" }, value.toFixed(1)));
    const names = series.map(([name], order) => (order === series.length - 1 ? "filled: " : "hollow: ") + name).join(", ");
    return described(`Accuracy against confidence (${names}); larger points hold more items, on the line is calibrated`, svg);
  };

  const dialog = document.getElementById("detail");
  const detail = (row) => {
    const same = rows.filter((other) => get(other, "view") === get(row, "view") && get(other, "model") === get(row, "model"));
    const dense = same.filter((other) => get(other, "variant") === "dense");
    const isDense = get(row, "variant") === "dense";
    const names = isDense ? [...new Set(same.filter((r) => !dense.includes(r)).map((r) => get(r, "curve")))] : [get(row, "curve")];
    const content = document.createDocumentFragment();
    const facts = element("dl");
    for (const [key, name] of data.facts) {
      const value = get(row, key);
      if (value === null || value === undefined || value === "") continue;
      facts.append(element("dt", name), element("dd", String(value)));
    }
    for (const [flag, words] of get(row, "flags")) {
      facts.append(element("dt", words), element("dd", data.flags[flag] || ""));
    }
    const bins = data.bins[row.index];
    if (bins) {
      const charts = element("div", undefined, "charts");
      charts.append(reliability(bins.map(([series, points]) => [data.series[series], points])));
      content.append(element("h3", "Does confidence match accuracy?"), charts);
    }
    for (const name of names.slice(0, 12)) {
      const points = [...dense, ...same.filter((other) => get(other, "curve") === name && !dense.includes(other))];
      if (points.length < 2) continue;
      const charts = element("div", undefined, "charts");
      charts.append(curve(points, "accuracy", "Accuracy", row), curve(points, "set_size", "Set size (options)", row));
      content.append(element("h3", `Rising compression: ${name}`), charts);
    }
    content.append(element("h3", "In numbers"), facts);
    document.getElementById("detail-title").textContent =
      `${data.models[get(row, "model")]} · ${get(row, "variant")} · ${data.views[get(row, "view")]}`;
    document.getElementById("detail-body").replaceChildren(content);
    dialog.showModal();
    dialog.scrollTop = 0;
  };
  body.addEventListener("click", (event) => {
    const open = event.target.closest("button[data-row]");
    if (open) detail(rows[Number(open.dataset.row)]);
  });
  document.getElementById("close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });

  render();
})();
