// Runs before the first paint, so that a page that was set to dark never flashes white.
// theme.js does the rest.
{
  const chosen = localStorage.getItem("relayd.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
