// Sorting, filtering, and a table that fits on paper. Nothing is made of text but text.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const table = $("board"), head = table.tHead.rows[0], body = table.tBodies[0];
  const rows = [...body.rows], first = [...head.cells].findIndex((cell) => cell.className === "b");
  const fixed = first < 0 ? head.cells.length : first;
  const number = (cell) => {
    const found = parseFloat(cell.firstChild ? cell.firstChild.textContent.replace(/,/g, "") : "");
    return Number.isNaN(found) ? null : found;
  };
  const text = (element) => element.textContent.toLowerCase();
  const words = (input) => input.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const named = rows.map((row) => `${text(row.cells[0])} ${row.cells[1].title.toLowerCase()}`);
  const titles = [...head.cells].map((cell) => `${text(cell)} ${(cell.firstChild.title || "").toLowerCase()}`);
  const gaps = rows.map((row) => row.querySelector("td.none") !== null);

  function sort(at) {
    const cell = head.cells[at], textual = at < 2;
    const before = cell.getAttribute("aria-sort");
    const lower = text(cell).includes("↓");
    const up = before ? before === "descending" : textual || lower;
    for (const other of head.cells) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", up ? "ascending" : "descending");
    const key = rows.map((row) => (textual ? text(row.cells[at]) : number(row.cells[at])));
    const order = rows.map((_, index) => index).sort((one, other) => {
      const [a, b] = [key[one], key[other]];
      if (a === null || b === null) return (a === null) - (b === null);  // no score: always last
      const way = textual ? a.localeCompare(b, "en", { numeric: true }) : a - b;
      return up ? way : -way;
    });
    body.replaceChildren(...order.map((index) => rows[index]));
  }

  function filter() {
    const of = words($("models")), some = words($("benchmarks")), missing = $("gaps").checked;
    let seen = 0;
    rows.forEach((row, index) => {
      row.hidden = !of.every((word) => named[index].includes(word)) || (missing && !gaps[index]);
      seen += !row.hidden;
    });
    const fits = (name) => !some.length || some.some((word) => name.includes(word));
    let columns = 0;
    for (let at = fixed; at < head.cells.length; at += 1) {
      const hidden = !fits(titles[at]);
      columns += !hidden;
      if (head.cells[at].hidden === hidden) continue;
      head.cells[at].hidden = hidden;
      for (const row of rows) row.cells[at].hidden = hidden;
    }
    for (const figure of document.querySelectorAll("figure")) {
      figure.hidden = !fits(figure.dataset.name.toLowerCase());
    }
    $("count").textContent = `${seen} of ${rows.length} models, ` +
      `${columns} of ${head.cells.length - fixed} benchmarks`;
  }

  // A button in a head stays white on the second page and later ones.
  function heading(cell) {
    const plain = cell.cloneNode(false);
    plain.append(...cell.firstChild.cloneNode(true).childNodes);
    return plain;
  }

  // Paper is not scrolled: what is seen, a few benchmarks at a time.
  function print() {
    const shown = [...head.cells].map((_, at) => at)
      .filter((at) => at >= fixed && !head.cells[at].hidden);
    const pieces = [], size = Math.ceil(shown.length / Math.ceil(shown.length / 8)) || 1;
    for (let from = 0; from < Math.max(1, shown.length); from += size) {
      const at = [0, ...(from ? [] : [...Array(fixed).keys()].slice(2)), ...shown.slice(from, from + size)];
      const piece = document.createElement("table"), top = piece.createTHead().insertRow();
      for (const column of at) top.append(heading(head.cells[column]));
      const lines = piece.createTBody();
      for (const row of body.rows) {
        if (row.hidden) continue;
        const line = lines.insertRow();
        for (const column of at) line.append(row.cells[column].cloneNode(true));
      }
      pieces.push(piece);
    }
    $("print").replaceChildren(...pieces);
    document.documentElement.classList.add("printing");
  }

  [...head.cells].forEach((cell, at) => cell.firstChild.addEventListener("click", () => sort(at)));
  for (const name of ["models", "benchmarks"]) $(name).addEventListener("input", filter);
  $("gaps").addEventListener("change", filter);
  $("intervals").addEventListener("change", (event) => {
    table.classList.toggle("no-intervals", !event.target.checked);
  });
  window.addEventListener("beforeprint", print);
  window.addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    $("print").replaceChildren();
  });
  document.querySelector(".controls").hidden = false;
  filter();
})();
