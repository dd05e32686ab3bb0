"use strict";
// Play at what is clicked, keep the channels in step, and show where the sound is. The page reads well without this.
(() => {
  const players = [...document.querySelectorAll("audio")];
  const rows = [...document.querySelectorAll("svg.row")];
  const lines = [...document.querySelectorAll("[data-start]")].filter((line) => line.matches("li"));
  const [first] = players;
  if (!first) return;

  const hear = (time) => {
    for (const player of players) player.currentTime = time;
    first.play().catch(() => {}); // where there is no sound, the notice says so
  };

  const show = () => {
    const now = first.currentTime;
    for (const row of rows) {
      const [start, end] = [Number(row.dataset.from), Number(row.dataset.to)];
      const head = row.querySelector(".head");
      const place = `${(100 * (now - start)) / (end - start)}%`;
      const inside = now > 0 && start <= now && now < end;
      head.toggleAttribute("hidden", !inside);
      head.setAttribute("x1", place);
      head.setAttribute("x2", place);
    }
    for (const line of lines) {
      line.classList.toggle("now", Number(line.dataset.start) <= now && now < Number(line.dataset.end));
    }
  };

  for (const player of players) {
    const others = players.filter((other) => other !== player);
    player.addEventListener("play", () => others.filter((other) => other.paused).forEach((other) => other.play()));
    player.addEventListener("pause", () => others.filter((other) => !other.paused).forEach((other) => other.pause()));
    player.addEventListener("ratechange", () => others.forEach((other) => (other.playbackRate = player.playbackRate)));
    player.addEventListener("seeking", () => {
      for (const other of others) {
        if (Math.abs(other.currentTime - player.currentTime) > 0.05) other.currentTime = player.currentTime;
      }
    });
    player.addEventListener("error", () => document.querySelector(".gone").toggleAttribute("hidden", false));
  }
  first.addEventListener("timeupdate", show);
  first.addEventListener("seeked", show);

  document.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.target.closest("[data-at]");
    const row = event.target.closest("svg.row");
    if (link) {
      event.preventDefault();
      hear(Number(link.dataset.at));
    } else if (row) {
      const { left, width } = row.getBoundingClientRect();
      const [start, end] = [Number(row.dataset.from), Number(row.dataset.to)];
      hear(start + ((event.clientX - left) / width) * (end - start));
    }
  });
})();
