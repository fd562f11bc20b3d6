// What the pages of a running service have in common: the token, and questions that carry it.

const KEEPS_TOKEN = "xnas-token";

class Refused extends Error {}

/** Ask the service; the answer, or null where nothing is new. */
async function ask(path, tag = null) {
  const headers = { Authorization: `Bearer ${sessionStorage.getItem(KEEPS_TOKEN)}` };
  if (tag) headers["If-None-Match"] = tag;
  const answer = await fetch(path, { headers, cache: "no-store", credentials: "omit", redirect: "error" });
  if (answer.status === 304) return null;
  const found = await answer.json().catch(() => ({ message: `the service answered ${answer.status}` }));
  if (answer.status === 401) throw new Refused(found.message);
  if (!answer.ok) throw new Error(found.message);
  return { found, tag: answer.headers.get("ETag") };
}

/** Show the form for the token, with a reason. */
function askForToken(words, then) {
  const old = document.getElementById("token");
  const field = element("input", {
    type: "password",
    name: "token",
    autocomplete: "off",
    required: true,
    "aria-label": "token",
    spellcheck: "false",
  });
  const form = element(
    "form",
    {
      id: "token",
      class: "token",
      submit: (event) => {
        event.preventDefault();
        sessionStorage.setItem(KEEPS_TOKEN, field.value.trim());
        form.remove();
        then();
      },
    },
    element("p", {}, words),
    element("label", {}, "Token: the text of the file ", element("code", {}, "token"), " in the store ", field),
    element("button", {}, "show"),
    element("p", { class: "soft" }, "It stays in this tab, until the tab is closed, and goes to this service alone."),
  );
  if (old) old.replaceWith(form);
  else main.append(form);
  field.focus();
}

/** Call again and again, with pauses, while the page can be seen; ask for the token where it is missing or wrong. */
async function keepAsking(once) {
  if (!sessionStorage.getItem(KEEPS_TOKEN))
    return askForToken("This service shows its searches to those who have its token.", () => keepAsking(once));
  let pause = 3000;
  for (;;) {
    try {
      if (!document.hidden) pause = await once();
      notice("");
    } catch (error) {
      if (error instanceof Refused) {
        sessionStorage.removeItem(KEEPS_TOKEN);
        return askForToken(error.message, () => keepAsking(once));
      }
      notice(error instanceof TypeError ? "The service does not answer; it is asked again." : error.message);
      pause = 5000;
    }
    await new Promise((done) => {
      const seen = () => {
          if (!document.hidden) finish();
        },
        timer = setTimeout(() => finish(), pause);
      const finish = () => {
        clearTimeout(timer);
        document.removeEventListener("visibilitychange", seen);
        done();
      };
      document.addEventListener("visibilitychange", seen);
    });
  }
}

/** One line above everything, or none. */
function notice(words) {
  let line = document.getElementById("notice");
  if (!line) {
    line = element("p", { id: "notice", class: "error", role: "status" });
    main.querySelector("h1").after(line);
  }
  line.hidden = !words;
  line.textContent = clean(words);
}
