"use strict";
(() => {
  const PAGE = 100;
  const data = JSON.parse(document.getElementById("data").textContent);
  const main = data.columns.filter((column) => column.main);
  const rest = data.columns.filter((column) => !column.main);
  const best = new Set(data.best);
  const find = (id) => document.getElementById(id);
  const [head, body] = [document.querySelector("#grid thead tr"), document.querySelector("#grid tbody")];
  const order = Array.from({ length: data.rows }, (_, row) => row);
  const chosen = new Map();
  const state = { words: "", sort: null, down: false, page: 0, rows: order };

  // Every text goes in as text: nothing of the data is ever parsed as markup.
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

  // Texts are few beside rows: which of them have a word is asked once for each.
  function having(word) {
    const hits = new Uint8Array(data.rows);
    for (const column of data.columns) {
      if (!column.texts) continue;
      const found = column.texts.map((text) => text.toLowerCase().includes(word));
      if (found.includes(true)) column.values.forEach((value, row) => { if (value !== null && found[value]) hits[row] = 1; });
    }
    return hits;
  }

  function kept() {
    const masks = state.words.toLowerCase().split(/\s+/).filter(Boolean).map(having);
    const wanted = [...chosen].filter(([, value]) => value !== "");
    return order.filter((row) => masks.every((hits) => hits[row]) && wanted.every(([c, value]) => shown(c, row) === value));
  }

  function update() {
    state.rows = sorted(kept());
    state.page = 0;
    draw();
  }

  function detail(row, after) {
    const line = document.createElement("tr");
    line.className = "detail";
    const cell = make("td", undefined, line);
    cell.colSpan = main.length + 1;
    const list = make("dl", undefined, cell);
    for (const column of rest) {
      if (column.values[row] === null) continue;
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
      for (const column of main) {
        const marked = column.name === "p50_ms" && best.has(row);
        const cell = make("td", shown(column, row) + (marked ? " *" : ""), line);
        if (!column.texts) cell.className = marked ? "number best" : "number";
        else if (cell.textContent.length > 40) cell.title = cell.textContent;
      }
      return line;
    }));
    find("count").textContent = `${state.rows.length} of ${data.rows} rows.`;
    find("place").textContent = rows.length ? `${begin + 1} to ${begin + rows.length}` : "none";
    find("back").disabled = state.page === 0;
    find("on").disabled = begin + PAGE >= state.rows.length;
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

  make("span", "More", make("th", undefined, head)).className = "more";
  for (const column of main) {
    const cell = make("th", undefined, head);
    cell.scope = "col";
    cell.setAttribute("aria-sort", "none");
    const button = make("button", column.title, cell);
    button.type = "button";
    button.addEventListener("click", () => sortBy(column, cell));
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
    select.addEventListener("change", () => { chosen.set(column, select.value); update(); });
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
  draw();
})();
