// Runs on every page, before the theme's scripts are ready. It mends what the theme leaves for a
// reader who listens, and fetches what a single page needs. Everything lies beside this file.
"use strict";

(() => {
  const here = new URL(".", document.currentScript.src);

  // The name that is read out has to be what is shown: the word and its shortcut, "Show code".
  for (const button of document.querySelectorAll(".search-button-field, .cell summary")) {
    button.removeAttribute("aria-label");
  }
  // Three icons, of which one shows; the button's own label says what it does.
  for (const icon of document.querySelectorAll(".theme-switch-button i")) {
    icon.setAttribute("aria-hidden", "true");
    icon.removeAttribute("title");
  }
  // The role of a reference in a list is out of use; a list has to consist of items.
  for (const entry of document.querySelectorAll(".citation-list > .citation")) {
    entry.setAttribute("role", "listitem");
  }

  // Results with a few lines of each page, which a browser lets no page fetch on file://.
  if (location.protocol !== "file:" && typeof DOCUMENTATION_OPTIONS !== "undefined") {
    DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = true;
  }

  const load = (name) =>
    new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = new URL(name, here).href;
      script.onload = resolve;
      script.onerror = reject;
      document.head.append(script);
    });

  if (document.querySelector(".curve-explorer")) {
    const sheet = document.createElement("link");
    sheet.rel = "stylesheet";
    sheet.href = new URL("uplot/uPlot.min.css", here).href;
    document.head.append(sheet);
    load("uplot/uPlot.iife.min.js").then(() => load("curve_explorer.js"));
  }
})();
