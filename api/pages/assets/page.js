// Live regions rest while nobody looks, and say so when the server does not answer.

document.addEventListener("htmx:before:request", (event) => {
  if (document.hidden && event.target.closest?.(".live")) event.preventDefault();
});

for (const name of ["htmx:error", "htmx:response:error"]) {
  document.addEventListener(name, (event) => event.target.closest?.(".live")?.classList.add("stale"));
}
