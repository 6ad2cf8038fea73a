// The sample browser. Texts reach the page by textContent only: a model's answer is never HTML.
"use strict";
(() => {
  for (const button of document.querySelectorAll(".toggle button")) {
    button.addEventListener("click", () => {
      const rows = button.closest("tbody").nextElementSibling;
      rows.hidden = !rows.hidden;
      button.setAttribute("aria-expanded", String(!rows.hidden));
    });
  }
  // Benchmarks: filtered, sorted, grouped. All parts of one stay together.
  const scores = document.querySelector("table.scores"), byId = (id) => document.getElementById(id);
  const benchmarks = [...scores.querySelectorAll("tbody[data-name]")].map((head) => ({
    ...head.dataset,
    head,
    parts: [...scores.querySelectorAll(`tbody[data-task="${head.dataset.task}"]`)],
    text: [...scores.querySelectorAll(`tbody[data-task="${head.dataset.task}"]`)]
      .map((part) => part.textContent).join(" ").toLowerCase(),
  }));
  const numeric = (key, way) => (one, other) =>
    (one[key] === "") - (other[key] === "") || way * (one[key] - other[key]);
  const orders = {
    "": (one, other) => one.task - other.task,
    name: (one, other) => one.name.localeCompare(other.name, "en", { numeric: true }),
    score: numeric("score", 1),
    "score-down": numeric("score", -1),
    width: numeric("width", -1),
  };
  function arrange() {
    const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const group = byId("group").value, state = byId("state").value;
    const order = [...benchmarks].sort(orders[byId("sort").value]);
    if (group) order.sort((one, other) => one[group].localeCompare(other[group]));
    let seen = 0, last = null;
    const parts = [];
    for (const each of order) {
      const fits = words.every((word) => each.text.includes(word)) &&
        (!state || (state === "published") === (each.published === "yes"));
      seen += fits;
      if (fits && group && each[group] !== last) {
        const heading = document.createElement("tbody"), cell = document.createElement("th");
        heading.className = "group";
        cell.colSpan = 5;
        cell.textContent = last = each[group];
        heading.insertRow().append(cell);
        parts.push(heading);
      }
      for (const part of each.parts) part.classList.toggle("out", !fits);
      parts.push(...each.parts);
    }
    for (const body of [...scores.tBodies]) body.remove();
    scores.append(...parts);
    byId("shown").textContent = `${seen} of ${benchmarks.length}`;
  }
  byId("filter").addEventListener("input", arrange);
  for (const id of ["sort", "group", "state"]) byId(id).addEventListener("change", arrange);
  document.querySelector(".sorting").hidden = benchmarks.length < 2;

  const blocks = [...document.querySelectorAll("script.samples")];
  const list = document.getElementById("list");
  if (!list || !blocks.length) return;
  const [LABEL, PROMPT, EXPECTED, ANSWER, PROMPT_TOKENS, TOKENS, LATENCY, HASH, SCORES, EXTRACTED] =
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
  const HEIGHT = 52, HEAD = 1500, TAIL = 2500;
  const whole = (number) => number.toLocaleString("en");
  const $ = (id) => document.getElementById(id);
  const spacer = $("spacer"), detail = $("detail"), task = $("task"), metric = $("metric");
  const search = $("search"), count = $("count");
  const unpacked = new Map();
  let data = { metrics: [], rows: [] }, shown = [], chosen = -1, show = "all", limit = 1;
  let graded = false, loading = 0;

  // These turn the letters after them round: an answer would be read as another one.
  const visible = (text) => String(text).replace(/[\u202d\u202e]/g, (sign) =>
    `[U+${sign.charCodeAt(0).toString(16).toUpperCase()}]`);
  const element = (tag, text, name) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = visible(text);
    if (name) made.className = name;
    return made;
  };
  const format = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(3));

  async function unpack(block) {
    if (!unpacked.has(block)) {
      const bytes = Uint8Array.from(atob(block.textContent), (letter) => letter.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      unpacked.set(block, await new Response(stream).json());
    }
    return unpacked.get(block);
  }

  async function load() {
    const number = ++loading;
    count.textContent = "Loading …";
    const found = await unpack(blocks[task.selectedIndex]);
    if (number !== loading) return;  // another benchmark was chosen meanwhile
    data = found;
    metric.replaceChildren(...data.metrics.map((name) => element("option", name)));
    metric.disabled = data.metrics.length < 2;
    grade();
  }

  function grade() {
    const scores = data.rows.map((row) => row[SCORES][metric.selectedIndex])
      .filter((score) => typeof score === "number");
    graded = scores.some((score) => score !== 0 && score !== 1);
    limit = graded ? scores.reduce((sum, score) => sum + score, 0) / scores.length : 1;
    for (const button of document.querySelectorAll("[data-show]")) {
      const names = graded ? { wrong: "below mean", right: "mean and above" } : {};
      const plain = { all: "all", wrong: "wrong", right: "right", unscored: "no score" };
      button.textContent = names[button.dataset.show] || plain[button.dataset.show];
    }
    filter();
  }

  function kind(row) {
    const score = row[SCORES][metric.selectedIndex];
    return typeof score !== "number" ? "unscored" : score < limit ? "wrong" : "right";
  }

  function filter() {
    const words = search.value.trim().toLowerCase();
    const of = { wrong: 0, right: 0, unscored: 0 };
    shown = data.rows.filter((row) => {
      const found = kind(row);
      of[found] += 1;
      if (show !== "all" && found !== show) return false;
      return !words || [LABEL, PROMPT, EXPECTED, ANSWER].some((part) =>
        row[part] !== null && row[part].toLowerCase().includes(words));
    });
    const left = Number(blocks[task.selectedIndex].dataset.leftOut);
    count.textContent = `${whole(shown.length)} of ${whole(data.rows.length)} samples; ` +
      `${whole(of.wrong)} ${graded ? "below the mean" : "wrong"}, ${whole(of.right)} ` +
      `${graded ? "not below it" : "right"}, ${whole(of.unscored)} without a score` +
      (left ? `. ${whole(left)} rows are in samples.parquet only.` : "");
    spacer.style.height = `${shown.length * HEIGHT}px`;
    list.scrollTop = 0;
    choose(shown.length ? 0 : -1);
  }

  function draw() {
    const first = Math.max(0, Math.floor(list.scrollTop / HEIGHT) - 4);
    const last = Math.min(shown.length, first + Math.ceil(list.clientHeight / HEIGHT) + 8);
    const items = [];
    for (let index = first; index < last; index += 1) {
      const row = shown[index], score = row[SCORES][metric.selectedIndex];
      const item = element("div", undefined, `item ${kind(row)}`);
      item.style.top = `${index * HEIGHT}px`;
      item.setAttribute("role", "option");
      item.id = `sample-${index}`;
      item.setAttribute("aria-selected", String(index === chosen));
      const mark = typeof score !== "number" ? "–" : graded ? format(score) : score ? "right" : "wrong";
      const lines = element("div");
      // A prompt of many lines (few-shot) is told apart by its end.
      lines.append(
        element("div", (row[PROMPT] || row[LABEL]).trim().slice(-300).split("\n").pop(), "line"),
        element("div", `${row[LABEL]}: ${(row[ANSWER] ?? "no answer").slice(0, 200)}`, "line"));
      item.append(element("span", mark, "mark"), lines);
      item.addEventListener("click", () => choose(index));
      items.push(item);
    }
    spacer.replaceChildren(...items);
    if (chosen < 0) list.removeAttribute("aria-activedescendant");
    else list.setAttribute("aria-activedescendant", `sample-${chosen}`);
  }

  function choose(index) {
    chosen = index;
    draw();
    detail.scrollTop = 0;
    if (index < 0) {
      detail.replaceChildren(element("p", "No sample fits.", "small"));
      return;
    }
    const row = shown[index], parts = [];
    const add = (title, text) => {
      if (text === null || text === undefined) return;
      const shown = element("pre", text === "" ? "(empty)" : text);
      parts.push(element("h3", title), shown);
      if (text.length <= HEAD + TAIL + 100) return;
      shown.textContent = visible(
        `${text.slice(0, HEAD)}\n[... ${whole(text.length - HEAD - TAIL)} characters ...]\n${text.slice(-TAIL)}`);
      const more = element("button", `Show all ${whole(text.length)} characters`, "more");
      more.type = "button";
      more.addEventListener("click", () => {
        shown.textContent = visible(text);
        more.remove();
      });
      parts.push(more);
    };
    const scores = data.metrics.map((name, at) => [name, row[SCORES][at], row[EXTRACTED][at]])
      .filter(([, score]) => score !== null && score !== undefined);
    parts.push(element("h3", `Sample ${row[LABEL]}`));
    parts.push(element("div", scores.length
      ? scores.map(([name, score]) => `${name}: ${format(score)}`).join("; ") : "no score"));
    add("Question", row[PROMPT]);
    add("Right answer", row[EXPECTED]);
    add("The model said", row[ANSWER] ?? "(no answer)");
    for (const [name, , taken] of scores) {
      if (taken !== null && taken !== row[ANSWER]) add(`Taken for the answer, ${name}`, taken);
    }
    const known = [
      row[PROMPT_TOKENS] !== null && `${row[PROMPT_TOKENS]} prompt tokens`,
      row[TOKENS] !== null && `${row[TOKENS]} answer tokens`,
      row[LATENCY] !== null && `${Math.round(row[LATENCY])} ms`,
      row[HASH] !== null && `prompt ${row[HASH]}`,
    ].filter(Boolean);
    parts.push(element("p", known.join(", "), "small"));
    detail.replaceChildren(...parts);
  }

  list.addEventListener("scroll", () => requestAnimationFrame(draw), { passive: true });
  list.addEventListener("keydown", (event) => {
    const seen = Math.max(1, Math.floor(list.clientHeight / HEIGHT) - 1), all = shown.length;
    const step = {
      ArrowDown: 1, ArrowUp: -1, PageDown: seen, PageUp: -seen, End: all, Home: -all,
    }[event.key];
    if (!step || !shown.length) return;
    event.preventDefault();
    const next = Math.min(shown.length - 1, Math.max(0, chosen + step));
    const top = next * HEIGHT;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + HEIGHT > list.scrollTop + list.clientHeight) {
      list.scrollTop = top + HEIGHT - list.clientHeight;
    }
    choose(next);
  });
  new ResizeObserver(draw).observe(list);
  task.addEventListener("change", load);
  metric.addEventListener("change", grade);
  let typing;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(filter, 150);
  });
  for (const button of document.querySelectorAll("[data-show]")) {
    button.addEventListener("click", () => {
      show = button.dataset.show;
      for (const other of document.querySelectorAll("[data-show]")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      filter();
    });
  }
  task.replaceChildren(...blocks.map((block) => element(
    "option", `${block.dataset.task} (${Number(block.dataset.count).toLocaleString("en")})`)));
  load();
})();
