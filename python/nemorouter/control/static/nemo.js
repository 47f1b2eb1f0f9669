// What scripts add: dialogs instead of pages, copying, menus that close. Everything else works without.
"use strict";

for (const link of document.querySelectorAll("[data-dialog]")) {
  const dialog = document.getElementById(link.dataset.dialog);
  if (!dialog || !dialog.showModal) continue;
  link.setAttribute("aria-haspopup", "dialog");
  link.addEventListener("click", (event) => {
    if (event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    dialog.showModal();
  });
  for (const close of dialog.querySelectorAll("[data-close]")) {
    close.hidden = false;
    close.addEventListener("click", (event) => { event.preventDefault(); dialog.close(); });
  }
  dialog.addEventListener("mousedown", (event) => { if (event.target === dialog) dialog.close(); });
}

async function copy(text, from) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(from); // no clipboard outside a secure context: select it, and try the old way
    return document.execCommand("copy");
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  const from = document.getElementById(button.dataset.copy);
  const label = button.textContent;
  const status = document.getElementById("copied");
  button.hidden = false;
  button.addEventListener("click", async () => {
    const done = await copy(from.textContent.trim(), from);
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    if (status) status.textContent = done ? "Copied to the clipboard." : "Selected. Press Ctrl+C to copy.";
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

// A reload of the page that reveals a key must not make another key.
const settled = document.querySelector("[data-settled-url]");
if (settled) history.replaceState(null, "", settled.dataset.settledUrl);

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});

// On a phone the navigation is wider than the screen: show where one is.
const here = document.querySelector(".nav [aria-current]");
if (here) here.closest(".nav").scrollLeft = here.offsetLeft - innerWidth / 3;

for (const select of document.querySelectorAll("[data-submit]")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}
