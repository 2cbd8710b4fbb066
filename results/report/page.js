"use strict";
(() => {
  const PAGE = 100;
  const data = JSON.parse(document.getElementById("data").textContent);
  const main = data.columns.filter((column) => column.main);
  const hidden = new Set();
  const best = new Set(data.best);
  const find = (id) => document.getElementById(id);
  const [head, body] = [document.querySelector("#grid thead tr"), document.querySelector("#grid tbody")];
  const order = Array.from({ length: data.rows }, (_, row) => row);
  const selection = new Map();
  const state = { words: "", sort: null, down: false, page: 0, rows: order };

  // Set every text as text: the browser never parses the data as markup.
  function make(tag, text, parent) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (parent) parent.append(element);
    return element;
  }

  function shown(column, row) {
    const value = column.values[row];
    if (value === null) return "";
    if (column.texts) return column.texts[value];
    return column.decimals < 0 ? value.toExponential(1) : value.toFixed(column.decimals);
  }

  function rank(column) {
    if (!column.texts) return column.values;
    const collator = new Intl.Collator("en", { numeric: true });
    const places = column.texts.map((_, place) => place).sort((a, b) => collator.compare(column.texts[a], column.texts[b]));
    const ranks = [];
    places.forEach((place, nth) => { ranks[place] = nth; });
    return column.values.map((value) => (value === null ? null : ranks[value]));
  }

  function sorted(rows) {
    if (!state.sort) return rows;
    const ranks = rank(state.sort);
    const sign = state.down ? -1 : 1;
    return [...rows].sort((a, b) => {
      if (ranks[a] === null || ranks[b] === null) return (ranks[a] === null) - (ranks[b] === null) || a - b;
      return sign * (ranks[a] - ranks[b]) || a - b;
    });
  }

  // There are few texts and many rows: search each text once.
  function having(word) {
    const hits = new Uint8Array(data.rows);
    for (const column of data.columns) {
      if (!column.texts) continue;
      const matches = column.texts.map((text) => text.toLowerCase().includes(word));
      if (matches.includes(true)) column.values.forEach((value, row) => { if (value !== null && matches[value]) hits[row] = 1; });
    }
    return hits;
  }

  function filtered() {
    const masks = state.words.toLowerCase().split(/\s+/).filter(Boolean).map(having);
    const selected = [...selection].filter(([, value]) => value !== "");
    return order.filter((row) => masks.every((hits) => hits[row]) && selected.every(([c, value]) => shown(c, row) === value));
  }

  function update() {
    state.rows = sorted(filtered());
    state.page = 0;
    draw();
  }

  function detail(row, after) {
    const line = document.createElement("tr");
    line.className = "detail";
    const cell = make("td", undefined, line);
    cell.colSpan = main.length + 1 - hidden.size;
    const list = make("dl", undefined, cell);
    for (const column of data.columns) {
      if (column.values[row] === null || (column.main && !hidden.has(column))) continue;
      const pair = make("div", undefined, list);
      make("dt", column.title, pair);
      make("dd", shown(column, row), pair);
    }
    if (!list.children.length) make("div", "nothing more", list);
    after.after(line);
  }

  function toggle(button, row, line) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    button.textContent = open ? "+" : "\u2212";
    if (open) line.nextElementSibling.remove();
    else detail(row, line);
  }

  function visible() {
    return main.filter((column) => !hidden.has(column));
  }

  // A screen shows the most important columns that it has room for. The details of a row have the others.
  function fit() {
    hidden.clear();
    show();
    if (find("all").checked) return;
    const widths = [...head.children].map((cell) => cell.getBoundingClientRect().width);
    const order = main.map((column, place) => ({ column, place })).sort((a, b) => b.column.rank - a.column.rank || b.place - a.place);
    let total = widths.reduce((sum, width) => sum + width, 0);
    for (const { column, place } of order.slice(0, -1)) {
      if (total <= find("frame").clientWidth) break;
      total -= widths[place + 1]; // after the column of buttons
      hidden.add(column);
    }
    if (hidden.size) show();
  }

  function show() {
    heading();
    draw();
  }

  function heading() {
    head.replaceChildren();
    make("span", "More", make("th", undefined, head)).className = "more";
    for (const column of visible()) {
      const cell = make("th", undefined, head);
      cell.scope = "col";
      if (!column.texts) cell.className = "number";
      cell.setAttribute("aria-sort", state.sort !== column ? "none" : state.down ? "descending" : "ascending");
      const button = make("button", column.title, cell);
      button.type = "button";
      button.addEventListener("click", () => sortBy(column, cell));
    }
  }

  function draw() {
    const begin = state.page * PAGE;
    const rows = state.rows.slice(begin, begin + PAGE);
    body.replaceChildren(...rows.map((row) => {
      const line = document.createElement("tr");
      const button = make("button", "+", make("td", undefined, line));
      button.type = "button";
      button.setAttribute("aria-expanded", "false");
      button.setAttribute("aria-label", "More of this row");
      button.addEventListener("click", () => toggle(button, row, line));
      for (const column of visible()) {
        const marked = column.name === "p50_ms" && best.has(row);
        const cell = make("td", shown(column, row) + (marked ? " *" : ""), line);
        if (!column.texts) cell.className = marked ? "number best" : "number";
        else if (cell.textContent.length > 12) cell.title = cell.textContent;
      }
      return line;
    }));
    find("count").textContent = `${state.rows.length} of ${data.rows} rows.`;
    find("place").textContent = rows.length ? `${begin + 1} to ${begin + rows.length}` : "none";
    find("back").disabled = state.page === 0;
    find("on").disabled = begin + PAGE >= state.rows.length;
    find("pages").hidden = state.rows.length <= PAGE;
  }

  function turn(by) {
    state.page += by;
    draw();
    document.querySelector("#grid").scrollIntoView({ block: "nearest" });
  }

  function sortBy(column, cell) {
    state.down = state.sort === column && !state.down;
    state.sort = column;
    for (const other of head.children) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    cell.setAttribute("aria-sort", state.down ? "descending" : "ascending");
    update();
  }

  for (const column of data.columns.filter((item) => data.selects.includes(item.name))) {
    const label = make("label", `${column.title} `, find("controls"));
    const select = make("select", undefined, label);
    select.dataset.column = column.name;
    make("option", "all", select).value = "";
    const rows = new Map(order.map((row) => [shown(column, row), row]));
    const ranks = rank(column);
    const values = [...rows].filter(([text]) => text).sort((a, b) => ranks[a[1]] - ranks[b[1]]);
    for (const [text] of values) make("option", text, select).value = text;
    select.addEventListener("change", () => { selection.set(column, select.value); update(); });
  }
  let waiting = 0;
  find("filter").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => { state.words = event.target.value; update(); }, 80);
  });
  find("back").addEventListener("click", () => turn(-1));
  find("on").addEventListener("click", () => turn(1));
  document.querySelector(".live").hidden = false;
  document.documentElement.classList.add("scripted");
  find("all").addEventListener("change", fit);
  let width = 0;
  new ResizeObserver(() => {
    if (find("frame").clientWidth === width) return;
    width = find("frame").clientWidth;
    fit();
  }).observe(find("frame"));
  fit();
})();
