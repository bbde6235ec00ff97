// Makes pages pleasanter where there is JavaScript; all of them work without. No dependency, no inline code, no storage.
"use strict";

const enhance = (root) => {
  for (const button of root.querySelectorAll("[data-copy]")) {
    if (!navigator.clipboard) continue;
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      await navigator.clipboard.writeText(source.dataset.exact ?? source.value ?? source.textContent);
      const text = button.querySelector("span");
      const before = text.textContent;
      text.textContent = document.body.dataset.copied;
      setTimeout(() => { text.textContent = before; }, 2000);
    });
  }
  // On demand: only the content is replaced, so what is typed above and the place in the page stay.
  for (const link of root.querySelectorAll("[data-refresh]")) {
    link.addEventListener("click", async (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      link.setAttribute("aria-busy", "true");
      try {
        const answer = await fetch(link.href, { credentials: "same-origin" });
        if (!answer.ok || answer.redirected) throw new Error(String(answer.status));
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = document.importNode(page.getElementById("content"), true);
        document.getElementById("content").replaceWith(fresh);
        enhance(fresh);
        fresh.querySelector("[data-refresh]")?.focus({ preventScroll: true });
      } catch {
        location.assign(link.href);
      }
    });
  }
};

// "5 minutes ago" goes on while the page is open.
const relative = new Intl.RelativeTimeFormat(document.documentElement.lang, { numeric: "always" });
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const tick = () => {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const seconds = (Date.parse(element.dateTime) - Date.now()) / 1000;
    const [unit, size] = UNITS.find(([, each]) => Math.abs(seconds) >= each) ?? UNITS[3];
    element.textContent = relative.format(Math.round(seconds / size), unit);
  }
};
setInterval(tick, 30000);

enhance(document);
document.querySelector(".problems")?.focus();
