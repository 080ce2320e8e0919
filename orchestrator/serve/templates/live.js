// Renews what is marked as live on a page, without moving it or what a reader has chosen.
"use strict";
const SECONDS = 5;

async function renew() {
  if (document.hidden) return;
  let text;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok) return;
    text = await answer.text();
  } catch {
    return; // the server is gone; the page stays as it was
  }
  const fresh = new DOMParser().parseFromString(text, "text/html");
  for (const old of document.querySelectorAll("[data-live]")) {
    const now = fresh.getElementById(old.id);
    if (now === null || now.innerHTML === old.innerHTML) continue;
    if (old.contains(document.activeElement)) continue; // someone is using it
    old.replaceWith(document.adoptNode(now));
  }
}

if (document.querySelector("[data-live]")) setInterval(renew, 1000 * SECONDS);
