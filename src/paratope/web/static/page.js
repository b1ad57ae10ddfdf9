"use strict";
// What pages do besides htmx; each works without it, too.

// After an answer in place, the keyboard is where the answer is.
document.addEventListener("htmx:afterSettle", () => {
  const wrong = document.querySelector("[aria-invalid=true]");
  if (wrong) wrong.focus();
});
