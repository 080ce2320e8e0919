"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const make = (tag, text, name) => {
    const made = document.createElement(tag);
    made.textContent = text;
    made.className = name;
    return made;
  };
  const button = (text, name, act) => {
    const made = make("button", text, name);
    made.type = "button";
    made.addEventListener("click", () => act(made));
    return made;
  };

  // Copying.
  const copy = async (text, pressed) => {
    const before = pressed.textContent;
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = make("textarea", "", "away");
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    pressed.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { pressed.textContent = before; }, 1500);
  };
  const plain = (cell) => cell.dataset.text ?? cell.textContent.trim().replace(/\s+/g, " ");
  const rows = (table) => all("tr", table).map((row) => all("th, td", row).map(plain));
  const csvCell = (text) => {
    let safe = text.replace(/^−/, "-");
    // A spreadsheet must not take a name for a formula.
    if (/^[=@]/.test(safe) || /^[-+](?![\d.∞])/.test(safe)) safe = "'" + safe;
    return /[",\n]/.test(safe) ? '"' + safe.replaceAll('"', '""') + '"' : safe;
  };
  const csv = (table) => rows(table).map((row) => row.map(csvCell).join(",")).join("\n") + "\n";
  const SYMBOLS = {
    "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}",
    "−": "$-$", "±": "$\\pm$", "≤": "$\\leq$", "≥": "$\\geq$", "<": "$<$", ">": "$>$", "×": "$\\times$",
    "→": "$\\to$", "∞": "$\\infty$", "α": "$\\alpha$", "–": "--", "…": "\\dots{}", "·": "$\\cdot$",
    "\u00a0": "~", "✔": "", "✘": "", "○": "", "|": "\\textbar{}",
  };
  const latexCell = (text) => text
    .replace(/[\\~^−±≤≥<>×→∞α–…·\u00a0✔✘○|]|[&%$#_{}]/g, (one) => SYMBOLS[one] ?? "\\" + one).trim();
  const latex = (table) => {
    const columns = all("tr", table)[0].children;
    const aligned = [...columns].map((cell) => cell.classList.contains("num") ? "r" : "l").join("");
    const lines = rows(table).map((row) => "  " + row.map(latexCell).join(" & ") + " \\\\");
    if (table.tHead) lines.splice(1, 0, "  \\hline");
    return ["\\begin{tabular}{" + aligned + "}", ...lines, "\\end{tabular}", ""].join("\n");
  };

  // Sorting.
  const key = (text) => {
    const found = text.replaceAll("−", "-").replaceAll(",", "").match(/-?(\d+\.?\d*|\.\d+)(e-?\d+)?/);
    return found ? Number(found[0]) : NaN;
  };
  const byNumber = (a, b) => Number.isNaN(a) - Number.isNaN(b) || a - b;
  const sort = (table, index, isNumeric) => {
    const head = table.tHead.rows[0].cells[index];
    const falls = head.getAttribute("aria-sort") === "ascending";
    const found = [...table.tBodies[0].rows].map((row) => [row, plain(row.cells[index])]);
    found.sort(([, a], [, b]) => {
      if (!isNumeric) return (falls ? -1 : 1) * a.localeCompare(b, "en", { numeric: true });
      const [x, y] = [key(a), key(b)];
      return Number.isNaN(x) || Number.isNaN(y) ? byNumber(x, y) : (falls ? -1 : 1) * (x - y);
    });
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", falls ? "descending" : "ascending");
    table.tBodies[0].append(...found.map(([row]) => row));
  };
  for (const table of all(".scroll > table")) {
    const above = table.parentElement;
    const tools = make("div", "", "tools");
    tools.append(
      button("Copy CSV", "tool", (pressed) => copy(csv(table), pressed)),
      button("Copy LaTeX", "tool", (pressed) => copy(latex(table), pressed)),
    );
    above.before(tools);
    if (!table.tHead || table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const text = plain(head);
      if (!text) return;
      head.dataset.text = text;
      head.textContent = "";
      head.append(button(text, "sort", () => sort(table, index, head.classList.contains("num"))));
    });
  }
  for (const block of all("pre")) {
    const tools = make("div", "", "tools");
    tools.append(button("Copy", "tool", (pressed) => copy(block.textContent, pressed)));
    block.before(tools);
  }

  // What is folded: opened by a link, for print, or all at once.
  const openTarget = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const inner = target.querySelector(":scope > details");
    if (inner) inner.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", openTarget);
  openTarget();
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });
  const list = document.querySelector(".contents ul");
  if (list) {
    const item = document.createElement("li");
    item.append(button("Open all", "tool", (pressed) => {
      const open = pressed.textContent === "Open all";
      for (const one of all("details")) one.open = open;
      pressed.textContent = open ? "Close all" : "Open all";
    }));
    list.append(item);
  }

  // A page that is still being written loads itself again, and stops when nothing comes any more.
  const page = document.documentElement.dataset;
  const memory = "report " + location.pathname;
  const nameOf = (one) =>
    (one.querySelector("summary .id") ?? one.querySelector("summary")).textContent.trim();
  if (page.written) {
    const written = Number(page.written);
    const promised = 1000 * Number(page.every);
    const age = () => Date.now() - written;
    const patience = 3 * promised + 60000;
    const again = () => {
      try {
        const open = all("details").map((one) => [nameOf(one), one.open]);
        sessionStorage.setItem(memory, JSON.stringify({ x: scrollX, y: scrollY, open }));
      } catch { /* without storage, see below */ }
      location.reload();
    };
    const look = () => {
      const seconds = Math.max(0, Math.round(age() / 1000));
      for (const one of all("[data-age]")) {
        one.textContent = seconds < 120 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
      }
      if (age() < patience) return;
      for (const one of all("[data-stale]")) one.hidden = false;
      for (const one of all("[data-going]")) one.hidden = true;
      clearInterval(looking);
      clearInterval(loading);
    };
    const looking = setInterval(look, 1000);
    const loading = setInterval(again, Math.max(1000, promised / 2));
    look();
  }
  // Last, as what comes before changes the height of the page.
  try {
    const kept = JSON.parse(sessionStorage.getItem(memory) ?? "null");
    sessionStorage.removeItem(memory);
    if (kept) {
      const open = new Map(kept.open);
      for (const one of all("details")) one.open = open.get(nameOf(one)) ?? one.open;
      history.scrollRestoration = "manual";
      scrollTo(kept.x, kept.y);
    }
  } catch { /* without storage the page loads again from its top */ }
})();
