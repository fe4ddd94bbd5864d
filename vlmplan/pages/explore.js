
// The form is sent whenever it changes, one at a time and the latest last; what comes back is shown as text.
const at = name => document.getElementById(name);
const form = at("asked"), found = at("found"), tokens = at("visual_tokens_slider");
let waiting = false, again = false, counts = [], wanted = "";

const digits = value => Number(value.toPrecision(2));
const kinds = {
  time: {
    write: seconds => seconds < 1 ? `${digits(seconds * 1000)}ms` : `${digits(seconds)}s`,
    read: text => { const it = /^\s*([0-9.]+)\s*(us|ms|s)\s*$/.exec(text); return it ? it[1] * {us: 1e-6, ms: 1e-3, s: 1}[it[2]] : NaN; },
  },
  rate: {
    write: rate => `${digits(rate)}/s`,
    read: text => { const it = /^\s*([0-9.]+)\s*\/\s*(s|min|h)\s*$/.exec(text); return it ? it[1] / {s: 1, min: 60, h: 3600}[it[2]] : NaN; },
  },
  count: { write: value => String(Math.max(1, digits(value))), read: text => /^\s*[0-9]+\s*$/.test(text) ? Number(text) : NaN },
};
const STEPS = 100;  // of a logarithmic slider

// A slider and the box beside it say the same; the box is what is sent, and may say what the slider cannot.
function join(slider) {
  const box = at(slider.dataset.for), {kind, low, high, step, steps} = slider.dataset;
  const list = steps ? steps.split(" ") : [], ratio = high / low, {read, write} = kinds[kind] || {};
  if (kind === "list") [slider.min, slider.max, slider.step] = [0, list.length - 1, 1];
  else if (kind === "even") [slider.min, slider.max, slider.step] = [low, high, step];
  else [slider.min, slider.max, slider.step] = [0, STEPS, 1];
  const written = () => kind === "list" ? list[slider.value] : kind === "even" ? slider.value
    : write(low * ratio ** (slider.value / STEPS));
  const follow = () => {
    if (kind === "list") { if (list.includes(box.value)) slider.value = list.indexOf(box.value); }
    else if (kind === "even") slider.value = box.value;
    else if (read(box.value) > 0) slider.value = STEPS * Math.log(read(box.value) / low) / Math.log(ratio);
    else if (!box.value.trim()) slider.value = kind === "time" ? STEPS : 0;  // no limit; the least number
    slider.setAttribute("aria-valuetext", box.value.trim() || box.placeholder);
  };
  slider.addEventListener("input", () => {
    box.value = written();
    slider.setAttribute("aria-valuetext", box.value);
    ask();
  });
  box.addEventListener("input", () => { follow(); ask(); });
  follow();
}

function fill(parent, tag, texts) {
  parent.replaceChildren(...texts.map(text => Object.assign(document.createElement(tag), {textContent: text})));
}

function row(one) {
  const line = document.createElement("tr");
  if (one.chosen) line.className = "chosen";
  for (const name of ["error", "latency", "ttft", "tokens"])
    line.append(Object.assign(document.createElement("td"), {className: "number", textContent: one[name]}));
  line.append(Object.assign(document.createElement("td"), {textContent: one.model + (one.chosen ? " (the choice)" : "")}));
  return line;
}

// A layout in the page's colours, with room for its legend: a chart that is drawn again makes none by itself.
function dressed(layout) {
  const made = {...layout, autosize: true, margin: {...layout.margin, t: 60}};
  for (const [path, value] of Object.entries(look())) {
    const names = path.split("."), last = names.pop();
    names.reduce((inner, name) => (inner[name] ??= {}), made)[last] = value;
  }
  return made;
}

async function draw(charts) {
  for (const [name, figure] of Object.entries(charts)) {
    const place = at(`chart-${name}`);
    place.hidden = !figure;
    place.classList.toggle("plotly-graph-div", Boolean(figure));
    if (!figure) continue;
    place.style.height = `${figure.layout.height}px`;
    await Plotly.react(place, figure.data, dressed(figure.layout), {responsive: true, displayModeBar: false});
  }
}

async function show(answer) {
  const plan = answer.outcome === "plan";
  const head = {plan: answer.sentence, infeasible: "Nothing keeps these limits.", refused: "This cannot be asked as it is."}[answer.outcome];
  if (at("sentence").textContent !== head) at("sentence").textContent = head;
  at("note").textContent = answer.message || answer.assumed.map(line => `${line[0].toUpperCase()}${line.slice(1)}.`).join(" ");
  at("elapsed").textContent = `Answered in ${Math.round(1000 * answer.elapsed_s)} ms.`;
  if (!plan) { at("details").hidden = true; return; }
  at("details").hidden = false;
  fill(at("expected"), "p", answer.expected);
  fill(at("unsure"), "li", answer.unsure);
  at("command").textContent = answer.command;
  at("counted").textContent = answer.counted;
  at("front").replaceChildren(...answer.front.map(row));
  counts = answer.tokens.counts;
  tokens.disabled = counts.length < 2;
  if (!again) {  // else the slider is being moved, and stands elsewhere by now
    if (String(answer.tokens.at) !== wanted) wanted = "";
    [tokens.max, tokens.value] = [counts.length - 1, counts.indexOf(answer.tokens.at)];
    tell(answer.tokens.at);
  }
  at("told").textContent = answer.tokens.told || (counts.length < 2 ? `${answer.choice.model} makes no other number of this image.`
    : `${answer.tokens.own} is the choice's own; move the slider to price another.`);
  at("tried").hidden = !answer.tokens.command;
  at("estimate").textContent = answer.tokens.command || "";
  await draw(answer.charts);
}

function tell(count) {
  at("visual_tokens").textContent = count;
  tokens.setAttribute("aria-valuetext", String(count));
}

async function ask() {
  at("mix").hidden = !at("second_task").value;
  if (waiting) { again = true; return; }
  waiting = true;
  found.setAttribute("aria-busy", "true");
  do {
    again = false;
    const asked = {...Object.fromEntries(new FormData(form)), visual_tokens: wanted};
    try {
      const reply = await fetch("ask", {method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(asked)});
      if (!reply.ok) throw new Error(await reply.text());
      const answer = await reply.json();
      await show(answer);
    } catch (error) {
      at("sentence").textContent = "No answer came.";
      at("note").textContent = error instanceof TypeError ? "vlmplan explore does not run any more: start it again in the terminal." : error.message;
    }
  } while (again);
  waiting = false;
  found.removeAttribute("aria-busy");
}

async function copy(button) {
  const source = at(button.dataset.copies);
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
}

for (const slider of form.querySelectorAll("input[type=range]")) join(slider);
for (const list of form.querySelectorAll("select")) list.addEventListener("change", ask);
for (const button of document.querySelectorAll("button[data-copies]")) button.addEventListener("click", () => copy(button));
form.addEventListener("submit", event => event.preventDefault());
tokens.addEventListener("input", () => { wanted = String(counts[tokens.value]); tell(wanted); ask(); });
at("sentence").textContent = "Asking …";
ask();
