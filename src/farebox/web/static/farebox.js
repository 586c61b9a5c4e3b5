// What lives on the page: balances that move without reloading, the donut's middle, choices that apply at once.
// Without this script everything still works; nothing here is needed to read or to pay.
"use strict";

const LIVE_MS = 2000; // a send is seen within two seconds; the answer is a few hundred bytes

// Digits finer than a hundredth are set smaller, as the server writes them (web/tongue.py, fine).
function write(place, text) {
  const decimal = document.body.dataset.decimal;
  const end = place.querySelector(".sub") ? text.lastIndexOf(decimal) + 3 : 0;
  const [, fine, rest] = text.slice(end).match(/^(\d*)(\D*)$/) ?? [];
  if (!end || fine === undefined) return void (place.textContent = text);
  const small = Object.assign(document.createElement("span"), { className: "sub", textContent: fine });
  place.replaceChildren(text.slice(0, end), small, rest);
}

function show(news) {
  for (const place of document.querySelectorAll("[data-live-text]")) {
    const text = news.texts[place.dataset.liveText];
    if (text !== undefined && place.textContent !== text) {
      write(place, text);
      place.classList.remove("moved");
      void place.offsetWidth; // so that the animation starts anew
      place.classList.add("moved");
    }
  }
  for (const banner of document.querySelectorAll("[data-empty]")) {
    banner.hidden = !news.empty.includes(banner.dataset.empty);
  }
}

async function watch(path) {
  for (;;) {
    await new Promise((done) => setTimeout(done, LIVE_MS));
    if (document.hidden) continue;
    try {
      const answer = await fetch(path, { headers: { Accept: "application/json" } });
      if (answer.status === 401) return location.reload(); // the session is over
      if (answer.ok) show(await answer.json());
      document.body.classList.toggle("stale", !answer.ok);
    } catch {
      document.body.classList.add("stale"); // what is shown may be old
    }
  }
}

function answerOf(donut) {
  const percent = donut.querySelector("[data-donut-percent]");
  const label = donut.querySelector("[data-donut-label]");
  const rest = [percent.textContent, label.textContent];
  const say = (first, second) => { percent.textContent = first; label.textContent = second; };
  for (const slice of donut.querySelectorAll("[data-percent]")) {
    for (const event of ["pointerenter", "focus"]) {
      slice.addEventListener(event, () => say(slice.dataset.percent, slice.dataset.label));
    }
    for (const event of ["pointerleave", "blur"]) slice.addEventListener(event, () => say(...rest));
  }
}

document.documentElement.classList.add("scripted");
if (document.querySelector("[data-live-text]")) watch(document.body.dataset.live);
document.querySelectorAll("[data-donut]").forEach(answerOf);
// On a narrow screen the menu shows where one is.
document.querySelector(".side [aria-current]")?.scrollIntoView({ inline: "center", block: "nearest" });
for (const choice of document.querySelectorAll("[data-submits]")) {
  choice.addEventListener("change", () => choice.form.requestSubmit());
}
for (const button of document.querySelectorAll("[data-prints]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", () => form.setAttribute("aria-busy", "true"));
}
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
});
if (document.querySelector("[data-reloads]")) setTimeout(() => location.reload(), 5000); // a top-up on its way
